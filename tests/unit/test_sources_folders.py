"""Folders: which files, in which order, what their names say; and going on in them later."""

import gzip

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_rows import rows_of

from features.errors import SourceError
from features.spec import SourceSpec
from streaming.sources import Position, open_source, sample_log
from streaming.sources.files import list_files

SPEC = SourceSpec(label="a")


def put(folder, files):
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def read(path, start=None, *columns):
    return list(open_source(str(path), SPEC, columns or ("a",), start=start))


# Files of a folder, the spec's format, and which of them are the log, in order.
FOLDERS = {
    "numbers": (["d_10.csv", "d_2.csv", "d_1.csv"], "auto", "d_1.csv d_2.csv d_10.csv"),
    "numbered folders": (["10/x.csv", "9/x.csv"], "auto", "9/x.csv 10/x.csv"),
    "leading zeros": (["p-002.csv", "p-01.csv", "p-10.csv"], "csv", "p-01.csv p-002.csv p-10.csv"),
    "dates": (["2024-01-10.csv", "2024-01-09.csv"], "auto", "2024-01-09.csv 2024-01-10.csv"),
    "no ending but compression": (["day_1.gz", "day_0.gz"], "tsv", "day_0.gz day_1.gz"),
    "no ending at all": (["part-00001", "part-00000"], "auto", "part-00000 part-00001"),
    "rotated logs": (["log.2", "log.1", "log.10"], "csv", "log.1 log.2 log.10"),
    "what Spark leaves": (
        ["_SUCCESS", ".part-0.crc", "part-0", "_temporary/0/part-1"], "auto", "part-0",
    ),
    "a checksum beside": (["x.csv", "x.csv.crc", "x.csv.md5"], "auto", "x.csv"),
    "a page about the data": (["README", "LICENSE", "README.txt", "part-0"], "auto", "part-0"),
    "names without ending beside those with": (["x.csv", "notes"], "auto", "x.csv"),
    "an ending of another format": (["x.csv", "y.tsv"], "tsv", "y.tsv"),
    "every compression": (
        ["a.csv.gz", "b.csv.zst", "c.csv.bz2", "d.csv.xz", "e.csv.zip"], "csv",
        "a.csv.gz b.csv.zst c.csv.bz2 d.csv.xz e.csv.zip",
    ),
    "a partition whose name has an underscore": (["_day=1/x.csv"], "auto", "_day=1/x.csv"),
}  # fmt: skip


@pytest.mark.parametrize(("names", "format", "expected"), FOLDERS.values(), ids=FOLDERS)
def test_the_files_of_a_folder_and_their_order(tmp_path, names, format, expected):
    put(tmp_path, dict.fromkeys(names, b"x"))
    assert [file.name for file in list_files(str(tmp_path), format)] == expected.split()


def test_a_folder_without_data_says_what_it_holds(tmp_path):
    put(tmp_path, {"picture.png": b"x"})
    with pytest.raises(SourceError, match=r"no data in this folder; it holds picture\.png"):
        list_files(str(tmp_path), "auto")


def test_files_without_an_ending_are_read_as_the_spec_says_or_by_content(tmp_path):
    put(tmp_path, {"tsv/day_0.gz": gzip.compress(b"1\tx\n"), "json/part-0": b'{"a": 1}\n'})
    tsv = SourceSpec(label="a", format="tsv", header=False, columns=("a", "b"))
    assert rows_of(list(open_source(str(tmp_path / "tsv"), tsv, ["b"]))) == [("x",)]
    assert rows_of(read(tmp_path / "json")) == [(1,)]


PARQUET = pa.BufferOutputStream()
pq.write_table(pa.table({"ad": ["x"]}), PARQUET)
FORMATS = {
    "csv": b"ad\nx\n",
    "tsv": b"ad\tb\nx\t1\n",
    "jsonl": b'{"ad": "x"}\n',
    "parquet": PARQUET.getvalue().to_pybytes(),
}


@pytest.mark.parametrize("format", FORMATS)
def test_folders_named_by_a_value_are_columns_in_every_format(tmp_path, format):
    put(
        tmp_path,
        {
            f"dt=2024-01-02/click=1/site=a%2Fb%20c/x.{format}": FORMATS[format],
            f"dt=2024-01-01/click=0/site=__HIVE_DEFAULT_PARTITION__/x.{format}": FORMATS[format],
        },
    )
    columns = ("site", "ad", "click", "dt")
    assert rows_of(read(tmp_path, None, *columns)) == [
        (None, "x", "0", "2024-01-01"),
        ("a/b c", "x", "1", "2024-01-02"),
    ]
    assert rows_of(read(tmp_path, None, "click")) == [("0",), ("1",)]  # none of the file's own
    one = next(tmp_path.glob(f"dt=2024-01-02/*/*/x.{format}"))
    assert rows_of(read(one, None, "click", "ad")) == [("1", "x")]
    assert {"dt", "click", "site", "ad"} <= set(sample_log(str(tmp_path)).rows.column_names)


def test_a_folder_s_value_stands_before_a_column_of_the_file(tmp_path):
    put(tmp_path, {"a=7/x.csv": b"a,b\n1,2\n"})
    assert rows_of(read(tmp_path, None, "b", "a")) == [("2", "7")]


# Going on
def lines(first, count):
    return b"".join(b"%d\n" % i for i in range(first, first + count))


def saved(position):
    """The position as a snapshot brings it back."""
    return msgspec.json.decode(msgspec.json.encode(position), type=Position)


# Files at first, what happens to them afterwards, and the rows that are read then.
LATER = {
    "nothing new": ({}, ""),
    "a file that sorts behind": ({"d3.csv": b"a\n30\n"}, "30"),
    "a file that came late, and sorts before": ({"d1.csv": b"a\n10\n"}, "10"),
    "one of each": ({"d3.csv": b"a\n30\n", "d1.csv": b"a\n10\n"}, "10 30"),
    "more at the end of the last": ({"d2.csv": b"a\n20\n21\n22\n"}, "22"),
    "more at the end of an earlier one": ({"d0.csv": b"a\n0\n1\n"}, "1"),
}


@pytest.mark.parametrize(("later", "expected"), LATER.values(), ids=LATER)
def test_a_later_read_takes_what_has_not_been_read(tmp_path, later, expected):
    put(tmp_path, {"d0.csv": b"a\n0\n", "d2.csv": b"a\n20\n21\n"})
    position = saved(read(tmp_path)[-1].position)
    put(tmp_path, later)
    batches = read(tmp_path, position)
    assert [a for (a,) in rows_of(batches)] == expected.split()
    if batches:
        assert read(tmp_path, saved(batches[-1].position)) == []


def test_a_read_that_ended_within_a_late_file_goes_on_there(tmp_path):
    put(tmp_path, {"d2.csv": b"a\n20\n"})
    position = read(tmp_path)[-1].position
    put(tmp_path, {"d1.csv": b"a\n10\n11\n12\n", "d3.csv": b"a\n30\n"})
    [late, _] = read(tmp_path, position)
    assert rows_of(read(tmp_path, saved(late.positions(0)))) == [("11",), ("12",), ("30",)]


# What happens to a file of which all 100 rows were read.
OTHER = {
    "another file": b"a\n" + lines(7, 150),
    "the same beginning, but shorter": b"a\n" + lines(0, 50),
    "the same length, another end": b"a\n" + lines(0, 99) + b"XX\n",
    "more at the end, but another beginning": b"b\n" + lines(0, 150),
    "nothing": b"",
}


@pytest.mark.parametrize("name", ["d1.csv", "d2.csv"])
@pytest.mark.parametrize("data", OTHER.values(), ids=OTHER)
def test_a_file_that_is_another_one_now_is_refused(tmp_path, data, name):
    put(tmp_path, dict.fromkeys(["d1.csv", "d2.csv"], b"a\n" + lines(0, 100)))
    position = saved(read(tmp_path)[-1].position)
    put(tmp_path, {name: data})
    with pytest.raises(SourceError, match=rf"{name}: it is not the file of which 100 rows.*Fix"):
        read(tmp_path, position)


def test_a_short_position_tells_late_files_by_their_number(tmp_path):
    """A publisher commits it: its metadata must not grow with the number of files."""
    put(tmp_path, {f"d{i}.csv": b"a\n%d\n" % i for i in range(1, 40)})
    position = saved(read(tmp_path)[-1].position.short())
    assert len(msgspec.json.encode(position)) < 200
    put(tmp_path, {"d40.csv": b"a\n40\n"})
    assert rows_of(read(tmp_path, position)) == [("40",)]
    put(tmp_path, {"d0.csv": b"a\n0\n"})
    with pytest.raises(SourceError, match=r"39 files stand before 'd39\.csv', 38 did.*late"):
        read(tmp_path, position)


def test_a_file_whose_middle_is_another_one_now_is_refused(tmp_path):
    """Its size, beginning and end are the same."""
    rows = [b"%07d\n" % n for n in range(30_000)]
    put(tmp_path, {"d1.csv": b"a\n" + b"".join(rows)})
    position = saved(read(tmp_path)[-1].position)
    rows[10_000:20_000] = [b"x%06d\n" % n for n in range(10_000)]
    put(tmp_path, {"d1.csv": b"a\n" + b"".join(rows)})
    with pytest.raises(SourceError, match="it has other bytes"):
        read(tmp_path, position)
