"""What was never seen stands for the average of the traffic: it neither raises nor lowers p."""

import numpy as np
import pytest

from features.hashed import Hashed
from features.spec_file import load_spec
from learning import ClickLearner
from learning.click_learner import probabilities
from market import open_simulation
from streaming.prepare import Preparer

LEARNED, ASKED = 60_000, 10_000


@pytest.fixture(scope="module")
def market():
    """A learner of the market with list fields, and the events after those it learned."""
    spec = load_spec("sim")
    model, later, rows = ClickLearner(spec), [], 0
    prepare = Preparer(model.vectoriser, spec.source)
    source = f"sim:stationary?events={LEARNED + ASKED}&seed=1"
    for batch in open_simulation(source, prepare.columns):
        ready = prepare(batch)
        if rows < LEARNED:
            model.learn_hashed(ready.hashed, ready.labels)
        else:
            later.append(ready)
        rows += ready.hashed.rows
    return model, later


def with_new_values(hashed, names, new, rng):
    """The same events, with values that nobody has seen in some fields."""
    tokens = hashed.tokens.copy()
    of = np.repeat(np.tile(np.arange(hashed.fields), hashed.rows), np.diff(hashed.starts))
    chosen = np.isin(of, [names.index(name) for name in new])
    tokens[chosen] = rng.integers(0, 2**64, chosen.sum(), dtype=np.uint64)
    return Hashed(tokens, hashed.starts, hashed.rows, hashed.fields)


def ratio(market, new):
    """Predicted over true probability."""
    (model, later), rng = market, np.random.default_rng(0)
    names = [field.name for field in model.vectoriser.fields]
    predicted = [
        probabilities(model.predict_hashed(with_new_values(part.hashed, names, new, rng))).sum()
        for part in later
    ]
    return sum(predicted) / sum(part.truth.sum() for part in later)


AD = ("ad", "campaign", "advertiser", "ad_category")


@pytest.mark.parametrize(
    "new",
    [AD[:1], AD[:2], AD, ("user", "ad", "site"), ("interests",),
     (*AD, "user", "segment", "site", "placement", "interests", "hour_of_day", "day_of_week")],
    ids=" ".join,
)  # fmt: skip
def test_new_values_change_the_sum_of_predictions_by_a_few_per_cent_at_most(market, new):
    assert ratio(market, new) == pytest.approx(ratio(market, ()), rel=0.05)


def test_an_event_of_nothing_known_is_near_the_base_rate(market):
    model, _ = market
    base = model.weights.arrays["totals"][1] / model.weights.arrays["totals"][0]
    unknown = model.predict_proba_one({"user": "nobody", "ad": "new", "site": "elsewhere"})[True]
    assert 0.5 < unknown / base < 2.0
