"""Rows without quotes are cut at once as they are cut one by one, or left to that."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.sources.block import index_block
from streaming.sources.delimited import split_line
from streaming.sources.text_columns import cut_rows

VALUES = 3
VALUE = st.text('a\u00e9"\r', max_size=9)
FITTING = st.lists(VALUE, min_size=VALUES, max_size=VALUES).map("\t".join)
LINES = st.lists(FITTING, max_size=20) | st.lists(FITTING | st.text("a\t\r"), max_size=9)


def cut(data: bytes, wanted: list[int], values: int = VALUES) -> list[list[str]] | None:
    block, _ = index_block(data, "log", 1, 0)
    columns = cut_rows(block, "\t", values, wanted)
    return columns and [column.to_pylist() for column in columns]


@given(lines=LINES, end=st.sampled_from(["\n", "\r\n"]), wanted=st.permutations(range(VALUES)))
def test_a_block_is_cut_as_its_rows_are_one_by_one(
    lines: list[str], end: str, wanted: list[int]
) -> None:
    data = end.join(lines).encode()
    block, _ = index_block(data, "log", 1, 0)
    rows = [split_line(block.row(i), b"\t", quoted=False) for i in range(block.rows)]
    fitting = [row for row in rows if row and len(row) == VALUES]
    expected = [[row[at].decode() for row in fitting] for at in wanted]
    assert cut(data, wanted) == (expected if len(fitting) == len(rows) else None)


# Each block, three values a row, and what the second ones are.
BLOCKS = {
    "blank lines, of which one with a return": (b"\n1\ta\tb\n\r\n\n2\tc\td\n", ["a", "c"]),
    "no line end after the last row": (b"1\ta\tb\n2\tc\td", ["a", "c"]),
    "nothing but separators": (b"\t\t\n\t\t\n", ["", ""]),
    "a row too long after one too short": (b"1\ta\n2\tc\td\te\n", None),
    "a row too short after one too long": (b"1\ta\tb\tc\n2\tc\n", None),
    "every row too short": (b"1\ta\n2\tc\n", None),
    "not UTF-8 in a wanted value": (b"1\t\xff\tb\n2\tc\td\n", None),
    "not UTF-8 in another value": (b"1\ta\t\xff\n2\tc\td\n", ["a", "c"]),
    "half a character on both sides of a separator": (b"1\t\xc3\t\xa9\n2\tc\td\n", None),
}


@pytest.mark.parametrize(("data", "expected"), BLOCKS.values(), ids=BLOCKS)
def test_a_block_with_an_odd_row_is_left_to_the_careful_way(
    data: bytes, expected: list[str] | None
) -> None:
    assert cut(data, [1]) == (None if expected is None else [expected])


def test_rows_may_have_but_one_value() -> None:
    assert cut(b"a\n\nb\n", [0], values=1) == [["a", "b"]]
    assert cut(b"a\tb\n", [0], values=1) is None
