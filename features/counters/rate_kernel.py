"""The kernel that turns counter values into token codes; the same steps for one row as for many."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from features.jit import jit

__all__ = ["FIRST_CLICKS", "FIRST_VIEWS", "LATE", "rate_codes"]

FIRST_VIEWS, FIRST_CLICKS = 20.0, 1.0
"""What the running click rate of all events starts from."""
LATE = -1.0
"""Views, where a late click is learned and its impression's counters are not known any more."""


@jit
def rate_codes(
    values: NDArray[np.float64],
    keys: int,
    prior_views: float,
    prior_rate: float,
    odds_steps: NDArray[np.float64],
    evidence_steps: int,
    out: NDArray[np.int64],
) -> None:
    """Codes of rows of counters.

    Parameters
    ----------
    values
        (rows, keys, half-lives, 2): views and clicks; the overall counter, if ``prior_rate``
        is NaN, is the last key.
    keys
        Without the overall one.
    prior_views, prior_rate
        As declared; NaN: the rate of all events.
    odds_steps
        Where the buckets of the odds ratio begin, but the first.
    evidence_steps
        Buckets of views.
    out
        int64 (rows, keys, half-lives): ``ratio * evidence_steps + evidence``; where views are
        missing ``(len(odds_steps) + 1) * evidence_steps``; where they are ``LATE`` the next one,
        which no prediction ever meets.
    """
    missing = (len(odds_steps) + 1) * evidence_steps
    for row in range(values.shape[0]):
        for half in range(values.shape[2]):
            prior = prior_rate
            if math.isnan(prior_rate):
                seen, clicked = values[row, keys, half, 0], values[row, keys, half, 1]
                least = seen if clicked > seen or math.isnan(seen) else clicked
                prior = (least + FIRST_CLICKS) / (seen + FIRST_VIEWS)
            for key in range(keys):
                views, clicks = values[row, key, half, 0], values[row, key, half, 1]
                if math.isnan(views) or views < 0.0:
                    out[row, key, half] = missing + (views < 0.0)
                    continue
                # clicks come after their views, so they may weigh more than the views left
                clicks = views if clicks > views else clicks
                rate = (clicks + prior_views * prior) / (views + prior_views)
                odds = rate * (1.0 - prior) / ((1.0 - rate) * prior)
                ratio = len(odds_steps)  # also of NaN
                while ratio > 0 and odds < odds_steps[ratio - 1]:
                    ratio -= 1
                evidence = (math.frexp(views)[1] + 1) // 2
                evidence = max(0, min(evidence, evidence_steps - 1))
                out[row, key, half] = ratio * evidence_steps + evidence
