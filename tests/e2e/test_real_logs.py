"""Progressive log loss on real click logs, against Vowpal Wabbit's on the same rows.

The bounds are those published with the logs: what Vowpal Wabbit 9.11 reaches at its best
setting, and with its plain FTRL.
"""

from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"

LOGS = {
    "criteo_dac80k": "criteo_dac80k/criteo_dac80k.tsv.gz",
    "avazu20k": "avazu20k/avazu20k_by_hour.csv.gz",
    "criteo_attribution165k": "criteo_attribution165k/criteo_attribution165k.csv.gz",
}
EVENTS = {"criteo_dac80k": 80_000, "avazu20k": 20_000, "criteo_attribution165k": 165_152}
VW_BEST = {"criteo_dac80k": 0.44808, "avazu20k": 0.41755, "criteo_attribution165k": 0.62016}
VW_FTRL = {"criteo_dac80k": 0.4507, "avazu20k": 0.4188, "criteo_attribution165k": 0.6216}
SINGLE = ("--set", "learner.kind=single", "--set", "crosses.all_pairs=false")

pytestmark = pytest.mark.skipif(not DATA.exists(), reason="the real click logs are not here")


@pytest.mark.parametrize("log", LOGS)
def test_the_shipped_defaults_are_at_or_below_the_best_of_vowpal_wabbit(replay, log):
    figures = replay(DATA / LOGS[log], "--spec", log)
    assert figures["events"] == EVENTS[log]
    assert figures["rejected"] == 0
    assert figures["log_loss"] <= VW_BEST[log]
    assert 0.985 < figures["calibration_ratio"] < 1.015


@pytest.mark.parametrize("log", LOGS)
def test_plain_ftrl_without_crosses_reaches_vowpal_wabbits(replay, log):
    figures = replay(DATA / LOGS[log], "--spec", log, *SINGLE)
    assert abs(figures["log_loss"] - VW_FTRL[log]) <= 0.0003


def test_all_pairs_at_a_low_rate_reach_criteos_bound(replay):
    rates = ("learner.fields.alpha=0.005", "learner.crosses.alpha=0.005", "learner.kind=single")
    settings = [word for rate in rates for word in ("--set", rate)]
    figures = replay(DATA / LOGS["criteo_dac80k"], "--spec", "criteo_dac80k", *settings)
    assert figures["log_loss"] <= 0.4484


@pytest.mark.parametrize("log", ["criteo_dac80k", "avazu20k"])
def test_counters_as_features_do_not_worsen(replay, log):
    spec = {"criteo_dac80k": "criteo_dac80k_counters"}.get(log, log)
    without = replay(DATA / LOGS[log], "--spec", spec, "--set", "counters=[]")
    figures = replay(DATA / LOGS[log], "--spec", spec)
    assert figures["log_loss"] <= without["log_loss"]


def test_a_log_of_few_clicks_is_learned_calibrated(replay):
    log = DATA / "open_bandit40k" / "open_bandit40k_by_time.csv.gz"
    figures = replay(log, "--spec", "open_bandit40k")
    assert figures["events"] == 40_000
    assert figures["calibration_low"] < 1 < figures["calibration_high"]
