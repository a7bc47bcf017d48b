"""The first screen: is it calibrated, since when not, where, what it costs, what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec.structs import replace

from monitoring.report import words
from monitoring.report.alarms import by, headline_of, side_of, size_said
from monitoring.report.model import Alarm, SliceRow, Total, Verdict
from monitoring.watch.weights_age import StaleWeights

__all__ = ["DRIFTED", "TOLERANCE", "stale_first", "verdict"]

TOLERANCE = 0.05
"""A ratio this near 1 is called calibrated, however surely it is not 1 exactly."""

DRIFTED = frozenset({"over", "under", "mixed"})
"""States in which something is wrong now."""

_WIDEST = 2.0
"""An interval whose ends are further apart than this says nothing."""

_SOON_MS = 3_600_000  # a shift is dated by windows: it may seem to begin before its cause

_ROLL_BACK = "Look at what changed then, and go back to a version from before: clicktide models"
Direction = Literal["over", "under"]


def verdict(
    total: Total,
    alarms: Sequence[Alarm],
    slices: Sequence[SliceRow],
    axis: str,
    stale: Sequence[StaleWeights] = (),
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

    Examples
    --------
    >>> total = Total(1000, 100.0, 0.1, 1.0, 0.9, 1.1)
    >>> verdict(total, (), (), "time").headline
    'Yes: predictions and clicks agree.'
    """
    open_alarms = sorted((a for a in alarms if a.ended_at is None), key=_size, reverse=True)
    if open_alarms and not _is_larger(total, open_alarms):
        worst = open_alarms[0]
        said = _alarmed(open_alarms, total, axis)
        if worst.field or worst.what != "calibration":
            return said
        return _explained(said, worst.since_high or worst.since, stale, axis)
    if total.ratio is None and total.low is not None and total.low > 1 + TOLERANCE:
        return _no_click(total)
    if total.ratio is None or total.low is None or total.high is None:
        return _unknown(total)
    drifted = sorted((s for s in slices if s.drifted), key=_cost, reverse=True)
    if _is_off(total):
        return _explained(_off(total, drifted, axis, open_alarms), total.since, stale, axis)
    if drifted:
        return _mixed(total, drifted, axis)
    if alarms:
        return _ended(alarms, total, axis)
    return _calibrated(total) if total.high <= _WIDEST * total.low else _unknown(total)


def stale_first(verdict: Verdict, warnings: Sequence[str]) -> Verdict:
    """The verdict with what is not watched or not fresh in front of it; such a one is never fine.

    Examples
    --------
    >>> said = stale_first(_calibrated(Total(9, 1.0)), ["Weights are 25 min old."])
    >>> said.state, said.headline
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


def _explained(
    verdict: Verdict, since: int | None, stale: Sequence[StaleWeights], axis: str
) -> Verdict:
    """The same shift, called stale weights if it began, or is, while those were served."""
    spells = [s for s in stale if since is None or s.end_ms >= since >= s.start_ms - _SOON_MS]
    if not spells:
        return verdict
    old = max(spells, key=lambda spell: spell.age_s)
    weights = f"weights up to {words.span(old.age_s)} old were served"
    return replace(
        verdict,
        headline=f"Stale weights: {weights} since {words.when(old.start_ms, axis)}. "
        f"{verdict.headline}",
        where=f"Everywhere, as of stale weights: {weights} until {words.when(old.end_ms, axis)}.",
        action="See why the trainer fell behind: clicktide status. Predictions are right again "
        "when fresh weights are served; scale or roll back nothing for this.",
    )


def _alarmed(alarms: Sequence[Alarm], total: Total, axis: str) -> Verdict:
    worst = alarms[0]
    place = words.place(worst.field, worst.value if worst.what != "missing" else " ").strip()
    where = place if worst.field else "everywhere, in all slices"
    more = f" and {len(alarms) - 1} more" if len(alarms) > 1 else ""
    late = (worst.detected_at - worst.since) / 1000
    found = f"; found {words.span(late)} later" if axis == "time" and late > 0 else ""
    now = f"over everything {words.ratio(total.ratio)}"
    if worst.what == "calibration":
        said = f"No: {_ratio_said(worst.size, worst.low, worst.high)} since then; {now}."
    else:
        said = f"Calibration ratio {now}; but {size_said(worst)}."
    start = "No: " if worst.what == "calibration" else ""
    headline = f"{start}{headline_of(worst)}, since {words.when(worst.since, axis)}."
    return Verdict(
        side_of(worst),
        headline[0].upper() + headline[1:],
        said,
        f"{words.when(worst.since, axis)}{found}.",
        f"{where[0].upper()}{where[1:]}{more}."
        + (f" {_sentence(worst.cause)}" if worst.cause else ""),
        _cost_said(worst.cost_clicks, worst.cost_money),
        _sentence(worst.action or _ROLL_BACK),
    )


def _sentence(said: str) -> str:
    """With a capital and a full stop."""
    return f"{said[0].upper()}{said[1:]}".removesuffix(".") + "."


def _off(
    total: Total, drifted: Sequence[SliceRow], axis: str, alarms: Sequence[Alarm] = ()
) -> Verdict:
    assert total.ratio is not None
    ratio = total.ratio_since or total.ratio
    dated = total.since is not None
    side: Direction = "under" if ratio < 1 else "over"
    since = f" since {words.when(total.since, axis)}" if total.since is not None else ""
    return Verdict(
        side,
        f"No: it {side}-predicts{by(ratio)}{since or ' all along'}.",
        f"No: {_ratio_said(total.ratio, total.low, total.high)}"
        f"{f', and {ratio:.2f} since then' if dated else ''}.",
        _since_said(total.since, axis),
        _everywhere(drifted, alarms),
        _cost_said(_promised(total), None if dated else total.cost_money),
        _scaled(ratio),
    )


def _everywhere(drifted: Sequence[SliceRow], alarms: Sequence[Alarm]) -> str:
    most = f", most in {_places(drifted)}" if drifted else ": no slice stands out"
    named = ", ".join(words.place(alarm.field, alarm.value) for alarm in alarms[:3])
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
    ratio = worst.ratio if worst.since is None else worst.ratio_since
    side = "under" if ratio is not None and ratio < 1 else "over"
    place = words.place(worst.field, worst.value)
    cost = worst.cost_clicks if worst.since is None else worst.cost_since
    money = worst.cost_money if worst.since is None else worst.money_since
    since = "" if worst.since is None else f" since about {words.when(worst.since, axis)}"
    slices = "1 slice is" if len(drifted) == 1 else f"{len(drifted)} slices are"
    return Verdict(
        "mixed",
        f"Overall yes, but {place} is {side}-predicted{by(ratio)}{since}.",
        f"Overall yes: {_ratio_said(total.ratio, total.low, total.high)}. But {slices} off by more "
        "than chance explains.",
        _since_said(worst.since, axis),
        f"{_places(drifted)}.",
        _cost_said(cost, money, place),
        f"Look at what changed for {place} then, and retrain or go back to a version from before."
        if worst.since is not None
        else f"Give the model the field {worst.field!r}, or a cross with it: it has been off from "
        "the start.",
    )


def _since_said(since: int | None, axis: str) -> str:
    if since is None:
        return "All along: no one change stands out."
    return f"About {words.when(since, axis)}, by the windows on either side."


def _ended(alarms: Sequence[Alarm], total: Total, axis: str) -> Verdict:
    last = max(alarms, key=lambda alarm: alarm.ended_at or 0)
    place = words.place(last.field, last.value)
    return Verdict(
        "ended",
        f"Yes, again: a shift ({place}) ended at {words.when(last.ended_at or 0, axis)}.",
        f"Yes: {_ratio_said(total.ratio, total.low, total.high)} over everything.",
        f"It was not from {words.when(last.since, axis)} to "
        f"{words.when(last.ended_at or 0, axis)}.",
        f"{place[0].upper()}{place[1:]}.",
        _cost_said(last.cost_clicks, last.cost_money),
        "Nothing now. See whether what caused it can come back.",
    )


def _calibrated(total: Total) -> Verdict:
    return Verdict(
        "calibrated",
        "Yes: predictions and clicks agree.",
        f"Yes: {_ratio_said(total.ratio, total.low, total.high)}.",
        "No shift was found.",
        "Nowhere: no slice is off by more than chance explains.",
        "Nothing.",
        "Nothing.",
    )


def _no_click(total: Total) -> Verdict:
    promised = (total.mean_prediction or 0.0) * total.count
    return Verdict(
        "over",
        f"No: {words.clicks(promised)} clicks were promised, and none came.",
        "No: not one click came.",
        "From the start.",
        "Everywhere.",
        _cost_said(promised, total.cost_money),
        "See whether clicks reach the log at all, and whether the label column is the right one.",
    )


def _unknown(total: Total) -> Verdict:
    return Verdict(
        "unknown",
        "Too few clicks to say.",
        f"Not known: {words.count(total.clicks)} clicks of {words.count(total.count)} impressions "
        f"say only that the ratio is {words.interval(total.low, total.high)}.",
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
    if total.cost_since is not None:
        return total.cost_since
    return (total.mean_prediction or 0.0) * total.count - total.clicks


def _is_off(total: Total) -> bool:
    """Whether it is off over everything, or since a change."""
    figures = [(total.ratio, total.low, total.high)]
    if total.since is not None:
        figures = [(total.ratio_since, total.low_since, total.high_since)]
    return any(
        ratio is not None
        and abs(ratio - 1) > TOLERANCE
        and ((low is not None and low > 1) or (high is not None and high < 1))
        for ratio, low, high in figures
    )


def _size(alarm: Alarm) -> float:
    return abs(alarm.cost_clicks or 0.0)


def _cost(row: SliceRow) -> float:
    return abs((row.cost_since if row.since is not None else row.cost_clicks) or 0.0)


def _ratio_said(ratio: float | None, low: float | None, high: float | None) -> str:
    if ratio is None:
        return "There are no clicks"
    return f"{ratio:.2f} clicks predicted for each that came ({words.interval(low, high)})"


def _places(rows: Sequence[SliceRow]) -> str:
    named = [
        f"{words.place(r.field, r.value)} ({words.ratio(r.ratio_since or r.ratio)})"
        for r in rows[:3]
    ]
    more = f" and {len(rows) - 3} more slices" if len(rows) > 3 else ""
    return ", ".join(named) + more


def _cost_said(clicks: float | None, money: float | None, of: str = "") -> str:
    if clicks is None:
        return "Not known."
    what = "clicks were promised that did not come" if clicks >= 0 else "clicks came unpromised"
    said = f"{words.clicks(abs(clicks))} {what}{f' ({of})' if of else ''}"
    if money is None:
        return f"{said}. In money: no bids are logged."
    worth = "was over-bid" if money >= 0 else "was under-bid"
    return f"{said}: {words.money(abs(money))} {worth}."
