"""The 95 % interval of the calibration ratio covers the truth in 93 to 97 % of the windows."""

import numpy as np
import pytest

from monitoring.watch.figures import figures_of

WINDOWS = 2000


def coverage(rng, sizes, draw, ratio):
    """Share of windows whose interval holds sum of p over sum of the true probabilities."""
    covered = 0
    for rows in sizes:
        p, truth = draw(rng, rows, ratio)
        clicks = float((rng.random(len(p)) < truth).sum())
        sums = np.array([len(p), clicks, p.sum(), (p * p).sum(), 0.0, 0.0, 0.0, 0.0])
        figures = figures_of(sums)
        low, high = figures.calibration_low, figures.calibration_high
        true = p.sum() / truth.sum()
        covered += (low is None or low <= true) and (high is None or true <= high)
    return covered / len(sizes)


def steady(rng, rows, ratio):
    truth = np.full(rows, 0.02)
    return truth * ratio, truth


def spread(rng, rows, ratio):
    truth = np.clip(rng.lognormal(-4.3, 0.9, rows), 0, 0.9)
    return np.clip(truth * ratio, 0, 1), truth


def noisy(rng, rows, ratio):
    truth = np.clip(rng.lognormal(-4.3, 0.9, rows), 0, 0.9)
    return np.clip(truth * ratio * rng.lognormal(-0.08, 0.4, rows), 0, 1), truth


def likely(rng, rows, ratio):
    truth = rng.beta(2, 4, rows)
    return np.clip(truth * ratio, 0, 1), truth


@pytest.mark.parametrize("ratio", [0.8, 1.3])  # 1.0: in windows of varying size, below
@pytest.mark.parametrize(
    ("draw", "mean"), [(steady, 0.02), (spread, 0.0203), (noisy, 0.0203), (likely, 1 / 3)]
)
@pytest.mark.parametrize("clicks", [20, 60])
def test_the_interval_is_honest(draw, mean, clicks, ratio):
    rng = np.random.default_rng([clicks, round(ratio * 10), round(mean * 1e4)])
    assert 0.93 <= coverage(rng, [round(clicks / mean)] * WINDOWS, draw, ratio) <= 0.97


def test_windows_of_varying_size_are_covered_in_all():
    rng = np.random.default_rng(5)
    sizes = np.exp(rng.uniform(6.9, 9.5, WINDOWS)).astype(int)
    assert 0.93 <= coverage(rng, sizes, spread, 1.0) <= 0.97


def test_without_a_click_there_is_a_lower_end_only():
    figures = figures_of(np.array([1000.0, 0.0, 20.0, 0.4, 1.0, 0.0, 0.0, 0.0]))
    assert figures.calibration_ratio is None
    assert figures.calibration_high is None
    assert figures.calibration_low == pytest.approx(20 / 3.8415, rel=0.03)
