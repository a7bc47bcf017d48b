"""Ranking: expected value, exploration, and propensities that say how often each is shown."""

import numpy as np
import pytest

from serving.rank_bodies import Explore
from serving.ranking import first_chances, rank


def market(count, seed=3):
    rng = np.random.default_rng(seed)
    logit, sd = rng.normal(-3, 0.7, count), rng.uniform(0.1, 0.9, count)
    return 1 / (1 + np.exp(-logit)), logit, sd, rng.lognormal(0, 0.4, count)


def chi_squared(seen, propensity, requests):
    """Of those expected at least 5 times, the others as one; and its degrees of freedom."""
    expected = propensity * requests
    big = expected >= 5
    seen = np.append(seen[big], seen[~big].sum())
    expected = np.append(expected[big], expected[~big].sum())
    some = expected > 0.5
    return ((seen - expected)[some] ** 2 / expected[some]).sum(), some.sum() - 1


@pytest.mark.parametrize("kind", ["none", "epsilon", "thompson"])
def test_shown_as_often_as_the_propensity_says(kind):
    candidates, requests, slots = market(12), 4000, 3
    rng, explore = np.random.default_rng(1), Explore(kind, epsilon=0.3)
    seen = np.zeros(12)
    first = rank(*candidates, explore, np.random.default_rng(0), slots).propensity[0]
    for _ in range(requests):
        ranked = rank(*candidates, explore, rng, slots)
        assert ranked.propensity.shape == (slots, 12)
        assert np.allclose(ranked.propensity.sum(1), 1)
        assert np.array_equal(ranked.propensity[0], first)  # a chance, not an estimate from draws
        assert sorted(ranked.order) == list(range(12))
        seen[ranked.order[0]] += 1
    found, freedom = chi_squared(seen, first, requests)
    assert found < freedom + 5 * np.sqrt(2 * max(freedom, 1))


def test_a_later_slot_is_a_choice_among_the_rest():
    candidates = market(6)
    ranked = rank(*candidates, Explore("thompson"), np.random.default_rng(2), 3)
    gone = list(ranked.order[:2])
    left = [i for i in range(6) if i not in gone]
    again = first_chances(np.log(candidates[3][left]), candidates[1][left], candidates[2][left])
    assert ranked.propensity[2][gone].tolist() == [0, 0]
    assert np.allclose(ranked.propensity[2][left], again, atol=1e-6)


def test_every_one_of_1000_new_ads_among_known_ones_is_shown():
    rng = np.random.default_rng(4)
    # 200 known ads, and 1000 new ones that are thought a little worse, but are not known
    logit = np.concatenate([rng.normal(-3, 0.3, 200), np.full(1000, -3.3)])
    sd = np.concatenate([np.full(200, 0.15), np.full(1000, 1.0)])
    probability, bids = 1 / (1 + np.exp(-logit)), np.ones(1200)
    chance, requests = first_chances(np.zeros(1200), logit, sd), 20_000
    assert chance[200:].min() > 5e-4
    seen = np.zeros(1200)
    for _ in range(100):  # what rank() draws, 200 requests at once
        drawn = logit + sd * rng.standard_normal((requests // 100, 1200))
        seen += np.bincount(drawn.argmax(1), minlength=1200)
    found, freedom = chi_squared(seen, chance, requests)
    assert (seen[200:] > 0).all() and found < freedom + 5 * np.sqrt(2 * freedom)
    shown = set()
    for _ in range(10):
        ranked = rank(probability, logit, sd, bids, Explore("thompson"), rng, 10)
        assert np.allclose(ranked.propensity.sum(1), 1)
        shown.update(ranked.order[:10].tolist())
    assert len([i for i in shown if i >= 200]) > 80  # new ads, and hardly any twice


@pytest.mark.parametrize("count", [2, 30, 300])
def test_chances_agree_with_many_draws(count):
    _, logit, sd, bids = market(count, seed=count)
    rng, draws = np.random.default_rng(9), 40_000
    drawn = logit + sd * rng.standard_normal((draws, count))
    value = np.log(bids) - np.logaddexp(0, -drawn)
    seen = np.bincount(value.argmax(1), minlength=count)
    found, freedom = chi_squared(seen, first_chances(np.log(bids), logit, sd), draws)
    assert found < freedom + 5 * np.sqrt(2 * freedom)


@pytest.mark.parametrize(
    ("log_bid", "logit", "sd"),
    [
        # One whose click is sure, so that all its mass is at the value of its bid: in the middle,
        ([13.13, -8.54, -1.58, -8.66], [-28.98, 9.36, 47.39, 32.98], [18.4, 10.47, 1.52, 13.25]),
        # and at the highest value that there is, with logs that are no round numbers.
        (np.log([50.0, 0.01, 50.0, 1.0]) - 0.2, [-5.0, -22.0, -30.0, 13.0], [0.01, 1.0, 1.0, 19.4]),
        (np.log([41.0, 1.0]), [-5.0, 13.0], [0.01, 19.4]),
    ],
)
def test_chances_beside_a_sure_click_agree_with_draws(log_bid, logit, sd):
    log_bid, logit, sd = (np.array(column) for column in (log_bid, logit, sd))
    rng, draws = np.random.default_rng(9), 400_000
    value = log_bid - np.logaddexp(0, -(logit + sd * rng.standard_normal((draws, len(sd)))))
    seen = np.bincount(value.argmax(1), minlength=len(sd)) / draws
    assert 0.1 < seen.max() < 0.9  # else anything would agree
    assert np.allclose(first_chances(log_bid, logit, sd), seen, atol=4 / np.sqrt(draws))


def test_chances_are_exact_to_one_in_a_hundred_thousand():
    log_bid = np.array([1.51, 1.08, 3.35, -1.13, 1.43])
    logit = np.array([0.09, -1.29, -6.09, -4.02, -7.41])
    sd = np.array([0.47, 0.87, 0.98, 1.24, 1.39])
    # From four million cells of even width.
    expected = [0.988317, 0.011529, 0.000154, 0.0, 0.0]
    assert np.allclose(first_chances(log_bid, logit, sd), expected, atol=1e-5)
