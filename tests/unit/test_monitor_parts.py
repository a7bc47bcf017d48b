"""Slices, drift, tables, settings and files of the monitor."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from small_spec import spec_of

from features.errors import ClicktideError, SnapshotError
from features.spec import FieldSpec, SourceSpec, Spec
from monitoring.watch.categorical import MISSING, Categorical, HashTable, encode, hashes_of
from monitoring.watch.detect.detector import SequentialDetector
from monitoring.watch.drift import drift_of, field_drift, prediction_drift
from monitoring.watch.monitor_files import label_health
from monitoring.watch.monitor_folder import MonitorFolder, load_state, save_state
from monitoring.watch.scored_batch import Scored
from monitoring.watch.slices import SliceField, slice_fields
from streaming.status import JoinerState

SPEC = spec_of(
    "ad",
    "site",
    FieldSpec(names=("tags",), transform="categories"),
    FieldSpec(names=("price",), transform="log2"),
    FieldSpec(names=("when",), transform="hour_of_day", column="t"),
    FieldSpec(names=("day",), transform="day_of_week", column="seen", timestamp_format="iso"),
    time="t",
)


def values(coded):
    return [coded.values[code] for code in coded.codes]


# ---- coded columns


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array(["a", None, ""]), ["a", MISSING, MISSING]),
        (pa.array([1, 2, None]), ["1", "2", MISSING]),
        (pa.array([1.0, 0.5, float("nan"), -0.0, 0.0]), ["1", "0.5", MISSING, "0", "0"]),
        (pa.array([True, False, None]), ["true", "false", MISSING]),
        (pa.array([b"a", None]), ["a", MISSING]),
        (pa.nulls(2), [MISSING, MISSING]),
        (pa.array([["a", "b"], [], None]), ["a b", MISSING, MISSING]),
        (pa.array([[1, 2]]), ["1 2"]),
        (pa.array([{"x": 1}, None]), ["{'x': 1}", MISSING]),
        (pa.chunked_array([["a"], ["b", "a"]]), ["a", "b", "a"]),
        (pa.chunked_array([], pa.string()), []),
        (
            pa.DictionaryArray.from_arrays([0, 1, 2, None], ["a", "a", ""]),
            ["a", "a", MISSING, MISSING],
        ),
        (pa.array(["a", None]).dictionary_encode().slice(1), [MISSING]),
        (pa.array(["x", "y", None, "y"]).slice(1, 3), ["y", MISSING, "y"]),
    ],
)
def test_a_column_of_any_type_becomes_codes_of_distinct_texts(column, expected):
    coded = Categorical.of(column)
    assert values(coded) == expected
    assert coded.codes.dtype == np.int32
    assert len(set(coded.values)) == len(coded.values)
    assert coded.counts().sum() == len(expected)


TEXTS = st.lists(st.text(max_size=20), max_size=60)


@given(TEXTS, st.integers(0, 5))
def test_codes_and_distinct_texts_are_arrows(texts, skip):
    array = pa.array(texts, pa.string()).slice(skip)
    expected = pc.dictionary_encode(array)
    codes, first, hashes = encode(array)
    assert codes.tolist() == expected.indices.to_pylist()
    distinct = array.take(pa.array(first))
    assert distinct.to_pylist() == expected.dictionary.to_pylist()
    assert hashes.tolist() == hashes_of(distinct).tolist()


@given(st.lists(st.none() | st.text(max_size=8), max_size=40))
def test_null_and_the_empty_text_are_missing(texts):
    coded = Categorical.of(pa.array(texts, pa.string()))
    assert values(coded) == [text or MISSING for text in texts]
    assert coded.hashes.tolist() == hashes_of(coded.words).tolist()


def test_a_table_finds_what_was_added_and_nothing_else():
    rng = np.random.default_rng(1)
    hashes = rng.integers(0, 2**63, 5000).astype(np.uint64)
    table = HashTable()
    for start in range(0, 4000, 500):
        table.add(hashes[start : start + 500], np.arange(start, start + 500, dtype=np.int32))
    assert table.find(hashes).tolist() == [*range(4000), *[-1] * 1000]


# ---- slices


def test_slices_are_the_specs_fields_but_lists_and_read_as_it_does():
    fields = {field.name: field for field in slice_fields(SPEC)}
    assert list(fields) == ["ad", "site", "price", "when", "day"]
    rows = pa.record_batch(
        {"ad": ["a", None], "price": [9, 0], "seen": ["2025-01-06T00:00:00Z", None]}
    )
    time = np.array([1_736_121_600_000, 1_736_121_600_000 + 5 * 3_600_000])
    read = {name: values(field.coded(rows, time)) for name, field in fields.items()}
    assert read == {
        "ad": ["a", MISSING],
        "site": [MISSING, MISSING],
        "price": ["8..16", "0"],
        "when": ["00", "05"],
        "day": ["Mon", MISSING],
    }


def test_named_slices_may_be_any_column_and_the_hour():
    fields = slice_fields(SPEC, ["ad", "hour", "weekday", "position", "ad"])
    assert [(f.name, f.kind) for f in fields] == [
        ("ad", "value"), ("hour", "hour"), ("weekday", "weekday"), ("position", "value"),
    ]  # fmt: skip


def test_a_spec_without_an_hour_is_sliced_by_it_too_and_by_twenty_fields_at_most():
    names = tuple(f"f{i}" for i in range(30))
    spec = Spec(name="x", source=SourceSpec(label="y"), fields=(FieldSpec(names=names),))
    fields = [field.name for field in slice_fields(spec)]
    assert fields == [*names[:20], "hour"]


def test_numbers_are_sliced_by_powers_of_two():
    field = SliceField("n", "number", "n")
    rows = pa.record_batch({"n": [0.0, 1.0, 1.99, 2.0, 1000.0, -3.0, None, float("nan"), 0.3]})
    assert values(field.coded(rows, np.zeros(9, np.int64))) == [
        "0", "1..2", "1..2", "2..4", "512..1024", "-4..-2", MISSING, MISSING, "0.25..0.5",
    ]  # fmt: skip


# ---- drift


def test_effect_sizes_are_their_definitions():
    before, after = np.array([400.0, 300.0, 300.0]), np.array([100.0, 500.0, 400.0])
    drift = drift_of(["a", "b", "c"], before, after)
    p, q = (before + 0.5) / (1000 + 1.5), (after + 0.5) / (1000 + 1.5)
    assert drift.psi == pytest.approx(((q - p) * np.log(q / p)).sum(), abs=1e-12)
    assert drift.jensen_shannon == pytest.approx(jensenshannon(before, after, base=2), abs=1e-9)
    assert (drift.cell, drift.before, drift.after, drift.level) == ("a", 0.4, 0.1, "large")


def test_without_drift_psi_is_about_its_noise_and_the_level_none():
    rng = np.random.default_rng(0)
    psi, noise = [], []
    for _ in range(200):
        before, after = rng.multinomial(2000, [0.05] * 20, size=2).astype(float)
        drift = drift_of(list(map(str, range(20))), before, after)
        psi.append(drift.psi)
        noise.append(drift.psi_noise)
        assert drift.level == "none"
    assert np.mean(psi) == pytest.approx(np.mean(noise), rel=0.1)


def test_a_field_that_goes_missing_shows():
    drift = field_drift({"a": 600.0, "b": 390.0, MISSING: 10.0}, {"a": 10.0, MISSING: 990.0})
    assert (drift.cell, drift.level) == (MISSING, "large")
    assert (drift.missing_before, drift.missing_after) == (0.01, 0.99)


def test_new_values_show_as_the_rest():
    drift = field_drift({"a": 500.0, "b": 500.0}, {"a": 350.0, "b": 350.0, "new": 300.0})
    assert (drift.cell, drift.after) == ("(rest)", 0.3)


def test_predictions_that_move_show_and_an_empty_side_says_nothing():
    before, after = np.zeros(100), np.zeros(100)
    before[40:60], after[45:65] = 50.0, 50.0
    assert prediction_drift(before, before).psi == 0.0
    assert prediction_drift(before, after).level == "large"
    assert prediction_drift(before, np.zeros(100)) is None
    assert prediction_drift(np.zeros(100), after) is None


# ---- label health


def test_health_between_two_moments_is_of_what_came_since():
    before = JoinerState(1000, 50, 900, 40, 5, 90, {"clicks": {"orphan_click": 5}}, 0, False)
    now = JoinerState(2000, 100, 1900, 60, 5, 90, {"clicks": {"orphan_click": 35}}, 0, False)
    health = label_health(now, before)
    assert (health.clicks, health.join_rate, health.orphan_share) == (50, 0.4, 0.6)
    assert health.late_share == 0.0


# ---- files


def test_a_damaged_file_is_refused(tmp_path):
    file = tmp_path / "state"
    save_state(file, {"a": np.arange(10), "b": ["x", 1, None, 0.1], "c": {"d": np.float64(2)}})
    read = load_state(file)
    assert read["a"].tolist() == list(range(10))
    assert (read["b"], read["c"]) == (["x", 1, None, 0.1], {"d": 2.0})
    raw = bytearray(file.read_bytes())
    raw[-3] ^= 1
    file.write_bytes(raw)
    with pytest.raises(SnapshotError, match="checksum"):
        load_state(file)
    file.write_bytes(b"")
    with pytest.raises(SnapshotError, match="format"):
        load_state(file)


def test_what_is_not_plain_is_not_written(tmp_path):
    with pytest.raises(TypeError, match="not plain"):
        save_state(tmp_path / "x", {"a": np.array([object()])})
    assert list(tmp_path.iterdir()) == []


def test_a_monitor_folder_of_an_older_version_is_refused(tmp_path):
    save_state(tmp_path / "state", {"format": 1, "windows": {"closed_to_ms": 0}})
    keeper = MonitorFolder(tmp_path, 10)
    with pytest.raises(ClicktideError, match=r"format 1, not 2.*Fix: name another --dir"):
        keeper.load({})
    keeper.close()


def test_detectors_refuse_a_state_of_an_older_version():
    detector = SequentialDetector()
    detector.update(Scored.of([0, 0], [0.1, 0.1], slices={"ad": ["a", "a"]}))
    state = detector.state() | {"format": 1}
    with pytest.raises(ClicktideError, match=r"format 1, not 2.*Fix: begin anew"):
        SequentialDetector().restore(state)
