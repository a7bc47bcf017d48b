"""Leaving out unclicked events by id: every click stays, every expectation is that of all."""

import numpy as np
import pyarrow as pa
import pytest

from features.errors import ClicktideError
from features.spec import CounterSpec, FieldSpec, SourceSpec, Spec
from features.vectoriser import Vectoriser
from streaming.batch_cuts import Subsample
from streaming.prepare import Preparer
from streaming.sources import Batch, Position

SOURCE = SourceSpec(label="click", event_id="id", weight="w")
SPEC = Spec(name="x", source=SOURCE, fields=(FieldSpec(names=("ad",)),))


def rows(count, labels=None):
    clicks = [0] * count if labels is None else labels
    columns = {
        "id": [f"e{n}" for n in range(count)], "click": [str(y) for y in clicks],
        "ad": [f"a{n % 7}" for n in range(count)], "w": ["2"] * count,
    }  # fmt: skip
    return pa.RecordBatch.from_pydict(columns)


def batch(columns):
    count = columns.num_rows
    places = lambda i: Position("log", i + 1)  # noqa: E731
    return Batch(columns, "log", lambda i: (i + 1, b""), places, Position("log", count))


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
def test_the_sum_of_weights_is_that_of_all_events(share):
    weights = Subsample(share, SOURCE).weights(rows(100_000), np.zeros(100_000))
    kept = weights > 0
    assert weights[kept].min() == weights[kept].max() == pytest.approx(1 / share)
    sd = np.sqrt((1 - share) / share / 100_000)
    assert weights.mean() == pytest.approx(1.0, abs=5 * sd)


def test_clicks_stay_and_the_choice_is_the_ids_alone():
    labels = np.arange(2000) % 3 == 0
    ready = Preparer(Vectoriser(SPEC), SOURCE, subsample=Subsample(0.2, SOURCE))(
        batch(rows(2000, labels.astype(int)))
    )
    assert ready.labels.sum() == labels.sum()
    assert set(ready.importance[ready.labels == 1]) == {2.0}  # its own weight stays
    assert set(ready.importance[ready.labels == 0]) == {10.0}
    columns = rows(2000, labels.astype(int))
    halves = [
        Preparer(Vectoriser(SPEC), SOURCE, subsample=Subsample(0.2, SOURCE))(batch(part)).rows
        for part in (columns.slice(0, 700), columns.slice(700))
    ]
    assert np.concatenate([halves[0], halves[1] + 700]).tolist() == ready.rows.tolist()


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, float("nan")])
def test_what_is_no_share_is_refused(share):
    with pytest.raises(ClicktideError, match="no share of events"):
        Subsample(share, SOURCE)


def test_a_log_without_ids_and_a_spec_with_counters_are_refused():
    with pytest.raises(ClicktideError, match="event_id"):
        Subsample(0.5, SourceSpec(label="click"))
    counted = Spec(
        name="x", source=SOURCE, fields=SPEC.fields,
        counters=(CounterSpec(keys=("ad",), half_lives_h=(1.0,)),),
    )  # fmt: skip
    with pytest.raises(ClicktideError, match="counters"):
        Preparer(Vectoriser(counted), SOURCE, subsample=Subsample(0.5, SOURCE))
