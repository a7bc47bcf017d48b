"""Windows and slices: figures against scikit-learn and literal definitions, whatever the cuts."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from monitoring.watch.categorical import MISSING
from monitoring.watch.figures import figures_of
from monitoring.watch.frequent_values import HeavyHitters
from monitoring.watch.monitor_folder import load_state, save_state
from monitoring.watch.scored_batch import Scored
from monitoring.watch.settings import WindowSettings
from monitoring.watch.slices import OTHER
from monitoring.watch.windows import Windows

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
real_logs = pytest.mark.skipif(not DATA.exists(), reason="the real click logs are not here")

HOUR = 3_600_000
WHOLE = WindowSettings(window_s=3600, lateness_s=0, values_per_field=5000)


def batch(time, p, y, *, bid=None, **slices):
    rows = Scored.of(y, p, time_ms=time, slices=slices)
    return rows if bid is None else replace(rows, bid=bid)


def drawn(rows=4000, seed=0, fields=2, values=7):
    rng = np.random.default_rng(seed)
    p = rng.beta(1, 15, rows)
    slices = {f"f{i}": rng.integers(0, values, rows).astype(str) for i in range(fields)}
    y = rng.random(rows) < p
    return batch(rng.integers(0, HOUR, rows), p, y, bid=rng.random(rows), **slices)


def closed(parts, settings=WHOLE):
    out = []
    windows = Windows(list(parts[0].slices), settings, out.append)
    for part in parts:
        windows.update(part)
    windows.close()
    return out


def literal_ece(y, p, bins=20):
    """Sort, cut by rank into bins of equal mass, mean of abs(sum of p - clicks)."""
    order = np.argsort(p, kind="stable")
    place = ((np.arange(len(p)) + 0.5) * bins / len(p)).astype(int)
    return np.abs(np.bincount(place, (y - p)[order], bins)).sum() / len(p)


def assert_exact(figures, y, p):
    assert figures.count == len(y)
    assert figures.clicks == y.sum()
    assert figures.mean_prediction == pytest.approx(p.mean(), abs=1e-9)
    assert figures.over_promised == pytest.approx(p.sum() - y.sum(), abs=1e-9)
    if 0 < y.sum() < len(y):
        loss, base = log_loss(y, p, labels=[0, 1]), log_loss(y, np.full(len(y), y.mean()))
        assert figures.calibration_ratio == pytest.approx(p.sum() / y.sum(), abs=1e-9)
        assert figures.log_loss == pytest.approx(loss, abs=1e-9)
        assert figures.normalised_entropy == pytest.approx(loss / base, abs=1e-9)
        assert abs(figures.auc - roc_auc_score(y, p)) <= figures.auc_error + 1e-12
    assert abs(figures.ece - literal_ece(y, p)) <= figures.ece_error + 1e-12


def progressive(frame, field, prior=0.05):
    """Click rate of the field's value so far, smoothed: a model whose predictions are honest."""
    by = frame.groupby(field)["click"]
    before = by.cumsum() - frame["click"]
    return (before + 20 * prior) / (by.cumcount() + 20)


@real_logs
@pytest.mark.parametrize(
    ("file", "slices", "model"),
    [
        ("avazu20k/avazu20k_by_hour.csv.gz", ["site_category", "banner_pos", "C20"], "site_id"),
        ("open_bandit40k/open_bandit40k_by_time.csv.gz", ["position", "item_id"], "item_id"),
    ],
)
def test_figures_of_real_logs_are_scikit_learns(file, slices, model):
    frame = pd.read_csv(DATA / file)
    p = progressive(frame, model).to_numpy()
    y = frame["click"].to_numpy(float)
    rows = batch(np.zeros(len(y)), p, y, **{s: frame[s].astype(str).to_list() for s in slices})
    [window] = closed(
        [rows.take(np.arange(i, min(i + 777, len(y)))) for i in range(0, len(y), 777)]
    )
    assert_exact(window.overall, y, p)
    assert window.overall.auc_error < 0.02
    for name in slices:
        values = frame[name].astype(str)
        table = window.slices[name]
        assert sorted(table.values) == sorted(values.unique())
        for value in table.values:
            mask = (values == value).to_numpy()
            assert_exact(table.figures(value), y[mask], p[mask])


@pytest.mark.parametrize("cuts", [[], [1, 50, 51, 3000]])
def test_figures_of_drawn_rows_are_exact_and_the_bounds_tight_wherever_batches_are_cut(cuts):
    rows = drawn(20_000)
    edges = [0, *cuts, 20_000]
    [window] = closed([rows.take(np.arange(a, b)) for a, b in pairwise(edges)])
    assert_exact(window.overall, rows.label, rows.probability)
    assert window.overall.auc_error < 0.005
    assert window.overall.ece_error < 0.01
    worth = rows.bid @ (rows.probability - rows.label)
    assert window.overall.money == pytest.approx(worth, abs=1e-9)
    table, coded = window.slices["f0"], rows.slices["f0"]
    for code, value in enumerate(coded.values):
        mine = coded.codes == code
        assert_exact(table.figures(value), rows.label[mine], rows.probability[mine])


def test_sure_predictions_that_fail_cost_as_much_as_scikit_learn_says():
    p, y = np.array([0.0, 1.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0, 1.0])
    [window] = closed([batch([0] * 4, p, y)])
    assert window.overall.log_loss == pytest.approx(log_loss(y, p), rel=1e-9)


def test_a_late_click_leaves_what_an_early_one_would_have_left():
    rows = drawn(seed=1)
    clicked = np.flatnonzero(rows.label == 1)
    late = clicked[::3]
    early = rows.label.copy()
    early[late] = 0.0
    first = replace(rows, label=early)
    amends = replace(rows.take(late), correction=np.ones(len(late), bool))
    [before], [after] = closed([rows]), closed([first, amends])
    assert after.overall.corrected == len(late)
    assert after.overall.count == before.overall.count
    assert after.overall.log_loss == pytest.approx(before.overall.log_loss, abs=1e-12)
    assert after.overall.auc == before.overall.auc
    assert after.overall.ece == pytest.approx(before.overall.ece, abs=1e-12)
    ours, theirs = after.slices["f1"], before.slices["f1"]
    for value in theirs.values:
        assert ours.figures(value).clicks == theirs.figures(value).clicks
        assert ours.figures(value).auc == theirs.figures(value).auc


def test_a_restored_state_goes_on_as_if_it_had_never_stopped(tmp_path):
    rows = drawn(seed=2)
    settings = WindowSettings(window_s=60, lateness_s=120)
    ends = ([], [])
    windows = Windows(["f0", "f1"], settings, ends[0].append)
    windows.update(rows.take(rows.time_ms < HOUR // 2))
    save_state(tmp_path / "state", windows.state())
    again = Windows(["f0", "f1"], settings, ends[1].append)
    again.restore(load_state(tmp_path / "state"))
    done = len(ends[0])
    for one in (windows, again):
        one.update(rows.take(rows.time_ms >= HOUR // 2))
        one.close()
    assert ends[1] == ends[0][done:]
    assert again.closed_to_ms == windows.closed_to_ms


def test_rows_of_closed_windows_are_counted_apart():
    settings = WindowSettings(window_s=10, lateness_s=5)
    windows = Windows([], settings)
    windows.update(batch([0, 20_000], [0.1, 0.1], [0, 0]))
    windows.update(batch([5_000, 19_000], [0.1, 0.1], [0, 1]))
    assert windows.after_close == 1
    assert sum(window.overall.count for window in windows.open_windows()) == 2


def test_windows_grow_until_they_hold_enough_clicks_and_lose_no_row():
    settings = WindowSettings(least_clicks=50, lateness_s=90)
    out = []
    windows = Windows(["s"], settings, out.append)
    rng = np.random.default_rng(0)
    for start in range(0, 8 * HOUR, 120_000):
        time = start + rng.integers(0, 120_000, 200)
        windows.update(batch(time, [0.02] * 200, rng.random(200) < 0.02, s=["a", "b"] * 100))
    windows.close()
    assert windows.window_ms == 32 * 60_000  # two clicks a minute
    assert sum(window.overall.count for window in out) + windows.after_close == 48_000
    assert windows.after_close == 0
    edges = [(window.start_ms, window.end_ms) for window in out]
    assert all(a[1] <= b[0] for a, b in pairwise(edges))


def test_values_without_a_place_share_one_and_memory_stays_bounded():
    settings = WindowSettings(window_s=3600, lateness_s=0, values_per_field=10)
    out = []
    windows = Windows(["id"], settings, out.append)
    for n in range(30):
        ids = [f"v{n}-{i}" for i in range(970)] + ["often"] * 30
        windows.update(batch([n * 60_000] * 1000, [0.1] * 1000, [0] * 1000, id=ids))
    windows.close()
    table = out[0].slices["id"]
    assert len(table.values) <= 12
    assert table.figures("often").count == 900
    assert sum(row[0] for row in table.sums) == 30_000
    assert table.figures(OTHER).count > 28_000
    assert len(windows._frequent["id"].counts) <= 2 * 40


def test_a_value_that_becomes_frequent_gets_a_place_in_the_next_window():
    settings = WindowSettings(window_s=60, lateness_s=0, values_per_field=8)
    out = []
    windows = Windows(["id"], settings, out.append)
    for n in range(4):
        new = ["new"] * 300 if n else []
        ids = [f"{n}-{i}" for i in range(700)] + new
        windows.update(batch([n * 60_000] * len(ids), [0.1] * len(ids), [0] * len(ids), id=ids))
    windows.close()
    assert "new" in out[2].slices["id"].values


def test_heavy_hitters_err_by_no_more_than_they_say():
    rng = np.random.default_rng(3)
    values, told = HeavyHitters(50), {}
    for _ in range(40):
        ids = rng.zipf(1.3, 2000) % 100_000
        words, counts = np.unique(ids, return_counts=True)
        values.add(pa.array([str(word) for word in words]), counts)
        for word, count in zip(words.tolist(), counts.tolist(), strict=True):
            told[str(word)] = told.get(str(word), 0) + count
    assert values.error <= 80_000 / 51
    assert len(values.counts) <= 100
    for value, count in told.items():
        assert count - values.error <= values.counts.get(value, 0.0) <= count


def test_missing_values_have_their_own_slice():
    [window] = closed([batch([0] * 4, [0.1] * 4, [0] * 4, ad=["a", None, "", "a"])])
    assert window.slices["ad"].figures(MISSING).count == 2


def test_a_field_of_many_equal_values_shows_no_drift_where_there_is_none():
    settings = WindowSettings(
        window_s=60, lateness_s=0, values_per_field=60, reference_windows=3, least_clicks=1
    )
    out = []
    windows = Windows(["user", "site"], settings, out.append)
    rng = np.random.default_rng(4)
    for n in range(12):
        users = rng.integers(0, 3000, 5000).astype(str)
        sites = rng.integers(0, 40, 5000).astype(str)
        sites[: 2500 * (n >= 9)] = ""
        time = n * 60_000 + np.arange(5000)
        windows.update(batch(time, [0.1] * 5000, [0] * 5000, user=users, site=sites))
    windows.close()
    assert out[2].drift == {}
    assert {window.drift["user"].level for window in out[3:]} == {"none"}
    assert [window.drift["site"].level for window in out[3:]] == ["none"] * 6 + ["large"] * 3
    assert out[-1].drift["site"].missing_after == 0.5
    assert out[-1].drift["(prediction)"].psi < 1e-9


# --- The 95 % interval of the calibration ratio covers the truth in 93 to 97 % of the windows.

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
