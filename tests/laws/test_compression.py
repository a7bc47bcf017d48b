"""Crosses in half precision: what is served moves by less than .0002."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clicktide.click_log import open_log, spec_for
from features.vectoriser import Vectoriser
from learning import ClickLearner
from learning.click_learner import probabilities
from learning.compression import compress_crosses, expand_crosses
from streaming.prepare import Preparer

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
LOGS = {
    "avazu20k": "avazu20k/avazu20k_by_hour.csv.gz",
    "criteo_attribution165k": "criteo_attribution165k/criteo_attribution165k.csv.gz",
}


def batches_of(log, spec):
    preparer = Preparer(Vectoriser(spec), spec.source)
    return [preparer(batch) for batch in open_log(log, spec, preparer.columns, None)]


def learn_most(log, name):
    """A learner of seven eighths of a log, and the hashed events of the last eighth."""
    spec = spec_for(log, name, [])
    learner, batches = ClickLearner(spec), batches_of(log, spec)
    rows = sum(batch.hashed.rows for batch in batches)
    left, last = rows * 7 // 8, []
    for batch in batches:
        cut = min(left, batch.hashed.rows)
        learner.learn_hashed(batch.hashed.part(0, cut), batch.labels[:cut])
        last.append(batch.hashed.part(cut, batch.hashed.rows))
        left -= cut
    return learner, last


def furthest_move(learner, events):
    weights = learner.weights
    before = [weights.predict(hashed) for hashed in events]
    weights.crosses[:] = expand_crosses(compress_crosses(weights.crosses))
    after = [weights.predict(hashed) for hashed in events]
    moves = [
        np.abs(probabilities(a) - probabilities(b)) for a, b in zip(before, after, strict=True)
    ]
    return max(move.max(initial=0.0) for move in moves)


def test_probabilities_on_the_simulated_market_move_by_less_than_a_5000th():
    move = furthest_move(*learn_most("sim:stationary?events=40000", None))
    assert 0.0 < move < 0.0002


@pytest.mark.skipif(not DATA.exists(), reason="the real click logs are not here")
@pytest.mark.parametrize("log", LOGS)
def test_probabilities_on_real_logs_move_by_less_than_a_5000th(log):
    assert 0.0 < furthest_move(*learn_most(str(DATA / LOGS[log]), log)) < 0.0002


BUCKET = st.tuples(
    st.floats(-1e6, 1e6, width=32), st.floats(0, 65536, width=32), st.floats(-1e4, 1e4, width=32),
    st.one_of(st.just(0.0), st.floats(2**-20, 4096, width=32)),
)  # fmt: skip


@given(buckets=st.lists(BUCKET, min_size=1, max_size=8))
@settings(max_examples=300)
def test_what_is_predicted_with_is_rounded_and_nothing_else(buckets):
    held = np.array(buckets, np.float32)
    found = expand_crosses(compress_crosses(held))
    for (w, n, residual, variance), (w2, n2, residual2, variance2) in zip(
        held.tolist(), found.tolist(), strict=True
    ):
        near = {"rel_tol": 2**-10, "abs_tol": 1e-7}
        assert math.isclose(max(min(w, 65504), -65504), w2, **near)
        assert math.isclose(math.sqrt(n), math.sqrt(n2), **near)
        assert (variance == 0) == (variance2 == 0)
        if variance:
            assert math.isclose(residual / (variance + 3), residual2 / (variance2 + 3), **near)
