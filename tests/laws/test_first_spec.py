"""Every spec that `spec init` writes reads the very log it was written from, and rejects no row."""

import csv
import json
import tempfile
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from clicktide.spec_commands import first_spec
from features.spec_file import parse_spec
from features.vectoriser import Vectoriser
from streaming.prepare import Preparer
from streaming.sources import open_source

ROWS = 25
LABELS = [
    ([0, 1, 0], "click"),
    (["-1", "+1", "-1"], "Label"),
    (["N", "Y", "N"], "clk"),
    (["false", "TRUE", "false"], "is_click"),
    ([0, 1, 3], "clicks"),
]
MOMENT = st.datetimes(datetime(2001, 1, 1), datetime(2030, 1, 1))
TEXT = st.text(
    st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), max_size=6
)
ODD = st.sampled_from(
    [
        *("", "1", "0.5", "-3", "NULL", "nan", "14102100", "2014-10-21", "é", "a|b", "x;y;z", '"'),
        *(",", "01/02/2024", "1e3", "007", "1e400", " ", "a b", "#x", "\\N", "=1+1", "1413849600"),
    ]
)
SCALARS = {
    "texts": TEXT,
    "odd texts": ODD,
    "counts": st.integers(0, 300),
    "huge integers": st.integers(-(2**70), 2**70),
    "fractions": st.floats(allow_nan=False, width=32),
    "flags": st.booleans(),
    "times": MOMENT.map(lambda moment: moment.replace(tzinfo=UTC).isoformat()),
    "seconds": st.integers(1_300_000_000, 1_800_000_000),
    "hours": MOMENT.map(lambda moment: moment.strftime("%y%m%d%H")),
    "lists as text": st.lists(st.sampled_from("abcde"), max_size=4).map("|".join),
}
NESTED = {
    "lists": st.lists(st.integers(0, 9) | st.text("ab", max_size=2), max_size=3),
    "objects": st.dictionaries(st.text("ab", max_size=2), st.integers(0, 9), max_size=2),
    "lists of objects": st.lists(st.fixed_dictionaries({"k": st.integers(0, 9)}), max_size=2),
    "mixed": st.integers(0, 9) | st.lists(st.integers(0, 9), max_size=2) | TEXT,
}
ARROW = [
    (pa.string(), TEXT),
    (pa.large_string(), ODD),
    (pa.dictionary(pa.int16(), pa.string()), TEXT),
    (pa.binary(), st.binary(max_size=4)),
    (pa.binary(2), st.binary(min_size=2, max_size=2)),
    (pa.int8(), st.integers(-128, 127)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.float32(), st.floats(width=32)),
    (pa.float64(), st.floats()),
    (pa.bool_(), st.booleans()),
    (pa.decimal128(38, 0), st.integers(-(10**37), 10**37).map(Decimal)),
    (pa.decimal128(10, 3), st.integers(-(10**9), 10**9).map(lambda i: Decimal(i) / 1000)),
    (pa.date32(), MOMENT.map(datetime.date)),
    (pa.timestamp("ns"), MOMENT),
    (pa.timestamp("s", "UTC"), MOMENT.map(lambda moment: moment.replace(microsecond=0))),
    (pa.time64("us"), MOMENT.map(datetime.time)),
    (pa.duration("ms"), st.integers(0, 99).map(lambda i: timedelta(seconds=i))),
    (pa.list_(pa.string()), st.lists(TEXT, max_size=3)),
    (pa.list_(pa.float64()), st.lists(st.floats(), max_size=3)),
    (pa.list_(pa.list_(pa.int64())), st.lists(st.lists(st.integers(0, 9), max_size=2), max_size=2)),
    (pa.struct({"k": pa.int64()}), st.fixed_dictionaries({"k": st.integers(0, 9)})),
    (pa.map_(pa.string(), pa.int64()), st.just([("k", 1)])),
    (pa.null(), st.none()),
]
ODD_NAMES = ["hour", "id", "timestamp", "user_id", "price", "tags", "views", "hour_of_day", "y2"]
NAME = TEXT.filter(str.strip) | st.sampled_from([*ODD_NAMES, 'a, "b" #'])
NAMES = st.lists(NAME, unique=True, min_size=1, max_size=4)


@st.composite
def columns_of(draw, kinds):
    """A label, one plain field, and some columns of any kind, with gaps."""
    label, name = draw(st.sampled_from(LABELS))
    columns = {name: label, "ad": [7, 8]}
    for other in draw(NAMES):
        values = draw(st.sampled_from(list(kinds.values())))
        gaps = st.none() if draw(st.booleans()) else st.nothing()
        columns.setdefault(other, draw(st.lists(values | gaps, min_size=1, max_size=8)))
    return {key: [values[i % len(values)] for i in range(ROWS)] for key, values in columns.items()}


def replays(write, name):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write(path)
        spec = parse_spec(first_spec(str(path)))
        prepare = Preparer(Vectoriser(spec), spec.source)
        ready = [prepare(batch) for batch in open_source(str(path), spec.source, prepare.columns)]
    assert [reject for part in ready for reject in part.rejects] == []
    learned = sum(len(part.labels) for part in ready)
    assert learned == ROWS or (spec.source.views and learned > ROWS)  # with views, a row is two


def _cell(value):
    return "" if value is None else str(value)


@settings(deadline=None, max_examples=60)
@given(columns_of(SCALARS), st.sampled_from([("x.csv", ","), ("x.csv", ";"), ("x.tsv", "\t")]))
def test_a_spec_of_a_csv_log_replays_it(columns, kind):
    name, separator = kind

    def write(path):
        with path.open("w", encoding="utf-8", newline="") as file:
            if separator == "\t":  # which has no quotes
                for row in zip(*([k, *v] for k, v in columns.items()), strict=True):
                    cells = (
                        _cell(v).translate(dict.fromkeys(map(ord, "\t\r\n"), " ")) for v in row
                    )
                    file.write("\t".join(cells) + "\n")
                return
            writer = csv.writer(file, delimiter=separator)
            writer.writerow(columns)
            writer.writerows(zip(*(map(_cell, v) for v in columns.values()), strict=True))

    replays(write, name)


@settings(deadline=None, max_examples=60)
@given(columns_of(SCALARS | NESTED))
def test_a_spec_of_a_json_log_replays_it(columns):
    def write(path):
        rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    replays(write, "x.jsonl")


@settings(deadline=None, max_examples=60)
@given(NAMES, st.data())
def test_a_spec_of_a_parquet_log_replays_it(names, data):
    arrays = {"click": pa.array([int(i % 4 == 0) for i in range(ROWS)])}
    arrays["ad"] = pa.array(["a", "b", "c", "d", "e"] * (ROWS // 5))
    for name in names:
        kind, values = data.draw(st.sampled_from(ARROW), label=name)
        some = data.draw(st.lists(values | st.none(), min_size=1, max_size=8))
        arrays.setdefault(name, pa.array([some[i % len(some)] for i in range(ROWS)], kind))
    replays(lambda path: pq.write_table(pa.table(arrays), path), "x.parquet")
