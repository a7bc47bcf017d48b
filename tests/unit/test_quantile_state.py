"""What a quantile learner gave away as its state stays as it was."""

import numpy as np

from features.spec import FieldSpec, SourceSpec, Spec
from features.vectoriser import Vectoriser


def learner():
    field = FieldSpec(names=("price",), transform="quantile", buckets=4, learn_from=10)
    return Vectoriser(Spec(name="x", source=SourceSpec(label="y"), fields=(field,))).quantiles


def test_a_state_does_not_change_when_its_learner_gathers_on():
    ahead = learner()
    ahead.note(0, np.arange(3.0))
    state = ahead.state()
    ahead.note(0, np.arange(4.0))
    assert state["gathered"] == {"price": [0.0, 1.0, 2.0]}


def test_a_restored_learner_gathers_for_itself():
    one, two = learner(), learner()
    one.note(0, np.arange(3.0))
    two.restore(one.state())
    two.note(0, np.arange(4.0))
    assert one.state()["gathered"] == {"price": [0.0, 1.0, 2.0]}
