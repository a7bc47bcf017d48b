"""Compiling the kernels of scoring before the first request, which would wait for them."""

from __future__ import annotations

import msgspec
import numpy as np

from features.spec import HashSpec, Spec
from learning.click_learner import ClickLearner
from serving.features import FeatureSource
from serving.rank_bodies import Explore
from serving.ranking import rank
from serving.scored import Events
from serving.scorer import Judge, Scorer
from serving.sharing import together
from serving.weights import FixedWeighing

__all__ = ["warm_up"]

_COUNTS = (1, 40)
"""Events one by one, and as columns."""


class _Small:
    """Weights of a learner that has learned nothing."""

    problem: str | None = None

    def __init__(self, learner: ClickLearner) -> None:
        self.weighing = FixedWeighing(learner, "warm-up", 0)

    def current(self) -> FixedWeighing:
        """These weights."""
        return self.weighing

    def close(self) -> None:
        """Nothing is held."""


def warm_up(spec: Spec, features: FeatureSource | None, judge: Judge | None) -> None:
    """Score some events with small tables of a spec, and ask the store once.

    Parameters
    ----------
    spec
        Which kernels are needed.
    features
        The store's reader.
    judge
        As the scorer has it.
    """
    small = msgspec.structs.replace(spec, hash=HashSpec(bits=4, cross_bits=4))
    learner = ClickLearner(small)
    assert learner.vectoriser is not None
    times = {f.column for f in learner.vectoriser.fields if f.is_time}
    names = [name for name in learner.vectoriser.columns if name not in times]
    lists = {f.column for f in learner.vectoriser.fields if f.transform == "categories"}
    learner.learn_one({}, True)
    none = FeatureSource(small, None)
    scorer = Scorer(_Small(learner), none, small, lambda: 0, judge)
    for value in (None, 1, "1"):
        fields = {name: [value, "a"] if name in lists else value for name in names}
        for count in _COUNTS:
            scorer.score(Events(together({}, [fields] * count), [0] * count))
            shared = together(fields, [{names[0]: value}] * count)
            scorer.score(Events(shared, [0] * count))
    few, rng = np.ones(3), np.random.default_rng(0)
    for explore in (Explore("none"), Explore("epsilon"), Explore("thompson")):
        rank(few / 2, few, few, few, explore, rng, 2)
    plain = {name: "1" for name in names if name not in lists}
    for source in [none] if features is None else [none, features]:
        for count in _COUNTS:
            source.fetch_all([([plain], 0)] * count)
