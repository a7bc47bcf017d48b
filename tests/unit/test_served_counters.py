"""The counters that a prediction used, logged with the impression, are those that are learned."""

import msgspec
import numpy as np
import pytest

from features.spec import CounterSpec, FieldSpec, SourceSpec, Spec
from features.vectoriser import Vectoriser
from streaming.examples import ExampleReader, examples_source
from streaming.prepare import Preparer
from streaming.sources import Position

START = 1_736_121_600_000
SPEC = Spec(
    name="x",
    source=SourceSpec(label="click", timestamp="t", timestamp_format="ms"),
    fields=(FieldSpec(names=("user", "ad")),),
    counters=(CounterSpec(keys=("ad",), half_lives_h=(1, 24), prior_rate=0.1),),
)
VALUES = {"ad_views_1h": 41.5, "ad_clicks_1h": 3.25, "ad_views_24h": 77.125, "ad_clicks_24h": 9.0}


def line(number, counters=None, **more):
    shown = {
        "type": "impression", "v": 1, "impression_id": f"i{number}", "timestamp": START + number,
        "fields": {"user": f"u{number}", "ad": "a"},
    }  # fmt: skip
    shown |= {} if counters is None else {"counters": counters}
    return msgspec.json.encode({"type": "example", "v": 1, "label": 0, "impression": shown, **more})


def prepared(*lines, learn=True):
    source, vectoriser = examples_source(SPEC), Vectoriser(SPEC)
    prepare = Preparer(vectoriser, source, learn=learn)
    reader = ExampleReader(source, prepare.columns)
    [batch] = reader.batches(b"\n".join(lines), lambda i: ("x", i), Position("", len(lines)))
    return vectoriser, prepare(batch)


def tokens(ready, row):
    return ready.hashed.tokens.reshape(ready.hashed.rows, -1)[row].tolist()


def event(number, values):
    named = {f"counter:{name}": value for name, value in values.items()}
    return {"user": f"u{number}", "ad": "a", **named}


@pytest.mark.parametrize("learn", [True, False])
def test_what_was_served_is_learned_to_the_bit(learn):
    vectoriser, ready = prepared(line(0, VALUES), line(1, {"ad_views_1h": 1e-3}), learn=learn)
    for number, values in enumerate([VALUES, {"ad_views_1h": 1e-3}]):
        assert tokens(ready, number) == vectoriser.hash_event(event(number, values)).tokens.tolist()


def test_an_impression_served_without_any_counter_is_learned_without_any():
    vectoriser, ready = prepared(line(0), line(1, {}))
    missing = vectoriser.counters.missing.tolist()
    assert tokens(ready, 1)[2:] == missing
    assert tokens(ready, 0)[2:] != missing  # read from the table: no view yet is known, not missing


def test_the_table_counts_events_that_carry_their_counters_too():
    plain, _ = prepared(line(0), line(1), line(2))
    mixed, _ = prepared(line(0), line(1, VALUES), line(2))
    for name, array in plain.counters.state().items():
        assert np.array_equal(array, mixed.counters.state()[name])


def test_a_text_that_says_counters_is_a_text():
    shown = line(0).replace(b'"ad":"a"', b'"ad":"\\"counters\\""')
    _, ready = prepared(shown)
    assert ready.hashed.rows == 1 and not ready.rejects


def test_a_late_click_without_served_counters_teaches_nothing_about_any_value():
    late = line(1, correction=True, label=1, click_timestamp=START + 99)
    vectoriser, ready = prepared(line(0), line(1), late, line(2))
    assert ready.corrections.tolist() == [0, 0, 1, 0]
    own = set(tokens(ready, 2)[2:])
    values = np.array([[0.0], [1.0], [9.0], [np.nan]]) * np.ones(
        len(vectoriser.counters.value_names)
    )
    met = {
        *vectoriser.counters.missing.tolist(),
        *vectoriser.counters.tokens(values).ravel().tolist(),
    }
    assert own.isdisjoint(met | {*tokens(ready, 1), *tokens(ready, 3)})
    without, _ = prepared(line(0), line(1), line(2))
    for name, array in without.counters.state().items():
        assert np.array_equal(array, vectoriser.counters.state()[name])


def test_a_late_click_corrects_what_was_served():
    vectoriser, ready = prepared(
        line(0, VALUES, correction=True, label=1, click_timestamp=START + 99)
    )
    assert ready.corrections.tolist() == [1]
    assert tokens(ready, 0) == vectoriser.hash_event(event(0, VALUES)).tokens.tolist()
