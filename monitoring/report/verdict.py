"""The first screen: is it calibrated, since when not, where, what it costs, what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec.structs import replace

from monitoring.report.fault_text import place_of, since_of, text_of
from monitoring.report.model import Fault, SliceRow, Total, Verdict
from monitoring.watch import formatting
from monitoring.watch.detect.alarm import Alarm
from monitoring.watch.figures import SliceFigures
from monitoring.watch.formatting import by, capital, headline_of, side_of, size_text
from monitoring.watch.state_machine import StaleWeights

__all__ = ["DRIFTED", "TOLERANCE", "open_first", "stale_first", "verdict"]

TOLERANCE = 0.05
"""A ratio this near 1 is called calibrated, however surely it is not 1 exactly."""

DRIFTED = frozenset({"over", "under", "mixed"})
"""States in which something is wrong now."""

_WIDEST = 2.0
"""An interval whose ends are further apart than this says nothing."""

_TOLD = 4
"""Faults that are told one by one; more cannot be read at a glance."""

_SOON_MS = 3_600_000  # a shift is dated by windows: it may seem to begin before its cause

_ROLL_BACK = "Look at what changed then, and go back to a version from before: clicktide models"
Direction = Literal["over", "under"]
State = Literal["ended", "mixed", Direction]


def verdict(
    total: Total,
    alarms: Sequence[Alarm],
    slices: Sequence[SliceRow],
    axis: str,
    stale: Sequence[StaleWeights] = (),
    faults: Sequence[Fault] = (),
    known: Mapping[str, str] | None = None,
) -> Verdict:
    """Say in words what the figures amount to.

    Parameters
    ----------
    total
        Figures over everything.
    alarms
        Those of the detectors.
    slices
        Rows of the slice table; those with ``drifted`` count.
    axis
        ``time`` or ``row``.
    stale
        Stretches whose predictions were made with old weights: a shift of everything that began
        in one is called that.
    faults
        What explains the excess of clicks, if the rows were looked at.
    known
        By id of an alarm: who is on it, in words; one that nobody is on comes first.

    Examples
    --------
    >>> total = Total(1000, 100, 0.1, 1.0, 0.9, 1.1)
    >>> verdict(total, (), (), "time").headline
    'Yes: predictions and clicks agree.'
    """
    known = known or {}
    alarms = [alarm for alarm in alarms if alarm.what != "new_value"]  # which is no fault
    open_alarms = open_first(alarms, known)
    if open_alarms and not _is_larger(total, open_alarms):
        worst = open_alarms[0]
        text = _known_first(_alarmed(open_alarms, total, axis), known.get(worst.id, ""))
        if worst.field or worst.what != "calibration":
            return text
        return _explained(text, worst.since_high_ms or worst.since_ms, stale, axis)
    if total.calibration_ratio is None and (total.calibration_low or 0.0) > 1 + TOLERANCE:
        return _no_click(total)
    low, high = total.calibration_low, total.calibration_high
    if total.calibration_ratio is None or low is None or high is None:
        return _unknown(total)
    if faults:
        return _located(total, faults, axis)
    drifted = sorted((s for s in slices if s.drifted), key=_cost, reverse=True)
    if _is_off(total):
        start = None if total.since is None else total.since.start
        return _explained(_off(total, drifted, axis, open_alarms), start, stale, axis)
    if drifted:
        return _mixed(total, drifted, axis)
    if alarms:
        return _ended_shift(alarms, total, axis)
    return _calibrated(total) if high <= _WIDEST * low else _unknown(total)


def open_first(alarms: Sequence[Alarm], known: Mapping[str, str]) -> list[Alarm]:
    """Alarms that go on: those that nobody is on before others, the dearest of each first."""
    going_on = [alarm for alarm in alarms if alarm.closed_ms is None]
    going_on.sort(key=lambda alarm: (not known.get(alarm.id), _size(alarm)), reverse=True)
    return going_on


def stale_first(verdict: Verdict, warnings: Sequence[str]) -> Verdict:
    """The verdict with what is not watched or not fresh in front of it; such a one is never fine.

    Examples
    --------
    >>> text = stale_first(_calibrated(Total(9, 1)), ["Weights are 25 min old."])
    >>> text.state, text.headline
    ('stale', 'Weights are 25 min old. Until then: yes: predictions and clicks agree.')
    """
    if not warnings:
        return verdict
    headline, fine = verdict.headline, verdict.state in ("calibrated", "ended")
    if fine:
        headline = f"Until then: {headline[0].lower()}{headline[1:]}"
    return replace(
        verdict,
        state="stale" if fine else verdict.state,
        headline=f"{' '.join(warnings)} {headline}",
        action=f"First see what stands: clicktide status. {verdict.action}",
    )


def _known_first(verdict: Verdict, handled: str) -> Verdict:
    """The verdict with who is on it in front, if somebody is."""
    if not handled:
        return verdict
    headline = f"{capital(handled)}. {verdict.headline}"
    return replace(verdict, handled=handled, headline=headline)


def _explained(
    verdict: Verdict, since: int | None, stale: Sequence[StaleWeights], axis: str
) -> Verdict:
    """The same shift, called stale weights if it began, or is, while those were served."""
    spells = [s for s in stale if since is None or s.end_ms >= since >= s.start_ms - _SOON_MS]
    if not spells:
        return verdict
    old = max(spells, key=lambda spell: spell.age_s)
    weights = f"weights up to {formatting.span(old.age_s)} old were served"
    return replace(
        verdict,
        headline=f"Stale weights: {weights} since {formatting.when(old.start_ms, axis)}. "
        f"{verdict.headline}",
        where=f"Everywhere, as of stale weights: {weights} "
        f"until {formatting.when(old.end_ms, axis)}.",
        action="See why the trainer fell behind: clicktide status. Predictions are right again "
        "when fresh weights are served; scale or roll back nothing for this.",
    )


def _alarmed(alarms: Sequence[Alarm], total: Total, axis: str) -> Verdict:
    worst = alarms[0]
    where = worst.where if worst.field else "everywhere, in all slices"
    more = f" and {len(alarms) - 1} more" if len(alarms) > 1 else ""
    late = (worst.detected_ms - worst.since_ms) / 1000
    found = f"; found {formatting.span(late)} later" if axis == "time" and late > 0 else ""
    now = f"over everything {formatting.ratio(total.calibration_ratio)}"
    if worst.what == "calibration":
        text = f"No: {_ratio_text(worst.size, worst.size_low, worst.size_high)} since then; {now}."
    else:
        text = f"Calibration ratio {now}; but {size_text(worst)}."
    start = "No: " if worst.what == "calibration" else ""
    others = f"; {len(alarms) - 1} more going on" if more else ""
    since = formatting.when(worst.since_ms, axis)
    headline = f"{start}{headline_of(worst)}, since {since}{others}."
    return Verdict(
        side_of(worst),
        headline[0].upper() + headline[1:],
        text,
        f"{formatting.when(worst.since_ms, axis)}{found}.",
        f"{where[0].upper()}{where[1:]}{more}."
        + (f" {_sentence(worst.cause)}" if worst.cause else ""),
        _cost_text(worst.clicks_over_promised, worst.money_over_promised),
        _sentence(worst.action or _ROLL_BACK),
    )


def _sentence(text: str) -> str:
    """With a capital and a full stop."""
    return capital(text).removesuffix(".") + "."


def _off(
    total: Total, drifted: Sequence[SliceRow], axis: str, alarms: Sequence[Alarm] = ()
) -> Verdict:
    dated = total.since is not None
    ratio = _now(total).calibration_ratio or total.calibration_ratio or 1.0
    side: Direction = "under" if ratio < 1 else "over"
    since = "" if total.since is None else f" since {formatting.when(total.since.start, axis)}"
    return Verdict(
        side,
        f"No: it {side}-predicts{by(ratio)}{since or ' all along'}.",
        f"No: {_of(total)}{f', and {ratio:.2f} since then' if dated else ''}.",
        _since_text(total, axis),
        _everywhere(drifted, alarms),
        _cost_text(_promised(total), _now(total).money),
        _scaled(ratio),
    )


def _everywhere(drifted: Sequence[SliceRow], alarms: Sequence[Alarm]) -> str:
    most = f", most in {_places(drifted)}" if drifted else ": no slice stands out"
    named = ", ".join(alarm.where for alarm in alarms[:3])
    return f"Everywhere{most}.{f' Alarms besides: {named}.' if named else ''}"


def _scaled(ratio: float) -> str:
    if ratio > 1:
        return (
            f"Divide predictions by {ratio:.2f} until the model is trained anew, and see whether "
            "clicks are lost on their way."
        )
    return f"Multiply predictions by {1 / ratio:.2f} until the model is trained anew."


def _mixed(total: Total, drifted: Sequence[SliceRow], axis: str) -> Verdict:
    worst = drifted[0]
    now = _now(worst)
    ratio = now.calibration_ratio
    side = "under" if ratio is not None and ratio < 1 else "over"
    place = formatting.place(worst.field, worst.value)
    since = (
        "" if worst.since is None else f" since about {formatting.when(worst.since.start, axis)}"
    )
    slices = "1 slice is" if len(drifted) == 1 else f"{len(drifted)} slices are"
    return Verdict(
        "mixed",
        f"Overall yes, but {place} is {side}-predicted{by(ratio)}{since}.",
        f"Overall yes: {_of(total)}. But {slices} off by more than chance explains.",
        _since_text(worst, axis),
        f"{_places(drifted)}.",
        _cost_text(now.over_promised, now.money, place),
        f"Look at what changed for {place} then, and retrain or go back to a version from before."
        if worst.since is not None
        else f"Give the model the field {worst.field!r}, or a cross with it: it has been off from "
        "the start.",
    )


def _located(total: Total, faults: Sequence[Fault], axis: str) -> Verdict:
    """What is off is known by slice, or pair of slices, or as everything alike."""
    dearest = sorted(faults, key=lambda fault: (fault.end is not None, -abs(fault.over_promised)))
    worst, shown = dearest[0], dearest[:_TOLD]
    side: Direction = "over" if worst.over_promised > 0 else "under"
    off, ended = _is_off(total) or not worst.slices, worst.end is not None
    state: State = "ended" if ended else side if off else "mixed"
    answer = "Yes, again" if ended else "No" if off else "Overall yes"
    return Verdict(
        state,
        f"{answer}{', but' if state == 'mixed' else ':'} {_fault_sentence(worst, side, axis)}"
        f"{_others(dearest[1:])}.",
        f"{answer}: {_of(total)} over everything.",
        " ".join(since_of(fault, axis, named=len(faults) > 1) for fault in shown),
        f"{'; '.join(map(text_of, shown))}{_others(dearest[_TOLD:])}. The rest agrees.",
        " ".join(
            _cost_text(f.over_promised, f.money, place_of(f) if f.slices else "") for f in shown
        ),
        _fault_action(worst),
    )


def _fault_sentence(fault: Fault, side: Direction, axis: str) -> str:
    """What is, or was, off, how far, and since when."""
    ended = fault.end is not None
    if fault.slices:
        text = f"{place_of(fault)} {'was' if ended else 'is'} {side}-predicted"
    else:
        text = f"it {side}-{'predicted' if ended else 'predicts'}"
    since = "all along"
    if fault.start is not None:
        word = "from" if ended else "since"
        since = f"{word} about {formatting.when(fault.start, axis)}"
    until = "" if fault.end is None else f" until about {formatting.when(fault.end, axis)}"
    size = "" if fault.ratio is None else by(fault.ratio)
    clicks = "" if fault.ratio is not None else ": not one click came"
    return f"{text}{size}{'' if fault.slices else ' everywhere'} {since}{until}{clicks}"


def _others(faults: Sequence[Fault]) -> str:
    """How many more there are, and were."""
    going_on = sum(fault.end is None for fault in faults)
    ended = len(faults) - going_on
    text = f"; {going_on} more {'is' if going_on == 1 else 'are'} off" if going_on else ""
    return text + (f"; {ended} more {'was' if ended == 1 else 'were'}" if ended else "")


def _fault_action(fault: Fault) -> str:
    if fault.end is not None:
        return "Nothing now. See whether what caused it can come back."
    if fault.ratio is None:
        return f"See whether clicks of {place_of(fault)} reach the log at all: not one came."
    if not fault.slices:
        return _scaled(fault.ratio)
    if fault.start is not None:
        return (
            f"Look at what changed for {place_of(fault)} then, and retrain or go back to a "
            "version from before."
        )
    fields = " and ".join(repr(field) for field, _ in fault.slices)
    if len(fault.slices) == 1:
        return f"Give the model the field {fields}, or a cross with it: it was off from the start."
    return f"Give the model a cross of {fields}: it was off from the start."


def _since_text(of: Total | SliceRow, axis: str) -> str:
    if of.since is None:
        return "All along: no one change stands out."
    return f"About {formatting.when(of.since.start, axis)}, by the windows on either side."


def _ended_shift(alarms: Sequence[Alarm], total: Total, axis: str) -> Verdict:
    last = max(alarms, key=lambda alarm: alarm.closed_ms or 0)
    place = last.where
    return Verdict(
        "ended",
        f"Yes, again: a shift ({place}) ended at {formatting.when(last.closed_ms or 0, axis)}.",
        f"Yes: {_of(total)} over everything.",
        f"It was not from {formatting.when(last.since_ms, axis)} to "
        f"{formatting.when(last.closed_ms or 0, axis)}.",
        f"{place[0].upper()}{place[1:]}.",
        _cost_text(last.clicks_over_promised, last.money_over_promised),
        "Nothing now. See whether what caused it can come back.",
    )


def _calibrated(total: Total) -> Verdict:
    return Verdict(
        "calibrated",
        "Yes: predictions and clicks agree.",
        f"Yes: {_of(total)}.",
        "No shift was found.",
        "Nowhere: no slice is off by more than chance explains.",
        "Nothing.",
        "Nothing.",
    )


def _no_click(total: Total) -> Verdict:
    promised = (total.mean_prediction or 0.0) * total.count
    return Verdict(
        "over",
        f"No: {formatting.clicks(promised)} clicks were promised, and none came.",
        "No: not one click came.",
        "From the start.",
        "Everywhere.",
        _cost_text(promised, total.money),
        "See whether clicks reach the log at all, and whether the label column is the right one.",
    )


def _unknown(total: Total) -> Verdict:
    return Verdict(
        "unknown",
        "Too few clicks to say.",
        f"Not known: {formatting.count(total.clicks)} clicks of "
        f"{formatting.count(total.count)} impressions say only that the ratio is "
        f"{formatting.interval(total.calibration_low, total.calibration_high)}.",
        "Not known.",
        "Not known.",
        "Not known.",
        "Wait for more clicks, or check that clicks arrive.",
    )


def _is_larger(total: Total, alarms: Sequence[Alarm]) -> bool:
    """Whether everything together is off, no alarm says so, and that costs more than any does."""
    if not _is_off(total) or any(not alarm.field for alarm in alarms):
        return False
    return abs(_promised(total)) > 2 * max(map(_size, alarms))


def _promised(total: Total) -> float:
    """Clicks predicted less those that came, since the change if there is one."""
    return _now(total).over_promised


def _is_off(total: Total) -> bool:
    """Whether it is off over everything, or since a change."""
    now = _now(total)
    low, high = now.calibration_low, now.calibration_high
    return (
        now.calibration_ratio is not None
        and abs(now.calibration_ratio - 1) > TOLERANCE
        and ((low is not None and low > 1) or (high is not None and high < 1))
    )


def _now(of: Total | SliceRow) -> SliceFigures:
    """Figures since the change, if there is one; else of everything."""
    return of if of.since is None else of.since


def _size(alarm: Alarm) -> float:
    return abs(alarm.clicks_over_promised or 0.0)


def _cost(row: SliceRow) -> float:
    return abs(_now(row).over_promised)


def _of(total: Total) -> str:
    return _ratio_text(total.calibration_ratio, total.calibration_low, total.calibration_high)


def _ratio_text(ratio: float | None, low: float | None, high: float | None) -> str:
    if ratio is None:
        return "There are no clicks"
    return f"{ratio:.2f} clicks predicted for each that came ({formatting.interval(low, high)})"


def _places(rows: Sequence[SliceRow]) -> str:
    named = [
        f"{formatting.place(r.field, r.value)} ({formatting.ratio(_now(r).calibration_ratio)})"
        for r in rows[:3]
    ]
    more = f" and {len(rows) - 3} more slices" if len(rows) > 3 else ""
    return ", ".join(named) + more


def _cost_text(clicks: float | None, money: float | None, of: str = "") -> str:
    if clicks is None:
        return "Not known."
    what = "clicks were promised that did not come" if clicks >= 0 else "clicks came unpromised"
    text = f"{formatting.clicks(abs(clicks))} {what}{f' ({of})' if of else ''}"
    if money is None:
        return f"{text}. In money: no bids are logged."
    worth = "was over-bid" if money >= 0 else "was under-bid"
    return f"{text}: {formatting.money(abs(money))} {worth}, if a click is worth its bid."
