"""A bucket is emptied at the first sweep that nothing touched it since the one before."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_spec import spec_of

from features.hashed import Hashed
from features.hashing import cross_hash
from features.spec import HashSpec, LearnerSpec
from learning import ClickLearner
from learning.progress import Progress
from learning.snapshot import Snapshot, load_snapshot, save_snapshot

BITS = 16


def learner_of(kind, every):
    return ClickLearner(
        spec_of(
            "ad",
            "site",
            pairs=True,
            hash=HashSpec(bits=BITS, cross_bits=BITS, evict_after=every),
            learner=LearnerSpec(kind=kind),
        )
    )


def events_of(seed, rows, values):
    """Tokens (rows, 2): which values come moves on with time."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, 2**64, (2, 4 * values), dtype=np.uint64)
    at = (rng.zipf(1.5, (rows, 2)) + np.arange(rows)[:, None] // 20) % (4 * values)
    return tokens[[0, 1], at], (rng.random(rows) < 0.3).astype(float)


def hashed_of(tokens):
    return Hashed(tokens.reshape(-1).copy(), np.empty(0, np.int64), len(tokens), 2)


def remaining(tokens, every):
    """Buckets that are left, kept by a dictionary of when each was last touched."""
    last = ({}, {})
    for row, (a, b) in enumerate(tokens):
        for token in (a, b):
            last[0][int(token) >> (64 - BITS)] = row
        last[1][int(cross_hash(a, b)) >> (64 - BITS)] = row
        if (row + 1) % every == 0:
            for seen in last:
                for bucket in [k for k, at in seen.items() if at <= row - every]:
                    del seen[bucket]
    return [set(seen) for seen in last]


def used(model):
    return [
        set(np.flatnonzero(table.any(axis=1)).tolist())
        for table in (model.weights.fields, model.weights.crosses)
    ]


@pytest.mark.parametrize("kind", ["stack", "single"])
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32), every=st.sampled_from([20, 37, 100]))
def test_what_is_left_is_what_a_dictionary_says(kind, seed, every):
    tokens, labels = events_of(seed, 260, 30)
    model = learner_of(kind, every)
    model.learn_hashed(hashed_of(tokens), labels)
    assert used(model) == remaining(tokens, every)


@pytest.mark.parametrize("kind", ["stack", "single"])
def test_a_model_that_was_saved_evicts_as_one_that_was_not(kind, tmp_path):
    tokens, labels = events_of(1, 300, 30)
    whole, part = learner_of(kind, 100), learner_of(kind, 100)
    whole.learn_hashed(hashed_of(tokens), labels)
    part.learn_hashed(hashed_of(tokens[:150]), labels[:150])
    save_snapshot(tmp_path, Snapshot(part, Progress()))
    restored = load_snapshot(tmp_path).learner
    restored.learn_hashed(hashed_of(tokens[150:]), labels[150:])
    for name, array in whole.weights.arrays.items():
        np.testing.assert_array_equal(restored.weights.arrays[name], array)


def test_what_was_emptied_is_as_never_seen():
    tokens, labels = events_of(2, 100, 30)
    model, fresh = learner_of("stack", 100), learner_of("stack", 0)
    late, late_labels = events_of(3, 200, 30)
    for each in (model, fresh):
        each.learn_hashed(hashed_of(tokens), labels)
        each.learn_hashed(hashed_of(late), late_labels)
    new = np.random.default_rng(4).integers(0, 2**64, (1, 2), dtype=np.uint64)
    old = tokens[-1:]
    assert model.predict_hashed(hashed_of(old)) == model.predict_hashed(hashed_of(new))
    assert fresh.predict_hashed(hashed_of(old)) != fresh.predict_hashed(hashed_of(new))
