"""By property: whatever the rows, the bad lines and the block size, nothing is lost or changed."""

import csv
import gzip
import io
import json
from unittest import mock

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from features.spec import SourceSpec
from features.values import as_text
from streaming.sources import Position, open_source

COLUMNS = ("a", "b", "c")
WANTED = ("c", "a")
SPECS = {kind: SourceSpec(label="a", format=kind) for kind in ("csv", "tsv", "jsonl")}

WITHIN = b"\0within a record"  # stands for a line of a record that began before
plain = st.text(st.characters(exclude_characters="\n\r\t", exclude_categories=["Cs"]), max_size=5)
quotable = plain | st.sampled_from(["\n", '"\n', 'x\r\n"', "\n\ny", ",\n", '""'])
scalar = st.one_of(
    plain,
    st.integers(-(2**66), 2**66),
    st.integers(-3, 3),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
)
value = st.one_of(scalar, st.lists(scalar, max_size=2))
few = st.sampled_from([scalar, st.integers(-3, 3), st.floats(0, 9), plain, value])


def csv_line(values, quoting):
    sink = io.StringIO()
    csv.writer(sink, quoting=quoting).writerow(values)
    return sink.getvalue().removesuffix("\r\n")


@st.composite
def delimited(draw, kind):
    sep = "," if kind == "csv" else "\t"
    bad = [("x", "row_too_short"), (sep.join("wxyz"), "row_too_long")]
    text = quotable if kind == "csv" else plain
    lines = [sep.join(COLUMNS).encode()]
    events = []
    for _ in range(draw(st.integers(1, 12))):
        number = len(lines) + 1
        choice = draw(st.sampled_from(["row", "row", "row", "bad", "blank", "latin"]))
        values = draw(st.tuples(text, text, text))
        if choice == "row":
            quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
            line = csv_line(values, quoting) if kind == "csv" else sep.join(values)
            events.append((number, (values[2], values[0])))
        elif choice == "bad":
            line, reason = draw(st.sampled_from(bad))
            events.append((number, reason))
        elif choice == "latin":
            line = ""
            events.append((number, "invalid_utf8"))
        else:
            line = ""
        lines.append(f"x{sep}y{sep}".encode() + b"\xff" if choice == "latin" else line.encode())
        lines += [WITHIN] * lines[-1].count(b"\n")
    return lines, events


@st.composite
def json_lines(draw):
    bad = [
        (b"{", "broken_json"),
        (b'{"a":1,"c":2}{"a":3,"c":4}', "broken_json"),
        (b"[1]", "not_an_object"),
        (b'{"a":1,"c":{}}', "bad_value"),
        (b'{"a":"\xff"}', "invalid_utf8"),
    ]
    kinds = {name: draw(few) for name in COLUMNS}
    lines = []
    events = []
    for _ in range(draw(st.integers(1, 12))):
        choice = draw(st.sampled_from(["row", "row", "row", "row", "bad", "blank"]))
        number = len(lines) + 1
        if choice == "row":
            row = {name: draw(kind) for name, kind in kinds.items()}
            lines.append(json.dumps(row, ensure_ascii=draw(st.booleans())).encode())
            events.append((number, tuple(canonical(row[name]) for name in WANTED)))
        elif choice == "bad":
            line, reason = draw(st.sampled_from(bad))
            lines.append(line)
            events.append((number, reason))
        else:
            lines.append(b"")
    # with many plain lines, the few others are left out of a fast parse rather than end it
    for _ in range(draw(st.sampled_from([1, 1, 1, 50]))):
        lines.append(b'{"a": 1, "b": 1, "c": 1}')
        events.append((len(lines), ("1", "1")))
    return lines, events


def canonical(value):
    """The text of a value, or of each member: the same whichever column type it was given."""
    if isinstance(value, list):
        return tuple(map(canonical, value))
    return None if value is None else as_text(value)


def events_of(batches, lines):
    """Rows and rejects in the order of the file, after checking where each batch says it is."""
    events = []
    for batch in batches:
        found = [(reject.line, reject.reason) for reject in batch.rejects]
        for i, row in enumerate(batch.columns.to_pylist()):
            line, raw = batch.origin(i)
            assert raw == lines[line - 1]
            found.append((line, tuple(canonical(value) for value in row.values())))
        for reject in batch.rejects:
            assert reject.raw == lines[reject.line - 1]
        events += sorted(found, key=lambda event: event[0])
    return events


def joined(lines, end, last):
    return end.join(line for line in lines if line != WITHIN) + (end if last else b"")


def check_reads(kind, lines, events, data, sizes):
    """Read it whole, then from every position it passed."""

    def read(start=None):
        stream = io.BytesIO(data)
        return list(open_source("-", SPECS[kind], WANTED, start=start, stdin=stream, **sizes))

    if not events:
        return
    batches = read()
    assert events_of(batches, lines) == events
    assert batches[-1].position == Position("-", len(events))
    places = [b.positions(i) for b in batches for i in range(b.columns.num_rows)]
    for place in {*places[:2], *places[-2:], *(batch.position for batch in batches[:2])}:
        assert events_of(read(place), lines) == events[place.row :]
        line = events[place.row - 1][0]
        assert all(event[0] > line for event in events_of(read(place), lines))


sizes = st.fixed_dictionaries(
    {"block_bytes": st.sampled_from([1, 5, 40, 1 << 20]), "batch_rows": st.sampled_from([1, 3, 99])}
)
ends = st.sampled_from([b"\n", b"\r\n"])
compress = st.sampled_from([bytes, gzip.compress, zstandard.compress])


@pytest.mark.parametrize("kind", ["csv", "tsv"])
@settings(max_examples=60)
@given(data=st.data(), sizes=sizes, end=ends, last=st.booleans(), pack=compress)
def test_delimited_rows_in_are_rows_out_plus_rejects(kind, data, sizes, end, last, pack):
    lines, events = data.draw(delimited(kind))
    few_rows = data.draw(st.sampled_from([1, 2, 16]))  # the smaller, the more is done by Arrow
    with mock.patch("streaming.sources.delimited._FEW_ROWS", few_rows):
        check_reads(kind, lines, events, pack(joined(lines, end, last)), sizes)


@settings(max_examples=60)
@given(table=json_lines(), sizes=sizes, end=ends, last=st.booleans(), pack=compress)
def test_json_rows_in_are_rows_out_plus_rejects(table, sizes, end, last, pack):
    check_reads("jsonl", *table, pack(joined(table[0], end, last)), sizes)
