"""Progressive metrics: each event scored before it is learned, in one pass and O(1) memory.

A :class:`Tally` holds sums and a histogram over the logit; every figure is read off it. Two
tallies add up, so a window of a stream and the whole of it are the same thing.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.jit import jit, read_only

__all__ = ["Figures", "ReliabilityBin", "Tally", "calibration_interval"]

F64 = NDArray[np.float64]

_EDGE = 16.0
"""Logits beyond this share the outermost bins: probabilities below 1e-7 or above 1 - 1e-7."""

_EVENTS, _WEIGHT, _CLICKS, _EXPECTED, _LOSS, _SPREAD, _SPREAD_2, _EXCESS = range(8)
_POSITIVE, _NEGATIVE, _MASS = range(3)


class Figures(msgspec.Struct, frozen=True):
    """What a tally says. ``None`` where it cannot be said (no clicks, no truth).

    Parameters
    ----------
    events
        How many events were scored.
    clicks, base_rate
        Sum of importance weights of clicks, and its share of all weight.
    log_loss
        Mean negative log likelihood, nats an event.
    normalised_entropy
        Log loss over the entropy of the base rate of these very events (He et al. 2014).
    auc, auc_error
        Area under the ROC curve, and a bound on its error: scores of one histogram bin count
        as ties.
    calibration_ratio, calibration_low, calibration_high
        Sum of predictions over clicks (above 1: over-predicts), with its 95 % interval.
    ece
        Expected calibration error on 20 bins of equal mass.
    mean_prediction
        Mean predicted probability.
    excess_log_loss
        Mean divergence of the prediction from the true probability, where that is known:
        the expected log loss above that of a perfect predictor.
    """

    events: int
    clicks: float
    base_rate: float | None
    log_loss: float | None
    normalised_entropy: float | None
    auc: float | None
    auc_error: float | None
    calibration_ratio: float | None
    calibration_low: float | None
    calibration_high: float | None
    ece: float | None
    mean_prediction: float | None
    excess_log_loss: float | None


class ReliabilityBin(msgspec.Struct, frozen=True):
    """One bin of a reliability curve: mean prediction, observed rate, weight, and interval."""

    predicted: float
    observed: float
    weight: float
    low: float
    high: float


@jit
def _bin(t: float, scale: float, bins: int) -> int:
    at = int((min(max(t, -_EDGE), _EDGE) + _EDGE) * scale)
    return max(min(at, bins - 1), 0)


@jit
def _amend(sums: F64, histogram: F64, logits: F64, importance: F64) -> None:
    """Make unclicked events of a tally clicked ones."""
    bins = len(histogram)
    for i in range(len(logits)):
        t = logits[i]
        w = importance[i] if len(importance) > 0 else 1.0
        sums[_CLICKS] += w
        sums[_LOSS] -= w * t
        at = _bin(t, bins / (2.0 * _EDGE), bins)
        histogram[at, _POSITIVE] += w
        # It was scored before some steps, in this bin or one near it.
        away = 0
        while away < bins:
            if at >= away and histogram[at - away, _NEGATIVE] >= w:
                histogram[at - away, _NEGATIVE] -= w
                break
            if at + away < bins and histogram[at + away, _NEGATIVE] >= w:
                histogram[at + away, _NEGATIVE] -= w
                break
            away += 1


@jit
def _score(
    sums: F64, histogram: F64, logits: F64, labels: F64, importance: F64, truth: F64
) -> None:
    """Add events to a tally; the loss comes from the logit, so it never overflows."""
    bins = len(histogram)
    scale = bins / (2.0 * _EDGE)
    for i in range(len(logits)):
        t, y = logits[i], labels[i]
        w = importance[i] if len(importance) > 0 else 1.0
        tail = math.exp(-abs(t))
        p = (1.0 if t >= 0.0 else tail) / (1.0 + tail)
        softplus = max(t, 0.0) + math.log1p(tail)
        sums[_EVENTS] += 1.0
        sums[_WEIGHT] += w
        sums[_CLICKS] += w * y
        sums[_EXPECTED] += w * p
        sums[_LOSS] += w * (softplus - y * t)
        sums[_SPREAD] += w * w * p
        sums[_SPREAD_2] += w * w * p * p
        if len(truth) > 0:
            q = truth[i]
            entropy = 0.0
            if 0.0 < q < 1.0:
                entropy = -q * math.log(q) - (1.0 - q) * math.log1p(-q)
            sums[_EXCESS] += w * (softplus - q * t - entropy)
        at = _bin(t, scale, bins)
        histogram[at, _POSITIVE] += w * y
        histogram[at, _NEGATIVE] += w * (1.0 - y)
        histogram[at, _MASS] += w * p


def calibration_interval(
    clicks: float, expected: float, spread: float, spread_2: float, z: float = 1.959964
) -> tuple[float | None, float | None]:
    """Score interval of the calibration ratio.

    If predictions are too high by a factor r, the clicks Y have mean S/r and variance
    B/r - C/r**2 (a sum of independent Bernoulli trials of p/r). The interval holds every r
    under which Y is within z standard deviations: Wilson's construction (1927), which keeps
    its coverage down to some ten clicks.

    Parameters
    ----------
    clicks
        Y, the sum of w y.
    expected, spread, spread_2
        S, B and C: the sums of w p, w**2 p and w**2 p**2.
    z
        Normal quantile; default 95 %.

    Returns
    -------
    low, high
        ``None`` where there is no bound.

    Examples
    --------
    >>> from learning.metrics import calibration_interval
    >>> low, high = calibration_interval(100.0, 100.0, 100.0, 5.0)
    >>> round(low, 2), round(high, 2)
    (0.83, 1.21)
    """
    if expected <= 0.0:
        return None, None
    a = expected * expected + z * z * spread_2
    b = 2.0 * clicks * expected + z * z * spread
    root = math.sqrt(max(b * b - 4.0 * a * clicks * clicks, 0.0))
    least, most = (b - root) / (2.0 * a), (b + root) / (2.0 * a)  # of 1/r
    return 1.0 / most if most > 0.0 else None, 1.0 / least if least > 1e-12 else None


class Tally:
    """Sums and histogram of scored events.

    Parameters
    ----------
    bins
        Bins of the histogram over the logit, from -16 to 16.

    Examples
    --------
    >>> import numpy as np
    >>> from learning.metrics import Tally
    >>> tally = Tally()
    >>> tally.add(np.array([-2.0, 2.0]), np.array([0.0, 1.0]))
    >>> tally.figures().auc
    1.0
    """

    def __init__(self, bins: int = 8192) -> None:
        self.sums = np.zeros(8)
        self.histogram = np.zeros((bins, 3))
        self.knows_truth = False

    @property
    def events(self) -> int:
        """How many events were scored."""
        return int(self.sums[_EVENTS])

    def add(
        self, logits: F64, labels: F64, importance: F64 | None = None, truth: F64 | None = None
    ) -> None:
        """Score n events.

        Parameters
        ----------
        logits, labels
            float64 (n,); labels are 0 or 1.
        importance, truth
            float64 (n,) of importance weights and of true click probabilities, if any.
        """
        none = np.empty(0)
        self.knows_truth = truth is not None
        given = (none if array is None else array for array in (labels, importance, truth))
        _score(self.sums, self.histogram, logits, *map(read_only, given))

    def amend(self, logits: F64, importance: F64 | None = None) -> None:
        """Count n late clicks of events that were added as not clicked.

        The log loss that they are scored with is that of the logit now: what was predicted then is
        not kept.

        Parameters
        ----------
        logits
            float64 (n,): as predicted now.
        importance
            float64 (n,), if the events had any.

        Examples
        --------
        >>> import numpy as np
        >>> from learning.metrics import Tally
        >>> tally = Tally()
        >>> tally.add(np.array([-1.0, -1.0]), np.zeros(2))
        >>> tally.amend(np.array([-1.0]))
        >>> tally.figures().events, tally.figures().clicks
        (2, 1.0)
        """
        weights = np.empty(0) if importance is None else importance
        _amend(self.sums, self.histogram, logits, read_only(weights))

    def merge(self, other: Tally) -> None:
        """Add another tally of as many bins."""
        self.sums += other.sums
        self.histogram += other.histogram
        self.knows_truth |= other.knows_truth

    def figures(self) -> Figures:
        """Read every figure."""
        weight, clicks, expected = self.sums[[_WEIGHT, _CLICKS, _EXPECTED]].tolist()
        loss = _ratio(self.sums[_LOSS], weight)
        entropy = _entropy(clicks / weight) if weight > 0 else 0.0
        auc, error = self._auc()
        low, high = calibration_interval(
            clicks, *self.sums[[_EXPECTED, _SPREAD, _SPREAD_2]].tolist()
        )
        return Figures(
            events=self.events,
            clicks=clicks,
            base_rate=_ratio(clicks, weight),
            log_loss=loss,
            normalised_entropy=_ratio(loss, entropy) if loss is not None else None,
            auc=auc,
            auc_error=error,
            calibration_ratio=_ratio(expected, clicks),
            calibration_low=low,
            calibration_high=high,
            ece=self._ece(),
            mean_prediction=_ratio(expected, weight),
            excess_log_loss=_ratio(self.sums[_EXCESS], weight) if self.knows_truth else None,
        )

    def _auc(self) -> tuple[float | None, float | None]:
        """Area by the rank statistic; each bin is one tie."""
        positive, negative = self.histogram[:, _POSITIVE], self.histogram[:, _NEGATIVE]
        pairs = positive.sum() * negative.sum()
        if pairs <= 0.0:
            return None, None
        below = np.cumsum(negative) - negative
        tied = float(positive @ negative) / 2.0
        return float((positive @ below + tied) / pairs), tied / float(pairs)

    def reliability(self, bins: int = 20) -> list[ReliabilityBin]:
        """Reliability curve on bins of about equal mass, each with its 95 % interval.

        Parameters
        ----------
        bins
            At most so many; a bin is a run of histogram bins.
        """
        return [_reliability(*part) for part in self._equal_mass(bins)]

    def _equal_mass(self, bins: int) -> list[list[float]]:
        """(clicks, others, sum of predictions) of runs of histogram bins."""
        weight = self.histogram[:, _POSITIVE] + self.histogram[:, _NEGATIVE]
        total = weight.sum()
        if total <= 0.0:
            return []
        middle = np.cumsum(weight) - weight / 2.0
        number = np.minimum((middle / total * bins).astype(np.int64), bins - 1)
        sums = np.stack([np.bincount(number, column, bins) for column in self.histogram.T], axis=1)
        return [row for row in sums.tolist() if row[_POSITIVE] + row[_NEGATIVE] > 0.0]

    def _ece(self) -> float | None:
        parts = self._equal_mass(20)
        total = sum(p[_POSITIVE] + p[_NEGATIVE] for p in parts)
        return _ratio(sum(abs(p[_POSITIVE] - p[_MASS]) for p in parts), total)

    def state(self) -> dict[str, Any]:
        """Arrays and flags for a snapshot."""
        return {"sums": self.sums, "histogram": self.histogram, "truth": self.knows_truth}

    @classmethod
    def restored(cls, state: dict[str, Any]) -> Tally:
        """Take up what :meth:`state` gave."""
        tally = cls(len(state["histogram"]))
        tally.sums[:] = state["sums"]
        tally.histogram[:] = state["histogram"]
        tally.knows_truth = bool(state["truth"])
        return tally


def _ratio(above: float, below: float) -> float | None:
    return float(above / below) if below > 0.0 else None


def _entropy(rate: float) -> float:
    if not 0.0 < rate < 1.0:
        return 0.0
    return -rate * math.log(rate) - (1.0 - rate) * math.log1p(-rate)


def _reliability(positive: float, negative: float, mass: float) -> ReliabilityBin:
    weight = positive + negative
    low, high = _wilson(positive, weight)
    return ReliabilityBin(mass / weight, positive / weight, weight, low, high)


def _wilson(clicks: float, n: float, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's interval of a rate."""
    p = clicks / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(centre - half, 0.0), min(centre + half, 1.0)
