"""What the sampled values of one column look like; see :mod:`features.spec_guess`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.times import NO_TIME, AmbiguousTimeError, time_form, times_ms
from features.values import text_column

__all__ = ["Column"]

_NUMBER = r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?$"  # 007 is no number
_NO_NUMBERS = ("null", "none", "na", "n/a", "nan", r"\n", "-", "?", "")
_NEARLY_ALL = 0.99
_MOSTLY = 0.8
_BUCKETS = 10
_FEW = 20  # rows below which nothing is said of uniqueness
_LOOKED_AT = 500  # different values that tell a time's form


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
