"""Which files are read, how their format is told, Parquet, and how a read ends."""

import datetime as dt
import gzip
import io
import json
import threading
import time
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from source_rows import rows_of

from features.errors import SourceError
from features.spec import SourceSpec
from streaming.sources import Position, open_source, sample_log
from streaming.sources.reader import ordered_map

SPEC = SourceSpec(label="a")
CSV = b"a,b\n1,2\n"
TSV = b"a\tb\n1\t2\n"
JSONL = b'{"a": "1", "b": "2"}\n'


def parquet_bytes(table=None, **options):
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": ["1"], "b": ["2"]}) if table is None else table, sink, **options)
    return sink.getvalue()


def read(path, spec=SPEC, **options):
    return rows_of(list(open_source(str(path), spec, ["b", "a"], **options)))


NAMES = {
    "x.csv": CSV,
    "x.tsv": TSV,
    "x.txt": TSV,
    "X.CSV": CSV,
    "x.jsonl": JSONL,
    "x.ndjson": JSONL,
    "x.json": JSONL,
    "x.log": CSV,
    "x": JSONL,
    "x.dat": TSV,
    "x.csv.gz": gzip.compress(CSV),
    "x.tsv.zst": zstandard.compress(TSV),
    "x.jsonl.zst": zstandard.compress(JSONL),
    "compressed without saying so.csv": gzip.compress(CSV),
    "no ending at all": zstandard.compress(JSONL),
    "x.parquet": parquet_bytes(),
    "x.pq": parquet_bytes(),
    "parquet by content": parquet_bytes(),
}


@pytest.mark.parametrize("name", NAMES)
def test_format_and_compression_are_told_by_name_or_content(tmp_path, name):
    (tmp_path / name).write_bytes(NAMES[name])
    assert read(tmp_path / name) == [("2", "1")]
    assert sample_log(str(tmp_path / name)).rows.to_pylist() == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize(
    "data",
    [CSV, TSV, JSONL, gzip.compress(CSV), zstandard.compress(JSONL)],
    ids=["csv", "tsv", "jsonl", "gzip", "zstd"],
)
def test_standard_input_is_told_by_its_first_bytes(data):
    class Trickle(io.RawIOBase):
        """A pipe that gives a byte at a time."""

        def __init__(self):
            self.rest = data

        def read(self, size=-1, /):
            byte, self.rest = self.rest[:1], self.rest[1:]
            return byte

    batches = list(open_source("-", SPEC, ["a"], stdin=Trickle()))
    assert rows_of(batches) == [("1",)]
    assert batches[0].file == "-"


def test_parquet_from_a_pipe_is_an_error():
    with pytest.raises(SourceError, match="cannot be read from a pipe"):
        list(open_source("-", SPEC, ["a"], stdin=io.BytesIO(parquet_bytes())))


def make_folder(folder):
    (folder / "day2").mkdir()
    (folder / ".cache").mkdir()
    (folder / "day1.csv").write_bytes(b"a,b\n1,1\n2,1\n")
    (folder / "day2" / "part.tsv.gz").write_bytes(gzip.compress(b"a\tb\n3\t2\n4\t2\n5\t2\n"))
    (folder / "day3.jsonl").write_bytes(b'{"a": "6", "b": "3"}\n')
    (folder / "day4.csv").write_bytes(b"")
    (folder / "day5.parquet").write_bytes(parquet_bytes(pa.table({"a": ["7"], "b": ["5"]})))
    for name in ("README.md", ".day0.csv", "_SUCCESS", ".cache/x.csv"):
        (folder / name).write_bytes(b"not data")


def test_a_folder_is_read_by_name_at_any_depth_hidden_and_empty_files_skipped(tmp_path):
    make_folder(tmp_path)
    batches = list(open_source(str(tmp_path), SPEC, ["a"]))
    assert rows_of(batches) == [(str(i),) for i in range(1, 8)]
    files = ["day1.csv", "day2/part.tsv.gz", "day3.jsonl", "day5.parquet"]
    assert [batch.file for batch in batches] == files


def test_a_folder_is_resumed_at_any_row(tmp_path):
    make_folder(tmp_path)
    batches = list(open_source(str(tmp_path), SPEC, ["a"]))
    places = [b.positions(i) for b in batches for i in range(b.columns.num_rows)]
    for done, place in enumerate(places, start=1):
        rest = rows_of(list(open_source(str(tmp_path), SPEC, ["a"], start=place)))
        assert rest == [(str(i),) for i in range(done + 1, 8)]


def test_a_declared_format_leaves_files_of_other_formats_alone(tmp_path):
    make_folder(tmp_path)
    assert read(tmp_path, SourceSpec(label="a", format="jsonl")) == [("3", "6")]


def test_a_folder_of_empty_files_is_an_error(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"")
    (tmp_path / "y.parquet").write_bytes(parquet_bytes(pa.table({"a": [], "b": []})))
    with pytest.raises(SourceError, match=r"x\.csv: it is empty"):
        read(tmp_path)


@pytest.mark.parametrize("start", [Position("other.csv", 0), Position("x.csv", 2)])
def test_a_start_that_is_not_in_the_log_is_an_error(tmp_path, start, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("x.csv").write_bytes(CSV)
    with pytest.raises(SourceError, match=r"cannot go on from|nothing after row"):
        read(Path("x.csv"), start=start)


def test_a_start_at_the_very_end_reads_nothing(tmp_path):
    for name, data in (("x.csv", CSV), ("x.jsonl", JSONL), ("x.parquet", parquet_bytes())):
        path = tmp_path / name
        path.write_bytes(data)
        assert read(path, start=Position(str(path), 1)) == []


# Parquet
def test_parquet_types_become_those_of_a_batch(tmp_path):
    day = dt.date(2020, 1, 2)
    columns = {
        "text": (pa.array(["x", None]), "dictionary<values=string, indices=int32, ordered=0>"),
        "coded": (
            pa.array(["x", None], pa.dictionary(pa.int8(), pa.large_string())),
            "dictionary<values=string, indices=int32, ordered=0>",
        ),
        "codes": (pa.array([3, None], pa.dictionary(pa.int8(), pa.int16())), "int64"),
        "int8": (pa.array([1, None], pa.int8()), "int64"),
        "uint32": (pa.array([2**32 - 1, None], pa.uint32()), "int64"),
        "uint64": (pa.array([5, None], pa.uint64()), "int64"),
        "uint64 too big": (pa.array([2**64 - 1, None], pa.uint64()), "string"),
        "float": (pa.array([0.5, None], pa.float32()), "double"),
        "decimal": (pa.array([Decimal("1.50"), None]), "double"),
        "whole decimal": (pa.array([Decimal("12"), None]), "int64"),
        "bool": (pa.array([True, None]), "bool"),
        "null": (pa.array([None, None]), "null"),
        "date": (pa.array([day, None]), "date32[day]"),
        "time": (pa.array([dt.datetime(2020, 1, 2), None]), "timestamp[us]"),
        "list": (pa.array([[1, None], None], pa.list_(pa.int8())), "list<item: int64>"),
        "texts": (pa.array([["x"], None], pa.large_list(pa.large_string())), "list<item: string>"),
    }
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({name: array for name, (array, _) in columns.items()}), path)
    (batch,) = open_source(str(path), SPEC, list(columns))
    assert dict(zip(columns, map(str, batch.columns.schema.types), strict=True)) == {
        name: kind for name, (_, kind) in columns.items()
    }
    first, second = batch.columns.to_pylist()
    assert set(second.values()) == {None}
    assert first["uint64 too big"] == str(2**64 - 1)
    assert (first["decimal"], first["whole decimal"], first["codes"]) == (1.5, 12, 3)
    assert (first["date"], first["list"], first["texts"]) == (
        dt.date(2020, 1, 2),
        [1, None],
        ["x"],
    )


@pytest.mark.parametrize(
    "column",
    [[{"x": 1}], [b"x"], [[[1]]], [dt.timedelta(1)]],
    ids=["map", "bytes", "lists", "span"],
)
def test_a_parquet_column_that_is_no_value_is_an_error(tmp_path, column):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": column, "b": [1]}), path)
    with pytest.raises(SourceError, match="column 'a' has the type"):
        read(path)
    assert rows_of(list(open_source(str(path), SPEC, ["b"]))) == [(1,)]


WHOLE = parquet_bytes()
BAD_PARQUET = {
    "cut off": (WHOLE[:-20], "damaged"),
    "a beginning alone": (b"PAR1", "damaged"),
    "words": (b"words", "damaged"),
    "overwritten": (WHOLE[:20] + b"\xff" * 40 + WHOLE[60:], "damaged"),
    "empty": (b"", "it is empty"),
    "compressed": (gzip.compress(WHOLE), ".*decompress"),
    "a column missing": (
        parquet_bytes(pa.table({"a": [1], "bb": [1]})), r"no column 'b', near it: \['bb'\]",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("data", "said"), BAD_PARQUET.values(), ids=BAD_PARQUET)
def test_a_parquet_file_that_cannot_be_used_is_an_error(tmp_path, data, said):
    path = tmp_path / "x.parquet"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=rf"x\.parquet: {said}"):
        read(path)


def test_invalid_utf8_in_parquet_rejects_the_row(tmp_path):
    path = tmp_path / "x.parquet"
    offsets = pa.py_buffer(b"".join(i.to_bytes(4, "little") for i in (0, 1, 2, 3)))
    broken = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"x\xffy")])
    pq.write_table(pa.table({"a": broken, "b": [1, 2, 3]}), path)
    (batch,) = open_source(str(path), SPEC, ["a", "b"])
    assert rows_of([batch]) == [("x", 1), ("y", 3)]
    assert [(r.reason, r.line) for r in batch.rejects] == [("invalid_utf8", 0)]
    assert json.loads(batch.rejects[0].raw) == {"a": "�", "b": 2}
    assert (batch.positions(0).row, batch.positions(1).row, batch.position.row) == (1, 3, 3)
    assert batch.origin(1) == (0, b'{"a":"y","b":3}')


def test_a_parquet_read_resumes_at_any_row_without_reading_row_groups_before(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": list(range(20)), "b": list("x" * 20)}), path, row_group_size=7)
    for start in range(21):
        place = Position(str(path), start)
        batches = list(open_source(str(path), SPEC, ["a"], start=place, batch_rows=3))
        rows = [(row, b.positions(i).row) for b in batches for i, row in enumerate(rows_of([b]))]
        assert rows == [((i,), i + 1) for i in range(start, 20)]
    whole = path.read_bytes()
    path.write_bytes(b"PAR1" + b"\0" * 60 + whole[64:])  # the first row group is destroyed
    batches = list(open_source(str(path), SPEC, ["a"], start=Position(str(path), 14)))
    assert rows_of(batches) == [(i,) for i in range(14, 20)]


# How a read ends
def many_rows(path, rows=50_000):
    path.write_bytes(b"a,b\n" + b"".join(b"%d,x\n" % i for i in range(rows)))
    return path


def test_closing_early_ends_the_threads_and_closes_the_file(tmp_path):
    path = many_rows(tmp_path / "x.csv")
    before = threading.active_count()
    batches = open_source(str(path), SPEC, ["a"], block_bytes=1000)
    next(batches)
    assert threading.active_count() > before
    batches.close()
    assert threading.active_count() == before


def test_only_a_few_blocks_are_read_ahead():
    drawn = []

    def items():
        for i in range(100):
            drawn.append(i)
            yield i

    results = ordered_map(lambda i: i, items(), workers=2, in_flight=4)
    assert next(results) == 0
    time.sleep(0.05)
    assert len(drawn) <= 5
    assert list(results) == list(range(1, 100))


@pytest.mark.parametrize("broken", ["reader", "function"])
def test_an_error_in_a_thread_is_raised_in_its_turn(broken):
    def items():
        yield from (1, 2)
        if broken == "reader":
            raise SourceError("third")
        yield 0

    results = ordered_map(lambda i: 1 // i, items(), workers=2, in_flight=2)
    assert [next(results), next(results)] == [1, 0]
    with pytest.raises(SourceError if broken == "reader" else ZeroDivisionError):
        next(results)


def test_results_come_in_order_whichever_thread_is_first():
    def slow_first(i):
        time.sleep(0.01 if i % 2 == 0 else 0)
        return i

    numbers = (i for i in range(20))
    assert list(ordered_map(slow_first, numbers, workers=4, in_flight=6)) == list(range(20))
