"""A column of texts as codes into its distinct values: what slices are counted by."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.values import text_column
from monitoring.text_codes import U64, counts_of, encode, hashes_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MISSING", "Coded"]

MISSING = "(missing)"
"""The value of a row in which a field is absent, null or the empty text."""

I32 = NDArray[np.int32]


@dataclass(frozen=True)
class Coded:
    """Texts of n rows, each a code into the distinct ones; ``codes, values = coded`` works too.

    Parameters
    ----------
    codes
        int32 (n,), each from 0 to ``len(words) - 1``.
    words
        The distinct texts, an Arrow array of string; some may have no row.

    Examples
    --------
    >>> coded = Coded.of(pa.array(["a", None, "b", "a", ""]))
    >>> codes, values = coded
    >>> [values[code] for code in codes]
    ['a', '(missing)', 'b', 'a', '(missing)']
    """

    codes: I32
    words: pa.Array

    @cached_property
    def values(self) -> list[str]:
        """The distinct texts as a list; costs time where there are very many."""
        words: list[str] = self.words.to_pylist()
        return words

    @cached_property
    def hashes(self) -> U64:
        """A number for each distinct text, the same wherever it comes."""
        return hashes_of(self.words)

    def __iter__(self) -> Iterator[I32 | list[str]]:
        return iter((self.codes, self.values))

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Coded:
        """Some rows; the distinct texts stay as they are."""
        return Coded(self.codes[rows], self.words)

    def counts(self) -> NDArray[np.int64]:
        """Rows of each distinct text."""
        return self._counted.copy()

    @cached_property
    def _counted(self) -> NDArray[np.int64]:
        return counts_of(self.codes, len(self.words))

    @classmethod
    def constant(cls, value: str, rows: int) -> Coded:
        """One text in every row."""
        return cls(np.zeros(rows, np.int32), pa.array([value], pa.string()))

    @classmethod
    def of(cls, column: pa.Array | pa.ChunkedArray) -> Coded:
        """Encode an Arrow column of any type; the members of a list are put side by side."""
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
            if isinstance(column, pa.ChunkedArray):  # of no chunk at all
                column = pa.nulls(0, pa.string())
        if pa.types.is_null(column.type):
            return cls.constant(MISSING, len(column))
        words = text_column(_flat(column))
        if pa.types.is_dictionary(words.type):
            return cls._of_dictionary(words)
        return cls._encoded(words)

    @classmethod
    def _encoded(cls, texts: pa.Array) -> Coded:
        """Texts one by one; the empty text and null are missing."""
        if texts.null_count:
            texts = pc.fill_null(texts, "")
        codes, first, hashes = encode(texts)
        words = texts if len(first) == len(texts) else texts.take(pa.array(first))
        words = words if pa.types.is_string(words.type) else words.cast(pa.string())
        return cls.encoded(codes, words, hashes)

    @classmethod
    def encoded(cls, codes: I32, words: pa.Array, hashes: U64) -> Coded:
        """Distinct texts whose hashes are known; the empty one is missing."""
        empty = pc.index(words, "").as_py()
        if empty >= 0:
            return cls(codes, pc.replace_with_mask(words, pc.equal(words, ""), pa.scalar(MISSING)))
        coded = cls(codes, words)
        coded.__dict__["hashes"] = hashes
        return coded

    @classmethod
    def _of_dictionary(cls, words: pa.DictionaryArray) -> Coded:
        """Texts that stand in the dictionary twice get one code."""
        distinct = pc.dictionary_encode(words.dictionary)
        if len(distinct.dictionary) < len(words.dictionary):
            indices = distinct.indices.take(words.indices)
            words = pa.DictionaryArray.from_arrays(indices, distinct.dictionary)
        return cls._named(words)

    @classmethod
    def _named(cls, encoded: pa.DictionaryArray) -> Coded:
        """Give missing rows their own code."""
        words, indices = encoded.dictionary.cast(pa.string()), encoded.indices
        empty = pc.index(words, "").as_py()
        missing = empty if empty >= 0 else len(words)
        if indices.null_count:
            indices = pc.fill_null(indices, pa.scalar(missing, indices.type))
        if empty >= 0:
            words = pc.replace_with_mask(words, pc.equal(words, ""), pa.scalar(MISSING))
        elif encoded.null_count:
            words = pa.concat_arrays([words, pa.array([MISSING], pa.string())])
        codes = indices.to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
        return cls(codes, words)


def _flat(column: pa.Array) -> pa.Array:
    """A list's members as one text; a struct or map as its text."""
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        if pa.types.is_string(kind.value_type):
            return pc.binary_join(column, " ")
        return pa.array([None if v is None else " ".join(map(str, v)) for v in column.to_pylist()])
    if pa.types.is_nested(kind):
        return pa.array([None if v is None else str(v) for v in column.to_pylist()], pa.string())
    return column
