"""Which slice a shift is of, since when, and what moved: the smallest explanation of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from monitoring.watch.detect import state as kernels
from monitoring.watch.detect.change_point import ChangePoint, locate, locate_rate
from monitoring.watch.detect.model_versions import ModelVersions
from monitoring.watch.detect.rates import ClickRates, steady_market
from monitoring.watch.detect.slots import SlotTable
from monitoring.watch.detect.state import DetectorState, Rows, Thresholds
from monitoring.watch.formatting import Words

__all__ = [
    "NEW_PLACE", "ShiftExplanation", "View", "explain_delay", "explain_missing", "explain_new",
    "explain_shift",
]  # fmt: skip

F64 = NDArray[np.float64]
NEW_PLACE = -1_000_000
"""Alarms of new values are kept under this less their slot."""
_TIE = 2.0  # nats within which the smaller slice is the better explanation
_MOST = 24  # candidates looked at
# Of what is expected in the rows at hand: less is, as a difference of two sums, mostly their error.
_LEAST_OLDER = 0.2
_BANDS = {kernels.SLICE: 0.05, kernels.OVERALL: 0.02}


@dataclass(frozen=True)
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
    versions
        Names of the models.
    words
        That alarms are told in.
    """

    rows: Rows
    seen: int
    state: DetectorState
    limits: Thresholds
    values: SlotTable
    rates: ClickRates
    versions: ModelVersions
    words: Words

    @cached_property
    def market(self) -> tuple[F64, F64, float]:
        """Click rate of the whole stream at each row: see :func:`steady_market`."""
        return steady_market(self.rows, self.rates.tied, self.is_apart | self.is_explained)

    @cached_property
    def is_apart(self) -> NDArray[np.bool_]:
        """Rows of a slot that stands apart: no part of the whole stream's click rate."""
        apart: NDArray[np.bool_] = np.any(self.state.apart[self.rows.slots] > 0, axis=1)
        return apart

    @cached_property
    def is_explained(self) -> NDArray[np.bool_]:
        """Rows that an open alarm explains: the tests leave them out."""
        rows = self.rows
        explained: NDArray[np.bool_] = np.any(self.state.open_of[rows.slots] >= 0, axis=1)
        for f in np.flatnonzero(self.state.gone[:, 2] > 0.0):
            explained |= rows.slots[:, f] == rows.absent[f]
        return explained

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
    rows, expected
        Row numbers, in the view, of the slice since the start; their probabilities without the
        shift.
    before, expected_before
        The same of the slice before the start.
    odds
        By which the odds have been multiplied since.
    evidence
        Log likelihood ratio against no shift; of a click rate, less what its stretch is too short.
    rests_on
        Clicks before the shift by which it is known what would be without.
    """

    kind: int
    which: int
    first: int
    low: int
    high: int
    rows: NDArray[np.int64]
    expected: F64
    before: NDArray[np.int64]
    expected_before: F64
    odds: float
    evidence: float
    rests_on: float = math.inf

    @property
    def small(self) -> int:
        """How small an explanation it is: of a click rate, whose past counts too, all rows do."""
        return len(self.rows) + (len(self.before) if self.kind == kernels.MOVED else 0)

    @property
    def place(self) -> int:
        """Under which the detector keeps it."""
        if self.kind == kernels.OVERALL:
            return -1
        if self.kind == kernels.MISSING:
            return -2 - self.which
        if self.kind == kernels.NEW:
            return NEW_PLACE - self.which
        return -1001 - self.which if self.kind == kernels.DELAY else self.which

    @property
    def closing_odds(self) -> float:
        """Odds ratio that the shift is over from: never so near to 1 that it cannot be told."""
        away = min(max(abs(math.log(self.odds)), 0.08), 0.6)
        return math.exp(math.copysign(away, math.log(self.odds)))


def explain_shift(view: View) -> ShiftExplanation | None:
    """Best explanation of a shift of calibration or click rate; ``None`` if it has passed."""
    candidates = _candidates(view)
    explained = [(share, _candidate(view, kind, which)) for share, kind, which in candidates]
    if max((share for share, named in explained if named), default=0.0) < 0.9:
        return None
    shifts = [named for _, named in explained if named]
    best = max(named.evidence for named in shifts)
    close = [named for named in shifts if named.evidence >= best - _TIE]
    least = min(close, key=lambda named: (named.small, -named.evidence))
    # Where the model is still wrong about a slice, that is what to say first.
    wrong = [n for n in shifts if (n.kind, n.which) == (kernels.SLICE, least.which)]
    if least.kind == kernels.MOVED and wrong and wrong[0].evidence >= 0.75 * least.evidence:
        return wrong[0]
    if least.kind != kernels.SLICE or not view.rates.tied[view.values.named(least.which)[0]]:
        return least
    # A shift of everything rather than of the hour that it happens to be.
    overall = _candidate(view, kernels.OVERALL, 0)
    return overall if overall and overall.evidence >= least.evidence - _TIE else least


def _candidates(view: View) -> list[tuple[float, int, int]]:
    """Evidence, as a share of what is needed, kinds and slots of those that have most."""
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
    return sorted(found, reverse=True)[:_MOST]


def _candidate(view: View, kind: int, which: int) -> ShiftExplanation | None:
    explained = view.is_explained.copy()  # and what was not tested
    explained[: max(0, int(view.state.clock[kernels.COLD]) - view.number(0))] = True
    rows = np.flatnonzero(~explained)
    if kind != kernels.OVERALL:
        field = view.values.named(which)[0]
        rows = rows[view.rows.slots[rows, field] == which]
    if kind == kernels.MOVED:
        return _explain_click_rate(view, which, rows[~view.is_apart[rows]])
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
    daily, past = view.rates.usual(which)
    steady, of_all, _ = view.market
    factor = daily[view.rates.part(view.rows.time[rows])]
    needed = view.rates.evidence(len(view.state.slices))[1][which]
    # Where others have come or gone, so has what is known of the parts of the day, which is
    # learned against all rows: then the rate must have moved by that and without.
    factors = [factor] if steady is of_all else [factor, np.ones(len(rows))]
    moved = [_moved(view, which, rows, each, past) for each in factors]
    named = moved[0]
    if named is None or any(m is None or m.evidence < 0.5 * needed for m in moved):
        return None
    # Of short stretches there are many, and of small slices: they need more evidence.
    many = math.log(view.rates.settings.longest_clicks / max(named.expected.sum(), 1.0))
    return replace(named, evidence=named.evidence - max(many, 0.0))


def _moved(
    view: View, which: int, rows: NDArray[np.int64], factor: F64, past: tuple[float, float]
) -> ShiftExplanation | None:
    """A slice's rows against the market, by what each part of the day is for it."""
    steady, of_all, more = view.market
    y, by = view.rows.y[rows], steady[rows] * factor
    held = float((of_all[rows] * factor).sum())
    older = max(past[0] - float(y.sum()), 0.0), max(past[1] - held, 0.0) / more
    if older[1] < _LEAST_OLDER * held:
        older = 0.0, 0.0
    at = locate_rate(y, by, older, view.rates.settings.moved_band)
    before = older[0] + float(y[: at.start].sum())
    level = before / max(older[1] + float(by[: at.start].sum()), 1e-9)
    named = _explanation(view, kernels.MOVED, which, rows, np.clip(by * level, 1e-7, 0.5), at)
    return None if named is None else replace(named, rests_on=before)


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
        rows[: at.start],
        expected[: at.start],
        at.odds,
        at.evidence,
    )


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
        everyone[-1:], expected[-1:], everyone[:-1], expected[:-1], 2.0, 0.0,
    )  # fmt: skip


def explain_new(view: View, slot: int) -> ShiftExplanation:
    """A new value, since its first row."""
    rows = np.flatnonzero(view.rows.slots[:, view.values.named(slot)[0]] == slot)
    first, none = view.number(int(rows[0])), np.zeros(0)
    return ShiftExplanation(
        kernels.NEW, slot, first, first, first, rows, _expected(view, rows), none.astype(np.int64),
        none, 1.0, 0.0,
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
