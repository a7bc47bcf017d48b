"""Sums of a window or a slice: the kernels that add rows to them, and the figures read off them.

Each row is worked out once; then every field takes one pass over its codes. A late click takes
back what its impression added as not clicked, and adds it as clicked.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.jit import inlined, jit
from learning.metrics import calibration_interval

__all__ = [
    "BID_CLICKED", "BID_EXPECTED", "CLICKS", "CORRECTED", "COUNT", "ECE_BINS", "EXPECTED",
    "EXPECTED_2", "LOSS", "SUMS", "Ranking", "SliceFigures", "SliceTable", "add_field",
    "add_overall", "figures_of", "rankings", "row_terms", "surprise",
]  # fmt: skip

COUNT, CLICKS, EXPECTED, EXPECTED_2, LOSS, BID_EXPECTED, BID_CLICKED, CORRECTED = range(8)
SUMS = 8
"""Sums of a slot: rows, clicks, p, p**2, log loss, bid * p, bid * click, late clicks."""

_EPS = 2.220446049250313e-16  # as scikit-learn clips: a sure prediction that fails costs 36 nats
_EDGE = 16.0
_LOW, _HIGH = -10.0, 2.0


@jit
def row_terms(
    probability: Any, label: Any, bid: Any, correction: Any, bins: int, terms: Any, at: Any
) -> None:
    """What each row adds to the sums, and its bins: of the whole window, and of a slice."""
    fine = bins / (2.0 * _EDGE)
    for i in range(len(probability)):
        p, y = probability[i], label[i]
        q = min(max(p, _EPS), 1.0 - _EPS)
        hit, miss = -math.log(q), -math.log1p(-q)
        new = 0.0 if correction[i] else 1.0
        worth = 0.0 if math.isnan(bid[i]) else bid[i]
        terms[i, COUNT] = new
        terms[i, CLICKS] = y
        terms[i, EXPECTED] = new * p
        terms[i, EXPECTED_2] = new * p * p
        terms[i, LOSS] = y * hit + (1.0 - y) * miss - (1.0 - new) * miss
        terms[i, BID_EXPECTED] = new * worth * p
        terms[i, BID_CLICKED] = worth * y
        terms[i, CORRECTED] = 1.0 - new
        logit = miss - hit
        at[i, 0] = min(max(int((logit + _EDGE) * fine), 0), bins - 1)
        at[i, 1] = 0 if logit < _LOW else min(int((logit - _LOW) / (_HIGH - _LOW) * 64.0), 63)


@jit
def add_overall(rows: Any, terms: Any, at: Any, sums: Any, histogram: Any) -> None:
    """Add rows to a whole window: its sums, and (clicks, others, p) of its bins."""
    for j in range(len(rows)):
        i = rows[j]
        for c in range(SUMS):
            sums[c] += terms[i, c]
        cell = at[i, 0]
        histogram[cell, 0] += terms[i, CLICKS]
        histogram[cell, 1] += terms[i, COUNT] - terms[i, CLICKS]
        histogram[cell, 2] += terms[i, EXPECTED]


@jit
def add_field(
    rows: Any, codes: Any, slots: Any, terms: Any, at: Any, sums: Any, counts: Any, mass: Any
) -> None:
    """Add rows to the slots of their values of one field; ``slots[code]`` says which."""
    for j in range(len(rows)):
        i = rows[j]
        slot = slots[codes[i]]
        for c in range(SUMS):
            sums[slot, c] += terms[i, c]
        cell = at[i, 1]
        counts[slot, cell, 0] += int(terms[i, CLICKS])
        counts[slot, cell, 1] += int(terms[i, COUNT] - terms[i, CLICKS])
        mass[slot, cell] += terms[i, EXPECTED]


F64 = NDArray[np.float64]

Ranking = tuple[float | None, float | None, float | None, float | None]
"""AUC, a bound on its error, ECE, and a bound on its error."""

ECE_BINS = 20


class SliceFigures(msgspec.Struct, frozen=True):
    """What one window says of one slice; ``None`` where it cannot be said.

    Parameters
    ----------
    count, clicks
        Impressions, and those clicked, late clicks included.
    mean_prediction
        Mean of p.
    calibration_ratio, calibration_low, calibration_high
        Sum of p over clicks (above 1: over-predicts), and the 95 % interval of sum of p over
        sum of *true* probabilities. Wilson's score interval of a sum of independent clicks of
        unequal probability: :func:`learning.metrics.calibration_interval`. An end is ``None``
        where there is no bound.
    log_loss, normalised_entropy
        Nats an impression; over the entropy of the slice's own click rate.
    auc, auc_error
        Area under the ROC curve, predictions of one bin taken for ties, and a bound on what that
        changes.
    ece, ece_error
        Expected calibration error on 20 bins of equal mass, and a bound on what it differs by
        from that of the sorted predictions.
    over_promised
        Sum of p minus clicks.
    money
        The same in bids (sum of bid * (p - click)), where there are bids.
    corrected
        Late clicks among the clicks.
    """

    count: int
    clicks: int
    mean_prediction: float | None = None
    calibration_ratio: float | None = None
    calibration_low: float | None = None
    calibration_high: float | None = None
    log_loss: float | None = None
    normalised_entropy: float | None = None
    auc: float | None = None
    auc_error: float | None = None
    ece: float | None = None
    ece_error: float | None = None
    over_promised: float = 0.0
    money: float | None = None
    corrected: int = 0


def figures_of(sums: F64, ranking: Ranking | None = None) -> SliceFigures:
    """Read the figures of one slot.

    Parameters
    ----------
    sums
        float64 (8,), see :data:`monitoring.watch.figures.SUMS`.
    ranking
        AUC and ECE of it, if known.

    Examples
    --------
    >>> figures = figures_of(np.array([100.0, 4.0, 5.0, 0.3, 17.0, 0.0, 0.0, 0.0]))
    >>> figures.calibration_ratio, figures.log_loss
    (1.25, 0.17)
    """
    count, clicks, expected, spread, loss, bid_expected, bid_clicked, corrected = map(float, sums)
    entropy = _entropy(clicks / count) if count else 0.0
    low, high = calibration_interval(clicks, expected, expected, spread)
    auc, auc_error, ece, ece_error = ranking or (None, None, None, None)
    return SliceFigures(
        count=int(count),
        clicks=int(clicks),
        mean_prediction=_ratio(expected, count),
        calibration_ratio=_ratio(expected, clicks),
        calibration_low=low,
        calibration_high=high,
        log_loss=_ratio(loss, count),
        normalised_entropy=_ratio(loss / count, entropy) if count else None,
        auc=auc,
        auc_error=auc_error,
        ece=ece,
        ece_error=ece_error,
        over_promised=expected - clicks,
        money=bid_expected - bid_clicked if bid_expected or bid_clicked else None,
        corrected=int(corrected),
    )


def rankings(histograms: F64) -> list[Ranking]:
    """AUC and ECE with their bounds of many slots.

    Parameters
    ----------
    histograms
        float64 (slots, bins, 3): clicks, others and sum of p of each bin of the prediction,
        rising.

    Examples
    --------
    >>> rankings(np.array([[[0.0, 3.0, 0.1], [1.0, 1.0, 0.9]]]))[0][:2]
    (0.875, 0.125)
    """
    out = np.empty((len(histograms), 4))
    _rank(np.ascontiguousarray(histograms), ECE_BINS, out)
    return [
        (None if auc != auc else auc, None if tie != tie else tie,
         None if ece != ece else ece, None if moved != moved else moved)
        for auc, tie, ece, moved in out.tolist()
    ]  # fmt: skip


@jit
def _rank(histograms: Any, bins: int, out: Any) -> None:
    """AUC by the rank statistic, ECE on bins of equal mass, and a bound on the error of each.

    Pairs of a click and another in one histogram cell count half. However they are truly ordered,
    each such pair changes the area by at most half its share.

    ECE literally: sort the predictions, put the one of rank r (from 0) into bin floor((r + 1/2) *
    bins / n), and take the mean over rows of abs(sum of p - clicks) by bin. Here all of one cell go
    where the cell's middle goes. Rows that go elsewhere change two bins by abs(clicks - sum of p)
    of these rows each, and only cells that straddle a border have such rows: each adds at most 2/n
    times the larger of its clicks and its sum of p (both, if it straddles several borders).
    """
    for slot in range(len(histograms)):
        cells = histograms[slot]
        clicks, others = cells[:, 0].sum(), cells[:, 1].sum()
        total, below, before, moved = clicks + others, 0.0, 0.0, 0.0
        ranked, tied, gap = 0.0, 0.0, np.zeros(bins)
        for cell in range(len(cells)):
            hit, other, expected = cells[cell, 0], cells[cell, 1], cells[cell, 2]
            size = hit + other
            if size == 0.0 and hit == 0.0:
                continue
            ranked += hit * below
            tied += hit * other / 2.0
            below += other
            after = before + size
            gap[_bin((before + after) / 2.0, total, bins)] += hit - expected
            borders = _bin(after - 0.5, total, bins) - _bin(before + 0.5, total, bins)
            if size > 0.0 and borders > 0:
                moved += hit + expected if borders > 1 else max(hit, expected)
            before = after
        pairs = clicks * others
        out[slot, 0] = (ranked + tied) / pairs if pairs > 0.0 else np.nan
        out[slot, 1] = tied / pairs if pairs > 0.0 else np.nan
        out[slot, 2] = np.abs(gap).sum() / total if total > 0.0 else np.nan
        out[slot, 3] = 2.0 * moved / total if total > 0.0 else np.nan


@inlined
def _bin(rank: float, total: float, bins: int) -> int:
    return min(max(int(rank * bins / total), 0), bins - 1)


def _ratio(above: float, below: float) -> float | None:
    return above / below if below > 0.0 else None


def _entropy(rate: float) -> float:
    if not 0.0 < rate < 1.0:
        return 0.0
    return -rate * math.log(rate) - (1.0 - rate) * math.log1p(-rate)


class SliceTable(msgspec.Struct, frozen=True):
    """What a window knows of the values of one field, the most frequent first.

    Parameters
    ----------
    values
        The values; all without a place of their own are ``(other)``.
    sums
        Of each the eight sums of :data:`monitoring.watch.figures.SUMS`; those of several
        windows can be added.
    rankings
        Of each AUC, its bound, ECE, its bound.
    """

    values: list[str]
    sums: list[list[float]]
    rankings: list[Ranking]

    def figures(self, value: str) -> SliceFigures:
        """Figures of one value; all zero if it was not seen."""
        if value not in self.values:
            return SliceFigures(0, 0)
        at = self.values.index(value)
        return figures_of(np.array(self.sums[at]), self.rankings[at])


def surprise(clicks: Any, expected: Any) -> Any:
    """Log likelihood of clicks at the rate they came over that expected, taken as Poisson.

    By Chernoff's bound, the logarithm of how improbable so many, or so few, are at most.

    Parameters
    ----------
    clicks, expected
        Numbers, or float64 arrays of one shape; 0 or above, and above 0.

    Examples
    --------
    >>> float(surprise(100.0, 100.0)), float(surprise(0.0, 3.0))
    (0.0, 3.0)
    """
    return clicks * np.log(np.maximum(clicks, 1e-300) / expected) - (clicks - expected)
