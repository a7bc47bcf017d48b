"""How sure a prediction is: it grows surer with evidence, and knows where it errs."""

import numpy as np
import pytest
from small_spec import spec_of

from features.spec import FieldSpec, HashSpec, LearnerSpec
from learning import ClickLearner
from learning.buckets import expand_event
from learning.uncertainty import uncertainty
from learning.weights import SingleWeights


def of(model, **event):
    return float(uncertainty(model, model.hash_event(event))[0])


def test_evidence_shrinks_it_step_by_step():
    model, seen = ClickLearner(), []
    for _ in range(30):
        model.learn_one({"ad": "a", "site": "s"}, False)
        seen.append(of(model, ad="a", site="s"))
    # the mixture moves too, but less
    assert all(after < before for before, after in zip(seen[:-5:5], seen[5::5], strict=True))


@pytest.mark.parametrize("kind", ["single", "stack"])
def test_it_is_the_formula(kind):
    spec = spec_of(
        "a",
        "b",
        FieldSpec(names=("c",), transform="categories"),
        label="y",
        hash=HashSpec(bits=8, cross_bits=9),
        learner=LearnerSpec(kind=kind),
    )
    model, rng = ClickLearner(spec), np.random.default_rng(5)
    events = [
        {"a": f"{rng.integers(4)}", "b": f"{rng.integers(3)}", "c": ["p", "q"][: rng.integers(3)]}
        for _ in range(200)
    ]
    for event in events:
        model.learn_one(event, bool(rng.random() < 0.3))
    for event in events[:20]:
        hashed = model.vectoriser.hash_event(event)
        assert uncertainty(model, hashed)[0] == pytest.approx(
            by_hand(model.weights, hashed), rel=1e-4
        )


def by_hand(weights, hashed):
    _, (tokens, starts, _, *rest), slots, *_ = weights.arguments(hashed)
    f, c = expand_event(tokens, starts, 0, *rest, *slots, 0)
    widths = weights.fields.shape[1], weights.crosses.shape[1]
    fields = [weights.fields[slot // widths[0]] for slot in slots.field[0, :f]]
    crosses = [weights.crosses[slot // widths[1]] for slot in slots.cross[0, :c]]
    if isinstance(weights, SingleWeights):
        rates = LearnerSpec().fields
        n = [weights.arrays["bias"][1], *(row[1] for row in (*fields, *crosses))]
        return np.sqrt(sum(rate(m, rates.alpha, rates.beta, rates.l2) for m in n))
    slow, fast, crossed = (
        sum(rate(row[place], alpha) for row in fields)
        for place, alpha in ((1, 0.03), (3, 0.1), (5, 0.03))
    )
    crossed += sum(rate(row[1], 0.12 / np.sqrt(c)) for row in crosses)
    mix = weights.arrays["mixture"]
    total = mix[0] * np.sqrt(slow) + (mix[1] + mix[3]) * np.sqrt(fast) + mix[2] * np.sqrt(crossed)
    return 1.4 * weights.calibration[0] * total


def rate(n, alpha, beta=0.3, l2=1.0):
    return 1 / ((beta + np.sqrt(n)) / alpha + l2)
