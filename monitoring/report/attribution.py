"""Where a log is off: the fewest slices, or pairs of slices, that explain its excess of clicks.

What is predicted beyond the clicks (or short of them) in one slice shows in every slice that has
rows in common with it. So explanations are taken one after the other. A *fault* is everything, a
slice, or a pair of slices, from a row on, or between two: there, predictions are multiplied by
one ratio. With clicks Y and predictions S in it, clicks taken as Poisson, it gains over no fault

    G = Y log(Y / S) - (Y - S)

(a scan statistic: Kulldorff, Communications in Statistics 26, 1997). A slice that holds more than
the fault dilutes it and a part of it has fewer clicks to show, so G is greatest where the ratio is
uniform: of advertiser, campaign and ad, at the level where the fault is. The best one, less the
logarithm of how many there are of its kind, is believed if chance gives as much in fewer than 5
of 100 logs; its rows are corrected, and the next one is looked for in what is left.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.jit import jit
from monitoring.report.model import Fault
from monitoring.report.row_sample import Codes, Rows
from monitoring.report.slices import FALSE_ALARMS
from monitoring.report.verdict import TOLERANCE
from monitoring.watch.figures import surprise

__all__ = ["faults_in"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
_Start = tuple[int, int, int]
"""Numbers of rows: the likeliest first one, and a 95 % interval."""

_STARTS, _PAIR_STARTS = 64, 16
_LEAST_CLICKS = 5.0
_MOST_IN_PAIRS = 200
_SIMPLER = 3.0
"""Nats that a pair must gain over a slice, and a start over none, to be told."""
_OVER = _SIMPLER + math.log(_STARTS)
"""Nats that an end must gain to be told: it was chosen among so many."""
_MOST_FAULTS = 8
_LATE = 20.0
"""A slice whose first row comes so many times its usual distance into the log began there."""
_SURE = 3.0
"""Standard deviations of the clicks of a whole log beyond which it has an excess."""


class _Candidate(NamedTuple):
    """The best fault of a kind, and among how many it was chosen."""

    gain: float
    values: tuple[tuple[str, int], ...] = ()
    among: int = 1


def faults_in(rows: Rows) -> list[Fault]:
    """The faults that explain the clicks, the one with the most evidence first.

    Parameters
    ----------
    rows
        Of the log; their fields are the slices looked at, alone and in pairs.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> n = 40_000
    >>> site, ad = rng.integers(0, 8, n, np.int32), rng.integers(0, 5, n, np.int32)
    >>> p = np.full(n, 0.05)
    >>> off = (site == 3) & (np.arange(n) >= 20_000)
    >>> click = (rng.random(n) < np.where(off, 0.1, 0.05)).astype(float)
    >>> codes = {"site": site, "ad": ad}
    >>> words = {"site": [f"s{i}" for i in range(8)], "ad": [f"a{i}" for i in range(5)]}
    >>> rows = Rows(np.arange(n), p, click, np.full(n, np.nan), np.ones(n), codes, words)
    >>> [fault] = faults_in(rows)
    >>> fault.slices, round(fault.ratio, 1), fault.start_low <= 20_000 <= fault.start_high
    ((('site', 's3'),), 0.5, True)
    """
    noise = _noise(rows)
    predicted, click = rows.weight * rows.prediction / noise, rows.click / noise
    faults: list[Fault] = []
    for _ in range(_MOST_FAULTS):
        best = _best(rows, predicted, click) if predicted.any() else None
        if best is None:
            break
        inside = np.ones(len(predicted), np.bool_)
        for field, value in best.values:
            inside &= rows.codes[field] == value
        places = np.flatnonzero(inside)
        end = _end(predicted[places], click[places])
        places_till = places[:end]
        start = _start(predicted[places_till], click[places_till])
        since = places_till if start is None else places_till[start[0] :]
        ratio = click[since].sum() / predicted[since].sum()
        if abs(1.0 - ratio) > TOLERANCE * max(ratio, 1.0):
            faults.append(_fault(rows, best, since, start, places, end))
        predicted = predicted.copy()
        predicted[since] *= ratio
    return faults


def _noise(rows: Rows) -> float:
    """Variance of a sum of predictions less clicks over that of all the log's rows.

    A row that stands for w was chosen with probability 1 / w: that adds (w - 1) w p² to the
    variance w p of those it stands for. Gains of sums that are divided by it are such as chance
    gives in a whole log.
    """
    due = rows.weight * rows.prediction
    if not due.any():
        return 1.0
    return 1.0 + float((due * (rows.weight - 1.0) * rows.prediction).sum() / due.sum())


def _best(rows: Rows, predicted: F64, click: F64) -> _Candidate | None:
    """The candidate with most evidence beyond chance, if it has enough."""
    sums = _Sums.of(predicted, click)
    fields = [_slice(rows, sums, field) for field in rows.codes]
    frequent = {field: _frequent(rows, sums, field) for field in rows.codes}
    pairs = [
        _pair(sums, (a, *frequent[a]), (b, *frequent[b])) for a, b in combinations(frequent, 2)
    ]
    everything = _Candidate(sums.best(sums.nothing, 1)[1])
    kinds = ([everything], 0.0), (fields, 0.0), (pairs, _SIMPLER)
    best, most = None, math.log(_STARTS / FALSE_ALARMS)
    for found, extra in kinds:  # of two that explain as much the simpler one is told
        among = math.log(max(1, sum(c.among for c in found)))
        for candidate in found:
            if candidate.gain - among - extra > most:
                best, most = candidate, candidate.gain - among - extra
    return best


class _Sums(NamedTuple):
    """Predictions and clicks of each row, and in which stretch of the log it is.

    Each stretch has the same sum of predictions; a fault begins with one.
    """

    predicted: F64
    click: F64
    stretch: Codes
    nothing: Codes

    @classmethod
    def of(cls, predicted: F64, click: F64) -> _Sums:
        before = np.cumsum(predicted)
        stretch = np.minimum(before / before[-1] * _STARTS, _STARTS - 1).astype(np.int32)
        return cls(predicted, click, stretch, np.zeros(len(predicted), np.int32))

    def by_stretch(self, a: Codes, many_a: int, b: Codes, many_b: int, stretches: int) -> F64:
        """Predictions and clicks of each pair of values (those below 0 are left out)."""
        sums = np.zeros((2, max(1, many_a * many_b), stretches))
        one_in = _STARTS // stretches
        _add(a, b, many_b, self.stretch, one_in, self.predicted, self.click, sums)
        return sums

    def best(self, codes: Codes, values: int) -> tuple[int, float, int]:
        """The value with most to gain, from a start on or between two; of how many."""
        sums = self.by_stretch(codes, values, self.nothing, 1, _STARTS)
        gains = _best_spans(sums, _OVER)[0]
        at = int(gains.argmax())
        return at, float(gains[at]), max(1, int((gains != 0.0).sum()))


@jit
def _add(
    a: Any, b: Any, many_b: int, stretch: Any, one_in: int, predicted: Any, click: Any, sums: Any
) -> None:
    """Predictions and clicks by pair of values and stretch."""
    for i in range(len(a)):
        if a[i] >= 0 and b[i] >= 0:
            at, part = a[i] * many_b + b[i], stretch[i] // one_in
            sums[0, at, part] += predicted[i]
            sums[1, at, part] += click[i]


@jit
def _best_spans(sums: Any, over: float) -> tuple[Any, Any, Any]:
    """Of each slice what its best span of stretches gains, and where that begins and ends.

    A span that ends before the log does must gain so much more. Slices of fewer clicks than
    :data:`_LEAST_CLICKS`, predicted and observed, gain 0.
    """
    slices, stretches = sums.shape[1:]
    gains, first = np.zeros(slices), np.zeros(slices, np.int64)
    last = np.full(slices, stretches)
    for at in range(slices):
        if max(sums[0, at].sum(), sums[1, at].sum()) < _LEAST_CLICKS:
            continue
        for i in range(stretches):
            s = y = 0.0
            for j in range(i, stretches):
                s += sums[0, at, j]
                y += sums[1, at, j]
                if s <= 0.0 or max(s, y) < _LEAST_CLICKS:
                    continue
                gain = s - y + (y * np.log(y / s) if y > 0.0 else 0.0)
                gain -= over if j + 1 < stretches else 0.0
                if gain > gains[at]:
                    gains[at], first[at], last[at] = gain, i, j + 1
    return gains, first, last


def _slice(rows: Rows, sums: _Sums, field: str) -> _Candidate:
    at, gain, among = sums.best(rows.codes[field], len(rows.words[field]))
    return _Candidate(gain, ((field, at),), among)


def _pair(sums: _Sums, a: tuple[str, Codes, I64], b: tuple[str, Codes, I64]) -> _Candidate:
    """Of the values with most traffic: those of others have no evidence to show."""
    (field_a, codes_a, top_a), (field_b, codes_b, top_b) = a, b
    if not (len(top_a) and len(top_b)):
        return _Candidate(0.0)
    parts = sums.by_stretch(codes_a, len(top_a), codes_b, len(top_b), _PAIR_STARTS)
    since = parts[:, :, ::-1].cumsum(axis=2)[:, :, ::-1]
    gains = _gains(since[0], since[1])
    first, second = divmod(int(gains.argmax()) // _PAIR_STARTS, len(top_b))
    values = (field_a, int(top_a[first])), (field_b, int(top_b[second]))
    return _Candidate(float(gains.max()), values, max(1, int((gains[:, 0] != 0.0).sum())))


def _frequent(rows: Rows, sums: _Sums, field: str) -> tuple[Codes, I64]:
    """Codes of a field among its values with most predicted clicks, else -1, and those values."""
    codes, values = rows.codes[field], len(rows.words[field])
    traffic = np.bincount(codes, sums.predicted + sums.click, values)
    top = np.argsort(-traffic, kind="stable")[:_MOST_IN_PAIRS]
    top = top[traffic[top] >= _LEAST_CLICKS]
    place = np.full(values, -1, np.int32)
    place[top] = np.arange(len(top))
    return place[codes], top


def _gains(predicted: F64, clicks: F64) -> F64:
    """Log likelihood of the best ratio over that of 1; 0 where there is too little to say."""
    some = np.maximum(predicted, clicks) >= _LEAST_CLICKS
    some &= predicted > 0.0
    s, y = np.where(some, predicted, 1.0), np.where(some, clicks, 1.0)
    return np.asarray(np.where(some, surprise(y, s), 0.0))


def _start(predicted: F64, click: F64) -> _Start | None:
    """Where in a slice's rows the fault began; ``None``: no start explains more than none.

    All starts are likely a priori as they have predicted clicks before them. The likelihood counts
    for half, because the slice was chosen for it.
    """
    s, y = (np.cumsum(x[::-1])[::-1] for x in (predicted, click))
    gains = _gains(s, y)
    best = int(gains.argmax())
    if gains[best] - gains[0] < _SIMPLER:  # of one from the start it is more in 5 of 100
        return None
    weight = np.exp((gains - gains[best]) / 2) * predicted
    below = np.cumsum(weight) / weight.sum()
    low, high = np.searchsorted(below, (0.025, 0.975))
    return best, min(int(low), best), max(min(int(high), len(s) - 1), best)


def _end(predicted: F64, click: F64) -> int | None:
    """Number of a slice's row before which the fault ended; ``None``: it goes on."""
    before = np.concatenate([[[0.0], [0.0]], np.cumsum([predicted, click], axis=1)], axis=1)
    goes_on = _gains(*(before[:, -1:] - before[:, :-1])).max()
    edges = np.searchsorted(before[0], np.linspace(0.0, before[0, -1], _STARTS + 1))
    edges[0], edges[-1] = 0, len(predicted)
    _, first, last = _best_spans(np.diff(before[:, edges])[:, np.newaxis], 0.0)
    start, end = int(edges[first[0]]), int(edges[last[0]])
    for _ in range(2):  # from stretches to rows
        end = start + 1 + int(_gains(*(before[:, start + 1 :] - before[:, [start]])).argmax())
        gains = _gains(*(before[:, [end]] - before[:, :end]))
        start = int(gains.argmax())
    return end if end < len(predicted) and gains[start] - goes_on > _OVER else None


def _fault(
    rows: Rows, found: _Candidate, since: I64, start: _Start | None, places: I64, end: int | None
) -> Fault:
    """What is said of it: by the predictions as they were, not as corrected for other faults."""
    span = slice(int(since[0]), None if end is None else int(places[end]))
    weight, excess = rows.weight, rows.weight * rows.prediction - rows.click
    whole, inside = float(excess[span].sum()), float(excess[since].sum())
    chance = math.sqrt(float((weight * rows.prediction)[span].sum()))
    worth = rows.worth[since]
    known = ~np.isnan(worth)
    clicks = float(rows.click[since].sum())
    new = start is None and bool(places[0] > _LATE * len(rows.time) / len(places))
    first, low, high = (0, 0, 0) if start is None else start
    times = rows.time[places[[first, low, high]]].tolist() if new or start else [None] * 3
    return Fault(
        slices=tuple((field, rows.words[field][value]) for field, value in found.values),
        start=times[0],
        start_low=times[1],
        start_high=times[2],
        end=None if end is None else int(rows.time[places[end]]),
        is_new=new,
        ratio=(inside + clicks) / clicks if clicks else None,
        clicks=rows.scale * clicks,
        over_promised=rows.scale * inside,
        money=rows.scale * float((worth * excess[since])[known].sum()) if known.any() else None,
        share=inside / whole if abs(whole) > _SURE * chance else None,
    )
