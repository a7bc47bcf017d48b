"""A column of texts as codes into its distinct values, compiled: what slices are counted by.

Two texts of one field are taken for the same value where their 64-bit hashes are the same: of ten
million values, two are so once in some 400,000 streams.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.hashing import text_hash
from features.jit import jit, read_only
from features.values import text_column

if TYPE_CHECKING:
    from collections.abc import Iterator


__all__ = [
    "MISSING",
    "SEED",
    "Categorical",
    "HashTable",
    "counts_of",
    "cut_texts",
    "encode",
    "hashes_of",
]

U64 = NDArray[np.uint64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

SEED = np.uint64(0x5C1D_71DE)
"""Of the hashes."""


def encode(texts: pa.Array) -> tuple[I32, I64, U64]:
    """Code of each text, in order of their first rows; these rows; and the hashes of these texts.

    None may be null.

    Examples
    --------
    >>> codes, first, hashes = encode(pa.array(["b", "a", "b"]))
    >>> codes.tolist(), first.tolist()
    ([0, 1, 0], [0, 1])
    """
    offsets, data = _buffers(texts)
    codes, first = np.empty(len(texts), np.int32), np.empty(len(texts), np.int64)
    hashes = np.empty(len(texts), np.uint64)
    size = 1 << max(4, int(2 * len(texts)).bit_length())
    count = _encode(data, offsets, SEED, np.full(size, -1, np.int32), codes, first, hashes)
    return codes, first[:count], hashes[:count]


def counts_of(codes: I32, words: int) -> I64:
    """How often each of so many codes comes.

    Examples
    --------
    >>> counts_of(np.array([0, 2, 0], np.int32), 3).tolist()
    [2, 0, 1]
    """
    counts = np.zeros(words, np.int64)
    _count_codes(codes, counts)
    return counts


def hashes_of(texts: pa.Array) -> U64:
    """The hash of each text; there may be no null among them."""
    offsets, data = _buffers(texts)
    hashes = np.empty(len(texts), np.uint64)
    _hashes(data, offsets, SEED, hashes)
    return hashes


def cut_texts(texts: pa.Array, longest: int) -> pa.Array:
    """The texts, those cut that nobody would read to their end; itself where all are short."""
    if (pc.max(pc.binary_length(texts)).as_py() or 0) > longest:
        return pc.utf8_slice_codeunits(texts, 0, longest)
    return texts


def _buffers(texts: pa.Array) -> tuple[I32, NDArray[np.uint8]]:
    _, at, text = texts.buffers()
    offsets = np.frombuffer(at, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    empty = text is None or not text.size
    data = np.zeros(1, np.uint8) if empty else np.frombuffer(text, np.uint8)
    return read_only(offsets), read_only(data)


@jit
def _encode(
    data: NDArray[np.uint8], offsets: I32, seed: np.uint64, table: I32, codes: I32, first: I64,
    hashes: U64,
) -> int:  # fmt: skip
    count, mask = 0, np.uint64(len(table) - 1)
    for i in range(len(codes)):
        h = text_hash(data, offsets[i], offsets[i + 1], seed)
        at = h & mask
        code = table[at]
        while code >= 0 and hashes[code] != h:
            at = (at + np.uint64(1)) & mask
            code = table[at]
        if code < 0:
            code = count
            table[at], hashes[count], first[count] = count, h, i
            count += 1
        codes[i] = code
    return count


@jit
def _count_codes(codes: I32, counts: I64) -> None:
    for i in range(len(codes)):
        counts[codes[i]] += 1


@jit
def _hashes(data: NDArray[np.uint8], offsets: I32, seed: np.uint64, hashes: U64) -> None:
    for i in range(len(hashes)):
        hashes[i] = text_hash(data, offsets[i], offsets[i + 1], seed)


class HashTable:
    """Numbers by hash.

    Examples
    --------
    >>> table = HashTable()
    >>> table.add(np.array([7, 9], np.uint64), np.array([0, 1], np.int32))
    >>> table.find(np.array([9, 8], np.uint64)).tolist()
    [1, -1]
    >>> table.remove(np.array([0], np.int32))
    >>> table.find(np.array([7, 9], np.uint64)).tolist()
    [-1, 1]
    """

    def __init__(self) -> None:
        self._count = 0
        self._keys = np.zeros(64, np.uint64)
        self._numbers = np.full(64, -1, np.int32)

    def find(self, hashes: U64) -> I32:
        """Number of each; -1: it has none."""
        out = np.empty(len(hashes), np.int32)
        _find(self._keys, self._numbers, hashes, out)
        return out

    def add(self, hashes: U64, numbers: I32) -> None:
        """Give some that have none a number each."""
        self._count += len(hashes)
        if 2 * self._count > len(self._keys):
            self._keep(self._numbers >= 0, 1 << (4 * self._count).bit_length())
        _add(self._keys, self._numbers, hashes, numbers)

    def remove(self, numbers: I32) -> None:
        """Forget whoever has one of these numbers."""
        gone = np.zeros(int(self._numbers.max(initial=0)) + 1, np.bool_)
        gone[numbers] = True
        kept = (self._numbers >= 0) & ~gone[self._numbers]
        self._count = int(kept.sum())
        self._keep(kept, len(self._keys))

    def _keep(self, kept: NDArray[np.bool_], size: int) -> None:
        keys, numbers = self._keys[kept], self._numbers[kept]
        self._keys, self._numbers = np.zeros(size, np.uint64), np.full(size, -1, np.int32)
        _add(self._keys, self._numbers, keys, numbers)


@jit
def _find(keys: U64, numbers: I32, hashes: U64, out: I32) -> None:
    mask = np.uint64(len(keys) - 1)
    for i in range(len(hashes)):
        at = hashes[i] & mask
        while numbers[at] >= 0 and keys[at] != hashes[i]:
            at = (at + np.uint64(1)) & mask
        out[i] = numbers[at]


@jit
def _add(keys: U64, numbers: I32, hashes: U64, given: I32) -> None:
    mask = np.uint64(len(keys) - 1)
    for i in range(len(hashes)):
        at = hashes[i] & mask
        while numbers[at] >= 0:
            at = (at + np.uint64(1)) & mask
        keys[at], numbers[at] = hashes[i], given[i]


MISSING = "(missing)"
"""The value of a row in which a field is absent, null or the empty text."""


@dataclass(frozen=True)
class Categorical:
    """Texts of n rows, each a code into the distinct ones; ``codes, values = coded`` works too.

    Parameters
    ----------
    codes
        int32 (n,), each from 0 to ``len(words) - 1``.
    words
        The distinct texts, an Arrow array of string; some may have no row.

    Examples
    --------
    >>> coded = Categorical.of(pa.array(["a", None, "b", "a", ""]))
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

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Categorical:
        """Some rows; the distinct texts stay as they are."""
        return Categorical(self.codes[rows], self.words)

    def counts(self) -> NDArray[np.int64]:
        """Rows of each distinct text."""
        return self._counted.copy()

    @cached_property
    def _counted(self) -> NDArray[np.int64]:
        return counts_of(self.codes, len(self.words))

    @classmethod
    def constant(cls, value: str, rows: int) -> Categorical:
        """One text in every row."""
        return cls(np.zeros(rows, np.int32), pa.array([value], pa.string()))

    @classmethod
    def of(cls, column: pa.Array | pa.ChunkedArray) -> Categorical:
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
    def _encoded(cls, texts: pa.Array) -> Categorical:
        """Texts one by one; the empty text and null are missing."""
        if texts.null_count:
            texts = pc.fill_null(texts, "")
        codes, first, hashes = encode(texts)
        words = texts if len(first) == len(texts) else texts.take(pa.array(first))
        words = words if pa.types.is_string(words.type) else words.cast(pa.string())
        return cls.encoded(codes, words, hashes)

    @classmethod
    def encoded(cls, codes: I32, words: pa.Array, hashes: U64) -> Categorical:
        """Distinct texts whose hashes are known; the empty one is missing."""
        empty = pc.index(words, "").as_py()
        if empty >= 0:
            return cls(codes, pc.replace_with_mask(words, pc.equal(words, ""), pa.scalar(MISSING)))
        coded = cls(codes, words)
        coded.__dict__["hashes"] = hashes
        return coded

    @classmethod
    def _of_dictionary(cls, words: pa.DictionaryArray) -> Categorical:
        """Texts that stand in the dictionary twice get one code."""
        distinct = pc.dictionary_encode(words.dictionary)
        if len(distinct.dictionary) < len(words.dictionary):
            indices = distinct.indices.take(words.indices)
            words = pa.DictionaryArray.from_arrays(indices, distinct.dictionary)
        return cls._with_missing(words)

    @classmethod
    def _with_missing(cls, encoded: pa.DictionaryArray) -> Categorical:
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
