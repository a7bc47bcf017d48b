"""The public estimators keep River's conventions."""

import numpy as np
import pandas as pd
import pytest
from river import compose, datasets, evaluate, linear_model, metrics
from river.checks import yield_checks

from learning import ClickLearner, FTRLClassifier, HashedCrosses

ESTIMATORS = [ClickLearner(), FTRLClassifier(l1=0.1), HashedCrosses()]


@pytest.mark.parametrize(
    ("model", "check"),
    [
        pytest.param(model, check, id=f"{model.__class__.__name__}-{i}-{check.__name__}")
        for model in ESTIMATORS
        for i, check in enumerate(yield_checks(model))
    ],
)
def test_every_check_of_river_passes(model, check):
    check(model.clone())


@pytest.mark.parametrize("model", ESTIMATORS)
def test_no_check_is_skipped(model):
    assert not model._unit_test_skips()


@pytest.mark.parametrize("classifier", [FTRLClassifier(), linear_model.LogisticRegression()])
def test_hashed_crosses_feed_any_classifier_in_a_pipeline(classifier):
    model = compose.Pipeline(HashedCrosses(bits=18), classifier)
    auc = evaluate.progressive_val_score(datasets.Phishing(), model, metrics.ROCAUC())
    assert auc.get() > 0.9


def test_a_click_learner_pipes_after_a_selector():
    model = compose.Select("a", "b") | ClickLearner()
    for i in range(200):
        model.learn_one({"a": i % 2, "b": "x", "c": i}, bool(i % 2))
    assert model.predict_proba_one({"a": 1, "b": "x"})[True] > 0.7


def test_crosses_let_the_learner_see_what_no_single_field_shows():
    model, rng = ClickLearner(), np.random.default_rng(0)
    bits = rng.integers(0, 2, (4000, 2))
    frame = pd.DataFrame(bits, columns=["a", "b"])
    model.learn_many(frame, pd.Series(bits[:, 0] ^ bits[:, 1]).astype(bool))
    assert model.predict_proba_one({"a": 0, "b": 1})[True] > 0.8
    assert model.predict_proba_one({"a": 1, "b": 1})[True] < 0.2


def test_importance_two_is_one_gradient_of_twice_the_size():
    heavy, twice = FTRLClassifier(), FTRLClassifier()
    heavy.learn_one({"a": 1.0}, True, w=2.0)
    twice.learn_one({"a": 1.0}, True)
    assert heavy.predict_proba_one({"a": 1.0})[True] > twice.predict_proba_one({"a": 1.0})[True]
