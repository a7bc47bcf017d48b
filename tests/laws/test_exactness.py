"""The kernel is Algorithm 1 of McMahan et al. 2013, and law 3: no cut of a batch changes a bit."""

import gzip
import math
import os
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_spec import spec_of

from features.hashed import Hashed
from features.spec import CrossSpec, FieldSpec, HashSpec, LearnerSpec, Rates
from features.spec_file import load_spec
from features.vectoriser import Vectoriser
from learning import ClickLearner, FTRLClassifier
from learning.buckets import expand_event
from learning.stack import LATE
from learning.weights import SingleWeights, StackWeights, weights_for

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


def features_of(hashed, weights):
    """Each event's features by the kernel's own buckets: fields, and crosses of them.

    ``[(bucket, field)], [(bucket, cross, members)]``
    """
    for row in range(hashed.rows):
        event = part_of(hashed, row, row + 1)
        _, (tokens, starts, _, *rest), slots, *_ = weights.arguments(event)
        f, c = expand_event(tokens, starts, 0, *rest, *slots, 0)
        widths = [weights.fields.shape[1], weights.crosses.shape[1]]
        buckets = (slots.field[0, :f] // widths[0]).tolist()
        fields = [*zip(buckets, slots.field_of[0, :f].tolist(), strict=True)]
        crossed = (slots.cross[0, :c] // widths[1]).tolist()
        members = [[i for i in of if i >= 0] for of in slots.members[0, :c].tolist()]
        crosses = [*zip(crossed, slots.cross_of[0, :c].tolist(), members, strict=True)]
        yield fields, crosses


def bucket_events(hashed, weights):
    """The events as {(table, bucket): x}, the bias among them."""
    events = []
    for fields, crosses in features_of(hashed, weights):
        event = {("field", "bias"): 1.0}
        for key in [("field", bucket) for bucket, _ in fields]:
            event[key] = event.get(key, 0.0) + 1.0
        for key in [("cross", bucket) for bucket, _, _ in crosses]:
            event[key] = event.get(key, 0.0) + 1.0
        events.append(event)
    return events


def rates_of(learner):
    return {"field": vars_of(learner.fields), "cross": vars_of(learner.crosses)}


def vars_of(rates):
    return rates.alpha, rates.beta, rates.l1, rates.l2


def assert_is_algorithm_1(hashed, labels, crosses, sizes):
    weights = SingleWeights(sizes, crosses, SINGLE.fields, SINGLE.crosses)
    logits = weights.learn(hashed, labels)
    expected, z, n = algorithm_1(bucket_events(hashed, weights), labels, rates_of(SINGLE))
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), expected, rtol=1e-5)
    tables = {"field": weights.fields, "cross": weights.crosses}
    held = np.array([weights.arrays["bias"] if b == "bias" else tables[table][b] for table, b in z])
    assert_near(held[:, 0], [*z.values()], rel=1e-5, least=1e-9)
    assert_near(held[:, 1], [n[key] for key in z], rel=1e-5, least=1e-12)


def assert_near(found, due, rel, least):
    """As ``found == pytest.approx(due, rel=rel, abs=least)``, of thousands in a moment."""
    wrong = ~(np.abs(found - np.array(due)) <= np.maximum(rel * np.abs(due), least))
    assert not wrong.any(), (np.flatnonzero(wrong), found[wrong], np.array(due)[wrong])


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
    hashed, labels, crosses = read_criteo(300 if with_crosses else 3_000)
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
        weights = model.weights
        for key, i in model._index.items():
            assert (key in weights) == (abs(model._z[i]) > l1)
            zeros, others = zeros + (key not in weights), others + (key in weights)
    assert others and (zeros or not l1)


def test_the_kernels_weights_are_zero_exactly_where_z_is_within_l1():
    hashed, labels, crosses = random_events(3, rows=300)
    sizes, rates = HashSpec(bits=8, cross_bits=8), (SINGLE.fields, SINGLE.crosses)
    weights = SingleWeights(sizes, crosses, *rates)
    weights.learn(hashed, labels)
    z = weights.fields[:, 0]
    alone = np.arange(256, dtype=np.uint64) << np.uint64(56)  # a token for every bucket
    event = Hashed(alone, np.empty(0, np.int64), 256, 1)
    plain = SingleWeights(sizes, crosses[:0], *rates)
    plain.fields[:] = weights.fields  # no bias: the logit is the weight
    w = plain.predict(event)
    np.testing.assert_array_equal(w == 0.0, np.abs(z) <= 0.3)
    assert 0 < (w == 0.0).sum() < 256


# --- stack ------------------------------------------------------------------------------------


def logistic(x):
    return 1.0 / (1.0 + math.exp(min(-x, 700.0)))


def grouped(buckets):
    """Which features have each bucket."""
    out = {}
    for number, bucket in enumerate(buckets):
        out.setdefault(bucket, []).append(number)
    return out


class LiteralStack:
    """The equations of learning/stack.py, to the letter, in float64 and Python's own numbers."""

    ALPHAS, BETA, L2 = (0.03, 0.1, 0.03), 0.3, 1.0

    def __init__(self, weights, admission):
        self.admission = admission
        rank = weights.arrays["factors"].shape[2] // 2
        self.rank, self.index = rank, weights.index.tolist()
        self.field, self.cross = {}, {}
        self.bias = [[0.0, 0.0] for _ in range(3)]
        self.mix, self.scale, self.shift = [0.25] * 4, 1.0, 0.0
        self.curvature = [0.0, 0.0, 0.0]
        self.events, self.clicks, self.in_time, self.late, self.mass = 1.0, 0.1, 0.0, 0.0, 0.0
        fields = weights.arrays["field_means"].shape[0]
        self.means = [[0.0, 0.0, 0.0, 0.0, -0.5, 0.0] for _ in range(fields)]
        self.cross_means = [[0.0, 0.0] for _ in self.index]
        self.w = np.zeros((5, fields))
        self.uv = weights.arrays["factors"].astype(float)
        self.b, self.c = 0.0, np.zeros(rank)
        least = float(weights.arrays["linear_squares"].flat[0])
        self.w2, self.uv2 = np.full(self.w.shape, least), np.full(self.uv.shape, least)
        self.b2, self.c2 = least, np.full(rank, least)

    def base_rate(self):
        return min(max(self.clicks / self.events, 2**-22), 1 - 2**-22)

    def statistics(self, bucket, field):
        w1, _, w2, _, w3, _, views, clicks = self.field.get(bucket, [0.0] * 8)
        p0 = self.base_rate()
        q = (clicks + 3 * p0) / (views + 3)
        te = 2 * (q - p0) / (q + p0 - 2 * q * p0)
        cnt = views / (views + math.sqrt(self.events)) - 0.5
        if views > 0:
            return (w1, w2, w3), te, cnt
        m = self.means[field]
        known = m[5] / (m[5] + 100)
        return tuple(m[:3]), (1 - known) * m[3], (1 - known) * m[4] - 0.5 * known

    def forward(self, fields, crosses):
        views = [self.field.get(bucket, [0.0] * 8)[6] for bucket, _ in fields]
        self.unseen = [n == 0 for n in views]
        self.rare = [n == 0 or n < self.admission for n in views]
        self.found = [self.statistics(*feature) for feature in fields]
        present = len({field for _, field in fields})
        self.start, self.cw, share = [], [], []
        for bucket, number, members in crosses:
            w, _, residual, variance = self.cross.get(bucket, [0.0] * 4)
            mean_weight, mean_share = self.cross_means[number]
            self.start.append(w if variance > 0 else mean_weight)
            new = variance == 0 or any(self.rare[i] for i in members)
            self.cw.append(mean_weight if new else w)
            share.append(mean_share if new else residual / (variance + 3) / math.sqrt(present))
        self.share = share
        self.x = np.zeros(self.w.shape)
        tokens = Counter(field for _, field in fields)
        for (weights, te, cnt), (_, field) in zip(self.found, fields, strict=True):
            self.x[0, field] += te / tokens[field]
            self.x[1, field] += cnt / tokens[field]
            self.x[2, field] += weights[1]
        for (_, number, _), residual, w in zip(crosses, share, self.cw, strict=True):
            for field in self.index[number]:
                if field >= 0:
                    self.x[3, field] += residual
                    self.x[4, field] += w
        self.inner = np.einsum("dj,djr->r", self.x, self.uv)
        u, v = self.inner[: self.rank], self.inner[self.rank :]
        p0 = self.base_rate()
        net = math.log(p0 / (1 - p0)) + self.b + (self.x * self.w).sum() + (self.c * u * v).sum()
        self.logits = [b[0] + sum(f[0][e] for f in self.found) for e, b in enumerate(self.bias)]
        self.logits[2] += sum(self.cw)
        self.logits.append(net)
        self.z = sum(m * logit for m, logit in zip(self.mix, self.logits, strict=True))
        return self.scale * self.z + self.shift

    def learn(self, fields, crosses, y, w):
        out = self.forward(fields, crosses)
        if w == 0:
            return out
        z, p2, late = self.z, logistic(self.logits[1]), y == LATE
        g = [-w] * 3 if late else [w * (logistic(logit) - y) for logit in self.logits[:3]]
        click = w if late else w * y
        p = logistic(out)
        if late:
            self.late += w
            self.calibrate(-w)
        else:
            share = (self.in_time + 10) / (self.in_time + self.late + 10)
            soft = 1.0 if y else p * (1 - share) / (1 - p * share)
            up = [
                m * math.exp(-0.05 * w * (logistic(z) - soft) * logit)
                for m, logit in zip(self.mix, self.logits, strict=True)
            ]
            self.mix = [(1 - 1e-5) * m / sum(up) + 1e-5 / 4 for m in up]
            v = w * p * (1 - p)
            self.curvature = [
                c * (1 - 1 / 20_000) + v * d
                for c, d in zip(self.curvature, (z * z, z, 1), strict=True)
            ]
            self.calibrate(w * (p - y))
            self.learn_means(fields, crosses, p, w)
            self.learn_net(w * (logistic(self.logits[3]) - soft))
            self.events += w
            self.in_time = self.in_time * (1 - 1 / 2000) + click
            self.late *= 1 - 1 / 2000
        self.clicks += click
        for e in range(3):
            self.bias[e] = self.step(*self.bias[e], g[e], self.ALPHAS[e])
        self.learn_fields(fields, g, 0.0 if late else w, click)
        residual, variance = (w, 0.0) if late else (w * (y - p2), w * p2 * (1 - p2))
        self.learn_crosses(crosses, g[2], residual, variance)
        return out

    def step(self, w, n, g, alpha):
        n += g * g
        return [w - g / ((self.BETA + math.sqrt(n)) / alpha + self.L2), n]

    def calibrate(self, g):
        a, b, c = self.curvature[0] + 300, self.curvature[1], self.curvature[2] + 300
        self.scale -= (c * g * self.z - b * g) / (a * c - b * b)
        self.shift -= (a * g - b * g * self.z) / (a * c - b * b)

    def learn_means(self, fields, crosses, p, w):
        mass = w * math.sqrt(p * (1 - p))
        self.mass = self.mass * (1 - 1 / 5000) + mass
        share = mass / self.mass
        for (_, field), unseen, (weights, te, cnt) in zip(
            fields, self.unseen, self.found, strict=True
        ):
            m = self.means[field]
            m[5] = m[5] * (1 - 1 / 5000) + unseen
            if not unseen:
                for i, value in enumerate((*weights, te, cnt)):
                    m[i] += share * (value - m[i])
        for (_, number, _), *values in zip(crosses, self.cw, self.share, strict=True):
            m = self.cross_means[number]
            for i, value in enumerate(values):
                m[i] += share * (value - m[i])

    def learn_net(self, g):
        u, v = self.inner[: self.rank], self.inner[self.rank :]
        back = np.concatenate([g * self.c * v, g * self.c * u])

        def ada(value, squares, gradient):
            squares = squares + gradient * gradient
            return value - 0.02 * gradient / np.sqrt(squares), squares

        self.w, self.w2 = ada(self.w, self.w2, g * self.x)
        self.uv, self.uv2 = ada(self.uv, self.uv2, self.x[:, :, None] * back)
        self.c, self.c2 = ada(self.c, self.c2, g * u * v)
        self.b, self.b2 = ada(self.b, self.b2, g)

    def learn_fields(self, fields, g, views, click):
        for bucket, own in grouped(bucket for bucket, _ in fields).items():
            row = self.field.setdefault(bucket, [0.0] * 8)
            for e in range(3):
                w = self.found[own[0]][0][e]
                row[2 * e : 2 * e + 2] = self.step(
                    w, row[2 * e + 1], len(own) * g[e], self.ALPHAS[e]
                )
            row[6] += views
            row[7] += click

    def learn_crosses(self, crosses, g, residual, variance):
        alpha = 0.12 / math.sqrt(max(len(crosses), 1))
        admitted = [
            None if self.admission and any(self.rare[i] for i in members) else bucket
            for bucket, _, members in crosses
        ]
        for bucket, own in grouped(admitted).items():
            if bucket is None:
                continue
            row = self.cross.setdefault(bucket, [0.0] * 4)
            row[:2] = self.step(self.start[own[0]], row[1], len(own) * g, alpha)
            fade = 0.5 if row[3] > 4096 else 1.0
            row[2] = (row[2] + residual) * fade
            row[3] = (row[3] + variance) * fade


def assert_is_stack(hashed, labels, crosses, sizes, importance=None, atol=1e-5):
    weights = StackWeights(sizes, crosses, hashed.fields)
    literal = LiteralStack(weights, sizes.admit_after)
    given = np.ones(hashed.rows) if importance is None else importance
    expected = [
        literal.learn(*features, y, w)
        for features, y, w in zip(features_of(hashed, weights), labels, given, strict=True)
    ]
    logits = weights.learn(hashed, labels, importance)
    predicted, due = [*map(logistic, logits)], [*map(logistic, expected)]
    np.testing.assert_allclose(predicted, due, atol=atol)
    due = np.array([*literal.field.values()])
    np.testing.assert_allclose(weights.fields[[*literal.field]], due, rtol=1e-3, atol=1e-4)
    if literal.cross:
        due = np.array([*literal.cross.values()])
        np.testing.assert_allclose(weights.crosses[[*literal.cross]], due, rtol=1e-3, atol=2e-3)


@pytest.mark.skipif(not CRITEO.exists(), reason="the real click logs are not here")
@pytest.mark.parametrize("with_crosses", [False, True])
def test_the_kernel_is_the_equations_over_real_events(with_crosses):
    """With CLICKTIDE_FULL=1 over 10,000 events (the literal form takes a quarter of an hour)."""
    rows = 10_000 if os.environ.get("CLICKTIDE_FULL") else (120 if with_crosses else 2_000)
    hashed, labels, crosses = read_criteo(rows)
    crosses = crosses if with_crosses else crosses[:0]
    assert_is_stack(hashed, labels, crosses, HashSpec(bits=22, cross_bits=22))


@given(
    seed=st.integers(0, 2**32),
    bits=st.integers(3, 12),
    ragged=st.booleans(),
    admission=st.sampled_from([0, 1, 4]),
)
@settings(max_examples=40, deadline=None)
def test_the_kernel_is_the_equations_even_where_features_share_buckets(
    seed, bits, ragged, admission
):
    hashed, labels, crosses = random_events(seed, rows=60, ragged=ragged)
    rng = np.random.default_rng(seed)
    labels = labels * (rng.random(60) < 0.5)
    labels[20:] = np.where(rng.random(40) < 0.1, LATE, labels[20:])  # of events before them
    importance = rng.choice([0.0, 0.5, 1.0, 3.0], 60)
    sizes = HashSpec(bits=bits, cross_bits=bits, admit_after=admission)
    assert_is_stack(hashed, labels, crosses, sizes, importance)


STACK = LearnerSpec()


def part_of(hashed, low, high):
    width = hashed.fields
    if not len(hashed.starts):
        return Hashed(hashed.tokens[low * width : high * width], hashed.starts, high - low, width)
    starts = hashed.starts[low * width : high * width + 1]
    tokens = hashed.tokens[starts[0] : starts[-1]]
    return Hashed(tokens, starts - starts[0], high - low, width)


@pytest.mark.parametrize("learner", [SINGLE, STACK], ids=["single", "stack"])
@pytest.mark.parametrize("ragged", [False, True])
@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    cuts=st.sets(st.integers(0, 80), max_size=6),
    evict_after=st.sampled_from([0, 7, 30]),
)
def test_wherever_batches_are_cut_every_bit_is_the_same(learner, ragged, seed, cuts, evict_after):
    hashed, labels, crosses = random_events(seed, rows=80, ragged=ragged)
    weight = np.random.default_rng(seed).uniform(0, 3, 80)
    sizes = HashSpec(bits=7, cross_bits=8, evict_after=evict_after)
    whole = weights_for(sizes, learner, crosses, hashed.fields)
    logits = whole.learn(hashed, labels, weight)
    parts, pieces = weights_for(sizes, learner, crosses, hashed.fields), []
    edges = [0, *sorted(cuts), 80]
    for low, high in pairwise(edges):
        pieces.append(parts.learn(part_of(hashed, low, high), labels[low:high], weight[low:high]))
    np.testing.assert_array_equal(np.concatenate(pieces), logits)
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(parts.arrays[name], array)


@pytest.mark.parametrize("learner", [SINGLE, STACK], ids=["single", "stack"])
def test_a_prediction_is_what_learning_would_have_predicted(learner):
    hashed, labels, crosses = random_events(9, rows=50, ragged=True)
    weights = weights_for(HashSpec(bits=8, cross_bits=8), learner, crosses, hashed.fields)
    for row in range(50):
        event = part_of(hashed, row, row + 1)
        before = weights.predict(event)
        assert before == weights.learn(event, labels[row : row + 1])


def test_learn_one_and_learn_many_are_the_same_bits():
    rng = np.random.default_rng(2)
    frame = pd.DataFrame({c: rng.integers(0, 9, 200).astype(str) for c in "abcd"})
    clicks = pd.Series(rng.random(200) < 0.3)
    spec = spec_of(
        FieldSpec(names=tuple("abcd")),
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
