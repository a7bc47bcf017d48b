"""Why something shifted, as far as what is logged can show; nothing is named without evidence.

Each cause is a test. Its evidence is in nats: by how much what came is likelier with the cause
than by chance, less the logarithm of how many such causes are looked at. A field whose mix of
values merely moved, as mixes do with the hour, is no cause: its values must tell *which* clicks
are off.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.watch.detect import state as kernels
from monitoring.watch.detect.alarm import slice_name
from monitoring.watch.detect.change_point import jump_at, rank_evidence
from monitoring.watch.detect.explanation import ShiftExplanation, View
from monitoring.watch.detect.model_versions import UNKNOWN
from monitoring.watch.figures import surprise
from monitoring.watch.formatting import Words
from streaming.time_text import time_text

__all__ = ["Cause", "cause_of", "path_action"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_SURE = math.log(1e4)
"""Nats: of a thousand alarms that nothing logged explains, each test names a cause for one in ten
times at most."""
_COINCIDENCE = math.log(50.0)
"""Nats that something which changes for all rows alike must have changed with the shift."""
_MOST = 0.5
"""Of a shift, on the scale of logarithms, that a cause must explain."""
_ALL = 0.95
"""Share of rows that is as good as all."""
_OLD_S = 120.0
_BOTS = 3.0
"""Times as many clicks as were ever due: more than people's taste changes overnight."""
_SHRINK = 10.0
_STEP = 10_000  # rows on either side of a new model's first
_JUMP = 5.0
"""Nats that a new model must come with the shift, and predictions jump with it, by."""


@dataclass(frozen=True, slots=True)
class Cause:
    """A cause, or that none was found.

    Parameters
    ----------
    text
        In words.
    nats
        Its evidence.
    field
        The field that it is about.
    action
        What to do, if this is another thing than the shift alone asks for.
    """

    text: str
    nats: float = 0.0
    field: str = ""
    action: str = ""


class _Rows:
    """Rows of a slice before or since the start of its shift.

    Parameters
    ----------
    view, at, expected
        All rows, the numbers of these, and the clicks expected of each without a shift.
    """

    def __init__(self, view: View, at: I64, expected: F64) -> None:
        self.at, self.expected = at, expected
        self.y, self.p = view.rows.y[at], view.rows.p[at]
        self.clicks, self.due = float(self.y.sum()), float(expected.sum())

    @property
    def ratio(self) -> float:
        """Clicks over expected ones; 1 where next to none are expected."""
        return (self.clicks + 0.5) / (self.due + 0.5)


@dataclass(frozen=True, slots=True)
class _Shift:
    """A shift, its slice before and since, and what is known of all rows."""

    found: ShiftExplanation
    view: View
    before: _Rows
    since: _Rows

    @property
    def over(self) -> bool:
        """Whether fewer clicks come than are expected."""
        return self.since.clicks < self.since.due

    @property
    def everywhere(self) -> bool:
        """Whether the shift is of all rows, or of those of a time."""
        if self.found.kind == kernels.OVERALL:
            return True
        return bool(self.view.rates.tied[self.view.values.named(self.found.which)[0]])

    def explained(self, expected: float) -> bool:
        """Whether that many expected clicks leave less than half of the shift."""
        usual = self.before.ratio * self.since.due
        whole = math.log((self.since.clicks + 0.5) / (usual + 0.5))
        return abs(whole) > 0.0 and math.log((expected + 0.5) / (usual + 0.5)) / whole >= _MOST


def cause_of(found: ShiftExplanation, view: View) -> Cause:
    """The cause with most evidence, another beside it if there is one; or that none is found."""
    if found.kind == kernels.MISSING:
        field = view.values.fields[found.which]
        return Cause(f"{field} is missing", found.evidence, field)
    if found.kind == kernels.NEW:
        f, value = view.values.named(found.which)
        name, first = slice_name(view.values.fields[f], value), view.rows.time[found.rows[0]]
        return Cause(f"{name} is new: first seen {_time(first)}", field=view.values.fields[f])
    if found.kind == kernels.DELAY:
        then, now = (view.rows.delay[part] for part in (found.before, found.rows))
        return Cause(_late_text(then, now, view.words), found.evidence)
    before = _Rows(view, found.before, found.expected_before)
    shift = _Shift(found, view, before, _Rows(view, found.rows, found.expected))
    tests = _stale_weights, _new_model, _click_path, _silence, _bots, _new_slice, _fields
    causes = sorted((c for test in tests for c in test(shift)), key=lambda c: -c.nats)
    if not causes:
        return Cause(_no_cause(shift))
    text = "; also ".join(cause.text for cause in causes[:2])
    return Cause(text, causes[0].nats, causes[0].field, causes[0].action)


# --- weights and models -------------------------------------------------------------------


def _stale_weights(shift: _Shift) -> Iterator[Cause]:
    """Weights of an age that hardly a prediction before had, since the shift began or earlier."""
    rows, before, since = shift.view.rows, shift.before.at, shift.since.at
    if not shift.everywhere or not len(before):
        return
    oldest = float(rows.age[since].max())
    begun = rows.time[since[int(rows.age[since].argmax())]] - 1000.0 * oldest
    latest = rows.time[shift.found.high - shift.view.number(0)]
    as_old = int((rows.age[before] >= 0.5 * oldest).sum())
    nats = math.log((len(before) + 1) / (as_old + 1))
    if oldest >= _OLD_S and begun <= latest and nats >= _COINCIDENCE:
        text = f"stale weights: the predictions' weights were up to {_span(oldest)} old"
        action = "see why the trainer fell behind: clicktide status; roll nothing back for this"
        yield Cause(text, nats, action=action)


def _new_model(shift: _Shift) -> Iterator[Cause]:
    """A model that took over at the start, when predictions jumped in the shift's direction."""
    at = np.concatenate([shift.before.at, shift.since.at])
    model, row = shift.view.rows.model[at], at + shift.view.number(0)
    takes_over = np.flatnonzero(model[1:] != model[:-1]) + 1
    inside = (row[takes_over] >= shift.found.low) & (row[takes_over] <= shift.found.high)
    if inside.sum() != 1 or model[takes_over[inside][0]] == UNKNOWN:
        return
    first = int(takes_over[inside][0])
    others = np.concatenate([[0], takes_over[~inside], [len(at)]])
    size = int(min(_STEP, np.abs(others - first).min()))
    by = math.log((shift.since.due + 0.5) / (shift.since.clicks + 0.5))
    jump, nats = jump_at(_as_predicted(shift.view, at, first), first, size)
    # A model that comes in the interval of the start by chance, and seems to predict otherwise.
    width = (shift.found.high - shift.found.low + 1) / len(shift.view.rows.p)
    nats -= math.log(min(1.0, len(takes_over) * width))
    if nats >= _JUMP and jump / by >= _MOST:
        name = shift.view.versions.name(int(model[first]))
        text = f"a new model version{f' ({name})' if name else ''} took over, and predictions went"
        text += f" {'up' if jump > 0 else 'down'} by {abs(math.expm1(jump)):.0%} with it"
        yield Cause(text, nats, action="compare with the version before; roll back to it")


def _as_predicted(view: View, at: I64, first: int) -> F64:
    """Log predictions of some rows, less what is usual for their values before the first one."""
    rest = np.log(np.clip(view.rows.p[at], 1e-7, 1.0))
    rest -= rest[:first].mean()  # of values never seen before nothing else is known
    for f in range(len(view.values.fields)):
        slots = view.rows.slots[at, f]
        size = int(slots.max()) + 1
        rows = np.bincount(slots[:first], minlength=size)
        rest -= (np.bincount(slots[:first], rest[:first], size) / (rows + _SHRINK))[slots]
    return rest


# --- the way of the clicks ----------------------------------------------------------------


def _click_path(shift: _Shift) -> Iterator[Cause]:
    """Clicks that come later (and fewer), or sooner, by the ranks of their delays."""
    delay = shift.view.rows.delay
    then, now = (part.at[part.y > 0.0] for part in (shift.before, shift.since))
    then, now = then[delay[then] > 0.0], now[delay[now] > 0.0]
    if min(len(then), len(now)) < 20:
        return
    a, b = delay[then], delay[now]
    later = float(np.median(b)) > float(np.median(a))
    if later and not shift.over:
        return
    nats = rank_evidence(a, b)
    far = abs(math.log(np.median(b) / np.median(a))) > math.log(1.5)
    if far and nats >= _SURE:
        words = shift.view.words
        yield Cause(_late_text(a, b, words), nats, action=path_action(words))


def _silence(shift: _Shift) -> Iterator[Cause]:
    """A stretch without any click, where many were due."""
    if not shift.everywhere or not shift.over:
        return
    due = np.cumsum(shift.since.expected)
    at = np.flatnonzero(shift.since.y > 0.0)
    ends = np.concatenate([[0.0], due[at], due[-1:]])
    gap = int(np.diff(ends).argmax())
    length = float(ends[gap + 1] - ends[gap])
    elsewhere = min(1.0, shift.since.clicks / max(shift.since.due - length, 1.0))
    nats = max(elsewhere, 0.5) * length - math.log(len(ends))
    if nats >= _SURE:
        places = np.concatenate([[0], at, [len(due) - 1]])
        first, last = (shift.view.rows.time[shift.since.at[places[gap + k]]] for k in (0, 1))
        words, span = shift.view.words, f"from {_time(first)} to {_time(last)}"
        text = f"no {words.click} came {span}, where {length:.0f} were due"
        yield Cause(text, nats, action=path_action(words))


def _bots(shift: _Shift) -> Iterator[Cause]:
    """Clicks of one slice, several times as many as it ever had."""
    since, before = shift.since, shift.before
    if shift.everywhere or before.due < 5.0 or before.ratio > 2.0:
        return
    due = _BOTS * since.due
    nats = float(surprise(since.clicks, due)) if since.clicks > due else 0.0
    if nats >= _SURE:
        words, times = shift.view.words, since.clicks / since.due
        yield Cause(
            f"{since.clicks:.0f} of {len(since.at):,} {words.impressions} were {words.clicked}, "
            f"{times:.0f} times as often as before: so {words.click} bots",
            nats,
        )


# --- fields -------------------------------------------------------------------------------


def _new_slice(shift: _Shift) -> Iterator[Cause]:
    """A slice whose first row came with the shift, where values are seldom new."""
    if shift.everywhere:
        return
    f, value = shift.view.values.named(shift.found.which)
    slots, fields = shift.view.rows.slots[:, f], shift.view.values.fields
    first = int((slots == shift.found.which).argmax())
    length = len(slots) - first
    if len(shift.before.at) > len(shift.since.at) or first <= length:
        return
    usual = _share_of_new(slots, np.arange(length, first), length)
    nats = -math.log(usual + length / (first * len(fields)))
    if nats >= _COINCIDENCE:
        when = _time(shift.view.rows.time[first])
        text = f"{slice_name(fields[f], value)} is new: first seen {when}"
        yield Cause(text, nats, fields[f])


def _share_of_new(slots: NDArray[np.int32], rows: I64, length: int) -> float:
    """Of some rows, those whose value was first seen at most so many rows ago."""
    first = np.zeros(int(slots.max()) + 1, np.int64)
    first[slots[::-1]] = np.arange(len(slots))[::-1]
    rows = rows[rows >= length]
    return float((rows - first[slots[rows]] < length).mean()) if len(rows) else 1.0


def _fields(shift: _Shift) -> Iterator[Cause]:
    """The field whose values tell best which clicks are off, if one does."""
    values, tied = shift.view.values, shift.view.rates.tied
    own = values.named(shift.found.which)[0] if shift.found.kind != kernels.OVERALL else -1
    if len(shift.before.at) < 100:
        return
    fields = range(len(values.fields))
    told = [f for f in fields if f != own and not tied[f] and values.is_whole(f)]
    causes = (cause for f in told for cause in (_mix(f, shift), _arrivals(f, shift)) if cause)
    yield from sorted(causes, key=lambda cause: -cause.nats)[:1]


def _mix(f: int, shift: _Shift) -> Cause | None:
    """Values that were clicked more, or less, than expected before already, and now are frequent.

    With the rates of before, value by value, the clicks since must be as expected.
    """
    slots, before, since = shift.view.rows.slots, shift.before, shift.since
    size = int(slots[:, f].max()) + 1
    at, then = slots[since.at, f], slots[before.at, f]
    due = np.bincount(then, before.expected, size)
    rate = np.bincount(then, before.y, size) + _SHRINK * before.ratio
    rate /= due + _SHRINK
    usual, by_value = before.ratio * since.due, float((since.expected * rate[at]).sum())
    gain = surprise(since.clicks, usual) - surprise(since.clicks, by_value)
    nats = float(gain) - math.log(len(shift.view.values.fields))
    if nats < _SURE or not shift.explained(by_value):
        return None
    share = np.bincount(at, since.expected, size) / since.due - due / before.due
    value = int((share * (rate - before.ratio) * (-1.0 if shift.over else 1.0)).argmax())
    field, word = shift.view.values.fields[f], shift.view.values.named(value)[1]
    was, now = (float((part == value).mean()) for part in (then, at))
    text = f"{slice_name(field, word)} from {was:.1%} to {now:.1%}"
    return Cause(f"the mix of {field} changed: {text}", nats, field)


def _arrivals(f: int, shift: _Shift) -> Cause | None:
    """Rows without the field, or with values that nobody had seen, hold the whole shift."""
    slots, since = shift.view.rows.slots[:, f], shift.since
    field, start = shift.view.values.fields[f], shift.found.low - shift.view.number(0)
    known = np.zeros(int(slots.max()) + 1, np.bool_)
    known[slots[:start]] = True
    new = ~known[slots[since.at]]
    values = np.unique(slots[since.at[new]])
    name = f"new values of {field}"
    if len(values) == 1:
        name = f"{slice_name(field, shift.view.values.named(int(values[0]))[1])} is new"
    absent = slots == shift.view.rows.absent[f]
    found = (
        (f"{field} is missing", absent[since.at], float(absent[shift.before.at].mean()), 1),
        (name, new, _share_of_new(slots, shift.before.at, len(slots) - start), len(values)),
    )
    causes = [
        _arrival(shift, name, inside, usual, many, field) for name, inside, usual, many in found
    ]
    return max((c for c in causes if c), key=lambda cause: cause.nats, default=None)


def _arrival(
    shift: _Shift, name: str, inside: NDArray[np.bool_], usual: float, values: int, field: str
) -> Cause | None:
    """The shift is of some of the rows only, or all its rows changed just when it began."""
    since, fields, share = shift.since, len(shift.view.values.fields), float(inside.mean())
    if share <= 2.0 * usual + 0.02:
        return None
    due, clicks = float(since.expected[inside].sum()), float(since.y[inside].sum())
    gain = float(surprise(clicks, due + 1e-9) - surprise(since.clicks, since.due))
    nats, need = gain - math.log(2 * fields * values), _SURE
    if share > _ALL:
        start, length = int(since.at[0]), len(shift.view.rows.p) - int(since.at[0])
        width = shift.found.high - shift.found.low + 1
        often = 1.0 + fields * usual * start / length  # it has been so before, or may have been
        nats, need = -math.log(often * width / start), _COINCIDENCE
    if nats < need:
        return None
    return Cause(f"{name}: {share:.0%} of the rows, {usual:.0%} before", nats, field)


# --- words --------------------------------------------------------------------------------


def _no_cause(shift: _Shift) -> str:
    """That none was found, and whether clicks or predictions moved."""
    rows = max(len(shift.since.at), 1000)
    y, p = shift.before.y[-rows:], shift.before.p[-rows:]
    if len(y) < 100:
        return "no cause found in what is logged"
    words, moved, texts = shift.view.words, [], []
    for then, now in ((y, shift.since.y), (p, shift.since.p)):
        was, is_now = float(then.mean()), float(now.mean())
        moved.append(abs(math.log((is_now + 1e-9) / (was + 1e-9))))
        texts.append(f"from {was:.4f} to {is_now:.4f}")
    which = words.clicks if moved[0] >= moved[1] else "predictions"
    return (
        f"no cause found in what is logged: the {which} themselves changed ({words.click} rate "
        f"{texts[0]}, mean prediction {texts[1]})"
    )


def _late_text(then: F64, now: F64, words: Words) -> str:
    a, b = (float(np.median(part)) / 1000.0 if len(part) else 0.0 for part in (then, now))
    late = f"{words.clicks} come {'later' if b > a else 'sooner'}"
    return f"{late}: median delay from {_span(a)} to {_span(b)}"


def path_action(words: Words) -> str:
    """What to do about clicks that are late or do not come."""
    return f"check the path of the {words.clicks}; a longer join window may be due"


def _span(seconds: float) -> str:
    if seconds < 90.0:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400.0 else f"{seconds / 3600:.1f} h"


def _time(ms: float) -> str:
    return time_text(int(ms), "{0:%Y-%m-%d %H:%M}")
