"""CSV as RFC 4180 says: what a record is, wherever its line ends and quotes stand."""

import csv
import io

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_rows import read_bytes, rows_of

from clicktide.table_file import table_writer
from features.errors import SourceError
from features.spec import SourceSpec
from streaming.sources import open_source
from streaming.sources.block import index_block
from streaming.sources.delimited import Delimited, DelimitedLayout, split_line

SPEC = SourceSpec(label="a", format="csv")


def read(data, **options):
    return read_bytes(data, SPEC, ["a", "b"], **options)


# Each text follows the header "a,b"; what a CSV reader makes of it.
RECORDS = {
    "a line end inside a quoted value": ('1,"x\ny"\n2,z\n', [("1", "x\ny"), ("2", "z")]),
    "a CRLF inside a quoted value": ('1,"x\r\ny"\r\n2,z\r\n', [("1", "x\r\ny"), ("2", "z")]),
    "a lone return inside a quoted value": ('1,"x\ry"\n2,z\n', [("1", "x\ry"), ("2", "z")]),
    "blank lines inside a quoted value": ('1,"\n\n\n"\n2,z\n', [("1", "\n\n\n"), ("2", "z")]),
    "line ends in the first value": ('"1\n2",x\n3,z\n', [("1\n2", "x"), ("3", "z")]),
    "line ends in both values": ('"1\n2","x\n"\n3,z\n', [("1\n2", "x\n"), ("3", "z")]),
    "doubled quotes at a line end": ('1,"x""\n""y"\n2,z\n', [("1", 'x"\n"y'), ("2", "z")]),
    "a separator after a line end": ('1,"x\n,y"\n2,z\n', [("1", "x\n,y"), ("2", "z")]),
    "a header's look inside a value": ('1,"\na,b\n"\n2,z\n', [("1", "\na,b\n"), ("2", "z")]),
    "no line end after the last record": ('1,"x\ny"', [("1", "x\ny")]),
    "an empty quoted value": ('"",""\n2,z\n', [("", ""), ("2", "z")]),
    "quotes inside an unquoted value": ('5" tall,x"y"\n2,z\n', [('5" tall', 'x"y"'), ("2", "z")]),
}


@pytest.mark.parametrize("block_bytes", [1, 7, 1 << 20])
@pytest.mark.parametrize(("text", "expected"), RECORDS.values(), ids=RECORDS)
def test_records_are_read_as_a_csv_reader_reads_them(text, expected, block_bytes):
    batches = read(b"a,b\n" + text.encode(), block_bytes=block_bytes)
    assert (
        rows_of(batches) == expected == list(map(tuple, csv.reader(io.StringIO(text, newline=""))))
    )
    assert not any(batch.rejects for batch in batches)


def test_a_header_may_span_lines_too():
    data = b'"a","b\nb"\n1,2\n'
    [batch] = open_source("-", SPEC, ["b\nb", "a"], stdin=io.BytesIO(data))
    assert batch.columns.to_pylist() == [{"b\nb": "2", "a": "1"}]
    assert batch.origin(0) == (3, b"1,2")


# Each bad record stands before a good one, "3,4": what is rejected, and at which line.
BROKEN = {
    "never closed": ('x,"y\n', [('x,"y', 2)]),
    "never closed, in a record of two lines": ('"x\ny","z\n', [('"x\ny","z', 2)]),
    "closed by the next quote of another row": ('x,"y\n5,"q,r"\n', [('x,"y', 2)]),
    "a column too many, over two lines": ('x,"y\nz",w\n', [('x,"y\nz",w', 2)]),
    "a column too few, over two lines": ('"x\ny"\n', [('"x\ny"', 2)]),
}


@pytest.mark.parametrize("block_bytes", [1, 7, 1 << 20])
@pytest.mark.parametrize(("text", "rejected"), BROKEN.values(), ids=BROKEN)
def test_what_is_rejected_is_a_whole_record_and_no_more(text, rejected, block_bytes):
    batches = read(b"a,b\n" + text.encode() + b"3,4\n", block_bytes=block_bytes)
    rejects = [(r.raw.decode(), r.line) for batch in batches for r in batch.rejects]
    assert rejects == rejected
    assert rows_of(batches)[-1] == ("3", "4")
    assert all(row[0] != "z" and "y" not in row[0] for row in rows_of(batches))


@pytest.mark.parametrize("block_bytes", [50, 1 << 20])
def test_an_open_quote_costs_one_line_and_not_the_file(block_bytes):
    lines = [b"%d,x" % i for i in range(2000)]
    lines[100] = b'100,"x'
    data = b"a,b\n" + b"\n".join(lines)
    batches = read(data, block_bytes=block_bytes, max_line_bytes=1000)
    assert len(rows_of(batches)) == 1999
    [reject] = [r for batch in batches for r in batch.rejects]
    assert (reject.reason, reject.line, reject.raw) == ("broken_quotes", 102, b'100,"x')


def test_a_record_of_many_lines_is_read_up_to_the_limit_of_a_line():
    value = "\n".join(["word"] * 100)
    data = f'a,b\n1,"{value}"\n2,z\n'.encode()
    assert rows_of(read(data)) == [("1", value), ("2", "z")]
    batches = read(data, max_line_bytes=200)
    assert rows_of(batches) == [("2", "z")]
    assert next(r for b in batches for r in b.rejects).reason == "broken_quotes"


def test_what_predict_writes_is_read_back(tmp_path):
    ids = ["plain", "with, comma", 'with "quotes"', "two\nlines", "crlf\r\n", "", " blank "]
    rows = pa.record_batch({"a": ids, "b": [0.1 * i for i in range(len(ids))]})
    with table_writer(tmp_path / "scored.csv", rows.schema.names) as write:
        write(rows)
    batches = list(open_source(str(tmp_path / "scored.csv"), SPEC, ["a", "b"]))
    assert [a for a, _ in rows_of(batches)] == ids
    assert [float(b) for _, b in rows_of(batches)] == rows["b"].to_pylist()


# Texts that other programs write: what they are read as, or what is said.
ODD = {
    "UTF-16 with a mark": ("a,b\n1,é\n".encode("utf-16"), [("1", "é")]),
    "UTF-16, big endian": (b"\xfe\xff" + "a,b\n1,é\n".encode("utf-16-be"), [("1", "é")]),
    "UTF-16 without a mark": ("a,b\n1,é\n".encode("utf-16-le"), [("1", "é")]),
    "UTF-32": ("a,b\n1,é\n".encode("utf-32"), [("1", "é")]),
    "Excel's sep line": (b"sep=;\r\na;b\r\n1;x\r\n", [("1", "x")]),
    "Excel's sep line, quoted, tab": (b'"sep=\t"\na\tb\n1\tx\n', [("1", "x")]),
    "line ends of an old Macintosh": (b"a,b\r1,x\r2,y\r", [("1", "x"), ("2", "y")]),
    "a byte order mark and a sep line": (b"\xef\xbb\xbfsep=;\na;b\n1;x\n", [("1", "x")]),
}


@pytest.mark.parametrize("block_bytes", [1, 1 << 20])
@pytest.mark.parametrize(("data", "expected"), ODD.values(), ids=ODD)
def test_what_spreadsheets_write_is_read(data, expected, block_bytes):
    assert rows_of(read(data, block_bytes=block_bytes)) == expected


def test_half_a_surrogate_pair_in_utf16_rejects_its_row_and_a_cut_is_damage():
    data = "a,b\n1,".encode("utf-16") + b"\x00\xd8" + "\n2,x\n".encode("utf-16-le")
    [batch] = read(data)
    assert (rows_of([batch]), batch.rejects[0].reason) == ([("2", "x")], "invalid_utf8")
    with pytest.raises(SourceError, match="UTF-16 text is cut off"):
        read("a,b\n1,2\n".encode("utf-16") + b"3")


# What cannot be read: the message says what it really is, and the way to a log.
FOREIGN = {
    "a header in Windows-1252": (
        "a,région\n1,x\n".encode("cp1252"),
        "not UTF-8.*'a,région'.*iconv",
    ),
    "another separator": (b"a;b\n1;2\n", r"separated by ';'"),
    "SQLite": (b"SQLite format 3\0" + b"\0" * 90, "an SQLite database.*sqlite3"),
    "a web page": (b"<!DOCTYPE html><html></html>", "a web page"),
    "lz4": (b"\x04\x22\x4d\x18abc", "lz4 -dc"),
    "tar": (b"x.csv".ljust(257, b"\0") + b"ustar\0" + b"\0" * 249, "a tar archive"),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
}


@pytest.mark.parametrize(("data", "message"), FOREIGN.values(), ids=FOREIGN)
def test_what_is_no_csv_is_named(data, message):
    with pytest.raises(SourceError, match=f"{message}.*Fix|{message}"):
        read(data)


# --- Blocks without quotes are parsed at once as they are parsed one row after the other.

VALUES = 3
VALUE = st.text('a\u00e9"\r', max_size=9)
FITTING = st.lists(VALUE, min_size=VALUES, max_size=VALUES).map("\t".join)
LINES = st.lists(FITTING, max_size=20) | st.lists(FITTING | st.text("a\t\r"), max_size=9)


def parsed(data, wanted, values=VALUES):
    """The wanted columns, and how many rows were rejected."""
    block, _ = index_block(data, "log", 1, 0)
    names = tuple(map(str, range(values)))
    layout = DelimitedLayout("\t", quoted=False, header=False)
    parser = Delimited(names, tuple(names[at] for at in wanted), layout, 1 << 20)
    [part] = parser(block)
    return [column.to_pylist() for column in part.columns.columns], len(part.rejects)


@given(lines=LINES, end=st.sampled_from(["\n", "\r\n"]), wanted=st.permutations(range(VALUES)))
def test_a_block_is_parsed_as_its_rows_are_one_by_one(lines, end, wanted):
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
def test_a_block_with_an_odd_row_gives_the_others(data, expected, bad):
    assert parsed(data, [1]) == ([expected], bad)


def test_rows_may_have_but_one_value():
    assert parsed(b"a\n\nb\n", [0], values=1) == ([["a", "b"]], 0)
    assert parsed(b"a\tb\n", [0], values=1) == ([[]], 1)
