"""Formats of other learners: what their lines become, how they are told, what is rejected."""

import io

import pytest
from source_rows import named, read_bytes, rejects_of, rows_of

from features.errors import SourceError
from features.spec import SourceSpec
from streaming.sources import Position, describe_head, open_source, sample_log
from streaming.sources.sparse_text import parse_sparse, sparse_format


def read(data, format, *columns, **options):
    return read_bytes(data, SourceSpec(label="label", format=format), columns, **options)


# Format, a line, and its columns.
LINES = [
    ("libsvm", "+1 3:0.5 7:1", {"label": "1", "features": ["3", "7"], "3": 0.5, "7": 1.0}),
    ("libsvm", "-1 qid:4 2:1e-3 # note 9:1", {"label": "-1", "features": ["2"], "2": 0.001}),
    ("libsvm", "0", {"label": "0", "features": []}),
    ("libffm", "1 2:17:1", {"label": "1", "2": ["17"], "2:value": 1.0}),
    ("libffm", "0 2:1:1 2:3:1", {"label": "0", "2": ["1", "3"], "2:value": 1.0}),
    ("vw", "1 |u a b", {"label": "1", "u": ["a", "b"], "u^a": 1.0, "u^b": 1.0}),
    ("vw", "-1 |s price:3", {"label": "-1", "s": ["price"], "s^price": 3.0}),
    ("vw", "1 2.5 'id|u a", {"label": "1", "importance": 2.5, "tag": "id", "u": ["a"], "u^a": 1.0}),
    ("vw", "1 0.5 id|u a", {"label": "1", "importance": 0.5, "tag": "id", "u": ["a"], "u^a": 1.0}),
    ("vw", "1 |u:2 x:3", {"label": "1", "u": ["x"], "u^x": 6.0}),
    ("vw", "1 | a |u b |u c", {
        "label": "1", "features": ["a"], "features^a": 1.0, "u": ["b", "c"], "u^b": 1.0, "u^c": 1.0,
    }),
    ("vw", "|u a", {"label": None, "u": ["a"], "u^a": 1.0}),
    ("vw", "1 |u http://x.org/", {"label": "1", "u": ["http://x.org/"], "u^http://x.org/": 1.0}),
]  # fmt: skip


@pytest.mark.parametrize(("format", "line", "expected"), LINES)
def test_a_line_s_columns(format, line, expected):
    assert parse_sparse(line, format) == expected


# First lines of a log and what they are; "" is none of these formats.
HEADS = {
    "libsvm": ("+1 1:1 9:1\n-1 2:1\n0\n", "libsvm"),
    "libsvm with a comment": ("1 1:0.5 # x\n-1 1:-2e3\n", "libsvm"),
    "libffm": ("1 0:0:1 1:9:1\n0 0:1:0.5\n", "libffm"),
    "VW": ("1 |u ad=a0 |s price:0\n-1 |u ad=a1\n", "vw"),
    "VW with importance and tag": ("1 2.0 'x|u a\n-1 0.5 'y|u b\n", "vw"),
    "values between bars": ("0|red|5\n1|blue|6\n", ""),
    "two values between a bar": ("0|red shoes\n1|blue hat\n", ""),
    "names between bars": ("click | ad | n\n1 | a | 2\n", ""),
    "a time among values": ("1,12:30\n0,12:31\n", ""),
    "words": ("just words\nmore words\n", ""),
}


@pytest.mark.parametrize(("text", "expected"), HEADS.values(), ids=HEADS)
def test_a_format_is_told_by_content_only_where_it_is_clear(text, expected):
    assert sparse_format(text.encode().split(b"\n")) == expected


@pytest.mark.parametrize("name", ["x.vw", "x.txt", "x", "x.vw.gz"])
def test_it_is_read_whatever_the_file_is_called(tmp_path, name):
    import gzip

    data = b"1 |u a |s n:2\n-1 |u b c\n"
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    batches = list(open_source(str(path), SourceSpec(label="label"), ["label", "u", "s^n"]))
    assert rows_of(batches) == [("1", ["a"], 2.0), ("-1", ["b", "c"], None)]


@pytest.mark.parametrize("block_bytes", [5, 1 << 20])
def test_a_bad_line_is_one_reject_and_positions_count_it(block_bytes):
    data = b"1 1:1\n0 x\n0 2:\n\n1 1:\xff\n0 1:3\n"
    batches = read(data, "libsvm", "1", block_bytes=block_bytes, max_line_bytes=100)
    assert rows_of(batches) == [(1.0,), (3.0,)]
    rejects = [("broken_libsvm", 2), ("broken_libsvm", 3), ("invalid_utf8", 5)]
    assert named(rejects_of(batches)) == rejects
    assert batches[-1].position == Position("-", 5)
    later = read(data, "libsvm", "1", start=Position("-", 4))
    assert rows_of(later) == [(3.0,)]


# What there is to learn from: lists where members are present or not, numbers where they vary.
COLUMNS = {
    "VW, names only": ("vw", "1 |u a |s b\n-1 |u c |s d\n", ["label", "u", "s"]),
    "VW, a number": ("vw", "1 |u a |s n:2\n-1 |u c |s n:3\n", ["label", "u", "s^n"]),
    "VW, importance and tag": (
        "vw", "1 2.0 'x|u a\n-1 1.0 'y|u b\n", ["label", "tag", "u", "importance"],
    ),
    "libsvm, present or not": ("libsvm", "1 1:1 9:1\n0 2:1 9:1\n", ["label", "features"]),
    "libsvm, numbers": ("libsvm", "1 2:0.5 10:3\n0 2:0.7\n", ["label", "2", "10"]),
    "libffm": ("libffm", "1 0:5:1 1:9:0.5\n0 0:6:1 1:9:0.7\n", ["label", "0", "1", "1:value"]),
}  # fmt: skip


@pytest.mark.parametrize(("format", "text", "expected"), COLUMNS.values(), ids=COLUMNS)
def test_a_look_at_a_log_shows_the_columns_worth_learning_from(format, text, expected):
    sample = sample_log("-", stdin=io.BytesIO(text.encode()))
    assert (sample.head.format, sample.rows.column_names) == (format, expected)
    assert rows_of(read(text.encode(), "auto", *expected)) == [
        tuple(row.values()) for row in sample.rows.to_pylist()
    ]


# Values between blanks, as R and awk write them.
@pytest.mark.parametrize("block_bytes", [1, 1 << 20])
@pytest.mark.parametrize(
    "text",
    ["1 a 2\n0 b 3\n", "  1  a\t2\n  0  b\t 3 \n", "1 a 2\r\n0 b 3\r\n", "1\t a 2 \r\n0 b  3"],
)
def test_runs_of_blanks_separate_values(text, block_bytes):
    spec = SourceSpec(label="c1", separator=" ", header=False, columns=("c1", "c2", "c3"))
    batches = open_source(
        "-", spec, ["c1", "c2", "c3"], stdin=io.BytesIO(text.encode()), block_bytes=block_bytes
    )
    assert rows_of(list(batches)) == [("1", "a", "2"), ("0", "b", "3")]


def test_a_look_at_values_between_blanks():
    head = describe_head("-", stdin=io.BytesIO(b"1 a  2\n0 b 3 \n"))
    assert (head.format, head.separator, head.columns) == ("csv", " ", ("c1", "c2", "c3"))


def test_an_empty_log_is_an_error_in_every_format():
    for format in ("vw", "libsvm", "libffm"):
        with pytest.raises(SourceError, match="empty"):
            read(b"\n", format, "label")
