"""Blocks without quotes are parsed at once as they are parsed one row after the other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.sources.block import index_block
from streaming.sources.delimited import Delimited, DelimitedLayout, split_line

VALUES = 3
VALUE = st.text('a\u00e9"\r', max_size=9)
FITTING = st.lists(VALUE, min_size=VALUES, max_size=VALUES).map("\t".join)
LINES = st.lists(FITTING, max_size=20) | st.lists(FITTING | st.text("a\t\r"), max_size=9)


def parsed(data: bytes, wanted: list[int], values: int = VALUES) -> tuple[list[list[str]], int]:
    """The wanted columns, and how many rows were rejected."""
    block, _ = index_block(data, "log", 1, 0)
    names = tuple(map(str, range(values)))
    layout = DelimitedLayout("\t", quoted=False, header=False)
    parser = Delimited(names, tuple(names[at] for at in wanted), layout, 1 << 20)
    [part] = parser(block)
    return [column.to_pylist() for column in part.columns.columns], len(part.rejects)


@given(lines=LINES, end=st.sampled_from(["\n", "\r\n"]), wanted=st.permutations(range(VALUES)))
def test_a_block_is_parsed_as_its_rows_are_one_by_one(
    lines: list[str], end: str, wanted: list[int]
) -> None:
    data = end.join(lines).encode()
    block, _ = index_block(data, "log", 1, 0)
    rows = [split_line(block.row(i), b"\t", quoted=False) for i in range(block.rows)]
    fitting = [row for row in rows if row and len(row) == VALUES]
    expected = [[row[at].decode() for row in fitting] for at in wanted]
    assert parsed(data, wanted) == (expected, len(rows) - len(fitting))


# Each block, three values a row; what the second ones are, and how many rows are bad.
BLOCKS = {
    "blank lines, of which one with a return": (b"\n1\ta\tb\n\r\n\n2\tc\td\n", ["a", "c"], 0),
    "no line end after the last row": (b"1\ta\tb\n2\tc\td", ["a", "c"], 0),
    "nothing but separators": (b"\t\t\n\t\t\n", ["", ""], 0),
    "a row too long after one too short": (b"1\ta\n2\tc\td\te\n", [], 2),
    "a row too short after one too long": (b"1\ta\tb\tc\n2\tc\n", [], 2),
    "every row too short": (b"1\ta\n2\tc\n", [], 2),
    "not UTF-8 in a wanted value": (b"1\t\xff\tb\n2\tc\td\n", ["c"], 1),
    "not UTF-8 in another value": (b"1\ta\t\xff\n2\tc\td\n", ["a", "c"], 0),
    "half a character on both sides of a separator": (b"1\t\xc3\t\xa9\n2\tc\td\n", ["c"], 1),
}


@pytest.mark.parametrize(("data", "expected", "bad"), BLOCKS.values(), ids=BLOCKS)
def test_a_block_with_an_odd_row_gives_the_others(
    data: bytes, expected: list[str], bad: int
) -> None:
    assert parsed(data, [1]) == ([expected], bad)


def test_rows_may_have_but_one_value() -> None:
    assert parsed(b"a\n\nb\n", [0], values=1) == ([["a", "b"]], 0)
    assert parsed(b"a\tb\n", [0], values=1) == ([[]], 1)
