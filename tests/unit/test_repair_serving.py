"""Repairs in serving: what is repaired is told, and the bits of all else stay as they are."""

import numpy as np
import pytest
from served_app import HeldWeights
from small_spec import spec_of

from learning import ClickLearner
from monitoring.watch.repair.table import Repair, RepairTable, repaired
from serving.event_batch import MANY, EventBatch, shared_fields
from serving.scorer import Scorer

SPEC = spec_of("ad", "site", "size", name="shop", bits=8)
TABLE = RepairTable(5, (Repair("site", "s1", "site", 0.5, 3), Repair("size", "7", "size", 1.25, 4)))


def learned():
    learner = ClickLearner(SPEC)
    for i in range(200):
        learner.learn_one({"ad": f"a{i % 5}", "site": f"s{i % 3}", "size": i % 9}, i % 4 == 0)
    return learner


WEIGHTS = HeldWeights(learned(), "v1", 200)


def scorer(table):
    return Scorer(WEIGHTS, None, SPEC, lambda: 0, lambda: table)


def score(table, rows):
    return scorer(table).score(EventBatch(rows, [0] * len(rows)))


ROWS = [
    {"ad": "a1", "site": "s1", "size": 7}, {"ad": "a1", "site": "s1"}, {"ad": "a1", "size": 7.0},
    {"ad": "a2", "site": "s2", "size": "7"}, {"ad": "a2", "site": "s0"}, {}, {"site": None},
]  # fmt: skip


def test_only_slices_that_are_repaired_change_and_it_is_told():
    plain, mended = score(None, ROWS), score(TABLE, ROWS)
    factors = [0.625, 0.5, 1.25, 1.25, 1.0, 1.0, 1.0]
    assert mended.model_probability.tolist() == plain.probability.tolist()
    for i, factor in enumerate(factors):
        if factor == 1.0:
            assert mended.probability[i] == plain.probability[i]
            assert mended.logit[i] == plain.logit[i]
            assert mended.repairs[i] == ()
        else:
            assert mended.probability[i] == repaired(plain.probability[i : i + 1], factor)[0]
            assert 1 / (1 + np.exp(-mended.logit[i])) == pytest.approx(mended.probability[i])
    assert [one.name for one in mended.repairs[0]] == ["site=s1", "size=7"]
    assert mended.version == f"v1+r{TABLE.id}"
    assert plain.version == "v1"
    assert plain.repairs is None


def test_nothing_to_repair_leaves_everything_but_the_version():
    rows = [{"ad": "a1", "site": "s2"}]
    plain, mended = score(None, rows), score(TABLE, rows)
    assert mended.repairs is None
    assert mended.probability.tolist() == plain.probability.tolist()
    assert mended.version == f"v1+r{TABLE.id}"  # it says which table was looked at


@pytest.mark.parametrize("shared", [{"site": "s1"}, {"size": 7}, {}])
def test_many_candidates_are_repaired_as_each_alone(shared):
    own = [ROWS[i % len(ROWS)] for i in range(MANY + 5)]
    many = scorer(TABLE).score(EventBatch(shared_fields(shared, own), [0] * len(own)))
    for i, one in enumerate(own):
        alone = score(TABLE, [{**shared, **one}])
        assert many.probability[i] == alone.probability[0]
        assert many.logit[i] == alone.logit[0]
        told = () if alone.repairs is None else alone.repairs[0]
        assert many.repairs[i] == told
