"""The counters that a prediction used, logged with the impression, are those that are learned."""

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from example_log import example_line
from hypothesis import given
from hypothesis import strategies as st
from small_spec import spec_of

from features.spec import CounterSpec
from features.vectoriser import Vectoriser
from streaming.examples import ExampleReader, examples_source
from streaming.prepare import Preparer
from streaming.served_counters import served_matrix
from streaming.sources import Position

START = 1_736_121_600_000
SPEC = spec_of(
    "user",
    "ad",
    time="t",
    counters=(CounterSpec(keys=("ad",), half_lives_h=(1, 24), prior_rate=0.1),),
)
VALUES = {"ad_views_1h": 41.5, "ad_clicks_1h": 3.25, "ad_views_24h": 77.125, "ad_clicks_24h": 9.0}


def line(number, counters=None, label=0, **more):
    shown = {} if counters is None else {"counters": counters}
    given = (f"i{number}", START + number, {"user": f"u{number}", "ad": "a"}, label)
    return example_line(*given, shown=shown, **more)


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


NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(0, 1e6).map(repr),
    st.integers(-(10**30), 10**30).map(str),
    st.sampled_from(["0", "-0", "-0.0", "1E5", "1e-7", "2.5e+300", "12345678901234567890.125"]),
)
KEYS = st.sampled_from(['"a"', '"b_1h"', '"c"', '"other"', '"\\u0061"', '"\\u00e9"', '"é"', '""'])
BLANK = st.sampled_from(["", " ", "\t", "  "])


@st.composite
def objects(draw):
    members = draw(st.lists(st.tuples(KEYS, NUMBERS), max_size=6))
    blanks = [draw(BLANK) for _ in range(4 * len(members) + 1)]
    parts = [
        f"{blanks[4 * i]}{key}{blanks[4 * i + 1]}:{blanks[4 * i + 2]}{number}{blanks[4 * i + 3]}"
        for i, (key, number) in enumerate(members)
    ]
    return ("{" + (",".join(parts) or blanks[0]) + "}").encode()


@given(st.lists(st.none() | objects(), max_size=8), st.integers(0, 3))
def test_a_matrix_has_what_a_strict_reader_finds(rows, skipped):
    names, strictly = ["a", "b_1h", "c", "é", ""], msgspec.json.Decoder(dict[str, float]).decode
    found = served_matrix(pa.array(rows, pa.binary())[skipped:], names)
    said = [{} if row is None else strictly(row) for row in rows[skipped:]]
    expected = [[one.get(name, np.nan) for name in names] for one in said]
    expected = np.array(expected, np.float64).reshape(len(said), len(names))
    assert (found + 0.0).tobytes() == (expected + 0.0).tobytes()  # -0 is 0


BROKEN = [
    b'{"a":"1"}', b'{"a":null}', b"[1]", b'"x"', b"7", b"true", b'{"a":1e999}', b'{"a":tru}',
    b'{"a":01}', b'{"a":1,}', b'{"a":[1]}', b'{"a" 1}', b'{"a":1.}', b'{1:2}', b'{,}',
]  # fmt: skip


@pytest.mark.parametrize("counters", BROKEN)
def test_an_example_with_other_counters_than_numbers_is_rejected(counters):
    lines = [line(i, {"a": 1.0}) for i in range(3)]
    lines[1] = lines[1].replace(b'{"a":1.0}', counters)
    _, ready = prepared(*lines)
    assert ready.hashed.rows == 2
    assert [reject.reason for reject in ready.rejects] in (["broken_json"], ["wrong_type"])


def test_no_counters_at_all_may_be_said_as_null():
    _, ready = prepared(line(0), line(1).replace(b'"fields"', b'"counters":null,"fields"'))
    _, plain = prepared(line(0), line(1))
    assert tokens(ready, 1) == tokens(plain, 1) and not ready.rejects
