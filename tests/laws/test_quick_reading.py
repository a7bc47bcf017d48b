"""Examples read in one pass are what the general reader makes of them, whatever the lines are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.coded import Coded
from monitoring.reading import ExamplesRead, ScoredReader
from monitoring.slicing import SliceField
from streaming.log import Record

TIME = 1_736_121_600_000
FIELDS = [
    SliceField("ad", "value", "ad"),
    SliceField("site", "value", "site"),
    SliceField("long", "value", "a field of a name that is longer than what is compared at once"),
    SliceField("new:ad", "new", "ad"),
    SliceField("price", "number", "price"),
    SliceField("hour", "hour"),
    SliceField("day", "weekday", "when", "ms"),
]
NAMES = ["ad", "site", FIELDS[2].column, "price", "when", "bid", "other", "yet another"]
texts = st.sampled_from(["", "a", "b", "(missing)", "12", "seven77", "eight888", "nine99999"])
odd_texts = st.text(max_size=12) | st.sampled_from(['"', "\\", "é", "日本", "\x7f", "a b", "-0"])
numbers = st.sampled_from([0, 1, 12, -3, 2**53, 2**63, -(2**64)]) | st.integers(-5, 5)
floats = st.sampled_from([0.5, 1.0, 1e22, -0.0, 1e-7])
lists = st.lists(texts | odd_texts, max_size=3)
common = texts | texts | texts | st.none()
values = st.one_of(texts, odd_texts, numbers, st.booleans(), st.none())
any_value = st.one_of(values, floats, lists, st.just({"a": [1]}), st.just([1, "a", None]))


class Raw(str):
    """A piece of JSON that stands as it is."""


def dumped(value: Any, style: dict[str, Any]) -> str:
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        comma, colon = style["separators"]
        pairs = (json.dumps(k, **style) + colon + dumped(v, style) for k, v in value.items())
        return "{" + comma.join(pairs) + "}"
    return json.dumps(value, **style)


@st.composite
def objects(draw: st.DrawFn, of: st.SearchStrategy[Any]) -> dict[str, Any]:
    names = draw(st.permutations(NAMES)) if draw(st.integers(0, 3)) == 0 else NAMES
    return {name: draw(of) for name in names if draw(st.integers(0, 5))}


STYLES = [
    {"separators": (", ", ": "), "ensure_ascii": True},
    {"separators": (",", ":"), "ensure_ascii": False},
    {"separators": (" ,\t", " :  "), "ensure_ascii": True},
]
RAW = ["1", "0.25", "1e-3", "1.5", "null", "nan", '"x"', "-0.0", "0.1234567890123456789", "tru"]


@st.composite
def lines(draw: st.DrawFn, of: st.SearchStrategy[Any]) -> bytes:
    style = draw(st.sampled_from(STYLES))
    rarely = draw(st.integers(0, 24))
    label = draw(st.integers(0, 1))
    shown: dict[str, Any] = {"type": "impression", "v": 1, "impression_id": "i1"}
    shown |= {"timestamp": TIME + draw(st.integers(0, 10**8)), "fields": draw(objects(of))}
    shown |= {"probability": draw(st.sampled_from([0.25, 0.1 + 0.2, None, 1, 2.5, 1e-9]))}
    shown |= {"model_version": draw(st.sampled_from(["m-1", "m-1", "m-2", None, ""]))}
    said: dict[str, Any] = {"type": "example", "v": 1, "label": label, "impression": shown}
    if label:
        said["click_timestamp"] = draw(st.sampled_from([TIME + 900, None, 0, TIME * 10**4]))
    if rarely == 0:
        kinds = [{"correction": True}, {"dismiss_timestamp": TIME}, {"x": {"a": '"}'}}, {"v": 2}]
        said |= draw(st.sampled_from([*kinds, {"more": draw(any_value)}]))
    if rarely == 1:
        more = [{"probability": Raw(draw(st.sampled_from(RAW)))}, {"model_version": 'a"b'}]
        shown |= draw(st.sampled_from([*more, {"counters": None}, {"counters": {"n": 1.0}}]))
        shown |= {"user agent": draw(odd_texts)}
    if rarely == 2:
        said = dict(draw(st.permutations(list(said.items()))))
        said["impression"] = dict(draw(st.permutations(list(shown.items()))))
    line = dumped(said, style).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 39)) == 0:
        at = draw(st.integers(0, len(line) - 1))
        line = (
            line[:at]
            + draw(st.sampled_from([b"", b"\xff", b" ", b"}", b'"', b"\x01"]))
            + (line[at + draw(st.integers(0, 1)) :])
        )
    return line + draw(st.sampled_from([b"", b"", b"", b"\r", b"\n"]))


@st.composite
def reads(draw: st.DrawFn) -> list[bytes]:
    of = draw(st.sampled_from([common, common, values, any_value, texts | numbers, texts | lists]))
    some = draw(st.lists(lines(of), min_size=1, max_size=12))
    return draw(st.sampled_from([1, 2, 40])) * some


def records(some: Sequence[bytes], size: int) -> list[Record]:
    values = [b"\n".join(some[at : at + size]) for at in range(0, len(some), size)]
    return [Record("examples", 0, i, 0, None, value) for i, value in enumerate(values)]


def said_of(coded: Coded | None) -> Any:
    return coded and (coded.codes.tolist(), coded.words.to_pylist(), coded.hashes.tolist())


def told(read: ExamplesRead) -> Any:
    """All that a read gives, comparable to the bit."""
    out: list[Any] = [read.rejected]
    for batch in read.batches:
        it = batch.scored
        columns = [it.time_ms, it.probability, it.label, it.bid, it.click_delay_ms, it.correction]
        out.append([(column.dtype, column.tobytes()) for column in [*columns, batch.changes]])
        out.append({name: said_of(coded) for name, coded in it.slices.items()})
        out.append(said_of(it.version))
    return out


def outcome(reader: ScoredReader, some: Sequence[Record]) -> Any:
    try:
        return told(reader.read(some))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return type(error), str(error)


def general(*args: Any) -> ScoredReader:
    reader = ScoredReader(*args)
    reader._quick = None
    return reader


FIRST = json.dumps(
    {
        "type": "example", "v": 1, "label": 0, "impression": {
            "type": "impression", "v": 1, "impression_id": "i", "timestamp": TIME,
            "fields": {"ad": "a", "site": "b", "price": 1, "when": TIME, "bid": 0.5},
        },
    }
).encode()  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(reads(), min_size=1, max_size=4), st.integers(1, 5))
def test_one_pass_gives_what_the_general_reader_gives(
    batches: list[list[bytes]], size: int
) -> None:
    quick, slow = ScoredReader(FIELDS, "bid"), general(FIELDS, "bid")
    for some in [[FIRST], *batches]:
        assert outcome(quick, records(some, size)) == outcome(slow, records(some, size))
        if quick._quick is not None:
            quick._quick._skip = 0
