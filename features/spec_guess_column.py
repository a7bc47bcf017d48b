"""What the sampled values of a column look like, how they are best made tokens, what they tell."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.times import NO_TIME, AmbiguousTimeError, time_form, times_ms
from features.values import text_column

__all__ = ["Column", "Field", "describe_field", "information"]

_NUMBER = r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?$"  # 007 is no number
_NO_NUMBERS = ("null", "none", "na", "n/a", "nan", r"\n", "-", "?", "")
_NEARLY_ALL = 0.99
_MOSTLY = 0.8
_BUCKETS = 10
_FEW = 20  # rows below which nothing is said of uniqueness
_LOOKED_AT = 500  # different values that tell a time's form
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


@dataclass(frozen=True, eq=False)
class Column:
    """A column and some of its values, one a row.

    Examples
    --------
    >>> import pyarrow as pa
    >>> age = Column("userAge", pa.array(["31", "", "44", "31"]))
    >>> age.plain_name, age.texts.to_pylist(), age.counts.tolist(), age.codes.tolist()
    ('user_age', ['31', '44'], [2, 1], [0, -1, 1, 0])
    """

    name: str
    values: pa.Array

    @cached_property
    def plain_name(self) -> str:
        """The name in lower case, its words joined by ``_``."""
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", self.name).lower()
        return re.sub(r"[^a-z0-9]+", "_", words).strip("_")

    @property
    def rows(self) -> int:
        """How many values there are, missing ones included."""
        return len(self.values)

    @property
    def is_list(self) -> bool:
        """Whether its values are lists."""
        return bool(pa.types.is_nested(self.values.type))

    @cached_property
    def _encoded(self) -> pa.DictionaryArray:
        """The text of each value, null where missing; of a list, of its first member."""
        values = self.values
        if self.is_list:
            first = pc.list_slice(values, 0, 1, return_fixed_size_list=False)
            there = np.asarray(pc.fill_null(pc.list_value_length(first), 0)) > 0
            texts = np.full(len(values), None, object)
            texts[there] = text_column(first.flatten()).to_pylist()
            values = pa.array(texts, pa.string())
        words = text_column(values)
        words = words.dictionary_decode() if pa.types.is_dictionary(words.type) else words
        words = words.cast(pa.string())
        return pc.if_else(pc.equal(words, ""), None, words).dictionary_encode()

    @cached_property
    def texts(self) -> pa.Array:
        """The different values that are not missing, as the text that a category is made of."""
        return self._encoded.dictionary

    @cached_property
    def codes(self) -> NDArray[np.int64]:
        """For each row, which of the texts it has; -1 where it is missing."""
        indices = pc.fill_null(self._encoded.indices, -1)
        return np.asarray(indices.to_numpy(zero_copy_only=False), np.int64)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """For each of the texts, in how many rows it is."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.texts))

    @property
    def present(self) -> int:
        """How many rows have a value."""
        return int(self.counts.sum())

    @property
    def distinct(self) -> int:
        """How many different values there are."""
        return len(self.texts)

    @property
    def is_full(self) -> bool:
        """Whether nearly every row has a value."""
        return 0 < self.rows <= self.present + (1 - _NEARLY_ALL) * self.rows

    @cached_property
    def numbers(self) -> NDArray[np.float64] | None:
        """The number that each of the texts is; None unless nearly all rows have one.

        NaN where a text is none, such as ``NULL``.
        """
        is_number = pc.match_substring_regex(self.texts, _NUMBER)
        numbers = pc.if_else(is_number, self.texts, None).cast(pa.float64())
        values = np.asarray(numbers.to_numpy(zero_copy_only=False), np.float64)
        if not np.isfinite(values).any() or np.isinf(values).any():
            return None
        is_void = pc.is_in(pc.utf8_lower(self.texts), pa.array(_NO_NUMBERS)).to_numpy(False)
        some = self.counts[~is_void]
        good = some[np.isfinite(values[~is_void])].sum()
        return values if good >= _MOSTLY * some.sum() else None

    @cached_property
    def sorted_numbers(self) -> NDArray[np.float64]:
        """The numbers of the rows that have one, rising."""
        assert self.numbers is not None
        numbers = np.repeat(self.numbers, self.counts)
        return np.sort(numbers[np.isfinite(numbers)])

    def counts_by_label(self, clicked: NDArray[np.float64]) -> NDArray[np.int64]:
        """How often each text, and last a missing one, is not clicked (row 0) and clicked (row 1).

        Parameters
        ----------
        clicked
            For each row 0 or 1, or NaN where that is not known.
        """
        codes = np.where(self.codes < 0, self.distinct, self.codes)
        return np.stack(
            [np.bincount(codes[clicked == label], minlength=self.distinct + 1) for label in (0, 1)]
        )

    @property
    def is_integer(self) -> bool:
        """Whether every number is whole."""
        numbers = self.numbers
        return numbers is not None and bool((np.mod(numbers[np.isfinite(numbers)], 1) == 0).all())

    @property
    def is_unique(self) -> bool:
        """Whether no row lacks a value and no two share one."""
        return 0 < self.rows == self.distinct

    @property
    def is_nearly_unique(self) -> bool:
        """Whether the values hardly ever come twice, as far as these rows tell."""
        return self.present >= _FEW and self.distinct >= 0.95 * self.present

    @property
    def is_row_number(self) -> bool:
        """Whether the values are whole numbers that rise from row to row."""
        if not self.is_integer or not self.is_unique or self.rows < 3:
            return False
        assert self.numbers is not None
        steps = np.diff(self.numbers[self.codes])
        return bool((steps == 1).all() if self.rows < _FEW else (steps > 0).all())

    @cached_property
    def time_form(self) -> str:
        """The ``timestamp_format`` that fits every value; ``?`` if day and month are in doubt."""
        if not self.is_full or self.is_list:
            return ""
        if pa.types.is_timestamp(self.values.type) or pa.types.is_date(self.values.type):
            return "iso"
        step = self.distinct // _LOOKED_AT + 1
        try:
            form = time_form(
                self.texts.take(pa.array(np.arange(0, self.distinct, step))).to_pylist()
            )
        except AmbiguousTimeError:
            return "?"
        return form if form and not times_ms(self.texts, form)[1].any() else ""

    @cached_property
    def span_ms(self) -> int:
        """From the earliest to the latest, where the values are times."""
        words = self.values if pa.types.is_temporal(self.values.type) else self.texts
        times = times_ms(words, self.time_form)[0]
        times = times[times != NO_TIME]
        return int(times.max() - times.min())

    def quantile_edges(self) -> list[float]:
        """Return the inner edges of ten buckets of equal mass, as far as values repeat little.

        Where one value has nearly all the mass, the others are told apart instead. Three
        different values give at least one edge.
        """
        numbers = self.sorted_numbers
        return _inner_edges(numbers) or _inner_edges(np.unique(numbers))


def _inner_edges(numbers: NDArray[np.float64]) -> list[float]:
    cuts = {float(numbers[len(numbers) * i // _BUCKETS]) for i in range(1, _BUCKETS)}
    return sorted(cut for cut in cuts if cut > numbers[0])


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
