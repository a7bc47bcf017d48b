"""Challengers beside the served predictions, by period and by slice."""

import numpy as np
import pytest

from monitoring.report.slice_grid import challenger_grid
from monitoring.report.slices import periods_of
from monitoring.watch.scored_batch import Scored
from monitoring.watch.settings import WindowSettings
from monitoring.watch.windows import Windows

N, QUARTER_MS = 4_000, 900_000
RNG = np.random.default_rng(3)
SITES = np.where(np.arange(N) % 4 == 0, "small", "large")
P = np.where(SITES == "small", 0.3, 0.1)
Y = (RNG.random(N) < P).astype(float)
TIMES = np.arange(N) * (4 * QUARTER_MS // N)


def windows(p, length_s, rows=slice(None)):
    """What a monitor, or a challenger, keeps of these predictions."""
    kept, sites = [], {"site": SITES[rows].tolist()}
    counted = Windows(["site"], WindowSettings(window_s=length_s, lateness_s=0), kept.append)
    counted.update(Scored.of(Y[rows], p[rows], time_ms=TIMES[rows], slices=sites))
    counted.close()
    return kept


def served():
    """Quarters of an hour of a champion that predicts one number for all."""
    return periods_of(windows(np.full(N, 0.15), 900), 14)


def challenger(p=P, rows=slice(None)):
    return windows(p, 60, rows)


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
    late = challenger(rows=TIMES >= 2 * QUARTER_MS)
    grid = challenger_grid(served(), {"late": late})
    cells = grid.rows[1].cells
    assert cells[0] is None and cells[1] is None and cells[2] is not None
    assert [c.count for c in grid.columns[4:]] == [1500, 500]  # of the quarters it knows
