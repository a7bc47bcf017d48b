"""How the values of a field are best made tokens, and which fields are worth most."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.spec_guess_column import Column

__all__ = ["Field", "describe_field", "information"]

_ID_WORD = re.compile(
    r"(?:^|_)(?:id|ids|uid|user|users|ip|os|ad|device|item|code|zip|zipcode|zip_code|type|key|hash|no|nr|cat\d*"
    r"|category|campaign|advertiser|publisher|site|app|channel|city|region|country|brand|model"
    r"|page|slot|position|placement|version|segment|cluster|gender|sex|hour|weekday|month|day)$"
)
_ENDS_IN_ID = re.compile(r"(?<!^b)(?<!^pa)(?<!^vo)(?<!^va)(?<!_b)(?<!gr)(?<!sol)id$")
_NUMBER_WORD = re.compile(
    r"(?:^|_)(?:price|amount|cost|bid|bid_?floor|floor|age|width|height|size|duration|seconds|secs"
    r"|length|score|rate|ratio|distance|weight|lat|lon|lng)(?:_|$)"
)
_COUNT_WORD = re.compile(r"(?:^|_)(?:count|counts|cnt|num|number|n|total|views|visits|freq)(?:_|$)")
_LIST_WORD = re.compile(r"(?:tags|ids|categories|keywords|interests|genres|segments|words|list)$")
_FEW_VALUES = 12
_LOWEST_COUNT, _HUGE = -10, 1e8
_SEPARATORS = ("|", ";", ",", "^", "\x01", "\x02")
_SHARE_OF_LISTS = 0.02


@dataclass(frozen=True)
class Field:
    """A column to learn from, and how."""

    column: Column
    transform: str
    separator: str = ""


def describe_field(look: Column) -> Field:
    """Choose the transform of a column.

    Examples
    --------
    >>> import pyarrow as pa
    >>> describe_field(Column("tags", pa.array(["a|b", "b", "a|c|b"]))).separator
    '|'
    >>> describe_field(Column("userid", pa.array(["17", "1", "2"]))).transform
    'category'
    """
    if look.is_list:
        return Field(look, "categories")
    if look.numbers is None:
        separator = _separator(look)
        return Field(look, "categories" if separator else "category", separator)
    return Field(look, _number_transform(look))


def _number_transform(look: Column) -> str:
    name = look.plain_name
    is_named = _NUMBER_WORD.search(name) is not None
    if not is_named and (_ID_WORD.search(name) or _ENDS_IN_ID.search(name)):
        return "category"
    if not look.is_integer or (is_named and look.distinct > _FEW_VALUES):
        return "quantile" if look.distinct >= 3 else "category"
    return "log_squared" if look.distinct > _FEW_VALUES and _is_count(look) else "category"


def _is_count(look: Column) -> bool:
    """Whether whole numbers crowd at the low end from about 0 on: ids do not."""
    numbers = look.sorted_numbers
    low, high = float(numbers[0]), float(numbers[-1])
    if not _LOWEST_COUNT <= low <= 2 or (high >= _HUGE):
        return False
    if _COUNT_WORD.search(look.plain_name):
        return True
    middle, top = (float(numbers[int(share * (len(numbers) - 1))]) for share in (0.5, 0.995))
    return middle <= max(top / 4, 1.0)


def _separator(look: Column) -> str:
    """What stands between the members where texts are lists; empty: they are none."""
    is_named = _LIST_WORD.search(look.plain_name) is not None
    separators: list[str] = [*_SEPARATORS, *([" "] if is_named else [])]
    for separator in separators:
        has = pc.match_substring(look.texts, separator).to_numpy(zero_copy_only=False)
        if look.counts[has].sum() < max(_SHARE_OF_LISTS * look.present, 1):
            continue
        members = pc.unique(pc.split_pattern(look.texts, separator).flatten())
        if separator == "|" or len(members) <= look.distinct:  # members come back in other lists
            return separator
    return ""


def information(look: Column, clicked: NDArray[np.float64]) -> float:
    """Bits that a column tells about the label, less what as many random values would.

    Examples
    --------
    >>> import pyarrow as pa
    >>> round(information(Column("ad", pa.array(["a", "b"] * 500)), np.array([0.0, 1.0] * 500)), 2)
    1.0
    """
    counts = look.counts_by_label(clicked)
    rows = max(int(counts.sum()), 1)
    share = counts[:, counts.sum(axis=0) > 0] / rows
    expected = share.sum(axis=1, keepdims=True) * share.sum(axis=0, keepdims=True)
    some = share > 0
    bits = float(np.sum(share[some] * np.log2(share[some] / expected[some])))
    return bits - float(share.shape[1] - 1) / (2 * rows * math.log(2))
