"""A late click makes of an event scored as not clicked one that was clicked."""

import numpy as np
import pytest

from learning.metrics import Tally
from learning.progress import Progress

LOGITS = np.linspace(-6.0, 3.0, 400)
LATE = np.arange(400) % 7 == 3


WEIGHTS = np.linspace(0.5, 4.0, 400)


@pytest.mark.parametrize("importance", [None, WEIGHTS], ids=["plain", "weighted"])
def test_the_figures_are_those_of_a_label_that_was_in_time(importance):
    in_time, late = Tally(), Tally()
    in_time.add(LOGITS, LATE.astype(float), importance)
    late.add(LOGITS, np.zeros(400), importance)
    late.amend(LOGITS[LATE], None if importance is None else importance[LATE])
    assert late.sums == pytest.approx(in_time.sums)
    assert late.histogram == pytest.approx(in_time.histogram)


def test_one_whose_prediction_has_moved_since_is_taken_from_its_neighbours():
    tally = Tally()
    tally.add(LOGITS, np.zeros(400))
    tally.amend(LOGITS[LATE] - 0.3)
    assert tally.histogram[:, :2].sum() == 400
    assert tally.histogram[:, :2].min() == 0
    figures = tally.figures()
    assert (figures.events, figures.clicks) == (400, LATE.sum())
    assert 0.4 < figures.auc < 0.6


def test_windows_count_them_too():
    progress = Progress(window=100)
    progress.add(np.full(250, -3.0), np.zeros(250))
    progress.amend(np.full(4, -3.0))
    assert progress.overall.figures().clicks == 4
    assert [window.clicks for window in progress.windows()] == [0, 0, 4]
