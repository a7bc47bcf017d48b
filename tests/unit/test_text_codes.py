"""Texts are encoded as Arrow encodes them, and found again by their hashes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import given
from hypothesis import strategies as st

from monitoring.watch.categorical import MISSING, Categorical, HashTable, encode, hashes_of

TEXTS = st.lists(st.text(max_size=20), max_size=60)


@given(TEXTS, st.integers(0, 5))
def test_codes_and_distinct_texts_are_arrows(texts: list[str], skip: int) -> None:
    array = pa.array(texts, pa.string()).slice(skip)
    expected = pc.dictionary_encode(array)
    codes, first, hashes = encode(array)
    assert codes.tolist() == expected.indices.to_pylist()
    distinct = array.take(pa.array(first))
    assert distinct.to_pylist() == expected.dictionary.to_pylist()
    assert hashes.tolist() == hashes_of(distinct).tolist()


@given(st.lists(st.none() | st.text(max_size=8), max_size=40))
def test_null_and_the_empty_text_are_missing(texts: list[str | None]) -> None:
    coded = Categorical.of(pa.array(texts, pa.string()))
    assert [coded.values[code] for code in coded.codes] == [text or MISSING for text in texts]
    assert coded.hashes.tolist() == hashes_of(coded.words).tolist()


def test_a_table_finds_what_was_added_and_nothing_else() -> None:
    rng = np.random.default_rng(1)
    hashes = rng.integers(0, 2**63, 5000).astype(np.uint64)
    table = HashTable()
    for start in range(0, 4000, 500):
        table.add(hashes[start : start + 500], np.arange(start, start + 500, dtype=np.int32))
    assert table.find(hashes).tolist() == [*range(4000), *[-1] * 1000]
