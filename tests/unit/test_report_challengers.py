"""Challengers beside the served predictions, by period and by slice."""

import numpy as np
import pyarrow as pa
import pytest

from monitoring.coded import Coded
from monitoring.registry.challenge_windows import QUARTER_MS, EventSlices, EventWindows
from monitoring.report.challengers import ByPeriod, Challenger, challenger_grid

N = 4_000
RNG = np.random.default_rng(3)
SITES = np.where(np.arange(N) % 4 == 0, "small", "large")
P = np.where(SITES == "small", 0.3, 0.1)
Y = (RNG.random(N) < P).astype(float)
TIMES = np.arange(N) * (4 * QUARTER_MS // N)


def sums(rows, p):
    y = Y[rows]
    loss = -np.sum(y * np.log(p) + (1 - y) * np.log(1 - p))
    return np.array([len(y), y.sum(), p.sum(), np.sum(p * (1 - p)), loss, 0.0, 0.0, 0.0])


def served(first=0, last=4):
    """Quarters of an hour of a champion that predicts one number for all."""
    periods = []
    for at in range(first, last):
        inside = at == TIMES // QUARTER_MS
        by = {s: sums(inside & (s == SITES), np.full(N, 0.15)[inside & (s == SITES)])
              for s in ("small", "large")}  # fmt: skip
        start = at * QUARTER_MS
        whole = sums(inside, np.full(N, 0.15)[inside])
        periods.append(ByPeriod(f"q{at}", start, start + QUARTER_MS, whole, {"site": by}))
    return periods


def challenger(p=P, rows=slice(None)):
    windows, slices = EventWindows("c"), EventSlices()
    logits, y = np.log(p / (1 - p))[rows], Y[rows]
    windows.add(TIMES[rows], logits, y)
    slices.add(TIMES[rows], {"site": Coded.of(pa.array(SITES[rows]))}, logits, y)
    return Challenger(windows.all(), list(slices.quarters.values()))


def test_one_that_knows_the_sites_is_better_where_the_other_was_wrong():
    grid = challenger_grid(served(), {"knows": challenger(), "same": challenger(np.full(N, 0.15))})
    assert [(c.field, c.value) for c in grid.columns[4:]] == [("site", "large"), ("site", "small")]
    assert [c.count for c in grid.columns[4:]] == [3000, 1000]
    by_name = {row.name: row.cells for row in grid.rows}
    assert by_name["served"][4].shade == 0.0
    for cell in by_name["same"]:
        assert cell.shade == pytest.approx(0.0, abs=1e-9) and not cell.sure
    assert all(cell.shade < -0.01 and cell.sure for cell in by_name["knows"][4:])
    small = SITES == "small"
    y, p = Y[small], P[small]
    loss = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    entropy = -(y.mean() * np.log(y.mean()) + (1 - y.mean()) * np.log(1 - y.mean()))
    assert by_name["knows"][5].normalised_entropy == pytest.approx(loss / entropy, rel=1e-9)


def test_where_it_saw_other_impressions_there_is_no_cell():
    half = challenger(rows=TIMES >= 2 * QUARTER_MS)
    grid = challenger_grid(served(), {"late": half})
    late = grid.rows[1].cells
    assert late[0] is None and late[1] is None and late[2] is not None
    assert [c.count for c in grid.columns[4:]] == [1500, 500]  # of the quarters it knows
    assert challenger_grid(served(), {"old": Challenger(half.windows)}).columns[4:] == ()


def test_rare_values_are_one_and_nothing_is_lost():
    slices = EventSlices(keep=3, most=5)
    for quarter in range(6):
        names = pa.array([f"u{n}" for n in range(50)] + ["often"] * 50)
        times = np.full(100, quarter * QUARTER_MS)
        slices.add(times, {"user": Coded.of(names)}, np.zeros(100), np.zeros(100))
    assert sorted(slices.quarters) == [3 * QUARTER_MS, 4 * QUARTER_MS, 5 * QUARTER_MS]
    closed = slices.quarters[3 * QUARTER_MS].fields["user"]
    assert len(closed) == 6 and closed["often"][0] == 50
    assert sum(values[0] for values in closed.values()) == 100
    again = EventSlices()
    again.restore(slices.state())
    assert again.quarters == slices.quarters
