"""Raising and closing an alarm: what it says, costs and advises, and what the tests are told."""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitoring.watch.detect import state as kernels
from monitoring.watch.detect.alarm import Alarm, What, ratio_interval, severity_of, slice_name
from monitoring.watch.detect.causes import cause_of, path_action
from monitoring.watch.detect.explanation import ShiftExplanation, View
from monitoring.watch.detect.kernels import advance
from monitoring.watch.detect.rates import ClickRates
from monitoring.watch.detect.slots import History
from monitoring.watch.detect.state import DetectorState, Tests, muted
from monitoring.watch.formatting import Words
from streaming.time_text import time_text

__all__ = [
    "OF_EVERYTHING", "AlarmSums", "closed", "mark", "place_of", "raised", "start_anew", "unmark",
]  # fmt: skip

OF_EVERYTHING = 0
"""Row of ``closing`` of an alarm about everything."""
_SHARED = 0.1  # of a slice's rows: more, and an alarm moves its click rate too


def mark(
    found: ShiftExplanation, alarm: Alarm, state: DetectorState, rates: ClickRates, history: History
) -> DetectorState:
    """Tell the tests that an alarm is open."""
    if found.kind == kernels.MISSING:
        state.gone[found.which, 2] = found.odds
        state.missing[found.which] = 0.0
        return state
    if found.kind == kernels.DELAY:
        state.quantile[found.which, 2] = found.odds
        state.delay[found.which] = 0.0
        return state
    if found.kind == kernels.NEW:
        return state
    used = set(state.open_of[state.open_of >= 0].tolist())
    number = next(n for n in range(1, len(used) + 2) if n not in used)
    number = OF_EVERYTHING if found.kind == kernels.OVERALL else number
    if number >= len(state.closing):
        more = np.zeros((number + 1 - len(state.closing) + 64, state.closing.shape[1]))
        state = state._replace(closing=np.concatenate([state.closing, more]))
    money = math.nan if alarm.money_over_promised is None else alarm.money_over_promised
    state.closing[number] = found.closing_odds, 0.0, alarm.expected_clicks, alarm.clicks, money
    if found.kind == kernels.OVERALL:
        state.tilt[:] = 500.0, 500.0 * found.odds
    else:
        state.open_of[found.which] = number
        _unsettle(found.which, state, rates, history)
    return state


def start_anew(found: ShiftExplanation, view: View, state: DetectorState, tests: Tests) -> None:
    """Take the tests of calibration back to what they would be without the rows of an alarm.

    So that a shift of one slice is not told again for each slice that shares its rows.
    """
    if found.kind not in (kernels.OVERALL, kernels.SLICE, kernels.MOVED):
        return
    scratch = DetectorState(**{name: array.copy() for name, array in state._asdict().items()})
    for array in (scratch.overall, scratch.slices, scratch.sums):
        array[:] = 0.0
    scratch.clock[kernels.CLICKS] = view.limits.warmup
    silent = muted(view.limits)._replace(closing=math.inf, missing=math.inf, delay=math.inf)
    advance(view.rows, 0, tests, silent, scratch, np.zeros(2, np.int64))
    state.overall[:] = 0.0 if found.kind == kernels.OVERALL else scratch.overall
    state.slices[:] = scratch.slices
    state.sums[:, kernels.HELD] = scratch.sums[:, kernels.HELD]


def unmark(
    which: int, place: int, state: DetectorState, rates: ClickRates, history: History
) -> None:
    """Tell the tests that an alarm is closed."""
    if which == OF_EVERYTHING:
        state.tilt[:] = 0.0
        state.overall[:] = 0.0
    elif which > 0:
        state.open_of[place] = -1
        state.slices[place] = 0.0
        _unsettle(place, state, rates, history)  # what it is now is usual from now on
    elif which > -1000:
        state.gone[-1 - which, 2] = 0.0
        state.missing[-1 - which] = 0.0
    else:
        state.quantile[-1001 - which, 2] = 0.0
        state.delay[-1001 - which] = 0.0


def place_of(which: int, state: DetectorState) -> int:
    """Under which an alarm that closes is kept."""
    if which == OF_EVERYTHING:
        return -1
    if which > 0:
        return int(np.flatnonzero(state.open_of == which)[0])
    return which - 1 if which > -1000 else which


def _unsettle(slot: int, state: DetectorState, rates: ClickRates, history: History) -> None:
    """Learn click rates anew where a good part of the rows come or go with a slice."""
    slots = history.slots[: history.seen]
    inside = slots[:, slot % slots.shape[1]] == slot
    size = len(state.slices)
    rows = np.bincount(slots.ravel(), minlength=size)
    shared: NDArray[np.bool_] = np.bincount(slots[inside].ravel(), minlength=size) > _SHARED * rows
    rates.forget(state, np.flatnonzero(shared))


# --- what an alarm says -------------------------------------------------------------------

_WHAT: dict[int, What] = {
    kernels.OVERALL: "calibration",
    kernels.SLICE: "calibration",
    kernels.MOVED: "click_rate",
    kernels.MISSING: "missing",
    kernels.DELAY: "click_delay",
    kernels.NEW: "new_value",
}


class AlarmSums(NamedTuple):
    """Sums of an open alarm, in the order of the kernels' ``closing``."""

    odds: float
    evidence: float
    expected: float
    clicks: float
    money: float


def raised(found: ShiftExplanation, view: View, number: int, follows: str) -> Alarm:
    """An alarm just raised."""
    rows, first = view.rows, len(view.rows.p) - view.seen
    what, (field, value) = _WHAT[found.kind], _slice(found, view)
    p, y = rows.p[found.rows], rows.y[found.rows]
    clicks = float(y.sum())
    expected = clicks if found.kind == kernels.DELAY else float(p.sum())  # rows are clicks there
    size, size_low, size_high = (  # JSON has no infinity: without a click the ratio is not known
        end if math.isfinite(end) else None for end in _size(found, view)
    )
    since, low, high = (int(rows.time[n + first]) for n in (found.first, found.low, found.high))
    cause, money = cause_of(found, view), _money(found, view)
    share = (
        size if what in ("missing", "new_value") else _share(found, view, expected - clicks, money)
    )
    return Alarm(
        id=f"{number:04d}-{what}-{field or 'everywhere'}-{_stamp(since)}",
        status="open",
        what=what,
        field=field,
        value=value,
        since_ms=since,
        since_low_ms=low,
        since_high_ms=high,
        detected_ms=int(rows.time[-1]),
        detected_event=view.seen - 1,
        size=size,
        size_low=size_low,
        size_high=size_high,
        events=len(found.rows),
        clicks=clicks,
        expected_clicks=expected,
        clicks_over_promised=expected - clicks,
        money_over_promised=money,
        share=share,
        severity=severity_of(what, share),
        cause=cause.text,
        cause_field=cause.field,
        action=cause.action or _action(what, field, value, expected - clicks, view.words),
        follows=follows,
    )


def closed(alarm: Alarm, view: View, shift: AlarmSums | None) -> Alarm:
    """The same alarm, told again at its end, with the cost of all of it."""
    over = "new no longer" if alarm.what == "new_value" else "over"
    ended = msgspec.structs.replace(
        alarm, status="closed", closed_ms=int(view.rows.time[-1]), action=f"none: it is {over}"
    )
    if shift is None:
        return ended
    return msgspec.structs.replace(
        ended,
        clicks=shift.clicks,
        expected_clicks=shift.expected,
        clicks_over_promised=shift.expected - shift.clicks,
        money_over_promised=None if np.isnan(shift.money) else shift.money,
    )


def _stamp(time_ms: int) -> str:
    return time_text(time_ms, "{0:%Y%m%dT%H%M%SZ}")


def _slice(found: ShiftExplanation, view: View) -> tuple[str, str]:
    if found.kind in (kernels.OVERALL, kernels.DELAY):
        return "", ""
    if found.kind == kernels.MISSING:
        return view.values.fields[found.which], ""
    field, value = view.values.named(found.which)
    return view.values.fields[field], value


def _size(found: ShiftExplanation, view: View) -> tuple[float, float, float]:
    rows = view.rows
    if found.kind == kernels.MISSING:
        gone = rows.slots[found.rows, found.which] == rows.absent[found.which]
        return _share_interval(float(gone.mean()), len(gone))
    if found.kind == kernels.DELAY:  # of a quantile, with its order-statistic interval
        share, usual, _ = view.state.quantile[found.which]
        delays = np.sort(rows.delay[found.rows]) / np.exp(usual)
        n = len(delays)
        middle, half = n * share, 1.96 * (n * share * (1 - share)) ** 0.5
        at = (middle, middle - half, middle + half)
        size, low, high = (float(delays[min(max(int(i), 0), n - 1)]) for i in at)
        return size, low, high
    if found.kind == kernels.NEW:
        since = len(rows.p) - int(found.rows[0])
        return _share_interval(len(found.rows) / since, since)
    clicks = float(rows.y[found.rows].sum())
    if found.kind == kernels.MOVED:
        size = clicks / float(found.expected.sum())
        off = 1.96 * (1.0 / max(clicks, 0.5) + 1.0 / max(found.rests_on, 0.5)) ** 0.5
        return size, size * math.exp(-off), max(size, 1e-9) * math.exp(off)
    return ratio_interval(float(rows.p[found.rows].sum()), clicks)


def _share_interval(share: float, n: int) -> tuple[float, float, float]:
    """Wilson's interval."""
    z2 = 1.96**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = 1.96 / (1 + z2 / n) * (share * (1 - share) / n + z2 / (4 * n * n)) ** 0.5
    return share, max(0.0, middle - half), min(1.0, middle + half)


def _money(found: ShiftExplanation, view: View) -> float | None:
    bid = view.rows.bid[found.rows]
    known = ~np.isnan(bid)
    if not known.any():
        return None
    promised = view.rows.p[found.rows] - view.rows.y[found.rows]
    return float((bid * promised)[known].sum())


def _share(found: ShiftExplanation, view: View, clicks: float, money: float | None) -> float | None:
    """How much of what the whole stream promised since the start is amiss, in clicks or money."""
    if found.kind == kernels.DELAY:
        return None
    since = slice(int(found.rows[0]), None)
    p, bid = view.rows.p[since], view.rows.bid[since]
    share = abs(clicks) / max(float(p.sum()), 1e-9)
    worth = float(np.nansum(bid * p))
    return share if money is None or worth <= 0.0 else max(share, abs(money) / worth)


def _action(what: What, field: str, value: str, over: float, words: Words) -> str:
    where = slice_name(field, value, "=") if field else "the whole stream"
    if what == "missing":
        sender = f"the sender of the {words.impressions}"
        return f"ask {sender} for {field}; until then predictions lack it"
    if what == "new_value":
        return f"none if {where} was to begin; its calibration is told when this closes"
    if what == "click_delay":
        return path_action(words)
    if what == "click_rate":
        return f"look at what changed in {where}; the model is following by itself"
    if over < 0.0 and field:
        took = "bots, or an offer that took; if bots, leave it out"
        return f"look at the {words.clicks} of {where}: {took}"
    if not field:
        return "compare with the last good model version; roll back if it was calibrated"
    return f"hold bids on {where}, or roll back, until its calibration ratio is back near 1"
