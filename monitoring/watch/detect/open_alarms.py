"""What the tests are told when an alarm is raised, and when it is closed."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from monitoring.watch.detect.alarm import Alarm
from monitoring.watch.detect.explanation import Named, View
from monitoring.watch.detect.kernels import advance
from monitoring.watch.detect.rates import Rates
from monitoring.watch.detect.slots import History
from monitoring.watch.detect.state import (
    CLICKS,
    DELAY,
    HELD,
    MISSING,
    MOVED,
    OVERALL,
    SLICE,
    State,
    Tests,
    muted,
)

__all__ = ["OF_EVERYTHING", "mark", "place_of", "unmark"]

OF_EVERYTHING = 0
"""Row of ``closing`` of an alarm about everything."""
_SHARED = 0.1  # of a slice's rows: more, and an alarm moves its click rate too


def mark(found: Named, alarm: Alarm, state: State, rates: Rates, history: History) -> State:
    """Tell the tests that an alarm is open."""
    if found.kind == MISSING:
        state.gone[found.which, 2] = found.odds
        state.missing[found.which] = 0.0
        return state
    if found.kind == DELAY:
        state.quantile[found.which, 2] = found.odds
        state.delay[found.which] = 0.0
        return state
    number = OF_EVERYTHING if found.kind == OVERALL else _free_number(state)
    state = _with_alarm(state, number)
    money = math.nan if alarm.money_over_promised is None else alarm.money_over_promised
    state.closing[number] = found.closing_odds, 0.0, alarm.expected_clicks, alarm.clicks, money
    if found.kind == OVERALL:
        state.tilt[:] = 500.0, 500.0 * found.odds
    else:
        state.open_of[found.which] = number
        _unsettle(found.which, state, rates, history)
    return state


def start_anew(found: Named, view: View, state: State, tests: Tests) -> None:
    """Take the tests of calibration back to what they would be without the rows of an alarm.

    So that a shift of one slice is not told again for each slice that shares its rows.
    """
    if found.kind not in (OVERALL, SLICE, MOVED):
        return
    scratch = State(**{name: array.copy() for name, array in state._asdict().items()})
    for array in (scratch.overall, scratch.slices, scratch.sums):
        array[:] = 0.0
    scratch.clock[CLICKS] = view.limits.warmup
    silent = muted(view.limits)._replace(closing=math.inf, missing=math.inf, delay=math.inf)
    advance(view.rows, 0, tests, silent, scratch, np.zeros(2, np.int64))
    state.overall[:] = 0.0 if found.kind == OVERALL else scratch.overall
    state.slices[:] = scratch.slices
    state.sums[:, HELD] = scratch.sums[:, HELD]


def unmark(which: int, place: int, state: State, rates: Rates, history: History) -> None:
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


def place_of(which: int, state: State) -> int:
    """Under which an alarm that closes is kept."""
    if which == OF_EVERYTHING:
        return -1
    if which > 0:
        return int(np.flatnonzero(state.open_of == which)[0])
    return which - 1 if which > -1000 else which


def _unsettle(slot: int, state: State, rates: Rates, history: History) -> None:
    """Learn click rates anew where a good part of the rows come or go with a slice."""
    slots = history.slots[: history.seen]
    inside = slots[:, slot % slots.shape[1]] == slot
    size = len(state.slices)
    rows = np.bincount(slots.ravel(), minlength=size)
    shared: NDArray[np.bool_] = np.bincount(slots[inside].ravel(), minlength=size) > _SHARED * rows
    rates.forget(state, np.flatnonzero(shared))


def _free_number(state: State) -> int:
    taken = set(state.open_of[state.open_of >= 0].tolist())
    return next(n for n in range(1, len(taken) + 2) if n not in taken)


def _with_alarm(state: State, number: int) -> State:
    if number < len(state.closing):
        return state
    more = np.zeros((number + 1 - len(state.closing) + 64, state.closing.shape[1]))
    return state._replace(closing=np.concatenate([state.closing, more]))
