"""The first screen: is it calibrated, since when not, where, what it costs, what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from monitoring.report.fault_text import OVER, Direction, located, scaled
from monitoring.report.model import Fault, SliceRow, Total, Verdict
from monitoring.watch import formatting
from monitoring.watch.detect.alarm import Alarm
from monitoring.watch.figures import SliceFigures
from monitoring.watch.formatting import (
    WORDS,
    Words,
    by,
    capital,
    cost_text,
    headline_of,
    side_of,
    size_text,
    when,
)
from monitoring.watch.state_machine import StaleWeights

__all__ = ["DRIFTED", "TOLERANCE", "open_first", "stale_first", "unripe_first", "verdict"]

TOLERANCE = 0.05
"""A ratio this near 1 is called calibrated, however surely it is not 1 exactly."""

DRIFTED = frozenset({"over", "under", "mixed"})
"""States in which something is wrong now."""

_WIDEST = 2.0
"""An interval whose ends are further apart than this says nothing."""

_SOON_MS = 3_600_000  # a shift is dated by windows: it may seem to begin before its cause

_ROLL_BACK = "Look at what changed then, and go back to a version from before: clicktide models"
_UNRIPE = (
    "First leave out the newest rows, which may still convert, with --time COLUMN and "
    "--conversion-window 7d."
)


def verdict(
    total: Total,
    alarms: Sequence[Alarm],
    slices: Sequence[SliceRow],
    axis: str,
    stale: Sequence[StaleWeights] = (),
    faults: Sequence[Fault] = (),
    known: Mapping[str, str] | None = None,
    words: Words = WORDS["click"],
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
    words
        That it is told in.

    Examples
    --------
    >>> total = Total(1000, 100, 0.1, 1.0, 0.9, 1.1)
    >>> verdict(total, (), (), "time").headline
    'Yes: predictions and clicks agree.'
    """
    known = known or {}
    telling = _Telling(total, axis, words)
    alarms = [alarm for alarm in alarms if alarm.what != "new_value"]  # which is no fault
    open_alarms = open_first(alarms, known)
    if open_alarms and not _is_larger(total, open_alarms):
        worst = open_alarms[0]
        text = _known_first(telling.alarms(open_alarms), known.get(worst.id, ""))
        if worst.field or worst.what != "calibration":
            return text
        return _explained(text, worst.since_high_ms or worst.since_ms, stale, axis)
    low, high = total.calibration_low, total.calibration_high
    if total.calibration_ratio is None and (low or 0.0) > 1 + TOLERANCE:
        return telling.no_click()
    if total.calibration_ratio is None or low is None or high is None:
        return telling.too_few()
    if faults:
        return located(faults, axis, words, telling.ratio(total), off=_is_off(total))
    drifted = [row for row in slices if row.drifted]
    drifted.sort(key=lambda row: abs(_now(row).over_promised), reverse=True)
    if _is_off(total):
        start = None if total.since is None else total.since.start
        return _explained(telling.off(drifted, open_alarms), start, stale, axis)
    if drifted:
        return telling.mixed(drifted)
    if alarms:
        return telling.ended(alarms)
    return telling.calibrated() if high <= _WIDEST * low else telling.too_few()


def open_first(alarms: Sequence[Alarm], known: Mapping[str, str]) -> list[Alarm]:
    """Alarms that go on: those that nobody is on before others, the dearest of each first."""
    going_on = [alarm for alarm in alarms if alarm.closed_ms is None]
    going_on.sort(key=lambda alarm: (not known.get(alarm.id), _size(alarm)), reverse=True)
    return going_on


def stale_first(verdict: Verdict, warnings: Sequence[str]) -> Verdict:
    """The verdict with what is not watched or not fresh in front of it; such a one is never fine.

    Examples
    --------
    >>> fine = verdict(Total(1000, 100, 0.1, 1.0, 0.9, 1.1), (), (), "time")
    >>> text = stale_first(fine, ["Weights are 25 min old."])
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


def unripe_first(verdict: Verdict) -> Verdict:
    """The verdict on conversions some of which may still come; that is seen to before all else."""
    if verdict.state in ("calibrated", "unknown"):
        return verdict
    return replace(verdict, action=f"{_UNRIPE} {verdict.action}")


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
        headline=f"Stale weights: {weights} since {when(old.start_ms, axis)}. {verdict.headline}",
        where=f"Everywhere, as of stale weights: {weights} until {when(old.end_ms, axis)}.",
        action="See why the trainer fell behind: clicktide status. Predictions are right again "
        "when fresh weights are served; scale or roll back nothing for this.",
    )


class _Telling(NamedTuple):
    """Verdicts on a log or a stream, in words."""

    total: Total
    axis: str
    words: Words

    def alarms(self, alarms: Sequence[Alarm]) -> Verdict:
        """Alarms go on, the worst first."""
        worst, more = alarms[0], len(alarms) - 1
        where = worst.where if worst.field else "everywhere, in all slices"
        late = (worst.detected_ms - worst.since_ms) / 1000
        found = f"; found {formatting.span(late)} later" if self.axis == "time" and late > 0 else ""
        now = f"over everything {formatting.ratio(self.total.calibration_ratio)}"
        if worst.what == "calibration":
            ratio = self._ratio(worst.size, worst.size_low, worst.size_high)
            start, text = "No: ", f"No: {ratio} since then; {now}."
        else:
            start, text = "", f"Calibration ratio {now}; but {size_text(worst, self.words)}."
        since = when(worst.since_ms, self.axis)
        others = f"; {more} more going on" if more else ""
        headline = f"{start}{headline_of(worst, self.words)}, since {since}{others}."
        return Verdict(
            side_of(worst),
            capital(headline),
            text,
            f"{since}{found}.",
            f"{capital(where)}{f' and {more} more' if more else ''}."
            + (f" {_sentence(worst.cause)}" if worst.cause else ""),
            cost_text(worst.clicks_over_promised, worst.money_over_promised, self.words),
            _sentence(worst.action or _ROLL_BACK),
        )

    def off(self, drifted: Sequence[SliceRow], alarms: Sequence[Alarm]) -> Verdict:
        """Everything is off."""
        total, now = self.total, _now(self.total)
        ratio = now.calibration_ratio or total.calibration_ratio or 1.0
        side: Direction = "under" if ratio < 1 else "over"
        since = "" if total.since is None else f" since {when(total.since.start, self.axis)}"
        then = f", and {ratio:.2f} since then" if total.since is not None else ""
        most = f", most in {_places(drifted)}" if drifted else ": no slice stands out"
        besides = f" Alarms besides: {', '.join(a.where for a in alarms[:3])}." if alarms else ""
        return Verdict(
            side,
            f"No: it {side}-predicts{by(ratio)}{since or ' all along'}.",
            f"No: {self.ratio(total)}{then}.",
            self._since(total),
            f"Everywhere{most}.{besides}",
            cost_text(now.over_promised, now.money, self.words),
            scaled(ratio, self.words),
        )

    def mixed(self, drifted: Sequence[SliceRow]) -> Verdict:
        """Some slices are off, everything together is not."""
        worst = drifted[0]
        now, place = _now(worst), formatting.place(worst.field, worst.value)
        ratio = now.calibration_ratio
        side = "under" if ratio is not None and ratio < 1 else "over"
        since = f" since about {when(worst.since.start, self.axis)}" if worst.since else ""
        slices = "1 slice is" if len(drifted) == 1 else f"{len(drifted)} slices are"
        return Verdict(
            "mixed",
            f"Overall yes, but {place} is {side}-predicted{by(ratio)}{since}.",
            f"Overall yes: {self.ratio(self.total)}. But {slices} off by more than chance "
            "explains.",
            self._since(worst),
            f"{_places(drifted)}.",
            cost_text(now.over_promised, now.money, self.words, place),
            f"Look at what changed for {place} then, and retrain or go back to a version from "
            "before."
            if worst.since is not None
            else f"Give the model the field {worst.field!r}, or a cross with it: it has been off "
            "from the start.",
        )

    def ended(self, alarms: Sequence[Alarm]) -> Verdict:
        """A shift is over."""
        last = max(alarms, key=lambda alarm: alarm.closed_ms or 0)
        start, end = (when(at or 0, self.axis) for at in (last.since_ms, last.closed_ms))
        return Verdict(
            "ended",
            f"Yes, again: a shift ({last.where}) ended at {end}.",
            f"Yes: {self.ratio(self.total)} over everything.",
            f"It was not from {start} to {end}.",
            f"{capital(last.where)}.",
            cost_text(last.clicks_over_promised, last.money_over_promised, self.words),
            OVER,
        )

    def calibrated(self) -> Verdict:
        """All is well."""
        return Verdict(
            "calibrated",
            f"Yes: predictions and {self.words.clicks} agree.",
            f"Yes: {self.ratio(self.total)}.",
            "No shift was found.",
            "Nowhere: no slice is off by more than chance explains.",
            "Nothing.",
            "Nothing.",
        )

    def no_click(self) -> Verdict:
        """Many clicks were promised, and none came."""
        total, clicks = self.total, self.words.clicks
        promised = (total.mean_prediction or 0.0) * total.count
        return Verdict(
            "over",
            f"No: {formatting.clicks(promised)} {clicks} were promised, and none came.",
            f"No: not one {self.words.click} came.",
            "From the start.",
            "Everywhere.",
            cost_text(promised, total.money, self.words),
            f"See whether {clicks} reach the log at all, and whether the label column is the "
            "right one.",
        )

    def too_few(self) -> Verdict:
        """There are too few clicks."""
        total, clicks = self.total, self.words.clicks
        return Verdict(
            "unknown",
            f"Too few {clicks} to say.",
            f"Not known: {formatting.count(total.clicks)} {clicks} of "
            f"{formatting.count(total.count)} {self.words.impressions} say only that the ratio is "
            f"{formatting.interval(total.calibration_low, total.calibration_high)}.",
            "Not known.",
            "Not known.",
            "Not known.",
            f"Wait for more {clicks}, or check that {clicks} arrive.",
        )

    def ratio(self, of: Total) -> str:
        """Its calibration ratio with the interval."""
        return self._ratio(of.calibration_ratio, of.calibration_low, of.calibration_high)

    def _ratio(self, ratio: float | None, low: float | None, high: float | None) -> str:
        if ratio is None:
            return f"There are no {self.words.clicks}"
        promised = f"{ratio:.2f} {self.words.clicks} predicted for each that came"
        return f"{promised} ({formatting.interval(low, high)})"

    def _since(self, of: Total | SliceRow) -> str:
        if of.since is None:
            return "All along: no one change stands out."
        return f"About {when(of.since.start, self.axis)}, by the windows on either side."


def _sentence(text: str) -> str:
    """With a capital and a full stop."""
    return capital(text).removesuffix(".") + "."


def _is_larger(total: Total, alarms: Sequence[Alarm]) -> bool:
    """Whether everything together is off, no alarm says so, and that costs more than any does."""
    if not _is_off(total) or any(not alarm.field for alarm in alarms):
        return False
    return abs(_now(total).over_promised) > 2 * max(map(_size, alarms))


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


def _places(rows: Sequence[SliceRow]) -> str:
    named = [
        f"{formatting.place(r.field, r.value)} ({formatting.ratio(_now(r).calibration_ratio)})"
        for r in rows[:3]
    ]
    more = f" and {len(rows) - 3} more slices" if len(rows) > 3 else ""
    return ", ".join(named) + more
