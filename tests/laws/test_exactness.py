"""The kernel is Algorithm 1 of McMahan et al. 2013, and law 3: no cut of a batch changes a bit."""

import gzip
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.hashed import Hashed
from features.spec import (
    CrossSpec,
    ExpertSpec,
    FieldSpec,
    HashSpec,
    LearnerSpec,
    Rates,
    SourceSpec,
    Spec,
)
from features.spec_file import load_spec
from features.vectoriser import Vectoriser
from learning import ClickLearner, FTRLClassifier
from learning.buckets import expand_event
from learning.weights import Weights

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
CRITEO = DATA / "criteo_dac80k" / "criteo_dac80k.tsv.gz"
SINGLE = LearnerSpec(
    kind="single",
    fields=Rates(alpha=0.1, beta=1.0, l1=0.3, l2=1.0),
    crosses=Rates(alpha=0.03, beta=0.5, l1=0.1, l2=2.0),
)


def algorithm_1(events, labels, rates):
    """McMahan et al. 2013, Algorithm 1, to the letter; an event is {(table, bucket): x}."""
    z, n, predictions = {}, {}, []
    for x, y in zip(events, labels, strict=True):
        w = {}
        for i in x:
            alpha, beta, l1, l2 = rates[i[0]]
            if abs(z.get(i, 0.0)) <= l1:
                w[i] = 0.0
            else:
                sign = math.copysign(1.0, z[i])
                w[i] = -1.0 / ((beta + math.sqrt(n[i])) / alpha + l2) * (z[i] - sign * l1)
        p = 1.0 / (1.0 + math.exp(-sum(w[i] * x[i] for i in x)))
        for i in x:
            g = (p - y) * x[i]
            sigma = (math.sqrt(n.get(i, 0.0) + g * g) - math.sqrt(n.get(i, 0.0))) / rates[i[0]][0]
            z[i] = z.get(i, 0.0) + g - sigma * w[i]
            n[i] = n.get(i, 0.0) + g * g
        predictions.append(p)
    return predictions, z, n


def bucket_events(hashed, weights):
    """The events as {(table, bucket): x}, by the kernel's own buckets."""
    field_slots, cross_slots = np.empty(64, np.int64), np.empty(2000, np.int64)
    events = []
    for row in range(hashed.rows):
        f, c = expand_event(
            hashed.tokens, hashed.starts, row, hashed.fields, weights.index, weights.shifts,
            np.array([2, 2 * weights.kc]), field_slots, 0, cross_slots, 0,
        )  # fmt: skip
        event = {}
        for table, slots in (("field", field_slots[:f]), ("cross", cross_slots[:c])):
            for slot in slots:
                event[table, int(slot) // 2] = event.get((table, int(slot) // 2), 0.0) + 1.0
        events.append(event)
    return events


def rates_of(learner):
    return {"field": vars_of(learner.fields), "cross": vars_of(learner.crosses)}


def vars_of(rates):
    return rates.alpha, rates.beta, rates.l1, rates.l2


def assert_is_algorithm_1(hashed, labels, crosses, sizes):
    weights = Weights(sizes, SINGLE, crosses)
    logits = weights.learn(hashed, labels)
    expected, z, n = algorithm_1(bucket_events(hashed, weights), labels, rates_of(SINGLE))
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), expected, rtol=1e-5)
    tables = {"field": weights.fields, "cross": weights.crosses}
    for (table, bucket), value in z.items():
        assert tables[table][bucket, 0, 0] == pytest.approx(value, rel=1e-5, abs=1e-9)
        assert tables[table][bucket, 1, 0] == pytest.approx(n[table, bucket], rel=1e-5, abs=1e-12)


def read_criteo(rows):
    spec = load_spec("criteo_dac80k")
    with gzip.open(CRITEO, "rt") as file:
        frame = pd.read_csv(file, sep="\t", nrows=rows, dtype=str, keep_default_na=False)
    vectoriser = Vectoriser(spec)
    hashed = vectoriser.hash_frame(frame)
    return hashed, frame["label"].astype(float).to_numpy(), vectoriser.crosses


@pytest.mark.skipif(not CRITEO.exists(), reason="the real click logs are not here")
@pytest.mark.parametrize("with_crosses", [False, True])
def test_the_kernel_is_algorithm_1_over_real_events(with_crosses):
    hashed, labels, crosses = read_criteo(800 if with_crosses else 10_000)
    crosses = crosses if with_crosses else crosses[:0]
    assert_is_algorithm_1(hashed, labels, crosses, HashSpec(bits=22, cross_bits=22))


@given(seed=st.integers(0, 2**32), bits=st.integers(4, 12))
@settings(max_examples=30)
def test_the_kernel_is_algorithm_1_even_where_features_share_buckets(seed, bits):
    hashed, labels, crosses = random_events(seed, rows=60)
    assert_is_algorithm_1(hashed, labels, crosses, HashSpec(bits=bits, cross_bits=bits))


def random_events(seed, rows, fields=5, ragged=False):
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 4, rows * fields) if ragged else np.ones(rows * fields, np.int64)
    starts = np.concatenate([[0], np.cumsum(counts)])
    values = rng.integers(0, 30, starts[-1]).astype(np.uint64)
    tokens = values * np.uint64(0x9E3779B97F4A7C15) + np.uint64(1)
    crosses = np.array(
        [*([a, b, -1] for a in range(fields) for b in range(a)), [0, 1, 2]], np.int32
    )
    labels = rng.integers(0, 2, rows).astype(np.float64)
    return (
        Hashed(tokens, starts if ragged else np.empty(0, np.int64), rows, fields),
        labels,
        crosses,
    )


@pytest.mark.parametrize("l1", [0.0, 0.25])
def test_a_weight_is_zero_exactly_where_z_is_within_l1(l1):
    model = FTRLClassifier(alpha=0.5, l1=l1)
    rng = np.random.default_rng(1)
    zeros = others = 0
    for _ in range(400):
        x = {int(k): 1.0 for k in rng.integers(0, 60, 3)}
        model.learn_one(x, bool(rng.random() < 0.3))
        for key, i in model._index.items():
            assert (key in model.weights) == (abs(model._z[i]) > l1)
            zeros, others = zeros + (key not in model.weights), others + (key in model.weights)
    assert others and (zeros or not l1)


def test_the_kernels_weights_are_zero_exactly_where_z_is_within_l1():
    hashed, labels, crosses = random_events(3, rows=300)
    weights = Weights(HashSpec(bits=8, cross_bits=8), SINGLE, crosses)
    weights.learn(hashed, labels)
    z = weights.fields[:, 0, 0]
    alone = np.arange(256, dtype=np.uint64) << np.uint64(56)  # a token for every bucket
    event = Hashed(alone, np.empty(0, np.int64), 256, 1)
    plain = Weights(HashSpec(bits=8, cross_bits=8), SINGLE, crosses[:0])
    plain.fields[:] = weights.fields
    plain.fields[-1] = 0.0  # no bias: the logit is the weight
    w = plain.predict(event)
    np.testing.assert_array_equal(w == 0.0, np.abs(z[:256]) <= 0.3)
    assert 0 < (w == 0.0).sum() < 256


MIXTURE = LearnerSpec(
    experts=(
        ExpertSpec(fields=Rates(alpha=0.05), crosses=Rates(alpha=0.01)),
        ExpertSpec(fields=Rates(alpha=0.2, beta=0.3, l1=0.1)),
        ExpertSpec(fields=Rates(alpha=0.1), crosses=Rates(alpha=0.1, beta=0.1)),
    )
)


def part_of(hashed, low, high):
    width = hashed.fields
    if not len(hashed.starts):
        return Hashed(hashed.tokens[low * width : high * width], hashed.starts, high - low, width)
    starts = hashed.starts[low * width : high * width + 1]
    tokens = hashed.tokens[starts[0] : starts[-1]]
    return Hashed(tokens, starts - starts[0], high - low, width)


@pytest.mark.parametrize("learner", [SINGLE, MIXTURE], ids=["single", "mixture"])
@pytest.mark.parametrize("ragged", [False, True])
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32), cuts=st.sets(st.integers(0, 80), max_size=6))
def test_wherever_batches_are_cut_every_bit_is_the_same(learner, ragged, seed, cuts):
    hashed, labels, crosses = random_events(seed, rows=80, ragged=ragged)
    weight = np.random.default_rng(seed).uniform(0, 3, 80)
    sizes = HashSpec(bits=7, cross_bits=8)
    whole = Weights(sizes, learner, crosses)
    logits = whole.learn(hashed, labels, weight)
    parts, pieces = Weights(sizes, learner, crosses), []
    edges = [0, *sorted(cuts), 80]
    for low, high in pairwise(edges):
        pieces.append(parts.learn(part_of(hashed, low, high), labels[low:high], weight[low:high]))
    np.testing.assert_array_equal(np.concatenate(pieces), logits)
    np.testing.assert_array_equal(parts.fields, whole.fields)
    np.testing.assert_array_equal(parts.crosses, whole.crosses)
    np.testing.assert_array_equal(parts.mixture, whole.mixture)


@pytest.mark.parametrize("learner", [SINGLE, MIXTURE], ids=["single", "mixture"])
def test_a_prediction_is_what_learning_would_have_predicted(learner):
    hashed, labels, crosses = random_events(9, rows=50, ragged=True)
    weights = Weights(HashSpec(bits=8, cross_bits=8), learner, crosses)
    for row in range(50):
        event = part_of(hashed, row, row + 1)
        before = weights.predict(event)
        assert before == weights.learn(event, labels[row : row + 1])


def test_learn_one_and_learn_many_are_the_same_bits():
    rng = np.random.default_rng(2)
    frame = pd.DataFrame({c: rng.integers(0, 9, 200).astype(str) for c in "abcd"})
    clicks = pd.Series(rng.random(200) < 0.3)
    spec = Spec(
        name="x",
        source=SourceSpec(label="click"),
        fields=(FieldSpec(names=tuple("abcd")),),
        crosses=CrossSpec(all_pairs=True, named=(("a", "b", "c"),)),
        hash=HashSpec(bits=10, cross_bits=12),
    )
    one, many = ClickLearner(spec), ClickLearner(spec)
    singly = []
    for x, y in zip(frame.to_dict("records"), clicks, strict=True):
        singly.append(one.predict_proba_one(x)[True])
        one.learn_one(x, y)
    many.learn_many(frame.iloc[:77], clicks.iloc[:77])
    many.learn_many(frame.iloc[77:], clicks.iloc[77:])
    np.testing.assert_array_equal(one.weights.fields, many.weights.fields)
    np.testing.assert_array_equal(one.weights.crosses, many.weights.crosses)
    again = many.predict_proba_many(frame)[True].to_numpy()
    np.testing.assert_array_equal(
        again, [many.predict_proba_one(x)[True] for x in frame.to_dict("records")]
    )
    assert len(set(singly)) > 100
