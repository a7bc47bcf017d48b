"""Click rates of counters, and the fields made of them: a key's rate beside that of all events."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
from numpy.typing import NDArray

from features.counters.names import counter_name, half_life_text
from features.hashing import code_hash, field_seed, missing_hash
from features.jit import jit
from features.spec import CounterSpec

__all__ = ["FIRST_CLICKS", "FIRST_VIEWS", "LATE", "CounterFields", "rate_codes"]

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


F64 = NDArray[np.float64]
_STEPS, _SPAN = 4, 10
"""Buckets of a log-odds ratio: steps of 1/4 from -2.5 to 2.5."""
_EVIDENCE = 7
"""Buckets of evidence: under 1 view, then by factors of 4."""


def _thresholds() -> F64:
    """Odds ratios ``exp(k / 4)``, correctly rounded: logarithms differ from one libm to another."""
    with localcontext() as context:
        context.prec = 40
        return np.array([float((Decimal(k) / _STEPS).exp()) for k in range(-_SPAN, _SPAN + 1)])


_ODDS = _thresholds()
_CODES = (len(_ODDS) + 1) * _EVIDENCE


class CounterFields:
    """The fields of one table of counters, a field for each key and half-life.

    Parameters
    ----------
    counters
        The table.
    seed
        Of the spec's hash.

    Attributes
    ----------
    names
        Such as ``ad_ctr_24h``.

    Examples
    --------
    >>> fields = CounterFields(CounterSpec(keys=("ad",), half_lives_h=(24,), prior_rate=0.1), 0)
    >>> fields.names
    ['ad_ctr_24h']
    >>> fields.tokens(np.array([[[[500.0, 50.0]]], [[[np.nan, np.nan]]]])).shape
    (2, 1)
    """

    def __init__(self, counters: CounterSpec, seed: int) -> None:
        self.counters = counters
        self.names = [
            f"{counter_name(key)}_ctr_{half_life_text(hours)}"
            for key in counters.keys
            for hours in counters.half_lives_h
        ]
        seeds = [field_seed(f"counter {name}", seed) for name in self.names]
        tables = [
            [*(code_hash(c, own) for c in range(_CODES)), missing_hash(own), code_hash(_CODES, own)]
            for own in seeds
        ]
        self._tokens = np.array(tables, np.uint64)
        self._places = np.arange(len(self.names))

    def tokens(self, values: F64) -> NDArray[np.uint64]:
        """Turn values (rows, keys, half-lives, 2) into tokens (rows, fields)."""
        keys, rows = len(self.counters.keys), len(values)
        rate = self.counters.prior_rate
        codes = np.empty((rows, keys, len(self.counters.half_lives_h)), np.int64)
        rate_codes(
            np.ascontiguousarray(values, np.float64), keys, float(self.counters.prior_views),
            math.nan if rate is None else float(rate), _ODDS, _EVIDENCE, codes,
        )  # fmt: skip
        return self._tokens[self._places, codes.reshape(rows, len(self.names))]
