import json
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from features.events import (
    MAX_EVENT_BYTES,
    REASONS,
    Click,
    EventError,
    Example,
    Impression,
    decode_event,
    encode_event,
    event_schema,
)

DOCS = Path(__file__).parents[2] / "docs" / "events.md"
SAMPLES = [line for line in DOCS.read_text().splitlines() if line.startswith('{"v"')]
NOW = 1_736_121_600_000
SHOWN = {"v": 1, "type": "impression", "impression_id": "i1", "timestamp": NOW}


def refusal(raw):
    with pytest.raises(EventError) as error:
        decode_event(raw if isinstance(raw, bytes) else json.dumps(raw).encode())
    return error.value.reason


@pytest.mark.parametrize("sample", SAMPLES)
def test_each_sample_of_the_docs_is_read_and_written_again_as_it_was(sample):
    assert json.loads(encode_event(decode_event(sample.encode()))) == json.loads(sample)


def test_the_docs_show_every_type_and_every_reason():
    shown = {json.loads(sample)["type"] for sample in SAMPLES}
    assert shown == {"impression", "click", "heartbeat", "example", "dead_letter"}
    assert all(f"| `{reason}` |" in DOCS.read_text() for reason in REASONS)


def test_the_schema_file_is_that_of_the_records():
    stored = json.loads(files("features").joinpath("event_schema.json").read_text())
    assert stored == json.loads(json.dumps(event_schema()))


def test_a_click_without_kind_is_a_click():
    raw = json.dumps({"v": 1, "type": "click", "impression_id": "i", "timestamp": NOW}).encode()
    event = decode_event(raw)
    assert isinstance(event, Click)
    assert event.kind == "click"


@example({"(unknown fields)": {"a": 1}})
@example({"extra": {"a": 1}})
@given(
    st.dictionaries(
        st.text(min_size=1).filter(
            lambda name: name not in (*Impression.__struct_fields__, "type")
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=5,
        ),
        max_size=4,
    )
)
def test_unknown_top_level_fields_come_out_again(unknown):
    event = decode_event(json.dumps({**SHOWN, **unknown}).encode())
    assert event.unknown() == unknown
    assert json.loads(encode_event(event)) == {**SHOWN, **unknown}


def test_an_example_keeps_the_unknown_fields_of_its_impression():
    shown = {**SHOWN, "auction": 9}
    raw = json.dumps({"v": 1, "type": "example", "label": 0, "impression": shown, "x": 1}).encode()
    event = decode_event(raw)
    assert isinstance(event, Example)
    assert json.loads(encode_event(event)) == json.loads(raw)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"v": 2}, "unsupported_version"),
        ({"v": True}, "unsupported_version"),
        ({"type": "conversion"}, "unknown_type"),
        ({"type": ["click"]}, "unknown_type"),
        ({"impression_id": ""}, "id_length"),
        ({"impression_id": "x" * 129}, "id_length"),
        ({"impression_id": 7}, "wrong_type"),
        ({"timestamp": 1_736_121_600}, "timestamp_range"),
        ({"timestamp": NOW * 1000}, "timestamp_range"),
        ({"timestamp": "now"}, "wrong_type"),
        ({"timestamp": NOW + 0.5}, "wrong_type"),
        ({"probability": 1.01}, "probability_range"),
        ({"probability": "high"}, "wrong_type"),
        ({"propensity": 0}, "probability_range"),
        ({"fields": ["user"]}, "wrong_type"),
        ({"fields": {"user": {"id": 1}}}, "wrong_type"),
        ({"counters": {"ctr": "x"}}, "wrong_type"),
        ({"fields": {"user": "x" * MAX_EVENT_BYTES}}, "event_too_large"),
    ],
)
def test_each_violation_has_its_reason(change, reason):
    assert refusal({**SHOWN, **change}) == reason
    assert refusal({**SHOWN, **change, "unknown": 1}) == reason


@pytest.mark.parametrize("name", ["impression_id", "timestamp"])
def test_a_missing_field_is_named(name):
    assert refusal({k: v for k, v in SHOWN.items() if k != name}) == "missing_field"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "broken_json"),
        (b"{", "broken_json"),
        (b'{"v":1,"type":"click","impression_id":"\xff","timestamp":1736121600000}', "broken_json"),
        (b'{"v":1} {"v":1}', "broken_json"),
        (b'{"v":1,"x":' + b"[" * 50_000 + b"]" * 50_000 + b"}", "broken_json"),
        (b"[]", "not_an_object"),
        (b"null", "not_an_object"),
        (b" " * 10 * MAX_EVENT_BYTES, "event_too_large"),
    ],
)
def test_what_is_no_object_has_its_reason(raw, reason):
    assert refusal(raw) == reason


@given(st.binary(max_size=80))
def test_any_bytes_give_an_event_or_a_known_reason(raw):
    try:
        decode_event(raw)
    except EventError as error:
        assert error.reason in REASONS
