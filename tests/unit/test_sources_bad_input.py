"""Every kind of bad input: what is rejected row by row, and what ends the read."""

import bz2
import gzip
import io
import json
import lzma
import os
import tracemalloc
import zipfile

import pytest
import zstandard
from source_rows import named, read_bytes, rejects_of, rows_of

from features.errors import SourceError
from features.spec import SourceSpec
from features.values import as_text
from streaming.sources import Position, open_source

LONG = 1 << 20


def read(data, format, columns=("a", "b"), **options):
    spec = SourceSpec(label="a", format=format, **options.pop("spec", {}))
    return read_bytes(data, spec, columns, **options)


# Each bad line stands between two good ones; the good ones must come out untouched.
DELIMITED = {
    "a row short of a column": ("csv", b"x", "row_too_short"),
    "a row with a column too many": ("csv", b"x,y,z", "row_too_long"),
    "a quote left open in the last value": ("csv", b'x,"y', "broken_quotes"),
    "a quote left open in the first value": ("csv", b'"x,y', "broken_quotes"),
    "invalid UTF-8": ("csv", b"x,\xff", "invalid_utf8"),
    "a line above the limit": ("csv", b"x," + b"y" * LONG, "line_too_long"),
    "a tab too many": ("tsv", b"x\ty\tz", "row_too_long"),
    "a comma where a tab should be": ("tsv", b"x,y", "row_too_short"),
}


@pytest.mark.parametrize("block_bytes", [16, 1 << 20])
@pytest.mark.parametrize(("format", "bad", "reason"), DELIMITED.values(), ids=DELIMITED)
def test_a_bad_delimited_line_is_one_reject(format, bad, reason, block_bytes):
    sep = b"," if format == "csv" else b"\t"
    good = sep.join([b"1", b"2"])
    head = sep.join([b"a", b"b"])
    batches = read(b"\n".join([head, good, bad, b"", good]), format, block_bytes=block_bytes)
    assert rows_of(batches) == [("1", "2")] * 2
    (reject,) = rejects_of(batches)
    assert (reject.reason, reject.line, reject.file) == (reason, 3, "-")
    assert reject.raw == bad[: 1 << 16]
    assert batches[-1].position == Position("-", 3)


JSON = {
    "JSON cut off": (b'{"a": 1, "b', "broken_json"),
    "two objects on a line": (b'{"a":1,"b":2} {"a":3,"b":4}', "broken_json"),
    "no JSON at all": (b"hello", "broken_json"),
    "a number beyond all bounds in another field": (b'{"a":1,"b":2,"c":1e400}', "broken_json"),
    "a NUL byte": (b'{"a":1,"b":2}\0', "broken_json"),
    "a NUL byte between two objects": (b'{"a":1,"b":2}\0{"a":1,"b":2}', "broken_json"),
    "a lone surrogate": (b'{"a":1,"b":2,"c":"\\ud800"}', "broken_json"),
    "nesting beyond all reason": (
        b'{"a":1,"b":2,"c":' + b"[" * 2000 + b"]" * 2000 + b"}",
        "broken_json",
    ),
    "a byte order mark in mid-file": (b'\xef\xbb\xbf{"a":1,"b":2}', "broken_json"),
    "spaces only": (b"   ", "broken_json"),
    "a list": (b"[1, 2]", "not_an_object"),
    "a bare number": (b"17", "not_an_object"),
    "invalid UTF-8": (b'{"a":1,"b":"\xff"}', "invalid_utf8"),
    "invalid UTF-8 in another field": (b'{"a":1,"b":2,"c":"\xff"}', "invalid_utf8"),
    "an object as a value": (b'{"a":1,"b":{"x":2}}', "bad_value"),
    "a list of lists as a value": (b'{"a":1,"b":[[2]]}', "bad_value"),
    "a line above the limit": (b'{"a":"' + b"y" * LONG + b'"}', "line_too_long"),
}


@pytest.mark.parametrize("block_bytes", [16, 1 << 20])
@pytest.mark.parametrize(("bad", "reason"), JSON.values(), ids=JSON)
def test_a_bad_json_line_is_one_reject(bad, reason, block_bytes):
    good = b'{"a": 1, "b": 2}'
    batches = read(b"\n".join([good, bad, b"", good]), "jsonl", block_bytes=block_bytes)
    assert rows_of(batches) == [(1, 2)] * 2
    (reject,) = rejects_of(batches)
    assert (reject.reason, reject.line, reject.raw) == (reason, 2, bad[: 1 << 16])
    assert reason != "bad_value" or "'b'" in reject.detail
    assert batches[-1].position.row == 3


# What Python writes though JSON has no word for it: missing, or infinite.
NO_NUMBERS = {
    "NaN in a wanted field": ('{"a":1,"b":NaN}', (1, None)),
    "NaN in another field": ('{"a":1,"b":2,"c": NaN }', (1, 2)),
    "NaN in a list": ('{"a":1,"b":[1.5,NaN]}', (1, [1.5, None])),
    "NaN in a text": ('{"a":1,"b":"NaN, b: NaN"}', (1, "NaN, b: NaN")),
    "NaN beside a text with quotes": ('{"a":NaN,"b":"\\"NaN\\\\"}', (None, '"NaN\\')),
    "an infinity": ('{"a":1,"b":Infinity}', (1, float("inf"))),
    "a negative one": ('{"a":-Infinity,"b":0.5}', (float("-inf"), 0.5)),
}


@pytest.mark.parametrize("others", [0, 40])
@pytest.mark.parametrize(("line", "expected"), NO_NUMBERS.values(), ids=NO_NUMBERS)
def test_nan_is_missing_and_an_infinity_a_number(line, expected, others):
    batches = read("\n".join([line] + ['{"a":1,"b":2}'] * others).encode(), "jsonl")
    assert not rejects_of(batches)
    assert [as_text(v) if not isinstance(v, list) else v for v in rows_of(batches)[0]] == [
        as_text(v) if not isinstance(v, list) else v for v in expected
    ]


@pytest.mark.parametrize("bad", ['{"a":nan}', '{"a":+Infinity}', '{"a":NaN', '{"a":NaN,"c":1e400}'])
def test_other_words_are_no_json(bad):
    [reject] = rejects_of(read(f'{bad}\n{{"a":1,"b":2}}'.encode(), "jsonl"))
    assert reject.reason == "broken_json"


def test_an_object_over_two_lines_is_two_rejects_even_when_the_row_count_agrees():
    lines = [b'{"a":1,"b":2}{"a":3,"b":4}', b'{"a":5,', b'"b":6}', b'{"a":7,"b":8}']
    batches = read(b"\n".join(lines), "jsonl")
    assert rows_of(batches) == [(7, 8)]
    assert named(rejects_of(batches)) == [("broken_json", line) for line in (1, 2, 3)]


def test_a_lone_carriage_return_is_no_line_end_even_when_the_row_count_agrees():
    batches = read(b'a,b\n1,"x\ny"\n4,x\r5,6\n', "csv")
    assert rows_of(batches) == [("1", "x\ny")]
    assert named(rejects_of(batches)) == [("row_too_long", 4)]


def test_a_json_line_above_the_limit_is_rejected_among_few_others():
    batches = read(b'{"a":1}\n{"a": 1}\n{"a":1}', "jsonl", ("a",), max_line_bytes=7)
    assert (rows_of(batches), named(rejects_of(batches))) == ([(1,)] * 2, [("line_too_long", 2)])


def test_a_ten_megabyte_field_is_rejected_in_bounded_memory(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(b"a,b\n1,2\n3," + b"x" * 10_000_000 + b"\n5,6\n")
    tracemalloc.start()
    batches = list(open_source(str(path), SourceSpec(label="a"), ["a"], block_bytes=1 << 16))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows_of(batches) == [("1",), ("5",)]
    (reject,) = rejects_of(batches)
    assert (reject.reason, reject.line, len(reject.raw)) == ("line_too_long", 3, 1 << 16)
    assert "10000002 bytes" in reject.detail
    assert peak < 6_000_000


@pytest.mark.parametrize("block_bytes", [1, 7, 1000])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_line_of_exactly_the_limit_is_read_and_one_byte_more_is_not(block_bytes, end):
    data = end.join([b"a", b"x" * 30, b"y" * 31, b"z" * 30, b""])
    batches = read(data, "csv", ("a",), block_bytes=block_bytes, max_line_bytes=30)
    assert rows_of(batches) == [("x" * 30,), ("z" * 30,)]
    assert "line of 31 bytes" in rejects_of(batches)[0].detail


# What is odd and yet good.
def test_quotes_hold_separators_and_doubled_quotes_in_csv_and_nothing_in_tsv():
    csv = b'a,b\n"x,y","say ""hi"""\n5" tall,"in"side\n'
    assert rows_of(read(csv, "csv")) == [("x,y", 'say "hi"'), ('5" tall', "inside")]
    assert rows_of(read(b'a\tb\n"x\t"\n', "tsv")) == [('"x', '"')]


GOOD = {
    "a quoted line end": (
        "csv", b'a,b\n1,2\n3,"x\ny"\n4\r5,6\n', [("1", "2"), ("3", "x\ny"), ("4\r5", "6")],
    ),
    "of duplicate keys the last": ("jsonl", b'{"a":1,"a":2,"b":3,"c":4,"c":5}', [(2, 3)]),
    "an absent key": ("jsonl", b'{"a":1}\n{"b":2}\n', [(1, None), (None, 2)]),
}  # fmt: skip


@pytest.mark.parametrize(("format", "data", "rows"), GOOD.values(), ids=GOOD)
def test_what_is_odd_and_yet_good_is_no_reject(format, data, rows):
    batches = read(data, format)
    assert (rows_of(batches), rejects_of(batches)) == (rows, [])


@pytest.mark.parametrize("bad", [b"", b"q\n"], ids=["by Arrow", "line by line"])
def test_odd_but_good_lines_are_read_alike_on_both_paths(bad):
    lines = b'a,b\r\n1,\x00\r\n\r\n,\r\n"","x""y"\r\nNULL,nan\r\n' + bad + b"\xc3\xa9, 2 "
    expected = [("1", "\0"), ("", ""), ("", 'x"y'), ("NULL", "nan"), ("é", " 2 ")]
    assert rows_of(read(lines, "csv")) == expected


@pytest.mark.parametrize("block_bytes", [1, 1 << 20])
def test_a_byte_order_mark_at_the_start_is_dropped_and_a_later_one_kept(block_bytes):
    mark = b"\xef\xbb\xbf"
    csv = read(mark + b"a,b\n" + mark + b"1,2\n", "csv", block_bytes=block_bytes)
    assert rows_of(csv) == [("\ufeff1", "2")]
    (batch,) = read(mark + b'{"a":1,"b":2}', "jsonl", block_bytes=block_bytes)
    assert rows_of([batch]) == [(1, 2)]


def test_json_types_are_kept_and_texts_are_never_times():
    row = {"t": "2020-01-01T00:00:00", "i": 5, "f": 0.5, "o": True, "l": ["x", None], "n": None}
    (batch,) = read(json.dumps(row).encode(), "jsonl", tuple(row))
    assert batch.columns.to_pylist() == [row]
    kinds = [str(kind).split("<")[0] for kind in batch.columns.schema.types]
    assert kinds == ["string", "int64", "double", "bool", "list", "string"]


def test_mixed_json_values_become_their_shortest_text_and_lists_stay_lists():
    values = [7, "x", 1.0, 0.25, None, ["p", 1], True, 2**64, 1e300]
    lines = [json.dumps({"a": value, "b": 0}).encode() for value in values]
    batches = read(b"\n".join(lines), "jsonl", ("a",))
    expected = ["7", "x", "1", "0.25", None, ["p", "1"], "true", str(2**64), "1e+300"]
    assert [row for (row,) in rows_of(batches)] == expected
    assert [batch.origin(0)[0] for batch in batches] == [1, 6, 7]


@pytest.mark.parametrize(
    ("lines", "last"),
    [
        ([b'{"a": 0.5}', b'{"a": 9007199254740993}'], "9007199254740993"),
        ([b'{"a": [0.5]}'] * 300 + [b'{"a": [9007199254740993]}'], ["9007199254740993"]),
    ],
    ids=["among floats", "in lists that began as floats"],
)
def test_a_big_integer_is_not_rounded(lines, last):
    rows = rows_of(read(b"\n".join(lines), "jsonl", ("a",)))
    assert rows[-1] == (last,) and str(rows[0][0]) in ("0.5", "['0.5']")


def test_where_scalars_turn_to_lists_each_batch_has_its_own_rejects():
    lines = [b'{"a": 1}', b"bad", b'{"a": [2]}', b"bad", b"bad"]
    first, second = read(b"\n".join(lines), "jsonl", ("a",))
    assert (named(first.rejects), first.position.row) == ([("broken_json", 2)], 2)
    assert [r.line for r in second.rejects] == [4, 5]
    assert (second.positions(0).row, second.position.row) == (3, 5)


def test_a_json_type_that_changes_in_mid_file_is_followed():
    lines = [b'{"a": %d}' % i for i in range(2000)] + [b'{"a": "x%d"}' % i for i in range(2000)]
    batches = read(b"\n".join(lines), "jsonl", ("a",), block_bytes=1000)
    texts = [str(value) for (value,) in rows_of(batches)]
    assert texts == [str(i) for i in range(2000)] + [f"x{i}" for i in range(2000)]


# What ends the read.

UNUSABLE = [
    *((data, "csv", ("a", "b"), {}, "empty") for data in (b"", b"\n\r\n\n", b"a,b\n")),
    *((data, form, ("a",), {}, "empty") for data in (b"", b"\n\n") for form in ("jsonl", "auto")),
    (b"ad,click\n1,2\n", "csv", ("ad", "clik"), {}, r"'clik'.*near it: \['click'\].*'ad', 'click'"),
    *((b"a,b\n1,2\n", "csv", ("a",), {"separator": s}, "separator") for s in ("é", '"', ";;")),
    (b"just words\nmore words\n", "auto", ("a",), {}, r'format = "csv" under \[source\]'),
    (b'[{"a": 1}]', "auto", ("a",), {}, "jq -c"),
]


@pytest.mark.parametrize(("data", "format", "columns", "spec", "said"), UNUSABLE)
def test_what_cannot_be_read_at_all_is_an_error(data, format, columns, spec, said):
    with pytest.raises(SourceError, match=said):
        read(data, format, columns, spec=spec)


def test_a_wanted_column_named_twice_is_an_error_and_an_unwanted_one_is_not():
    data = b"a,b,a\n1,2,3\n"
    assert rows_of(read(data, "csv", ("b",))) == [("2",)]
    with pytest.raises(SourceError, match=r"'a' occurs more than once"):
        read(data, "csv")


def test_json_keys_absent_from_the_first_thousand_rows_are_an_error():
    data = b'{"a": 1}\n' * 1001 + b'{"a": 1, "b": 2}\n'
    with pytest.raises(SourceError, match="no column 'b' in its first 1000 rows"):
        read(data, "jsonl")
    assert len(rows_of(read(b'{"a": 1}\n' * 999 + b'{"b": 2}\n', "jsonl"))) == 1000


def test_columns_from_the_spec_stand_in_for_a_header():
    spec = {"header": False, "columns": ("a", "b")}
    assert rows_of(read(b"1,2\n3,4\n", "csv", ("b",), spec=spec)) == [("2",), ("4",)]
    with pytest.raises(SourceError, match="given in the spec"):
        read(b"1,2\n", "csv", ("c",), spec=spec)


def test_no_such_file_is_an_error():
    with pytest.raises(SourceError, match=r"nowhere\.csv: no such file"):
        list(open_source("nowhere.csv", SourceSpec(label="a"), ["a"]))


def test_no_permission_is_an_error(tmp_path, monkeypatch):
    path = tmp_path / "log.csv"
    path.write_bytes(b"a\n1\n")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(SourceError, match=r"log\.csv: no permission"):
        list(open_source(str(path), SourceSpec(label="a"), ["a"]))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["log.csv", "log.parquet"])
def test_a_file_of_mode_0_is_an_error(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"a\n1\n")
    path.chmod(0)
    with pytest.raises(SourceError, match="no permission"):
        list(open_source(str(path), SourceSpec(label="a"), ["a"]))


COMPRESS = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "zstd": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data),
    "bzip2": lambda data: bz2.compress(data, 1),
    "xz": lzma.compress,
}
LINES = b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * i * 7919 % 10007) for i in range(40_000))


def read_until_error(data, **options):
    batches = []
    spec = SourceSpec(label="a", format="csv")
    with pytest.raises(SourceError) as error:
        for batch in open_source("-", spec, ["a", "b"], stdin=io.BytesIO(data), **options):
            batches.append(batch)
    return batches, str(error.value)


@pytest.mark.parametrize("kind", COMPRESS)
def test_rows_before_a_cut_come_out_and_the_error_says_how_far(kind):
    whole = COMPRESS[kind](LINES)
    batches, message = read_until_error(whole[: len(whole) * 3 // 4])
    rows = rows_of(batches)
    assert 10_000 < len(rows) < 40_000
    assert rows == rows_of(read(LINES, "csv"))[: len(rows)]
    assert f"-: the {kind} data is cut off; it could be read up to line {len(rows) + 1}" in message


def with_a_flipped_bit(whole, kind):
    broken = bytearray(whole)
    broken[len(broken) // 2 if kind == "bzip2" else -3] ^= 1  # in the checksum, mostly
    return bytes(broken)


HARM = {
    "the trailer is cut off": (lambda whole, kind: whole[:-2], "the {} data is cut off"),
    "a bit is flipped": (with_a_flipped_bit, "the {} data is damaged"),
    "garbage follows": (
        lambda whole, kind: whole + b"garbage",
        "the end of its {} data is damaged",
    ),
}


@pytest.mark.parametrize("kind", COMPRESS)
@pytest.mark.parametrize(("harm", "said"), HARM.values(), ids=HARM)
def test_harm_is_noticed_and_rows_before_it_come_out(harm, said, kind):
    batches, message = read_until_error(harm(COMPRESS[kind](LINES), kind))
    rows = len(rows_of(batches))
    assert rows == 40_000 or (rows < 40_000 and harm is with_a_flipped_bit)
    assert said.format(kind) in message


@pytest.mark.parametrize("kind", COMPRESS)
@pytest.mark.parametrize("block_bytes", [100, 1 << 20])
def test_several_members_or_frames_are_read_as_one(kind, block_bytes):
    cut = len(LINES) // 3
    data = COMPRESS[kind](LINES[:cut]) + COMPRESS[kind](b"") + COMPRESS[kind](LINES[cut:])
    small = LINES[:2000]
    assert rows_of(read(data, "csv")) == rows_of(read(LINES, "csv"))
    parts = COMPRESS[kind](small[:999]) + COMPRESS[kind](small[999:])
    expected = rows_of(read(small, "csv"))
    assert rows_of(read(parts, "csv", block_bytes=block_bytes)) == expected


AROUND = {
    "a skippable zstd frame before": (b"\x50\x2a\x4d\x18\x03\0\0\0abc", "zstd", b""),
    "zeros after gzip": (b"", "gzip", b"\0" * 512),
    "zeros after xz": (b"", "xz", b"\0" * 512),
}


@pytest.mark.parametrize(("before", "kind", "after"), AROUND.values(), ids=AROUND)
def test_padding_around_the_data_is_skipped(before, kind, after):
    data = before + COMPRESS[kind](b"a,b\n1,2\n") + after
    assert rows_of(read(data, "csv")) == [("1", "2")]


@pytest.mark.parametrize("window_log", [27, 28, 31])
def test_a_zstd_file_of_a_long_window_is_whole(window_log):
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=window_log)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = packer.compress(b"a,b\n1,2\n") + packer.flush()
    assert rows_of(read(data, "csv")) == [("1", "2")]


def test_a_zstd_file_that_wants_a_dictionary_is_not_called_damaged():
    trained = zstandard.train_dictionary(1 << 10, [b"%d,%d\n" % (i, i) for i in range(1000)] * 9)
    data = zstandard.ZstdCompressor(dict_data=trained).compress(b"a,b\n1,2\n")
    _, message = read_until_error(data)
    assert "it is not damaged" in message
    assert "zstd -d -D" in message


def zipped(*names):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, LINES)
    return sink.getvalue()


def test_a_zip_archive_of_one_file_is_read(tmp_path):
    path = tmp_path / "log.csv.zip"
    path.write_bytes(zipped("log.csv", "__MACOSX/log.csv", "folder/"))
    batches = list(open_source(str(path), SourceSpec(label="a"), ["a", "b"]))
    assert rows_of(batches) == rows_of(read(LINES, "csv"))


ARCHIVES = {
    "two files": (zipped("a.csv", "b.csv"), r"of 2 files \(a\.csv, b\.csv\).*unzip -p"),
    "no file": (zipped(), r"of 0 files \(none\)"),
    "a workbook": (zipped("xl.xml", "[Content_Types].xml"), "Excel workbook.*CSV"),
    "cut off": (zipped("a.csv")[:-30], "zip archive is cut off or damaged.*whole copy"),
    "a flipped bit": (zipped("a.csv").replace(b"a.csv", b"b.csv", 1), "cut off or damaged"),
}


@pytest.mark.parametrize(("data", "message"), ARCHIVES.values(), ids=ARCHIVES)
def test_another_zip_archive_is_an_error(tmp_path, data, message):
    path = tmp_path / "log.zip"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=message):
        list(open_source(str(path), SourceSpec(label="a"), ["a"]))
    with pytest.raises(SourceError, match="unzip -p FILE"):
        read(data, "csv")


def test_a_file_named_gz_that_is_not_gzip_is_an_error(tmp_path):
    path = tmp_path / "log.csv.gz"
    path.write_bytes(b"a,b\n1,2\n")
    with pytest.raises(SourceError, match="holds neither gzip nor zstd"):
        list(open_source(str(path), SourceSpec(label="a"), ["a"]))
