"""The detectors of one stream: rows in, alarms out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from features.errors import ClicktideError
from features.jit import read_only
from monitoring.watch.detect import state as kernels
from monitoring.watch.detect.alarm import Alarm
from monitoring.watch.detect.explanation import (
    NEW_PLACE,
    ShiftExplanation,
    View,
    explain_delay,
    explain_missing,
    explain_new,
    explain_shift,
)
from monitoring.watch.detect.kernels import advance
from monitoring.watch.detect.model_versions import ModelVersions
from monitoring.watch.detect.new_values import WINDOW, NewValues
from monitoring.watch.detect.open_alarms import (
    AlarmSums,
    closed,
    mark,
    place_of,
    raised,
    start_anew,
    unmark,
)
from monitoring.watch.detect.rates import TICK, ClickRates
from monitoring.watch.detect.slots import History, SlotTable
from monitoring.watch.detect.state import DetectorState, Rows
from monitoring.watch.formatting import WORDS, Words
from monitoring.watch.scored_batch import Scored
from monitoring.watch.settings import DetectSettings

__all__ = ["SequentialDetector"]

FORMAT = 2
"""Of what :meth:`SequentialDetector.state` gives."""
_FEW = 50  # rows of a slice
_KNOWN = 100.0  # expected clicks of a new value
_SWEEP = 65_536  # rows between clearings of rare values


class SequentialDetector:
    """Finds shifts of calibration, click rate, missing values and click delays.

    Deterministic: the same rows give the same alarms, wherever they are cut into batches, and
    after any restart from :meth:`state`.

    Parameters
    ----------
    settings
        How it watches.
    words
        That alarms are told in.

    Examples
    --------
    >>> SequentialDetector().alarms_open
    []
    """

    def __init__(
        self, settings: DetectSettings | None = None, words: Words = WORDS["click"]
    ) -> None:
        self.settings, self.words = settings or DetectSettings(), words
        self._tests = kernels.make_tests(self.settings)
        self._begun = False
        self._open: dict[str, Alarm] = {}
        self._places: dict[str, int] = {}  # by alarm: slot, -1 overall, -2 - f missing, -1001 - j
        self._looks: dict[str, int] = {}  # by kind of pending alarm: number of the row to look at
        self._pending_delay = 0
        self._count = 0

    @property
    def alarms_open(self) -> list[Alarm]:
        """Alarms that are open, oldest first."""
        return list(self._open.values())

    def update(self, scored: Scored) -> Sequence[Alarm]:
        """Alarms raised or closed by these rows, oldest first.

        Late clicks (corrections) are left out: their impressions were here before.
        """
        if scored.correction.any():
            scored = scored.take(~scored.correction)
        if not self._begun:
            self._make(tuple(scored.slices))
        alarms: list[Alarm] = []
        start = 0
        while start < len(scored):
            room = _SWEEP - self._history.seen % _SWEEP
            stop = min(len(scored), start + room)
            self._run(self._rows(scored, start, stop), alarms)
            if self._history.seen % _SWEEP == 0:
                self._sweep()
            start = stop
        return alarms

    # --- rows -----------------------------------------------------------------------------

    def _make(self, fields: tuple[str, ...]) -> None:
        self._begun = True
        self._values = SlotTable(fields, self.settings.max_values)
        self._state = kernels.make_state(
            self.settings, self._tests, len(fields), 4 * len(fields) + 64
        )
        self._limits = kernels.make_limits(self.settings, max(1, len(fields)))
        self._history = History(self.settings.history_rows, len(fields))
        self._rates = ClickRates(self.settings, len(fields))
        self._new = NewValues(len(fields), self.settings.new_share)
        self._versions = ModelVersions()
        self._absent = np.arange(len(fields), dtype=np.int32)

    def _rows(self, scored: Scored, start: int, stop: int) -> Rows:
        part = scored.take(slice(start, stop)) if stop - start < len(scored) else scored
        values = self._values
        slots = np.empty((len(part), len(values.fields)), np.int32)
        for f, name in enumerate(values.fields):
            values.put(f, part.slices[name], slots)
        self._state = kernels.with_room(self._state, values.room)
        delay = np.nan_to_num(part.click_delay_ms, nan=0.0).astype(np.float32)
        return Rows(
            read_only(part.time_ms),
            np.asarray(part.probability, np.float64),
            np.asarray(part.label, np.float64),
            part.bid.astype(np.float32).astype(np.float64),
            delay.astype(np.float64),
            *self._versions.of_rows(part.version, part.time_ms),
            slots,
            self._absent,
        )

    def _run(self, rows: Rows, alarms: list[Alarm]) -> None:
        start, out = 0, np.zeros(2, np.int64)
        while start < len(rows.p):
            stop = self._next_look(start, len(rows.p))
            limits = kernels.muted(self._limits) if "shift" in self._looks else self._limits
            if "delay" in self._looks:
                limits = limits._replace(delay=kernels.NEVER)
            done = advance(rows.first(stop), start, self._tests, limits, self._state, out)
            self._history.append(rows, start, done)
            start = done
            if out[0] != kernels.NONE:
                self._crossed(int(out[0]), int(out[1]), alarms)
            if self._history.seen % TICK == 0:
                self._tick(int(rows.time[done - 1]), alarms)
            self._look(alarms)

    def _tick(self, time_ms: int, alarms: list[Alarm]) -> None:
        if self._state.clock[kernels.CLICKS] < kernels.BEGUN * self._limits.warmup:
            return
        self._new_values(alarms)
        if not self._rates.on:
            return
        moved = self._rates.tick(self._state, time_ms)
        warm = self._state.clock[kernels.CLICKS] >= self._limits.warmup
        if moved and warm and "shift" not in self._looks:
            self._crossed(kernels.MOVED, 0, alarms)

    def _new_values(self, alarms: list[Alarm]) -> None:
        clicks, seen = float(self._state.clock[kernels.CLICKS]), self._history.seen
        for slot in self._new.tick(self._values, self._history.newest(WINDOW), seen):
            self._state.apart[slot] = 1
            self._state.sums[:, kernels.EXPECTED : kernels.LATELY] = 0.0
            # Where values come and go all the time, one more is no news.
            before = self._new.arrivals[slot % len(self._values.fields)] - 1
            news = clicks >= before * self.settings.false_alarm_clicks
            if news and clicks >= self._limits.warmup:
                self._raise(explain_new(self._view(), slot), alarms)
        for slot in self._new.usual_now(seen, self.settings.history_rows):
            self._state.apart[slot] = 0
            self._rates.forget(self._state, np.arange(len(self._state.slices)))
        for key, slot in [(k, NEW_PLACE - place) for k, place in self._places.items()]:
            if slot < 0:
                continue
            expected, clicked, money = self._history.sums(slot)
            if slot not in self._new.apart or expected >= _KNOWN:  # enough to judge it by
                sums = AlarmSums(1.0, 0.0, expected, clicked, money)
                alarms.append(closed(self._open.pop(key), self._view(), sums))
                del self._places[key]

    def _next_look(self, start: int, rows: int) -> int:
        seen = self._history.seen
        ahead = [TICK - seen % TICK, *(row - seen for row in self._looks.values())]
        return min([rows, *(start + max(1, a) for a in ahead)])

    # --- what crossed ---------------------------------------------------------------------

    def _crossed(self, kind: int, which: int, alarms: list[Alarm]) -> None:
        if kind == kernels.CLOSED:
            alarms.append(self._close(which))
        elif kind == kernels.MISSING:
            self._raise(explain_missing(self._view(), which), alarms)
        elif kind == kernels.DELAY:
            self._pending_delay = which
            found = explain_delay(self._view(), which)
            self._looks["delay"] = self._later(found, 1.0)
        else:
            found = explain_shift(self._view())
            is_short = found is not None and len(found.rows) < _FEW  # all: to date and name it
            share = max(self.settings.confirm, 1.0 if is_short else 0.0)
            at_once = found is None or found.kind == kernels.MOVED
            self._looks["shift"] = self._later(found, 0.0 if at_once else share)

    def _later(self, found: ShiftExplanation | None, share: float) -> int:
        """Number of the row at which a pending alarm is to be looked at."""
        elapsed = 0 if found is None else self._history.seen - found.first
        return self._history.seen + math.ceil(share * elapsed)

    def _look(self, alarms: list[Alarm]) -> None:
        for kind in [k for k, row in self._looks.items() if row <= self._history.seen]:
            del self._looks[kind]
            view, found = self._view(), None
            if kind == "delay":
                found = explain_delay(view, self._pending_delay)
            else:
                found = explain_shift(view)
            if found is None:
                self._forget()
            else:
                self._raise(found, alarms)

    def _forget(self) -> None:
        """Start anew what crossed and then passed: it was no shift that lasts."""
        limits, state = self._limits, self._state
        state.slices[state.slices.sum(axis=1, dtype=float) >= limits.slices] = 0.0
        self._rates.take_as_usual()
        if state.overall.sum() >= limits.overall:
            state.overall[:] = 0.0

    def _view(self) -> View:
        return View(
            self._history.rows(self._absent),
            self._history.seen,
            self._state,
            self._limits,
            self._values,
            self._rates,
            self._versions,
            self.words,
        )

    # --- alarms ---------------------------------------------------------------------------

    def _raise(self, found: ShiftExplanation, alarms: list[Alarm]) -> None:
        view = self._view()
        self._count += 1
        alarm = raised(found, view, self._count, next(iter(self._open), ""))
        self._open[alarm.id] = alarm
        self._places[alarm.id] = found.place
        alarms.append(alarm)
        self._state = mark(found, alarm, self._state, self._rates, self._history)
        start_anew(found, self._view(), self._state, self._tests)

    def _close(self, which: int) -> Alarm:
        place = place_of(which, self._state)
        key = next(k for k, p in self._places.items() if p == place)
        shift = AlarmSums(*self._state.closing[max(which, 0)].tolist()) if which >= 0 else None
        alarm = closed(self._open.pop(key), self._view(), shift)
        del self._places[key]
        if place >= 0:
            self._state.apart[place] = 1
            self._new.apart[place] = self._history.seen
        unmark(which, place, self._state, self._rates, self._history)
        return alarm

    # --- bounded memory -------------------------------------------------------------------

    def _sweep(self) -> None:
        """Forget the rarer values of fields that have very many."""
        state, values = self._state, self._values
        crowded = values.crowded()
        names = np.arange(len(state.slices) if crowded else 0, dtype=np.int32)
        for f in crowded:
            slots = values.drop(f, state.sums[:, kernels.LATELY], state.open_of >= 0)
            names[slots] = len(values.fields) + f
            state.slices[slots] = state.sums[slots] = 0.0
            state.apart[slots] = 0
            self._new.drop(slots)
            self._rates.drop(slots)
        self._history.rename(names, np.array(crowded, np.int64))
        state.sums[:, kernels.LATELY] *= 0.5
        self._rates.tie(self._history.newest(2 * TICK))

    # --- state ----------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """All that a restart needs: JSON values and numpy arrays."""
        if not self._begun:
            return {}
        return {
            "format": FORMAT,
            "settings": msgspec.to_builtins(self.settings),
            "fields": list(self._values.fields),
            "values": self._values.state(),
            "tests": {name: array.copy() for name, array in self._state._asdict().items()},
            "rates": self._rates.state(),
            "new": self._new.state(),
            "versions": self._versions.state(),
            "history": self._history.state(),
            "open": msgspec.to_builtins(list(self._open.values())),
            "places": dict(self._places),
            "looks": dict(self._looks),
            "pending_delay": self._pending_delay,
            "count": self._count,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` gave; the settings are those of this detector."""
        if not state:
            return
        if state.get("format") != FORMAT:
            raise ClicktideError(
                f"the detectors' state has format {state.get('format')!r}, not {FORMAT}: another "
                "version of Clicktide saved it. Fix: begin anew, in an empty folder"
            )
        self._make(tuple(state["fields"]))
        self._values.restore(state["values"])
        arrays = {name: np.array(array) for name, array in state["tests"].items()}
        arrays.setdefault("apart", np.zeros(len(arrays["slices"]), np.int32))
        self._state = DetectorState(**arrays)
        self._rates.restore(state["rates"])
        for part in ("versions", "new"):
            if part in state:  # an older version kept none
                getattr(self, f"_{part}").restore(state[part])
        self._history.restore(state["history"])
        alarms = [msgspec.convert(alarm, Alarm) for alarm in state["open"]]
        self._open = {alarm.id: alarm for alarm in alarms}
        self._places = {str(k): int(v) for k, v in state["places"].items()}
        self._looks = {str(k): int(v) for k, v in state["looks"].items()}
        self._pending_delay = int(state["pending_delay"])
        self._count = int(state["count"])
