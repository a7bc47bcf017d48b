"""When examples are read in one pass, and when they are left to the general reader."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from features.hashing import text_hash
from monitoring.quick.coding import CODED, Cells, add_cells, fresh
from monitoring.reading import ExamplesRead, ScoredReader
from monitoring.slicing import SliceField
from monitoring.text_codes import SEED
from streaming.log import Record

TIME = 1_736_121_600_000
FIELDS = [SliceField("ad", "value", "ad"), SliceField("site", "value", "site")]


def line(number: int, **fields: Any) -> bytes:
    shown = {"type": "impression", "v": 1, "impression_id": f"i{number}", "timestamp": TIME}
    shown |= {"fields": {"ad": f"ad{number}", "site": "s", **fields}, "probability": 0.25}
    return json.dumps({"type": "example", "v": 1, "label": 0, "impression": shown}).encode()


def record(lines: Sequence[bytes]) -> list[Record]:
    return [Record("examples", 0, 0, 0, None, b"\n".join(lines))]


def readers() -> tuple[ScoredReader, ScoredReader]:
    """One that reads in one pass, and one that never does; both have seen a line."""
    quick, general = ScoredReader(FIELDS), ScoredReader(FIELDS)
    general._quick = None
    for reader in (quick, general):
        reader.read(record([line(0)]))
    return quick, general


def texts(read: ExamplesRead, name: str = "ad") -> list[str]:
    coded = [batch.scored.slices[name] for batch in read.batches]
    return [it.values[code] for it in coded for code in it.codes]


def was_quick(read: ExamplesRead) -> bool:
    return all(batch.rows is None for batch in read.batches)


@pytest.mark.parametrize(
    "make",
    [
        lambda i: line(i, more=i % 3 == 0),
        lambda i: line(i, **({"another": "x"} if i % 2 else {})),
        lambda i: line(i, ad=None if i % 2 else "a"),
        lambda i: line(i).replace(b'"s"', '"日本語"'.encode()),
        lambda i: line(i, ad="é" if i % 40 == 0 else "a"),
        lambda i: line(i, site=i),
        lambda i: line(i, site=i / 4),
        lambda i: line(i, site=["a", "b"][: i % 3]),
        lambda i: line(i).replace(b": ", b":") if i % 2 else line(i),
        lambda i: line(i) + b"\r",
        lambda i: line(i) if i % 40 else b"{}",
        lambda i: line(i) if i % 40 else line(i)[:-1] + b', "correction": true}',
    ],
)
def test_these_lines_are_read_in_one_pass(make: Callable[[int], bytes]) -> None:
    quick, general = readers()
    lines = [make(i) for i in range(40 * 4)]
    read, expected = quick.read(record(lines)), general.read(record(lines))
    assert was_quick(read)
    assert texts(read) == texts(expected)
    assert texts(read, "site") == texts(expected, "site")
    assert read.rejected == expected.rejected


def test_lines_become_shorter_and_longer() -> None:
    quick, general = readers()
    for size in (3000, 1, 200, 5000, 0):
        lines = [line(i, more="x" * size) for i in range(4000 if size < 100 else 40)]
        read = quick.read(record(lines))
        assert was_quick(read)
        assert texts(read) == texts(general.read(record(lines)))


def test_after_lines_that_are_not_for_it_some_pass_by_untried() -> None:
    quick, _ = readers()
    odd = [line(i, ad='"') for i in range(400)]
    assert not was_quick(quick.read(record(odd)))
    tried = [was_quick(quick.read(record([line(1)]))) for _ in range(4)]
    assert tried == [False, True, True, True]


def test_a_read_of_broken_lines_only_says_so() -> None:
    for reader in readers():
        read = reader.read(record([b"{}", b"{"]))
        assert (read.batches, read.rejected) == ([], 2)


def test_texts_are_hashed_as_everywhere() -> None:
    data = np.arange(64, dtype=np.uint8)
    for size in range(30):
        coding, cells = fresh(np.array([CODED], np.uint8), 1), Cells.of(1)
        cells.begin[0], cells.size[0] = 3, size
        add_cells(data, cells, 0, coding, np.empty(100, np.uint8))
        assert coding.hashes[0, 0] == text_hash(data, 3, 3 + size, SEED)
