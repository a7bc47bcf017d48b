"""What the first values of one column look like; see :mod:`features.spec_guess`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import pairwise

from features.values import as_text

__all__ = ["Column"]

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")  # 007 is no number
_EPOCHS = {"s": (5e8, 2e9), "ms": (5e11, 2e12), "us": (5e14, 2e15)}  # 1985 to 2033
_BUCKETS = 10
_FEW = 20  # rows below which nothing is said of uniqueness


@dataclass(frozen=True, eq=False)
class Column:
    """A column and its first values, one a row.

    Examples
    --------
    >>> Column("age", ["31", "", "44"]).numbers
    [31.0, 44.0]
    """

    name: str
    values: Sequence[object]

    @cached_property
    def plain_name(self) -> str:
        """The name in lower case, its words joined by ``_``."""
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", self.name).lower()
        return re.sub(r"[^a-z0-9]+", "_", words).strip("_")

    @cached_property
    def present(self) -> list[object]:
        """The values that are not missing."""
        return [value for value in self.values if as_text(value)]

    @cached_property
    def texts(self) -> list[str]:
        """The values that are not missing, as the text that a category is made of."""
        return [as_text(value) for value in self.present]

    @cached_property
    def distinct(self) -> int:
        """How many different values there are."""
        return len(set(self.texts))

    @cached_property
    def numbers(self) -> list[float] | None:
        """The values as numbers, if all of them are."""
        if not self.texts or not all(_NUMBER.fullmatch(text) for text in self.texts):
            return None
        numbers = [float(text) for text in self.texts]
        return numbers if all(map(math.isfinite, numbers)) else None

    @property
    def is_list(self) -> bool:
        """Whether some value is a list."""
        return any(isinstance(value, list | tuple) for value in self.present)

    @property
    def is_table(self) -> bool:
        """Whether some value has keys of its own."""
        return any(isinstance(value, Mapping) for value in self.present)

    @property
    def is_binary(self) -> bool:
        """Whether every row has 0 or 1, or true or false."""
        words = {text.lower() for text in self.texts}
        full = len(self.present) == len(self.values) > 0
        return full and (words <= {"0", "1", "0.0", "1.0"} or words <= {"true", "false"})

    @property
    def flags(self) -> list[bool]:
        """For each row, whether it holds anything but nothing, zero and false."""
        return [as_text(value).lower() not in ("", "0", "0.0", "false") for value in self.values]

    @property
    def is_integer(self) -> bool:
        """Whether every value is a whole number."""
        return self.numbers is not None and all(number.is_integer() for number in self.numbers)

    @property
    def is_unique(self) -> bool:
        """Whether no row lacks a value and no two share one."""
        return 0 < len(self.values) == self.distinct

    @property
    def is_nearly_unique(self) -> bool:
        """Whether the values hardly ever come twice, as far as these rows tell."""
        return len(self.present) >= _FEW and self.distinct >= 0.95 * len(self.present)

    @property
    def is_row_number(self) -> bool:
        """Whether the values are whole numbers that rise from row to row."""
        if not self.numbers or not self.is_integer or not self.is_unique:
            return False
        steps = [after - before for before, after in pairwise(self.numbers)]
        few = len(self.numbers) < _FEW
        return len(steps) > 1 and all(step == 1 if few else step > 0 for step in steps)

    @cached_property
    def timestamp_format(self) -> str:
        """The ``timestamp_format`` that fits every row, or empty."""
        if not self.values or len(self.present) < len(self.values):
            return ""
        if all(map(_is_iso, self.texts)):
            return "iso"
        for unit, (low, high) in _EPOCHS.items():
            if self.numbers and low <= min(self.numbers) and max(self.numbers) < high:
                return unit
        return "%y%m%d%H" if all(map(_is_hour, self.texts)) else ""

    def quantile_edges(self) -> list[float]:
        """Return the inner edges of ten buckets of equal mass, as far as values repeat little.

        Where one value has nearly all the mass, the others are told apart instead. Three
        different values give at least one edge.
        """
        numbers = sorted(self.numbers or [])
        return _inner_edges(numbers) or _inner_edges(sorted(set(numbers)))


def _inner_edges(numbers: Sequence[float]) -> list[float]:
    cuts = {numbers[len(numbers) * i // _BUCKETS] for i in range(1, _BUCKETS)}
    return sorted(cut for cut in cuts if cut > numbers[0])


def _is_iso(text: str) -> bool:
    if not re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_hour(text: str) -> bool:
    if not re.fullmatch(r"[0-9]{8}", text):
        return False
    try:
        datetime.strptime(text, "%y%m%d%H")
    except ValueError:
        return False
    return True
