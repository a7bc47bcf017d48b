"""The deviation of a logit is that of its error: intervals hold the truth as often as they say."""

import numpy as np

from features.hashed import Hashed
from features.spec_file import load_spec
from learning import ClickLearner
from market import open_simulation
from streaming.prepare import Preparer

LEARNED, ASKED = 40_000, 10_000


def test_the_error_grows_with_it_intervals_hold_the_true_logit_and_are_wider_for_a_new_ad():
    spec = load_spec("sim")
    model, rows, errors, deviations, wider = ClickLearner(spec), 0, [], [], []
    prepare = Preparer(model.vectoriser, spec.source)
    ad = [field.name for field in model.vectoriser.fields].index("ad")
    source = f"sim:stationary?events={LEARNED + ASKED}&seed=4"
    for batch in open_simulation(source, prepare.columns):
        ready = prepare(batch)
        if rows >= LEARNED:
            logits, sd = model.weights.predict_with_deviation(ready.hashed)
            errors.append(logits - np.log(ready.truth / (1 - ready.truth)))
            deviations.append(sd)
            new = with_a_new_ad(ready.hashed, ad)
            wider.append(model.weights.predict_with_deviation(new)[1] > sd)
        else:
            model.learn_hashed(ready.hashed, ready.labels)
        rows += ready.hashed.rows
    error, sd = np.concatenate(errors), np.concatenate(deviations)
    assert 0.9 < (np.abs(error) < 1.96 * sd).mean() < 0.995
    assert np.concatenate(wider).mean() > 0.95
    quarters = np.argsort(np.argsort(sd)) * 4 // len(sd)
    rms = [np.sqrt((error[quarters == q] ** 2).mean()) for q in range(4)]
    assert rms[0] < rms[1] < rms[3] and rms[2] < rms[3] and rms[3] > 1.08 * rms[0]
    assert 0.7 < np.sqrt((sd**2).mean() / (error**2).mean()) < 1.5  # of the right size too


def with_a_new_ad(hashed, ad):
    tokens = hashed.tokens.copy()
    at = hashed.starts[np.arange(hashed.rows) * hashed.fields + ad]
    tokens[at] = np.random.default_rng(0).integers(0, 2**64, len(at), dtype=np.uint64)
    return Hashed(tokens, hashed.starts, hashed.rows, hashed.fields)
