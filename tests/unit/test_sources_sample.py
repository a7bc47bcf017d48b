"""A sample of a log nobody has described: its shape, rows from all over it, what cannot be used."""

import gzip
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import SourceError
from features.spec import SourceSpec
from streaming.sources import open_source, sample_log

ROWS = 100_000


def described(text):
    sample = sample_log("-", stdin=io.BytesIO(text))
    return sample.head, sample.rows.to_pylist(), dict(sample.unusable)


# Headers


@pytest.mark.parametrize(
    ("text", "columns", "keys"),
    [
        (b"click,ad\n1,x\n0,y\n", ("click", "ad"), {}),
        # pandas leaves its index without a name, and numbers columns that have none
        (b",click,ad\n0,1,x\n1,0,y\n", ("", "click", "ad"), {}),
        (b",0,1,2\n0,1,x,y\n1,0,y,z\n", ("", "0", "1", "2"), {}),
        (b"click;ad;ad\n1;x;x\n", ("click", "ad", "ad"), {"separator": ";"}),
        (b"sep=;\nclick;ad\n1;x\n", ("click", "ad"), {}),
        (b"click\tad\n1\tx\n", ("click", "ad"), {}),
        (b"click,ad\r1,x\r0,y\r", ("click", "ad"), {}),
        ("click,ad\n1,x\n".encode("utf-16"), ("click", "ad"), {}),
        (b'"click","the\nad"\n1,x\n', ("click", "the\nad"), {}),
        # no header: numbers, or names that come again as values
        (b"0|red|\n1|blue|5\n", ("c1", "c2", "c3"), {"separator": "|", "header": False}),
        (b"Y,a\nN,b\nY,a\nN,c\n", ("c1", "c2"), {"header": False}),
        (b"0 a 5\n1 b  6\n", ("c1", "c2", "c3"), {"separator": " ", "header": False}),
    ],
)
def test_a_header_is_seen_and_what_the_readers_have_to_be_told(text, columns, keys):
    head, rows, _ = described(text)
    assert head.columns == columns
    assert head.keys == keys | ({"columns": columns} if "header" in keys else {})
    names = [name for name in columns if columns.count(name) == 1 and name]
    source = SourceSpec(label="", **{"separator": head.separator} | head.keys)
    batches = list(open_source("-", source, names, stdin=io.BytesIO(text)))
    assert [row for batch in batches for row in batch.columns.to_pylist()] == rows


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"click,ad\n1,x,\n0,y,\n", "the header has 2 names, and the rows 3 values, the last of"),
        (b"click,ad\n1,1,x\n2,0,y\n", "first column, of row names perhaps, has none. Fix: sed"),
        (b"click,ad,\n1,x\n0,y\n", "the header ends in a separator"),
        (b"click,ad,site\n1\n0\n", "the header has 3 names, and the rows 1 values"),
        ("click,région\n1,x\n".encode("cp1252"), "not UTF-8 .as Windows-1252"),
        (b"", "empty"),
        (b"\n\n", "empty"),
    ],
)
def test_a_header_that_does_not_fit_is_said_with_the_fix(tmp_path, text, said):
    path = tmp_path / "x.csv"
    path.write_bytes(text)
    with pytest.raises(SourceError, match=rf"x\.csv: .*{said}.*"):
        sample_log(str(path))


# Rows from all over


def _table():
    parts = [str(i // (ROWS // 10)) for i in range(ROWS)]
    return pa.table({"click": ["0", "1"] * (ROWS // 2), "part": parts, "pad": ["x" * 30] * ROWS})


def _csv():
    rows = zip(*_table().to_pydict().values(), strict=True)
    return b"click,part,pad\n" + "".join(",".join(row) + "\n" for row in rows).encode()


def _json():
    parts = _table().column("part").to_pylist()
    return "".join(f'{{"click":1,"part":"{part}"}}\n' for part in parts).encode()


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("x.csv", lambda path: path.write_bytes(_csv())),
        ("x.csv.gz", lambda path: path.write_bytes(gzip.compress(_csv(), 1))),
        ("x.jsonl", lambda path: path.write_bytes(_json())),
        ("x.parquet", lambda path: pq.write_table(_table(), path, row_group_size=7000)),
    ],
)
def test_rows_come_from_all_over_a_log_in_its_order(tmp_path, name, write):
    write(tmp_path / name)
    parts = sample_log(str(tmp_path / name), rows=5000).rows.column("part").to_pylist()
    assert len(parts) <= ROWS // 4
    assert parts == sorted(parts)
    assert set(parts) == set("0123456789")


def test_a_whole_log_is_its_own_sample_if_it_is_short(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(_csv())
    assert sample_log(str(path)).rows.num_rows == ROWS


def test_a_folder_is_sampled_file_by_file_with_what_its_folders_say(tmp_path):
    for day in range(20):
        folder = tmp_path / f"day={day}"
        folder.mkdir()
        (folder / "x.csv").write_text(f"click,ad\n1,a{day}\n" if day else "")
    rows = sample_log(str(tmp_path)).rows.to_pylist()
    assert {"click": "1", "ad": "a6", "day": "6"} in rows
    assert 5 <= len(rows) <= 8


# What cannot be used


def test_json_columns_that_no_reader_takes_are_left_out_with_the_reason():
    text = (
        b'{"click": 1, "imp": [{"id": 1}], "site": {"x": 1}, "pairs": [[1, 2]], "late": 1}\n'
        b'{"click": 0, "imp": [], "site": null, "": 3, "mixed": "a", "tags": ["a", "b"]}\n'
        b'not json\n{"click": NaN, "late": {"k": 1}, "mixed": ["a", 1], "tags": null}\n'
    )
    _, rows, unusable = described(text)
    assert rows == [
        {"click": 1, "mixed": None, "tags": None},
        {"click": 0, "mixed": ["a"], "tags": ["a", "b"]},
        {"click": None, "mixed": ["a", "1"], "tags": None},
    ]
    assert list(unusable) == ["imp", "site", "pairs", "late", ""]
    assert "keys of their own" in unusable["late"]
    assert "lists of lists" in unusable["pairs"]


@pytest.mark.parametrize(
    ("values", "is_usable"),
    [
        (pa.array([b"\xff", b"a"]), False),
        (pa.array([b"ab", b"cd"], pa.binary(2)), False),
        (pa.array([1, 2], pa.duration("s")), False),
        (pa.array([1, 2], pa.time64("us")), False),
        (pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int64())), False),
        (pa.array([{"k": 1}, None]), False),
        (pa.array([[{"k": 1}], None]), False),
        (pa.array([[["a"]], None]), False),
        (pa.array([["a"], None]), True),
        (pa.array(["a", None], pa.large_string()), True),
        (pa.array(["a", "b"]).dictionary_encode(), True),
        (pa.array([1, 2], pa.decimal128(5, 2)), True),
        (pa.nulls(2), True),
        (pa.array([1, 2], pa.uint64()), True),
        (pa.array([1, 2], pa.date32()), True),
        (pa.array([1, 2], pa.timestamp("ns", "Europe/Berlin")), True),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_a_parquet_type_can_be_used_or_is_left_out_as_the_reader_has_it(
    tmp_path, values, is_usable
):
    path = str(tmp_path / "x.parquet")
    pq.write_table(pa.table({"click": [0, 1], "x": values}), path)
    sample = sample_log(path)
    assert ("x" in sample.rows.column_names, "x" in sample.unusable) == (is_usable, not is_usable)
    if is_usable:
        [batch] = open_source(path, SourceSpec(label="click"), ["x"])
        assert batch.columns.column("x").to_pylist() == sample.rows.column("x").to_pylist()


def test_columns_of_one_name_are_left_out(tmp_path):
    path = str(tmp_path / "x.parquet")
    table = pa.Table.from_arrays([pa.array([1])] * 3, names=["click", "ad", "ad"])
    pq.write_table(table, path)
    assert sample_log(path).unusable == {"ad": "two columns have this name"}
    assert sample_log("-", stdin=io.BytesIO(b"c,ad,ad\n1,a,b\n")).unusable == {
        "ad": "two columns have this name"
    }
