"""The deviation of a logit is that of its error: intervals hold the truth as often as they say."""

import numpy as np

from features.hashed import Hashed
from features.spec_file import load_spec
from learning import ClickLearner
from market import open_simulation
from streaming.prepare import Preparer

LEARNED, ASKED = 40_000, 10_000


def test_intervals_hold_the_true_logit_and_are_wider_for_a_new_ad():
    spec = load_spec("sim")
    model, rows, held, wider = ClickLearner(spec), 0, [], []
    prepare = Preparer(model.vectoriser, spec.source)
    ad = [field.name for field in model.vectoriser.fields].index("ad")
    source = f"sim:stationary?events={LEARNED + ASKED}&seed=4"
    for batch in open_simulation(source, prepare.columns):
        ready = prepare(batch)
        if rows >= LEARNED:
            logits, deviations = model.weights.predict_with_deviation(ready.hashed)
            true = np.log(ready.truth / (1 - ready.truth))
            held.append(np.abs(logits - true) < 1.96 * deviations)
            new = with_a_new_ad(ready.hashed, ad)
            wider.append(model.weights.predict_with_deviation(new)[1] > deviations)
        else:
            model.learn_hashed(ready.hashed, ready.labels)
        rows += ready.hashed.rows
    assert 0.9 < np.concatenate(held).mean() < 0.995
    assert np.concatenate(wider).mean() > 0.95


def with_a_new_ad(hashed, ad):
    tokens = hashed.tokens.copy()
    at = hashed.starts[np.arange(hashed.rows) * hashed.fields + ad]
    tokens[at] = np.random.default_rng(0).integers(0, 2**64, len(at), dtype=np.uint64)
    return Hashed(tokens, hashed.starts, hashed.rows, hashed.fields)
