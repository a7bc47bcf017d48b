"""Which slice a shift is of, since when, and what moved: the smallest explanation of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from monitoring.watch.detect import state as kernels
from monitoring.watch.detect.change_point import ChangePoint, locate, locate_rate
from monitoring.watch.detect.kernels import market
from monitoring.watch.detect.rates import ClickRates
from monitoring.watch.detect.slots import SlotTable
from monitoring.watch.detect.state import DetectorState, Rows, Thresholds

__all__ = [
    "ShiftExplanation",
    "View",
    "cause_of",
    "explain_delay",
    "explain_missing",
    "explain_shift",
]

F64 = NDArray[np.float64]
_TIE = 2.0  # nats within which the smaller slice is the better explanation
_MOST = 24  # candidates looked at
_BANDS = {kernels.SLICE: 0.05, kernels.OVERALL: 0.02}


@dataclass(frozen=True, slots=True)
class View:
    """What there is to see when something has crossed.

    Parameters
    ----------
    rows
        The last rows, oldest first.
    seen
        How many rows there have been.
    state, limits, values, rates
        Of the tests.
    """

    rows: Rows
    seen: int
    state: DetectorState
    limits: Thresholds
    values: SlotTable
    rates: ClickRates

    def number(self, row: int) -> int:
        """A row's number in the stream."""
        return self.seen - len(self.rows.p) + row


@dataclass(frozen=True, slots=True)
class ShiftExplanation:
    """A shift with its place and start.

    Parameters
    ----------
    kind, which
        As the kernels say it.
    first, low, high
        Number, in the stream, of the first row of the shift: estimate and interval.
    rows
        Row numbers, in the view, of the slice since the start.
    expected
        Their probabilities without the shift.
    odds
        By which the odds have been multiplied since.
    evidence
        Log likelihood ratio against no shift; of a click rate, less what its stretch is too short.
    rests_on
        Clicks before the shift by which it is known what would be without.
    of
        Rows of the slice in the view.
    """

    kind: int
    which: int
    first: int
    low: int
    high: int
    rows: NDArray[np.int64]
    expected: F64
    odds: float
    evidence: float
    rests_on: float = math.inf
    of: int = 0

    @property
    def small(self) -> int:
        """How small an explanation it is: of a click rate, whose past counts too, all rows do."""
        return self.of if self.kind == kernels.MOVED else len(self.rows)

    @property
    def place(self) -> int:
        """Under which the detector keeps it."""
        if self.kind == kernels.OVERALL:
            return -1
        if self.kind == kernels.MISSING:
            return -2 - self.which
        return -1001 - self.which if self.kind == kernels.DELAY else self.which

    @property
    def closing_odds(self) -> float:
        """Odds ratio that the shift is over from: never so near to 1 that it cannot be told."""
        away = min(max(abs(math.log(self.odds)), 0.08), 0.6)
        return math.exp(math.copysign(away, math.log(self.odds)))


def explain_shift(view: View) -> ShiftExplanation | None:
    """Best explanation of a shift of calibration or click rate; ``None`` if it has passed."""
    found = [named for named in map(lambda c: _candidate(view, *c), _candidates(view)) if named]
    if not found:
        return None
    best = max(named.evidence for named in found)
    close = [named for named in found if named.evidence >= best - _TIE]
    least = min(close, key=lambda named: (named.small, -named.evidence))
    # Where the model is still wrong about a slice, that is what to say first.
    wrong = [n for n in found if (n.kind, n.which) == (kernels.SLICE, least.which)]
    if least.kind == kernels.MOVED and wrong and wrong[0].evidence >= 0.75 * least.evidence:
        return wrong[0]
    return least


def _candidates(view: View) -> list[tuple[int, int]]:
    """Kinds and slots with the most evidence, none without much of it."""
    state, limits = view.state, view.limits
    found = []
    for kind, evidence, limit in (
        (kernels.SLICE, state.slices.sum(axis=1), limits.slices),
        (kernels.OVERALL, state.overall.sum(keepdims=True), limits.overall),
    ):
        share = np.log(np.maximum(evidence, 1.0)) / math.log(limit)
        found += [(share[i], kind, int(i)) for i in np.flatnonzero(share > 0.6)]
    evidence, need = view.rates.evidence(len(state.slices))
    for i in np.flatnonzero(evidence > 0.6 * need).tolist():
        found.append((evidence[i] / need[i], kernels.MOVED, i))
    found.sort(reverse=True)
    if not found or found[0][0] < 0.9:
        return []
    return [(kind, which) for _, kind, which in found[:_MOST]]


def _candidate(view: View, kind: int, which: int) -> ShiftExplanation | None:
    rows = _free_rows(view)
    if kind != kernels.OVERALL:
        field = view.values.named(which)[0]
        rows = rows[view.rows.slots[rows, field] == which]
    if kind == kernels.MOVED:
        return _explain_click_rate(view, which, rows)
    p = _expected(view, rows)
    return _explanation(view, kind, which, rows, p, locate(view.rows.y[rows], p, _BANDS[kind]))


def _expected(view: View, rows: NDArray[np.int64]) -> F64:
    """Probabilities that the tests of calibration expect clicks by."""
    p = np.clip(view.rows.p[rows], 1e-7, 1 - 1e-7)
    if view.state.tilt[0] == 0.0:
        return np.asarray(p, np.float64)
    odds = view.state.tilt[1] / view.state.tilt[0]
    return np.asarray(odds * p / (1.0 - p + odds * p), np.float64)


def _explain_click_rate(view: View, which: int, rows: NDArray[np.int64]) -> ShiftExplanation | None:
    """A click rate that moved: what is expected is the usual one."""
    if view.rates.book[which] < 0:
        return None
    daily, (clicks, expected) = view.rates.usual(which)
    by = market(view.rows.p, view.rows.y)[rows]
    by *= daily[view.rates.part(view.rows.time[rows])]
    y = view.rows.y[rows]
    older = max(clicks - float(y.sum()), 0.0), max(expected - float(by.sum()), 0.0)
    at = locate_rate(y, by, older, view.rates.settings.moved_band)
    before = older[0] + float(y[: at.start].sum())
    level = before / max(older[1] + float(by[: at.start].sum()), 1e-9)
    named = _explanation(view, kernels.MOVED, which, rows, np.clip(by * level, 1e-7, 0.5), at)
    if named is None:
        return None
    # Of short stretches there are many, and of small slices: they need more evidence.
    many = math.log(view.rates.settings.longest_clicks / max(named.expected.sum(), 1.0))
    return replace(named, rests_on=before, evidence=named.evidence - max(many, 0.0))


def _explanation(
    view: View, kind: int, which: int, rows: NDArray[np.int64], expected: F64, at: ChangePoint
) -> ShiftExplanation | None:
    if not len(rows) or at.evidence <= 0.0:
        return None
    return ShiftExplanation(
        kind,
        which,
        view.number(int(rows[at.start])),
        view.number(int(rows[at.low])),
        view.number(int(rows[at.high])),
        rows[at.start :],
        expected[at.start :],
        at.odds,
        at.evidence,
        of=len(rows),
    )


def _free_rows(view: View) -> NDArray[np.int64]:
    """Rows that were tested and that no open alarm explains."""
    explained: NDArray[np.bool_] = np.any(view.state.open_of[view.rows.slots] >= 0, axis=1)
    for f in np.flatnonzero(view.state.gone[:, 2] > 0.0):
        explained |= view.rows.slots[:, f] == view.rows.absent[f]
    explained[: max(0, int(view.state.clock[kernels.COLD]) - view.number(0))] = True
    return np.flatnonzero(~explained)


def explain_missing(view: View, field: int) -> ShiftExplanation:
    """Since when a field is missing more often."""
    gone = (view.rows.slots[:, field] == view.rows.absent[field]).astype(np.float64)
    rows_before, gone_before, _ = view.state.gone[field]
    usual = min(max((gone_before + 0.5) / (rows_before + 1.0), 1e-3), 1.0 - 1e-3)
    everyone = np.arange(len(gone))
    expected = np.full(len(gone), usual)
    at = locate(gone, expected, band=0.7, only_more=True)
    found = _explanation(view, kernels.MISSING, field, everyone, expected, at)
    return found or ShiftExplanation(
        kernels.MISSING, field, view.seen - 1, view.seen - 1, view.seen - 1,
        everyone[-1:], expected[-1:], 2.0, 0.0,
    )  # fmt: skip


def explain_delay(view: View, quantile: int) -> ShiftExplanation | None:
    """Since when clicks are sooner or later than before; ``None`` if it has passed."""
    if view.state.delay[quantile].sum() < math.sqrt(view.limits.delay):
        return None
    share, usual, _ = view.state.quantile[quantile]
    rows = np.flatnonzero((view.rows.delay > 0.0) & (view.rows.y > 0.0))
    above = (np.log(view.rows.delay[rows]) > usual).astype(np.float64)
    expected = np.full(len(rows), 1.0 - share)
    return _explanation(view, kernels.DELAY, quantile, rows, expected, locate(above, expected))


I64 = NDArray[np.int64]
_PLAIN = 0.03  # Jensen-Shannon divergence, in nats beyond chance, of a mix that plainly moved


def cause_of(found: ShiftExplanation, view: View) -> tuple[str, str]:
    """What moved, in words, and the field whose mix of values moved most, if one plainly did."""
    if found.kind == kernels.MISSING:
        field = view.values.fields[found.which]
        return f"{field} is missing", field
    if found.kind == kernels.DELAY:
        return "clicks come with another delay", ""
    before = _before(found, view)
    if len(before) < 100 or len(found.rows) < 100:
        return "clicks do not come as predicted", ""
    moved, field = _largest_change(found, view, before)
    if moved > _PLAIN:
        return f"the mix of {field} changed", field
    return _rates(found, view, before), ""


def _before(found: ShiftExplanation, view: View) -> I64:
    """As many rows of the slice before the shift as since."""
    first = found.rows[0]
    rows = np.arange(first)
    if found.kind != kernels.OVERALL:
        field = view.values.named(found.which)[0]
        rows = rows[view.rows.slots[:first, field] == found.which]
    return rows[-len(found.rows) :]


def _largest_change(found: ShiftExplanation, view: View, before: I64) -> tuple[float, str]:
    best, name = 0.0, ""
    rows = np.concatenate([before, found.rows])
    for f, field in enumerate(view.values.fields):
        if _goes_with_time(view.rows.slots[:, f]) or not view.values.is_whole(f):
            continue
        moved = _mix_moved(np.unique(view.rows.slots[rows, f], return_inverse=True)[1], len(before))
        if moved > best:
            best, name = moved, field
    return best, name


def _mix_moved(values: I64, before: int) -> float:
    """Divergence of the mix before and since, less what chance gives.

    Chance is the largest divergence of fifteen halves that have rows of before and since alike. Of
    many values that come once or twice, as users do, it is nearly all there is.

    Examples
    --------
    >>> users = np.arange(600) * 7919 % 550
    >>> _mix_moved(users, 300) < 0.03 < _mix_moved(np.repeat([0, 1, 1, 2], 150), 300)
    True
    """
    number = np.arange(len(values))
    halves = [np.bitwise_count(number & mask) % 2 == 0 for mask in range(1, 16)]
    chance = max(_divergence(values, half) for half in halves)
    return _divergence(values, number < before) - chance


def _goes_with_time(slots: NDArray[np.int32]) -> bool:
    """Whether a field says little but when it is, as the hour does: it comes in long runs."""
    return float(np.mean(slots[1:] != slots[:-1])) < 0.02


def _divergence(values: I64, part: NDArray[np.bool_]) -> float:
    """Jensen-Shannon divergence of the mix in a part of the rows and in the rest, in nats."""
    size = int(values.max()) + 1
    p, q = (np.bincount(values[of], minlength=size) / of.sum() for of in (part, ~part))
    m = (p + q) / 2.0
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log(p / m), 0.0) + np.where(q > 0, q * np.log(q / m), 0.0)
    return float(terms.sum() / 2.0)


def _rates(found: ShiftExplanation, view: View, before: I64) -> str:
    """Whether clicks or predictions moved, from their means before and since."""
    p, y = view.rows.p, view.rows.y
    clicks = _change(y[found.rows].mean(), y[before].mean())
    predictions = _change(p[found.rows].mean(), p[before].mean())
    return f"the click rate went {clicks}, the mean prediction {predictions}"


def _change(now: float, then: float) -> str:
    return f"from {then:.4f} to {now:.4f}"
