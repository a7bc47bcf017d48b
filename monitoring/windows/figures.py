"""From sums and histograms to the figures of a window or a slice."""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from learning.metrics import calibration_interval
from monitoring.windows import kernels as k

__all__ = ["ECE_BINS", "SliceFigures", "figures_of", "ranking_error", "reliability_error"]

F64 = NDArray[np.float64]

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


def figures_of(sums: F64, histogram: F64 | None = None) -> SliceFigures:
    """Read the figures of one slot.

    Parameters
    ----------
    sums
        float64 (8,), see :data:`monitoring.windows.kernels.SUMS`.
    histogram
        float64 (bins, 3): clicks, others and sum of p of each bin of the prediction, rising;
        without it no AUC and no ECE.

    Examples
    --------
    >>> figures = figures_of(np.array([100.0, 4.0, 5.0, 0.3, 17.0, 0.0, 0.0, 0.0]))
    >>> figures.calibration_ratio, figures.log_loss
    (1.25, 0.17)
    """
    count, clicks, expected = sums[k.COUNT], sums[k.CLICKS], sums[k.EXPECTED]
    loss = _ratio(sums[k.LOSS], count)
    entropy = _entropy(clicks / count) if count else 0.0
    low, high = calibration_interval(
        float(clicks), float(expected), float(expected), float(sums[k.EXPECTED_2])
    )
    auc, auc_error = (None, None) if histogram is None else ranking_error(histogram)
    ece, ece_error = (None, None) if histogram is None else reliability_error(histogram)
    bids = sums[k.BID_EXPECTED], sums[k.BID_CLICKED]
    return SliceFigures(
        count=int(count),
        clicks=int(clicks),
        mean_prediction=_ratio(expected, count),
        calibration_ratio=_ratio(expected, clicks),
        calibration_low=low,
        calibration_high=high,
        log_loss=loss,
        normalised_entropy=None if loss is None else _ratio(loss, entropy),
        auc=auc,
        auc_error=auc_error,
        ece=ece,
        ece_error=ece_error,
        over_promised=float(expected - clicks),
        money=float(bids[0] - bids[1]) if any(bids) else None,
        corrected=int(sums[k.CORRECTED]),
    )


def ranking_error(histogram: F64) -> tuple[float | None, float | None]:
    """AUC by the rank statistic, and a bound on its error.

    Pairs of a click and another in one bin count half. However they are truly ordered, each
    such pair changes the area by at most half its share.

    Examples
    --------
    >>> ranking_error(np.array([[0.0, 3.0, 0.1], [1.0, 1.0, 0.9]]))
    (0.875, 0.125)
    """
    hits, others = histogram[:, 0], histogram[:, 1]
    pairs = hits.sum() * others.sum()
    if not pairs > 0.0:
        return None, None
    below = np.cumsum(others) - others
    tied = float(hits @ others) / 2.0
    return float((hits @ below + tied) / pairs), tied / float(pairs)


def reliability_error(histogram: F64, bins: int = ECE_BINS) -> tuple[float | None, float | None]:
    """ECE on bins of equal mass, and a bound on its error.

    The literal definition: sort the predictions, put the one of rank r (from 0) into bin
    floor((r + 1/2) * bins / n), and take the mean over rows of abs(sum of p - clicks) by bin. Here
    all of one histogram cell go where the cell's middle goes. A row that goes elsewhere changes
    two bins by at most abs(y - p) <= y + p each, and only cells that straddle a border have such
    rows: the error is at most 2/n times their clicks and their sum of p.

    Examples
    --------
    >>> reliability_error(np.array([[0.0, 2.0, 0.2], [1.0, 1.0, 1.0]]), bins=2)
    (0.05, 0.0)
    """
    size = histogram[:, 0] + histogram[:, 1]
    total = float(size.sum())
    if total <= 0.0:
        return None, None
    after = np.cumsum(size)
    before = after - size
    place = _place((before + after) / 2.0, total, bins)
    gap = np.abs(np.bincount(place, histogram[:, 0] - histogram[:, 2], bins)).sum()
    astride = (size > 0) & (_place(before + 0.5, total, bins) != _place(after - 0.5, total, bins))
    moved = (histogram[:, 0] + histogram[:, 2])[astride].sum()
    return float(gap) / total, 2.0 * float(moved) / total


def _place(rank: F64, total: float, bins: int) -> NDArray[np.int64]:
    return np.clip((rank * bins / total).astype(np.int64), 0, bins - 1)


def _ratio(above: float, below: float) -> float | None:
    return float(above / below) if below > 0.0 else None


def _entropy(rate: float) -> float:
    if not 0.0 < rate < 1.0:
        return 0.0
    return -rate * math.log(rate) - (1.0 - rate) * math.log1p(-rate)
