"""Laws of ranking: whatever the candidates, chances are chances, and the shown had one."""

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from serving.rank_bodies import Explore
from serving.ranking import first_chances, rank

LOGIT = st.floats(-50, 50)
CANDIDATE = st.tuples(LOGIT, st.floats(0, 20), st.one_of(st.just(0.0), st.floats(1e-9, 1e9)))
EXPLORE = st.builds(
    Explore,
    kind=st.sampled_from(["none", "epsilon", "thompson"]),
    epsilon=st.floats(0, 1),
    width=st.floats(0, 10),
)


@settings(max_examples=300)
@given(st.lists(CANDIDATE, min_size=1, max_size=12), EXPLORE, st.integers(0, 2**32))
@example([(-3.0, 0.0, 0.0), (-3.0, 0.0, 0.0)], Explore("thompson"), 1)
@example([(40.0, 0.0, 1e300), (700.0, 3.0, 1e-300), (-700.0, 1.0, 0.0)], Explore("thompson"), 2)
@example([(40.0, 0.0, 1e300), (700.0, 3.0, 1e-300), (-700.0, 1.0, 0.0)], Explore("epsilon"), 2)
@example([(0.0, 0.0, 1.0), (0.0, 0.0, 1.0), (0.0, 50.0, 1.0)], Explore("thompson"), 2)
@example([(-2.0, 1e-9, 1.0)] * 5, Explore("thompson"), 4)
def test_each_slot_is_a_chance_among_those_left(candidates, explore, seed):
    logit, sd, bids = (np.array(column) for column in zip(*candidates, strict=True))
    slots = 1 + seed % len(bids)
    probability = np.exp(-np.logaddexp(0, -logit))
    rng = np.random.default_rng(seed)
    ranked = rank(probability, logit, sd, bids, explore, rng, slots)
    assert sorted(ranked.order) == list(range(len(bids)))
    assert (ranked.propensity >= 0).all()
    assert np.allclose(ranked.propensity.sum(1), 1, atol=1e-9)
    for slot in range(slots):
        assert ranked.propensity[slot, ranked.order[slot]] > 0
        assert not ranked.propensity[slot, ranked.order[:slot]].any()  # shown already


@settings(max_examples=100)
@given(st.lists(CANDIDATE, min_size=2, max_size=12), st.randoms(use_true_random=False))
def test_chances_do_not_depend_on_the_order_of_candidates(candidates, random):
    order = list(range(len(candidates)))
    random.shuffle(order)
    logit, sd, bids = (np.array(column) for column in zip(*candidates, strict=True))
    log_bid = np.log(np.maximum(bids, 1e-9))
    chance = first_chances(log_bid, logit, sd)
    again = first_chances(log_bid[order], logit[order], sd[order])
    assert np.allclose(chance[order], again, atol=1e-6)


@settings(max_examples=100)
@given(st.lists(CANDIDATE, min_size=2, max_size=8), st.floats(1.01, 100))
def test_a_higher_bid_never_lowers_the_chance(candidates, factor):
    logit, sd, bids = (np.array(column) for column in zip(*candidates, strict=True))
    log_bid = np.log(np.maximum(bids, 1e-9))
    before = first_chances(log_bid, logit, sd)
    log_bid[0] += np.log(factor)
    assert first_chances(log_bid, logit, sd)[0] >= before[0] * (1 - 0.03) - 1e-6
