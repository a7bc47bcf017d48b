"""Faults of a log in words: where they are, how far off, since when, what they cost, what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from monitoring.report.model import Fault, Verdict
from monitoring.watch import formatting
from monitoring.watch.formatting import Words, by, capital, cost_text, when

__all__ = ["OVER", "Direction", "located", "scaled"]

Direction = Literal["over", "under"]
OVER = "Nothing now. See whether what caused it can come back."
_TOLD = 4
"""Faults that are told one by one; more cannot be read at a glance."""


def located(faults: Sequence[Fault], axis: str, words: Words, total: str, *, off: bool) -> Verdict:
    """What is off is known by slice, or pair of slices, or as everything alike.

    Parameters
    ----------
    faults
        At least one.
    axis, words
        In which times and words it is told.
    total
        The ratio over everything, in words.
    off
        Whether everything together is off.
    """
    dearest = sorted(faults, key=lambda fault: (fault.end is not None, -abs(fault.over_promised)))
    worst, shown = dearest[0], dearest[:_TOLD]
    side: Direction = "over" if worst.over_promised > 0 else "under"
    off, ended = off or not worst.slices, worst.end is not None
    state: Literal["ended", "mixed", Direction] = "ended" if ended else side if off else "mixed"
    answer = "Yes, again" if ended else "No" if off else "Overall yes"
    return Verdict(
        state,
        f"{answer}{', but' if state == 'mixed' else ':'} {_headline(worst, side, axis, words)}"
        f"{_others(dearest[1:])}.",
        f"{answer}: {total} over everything.",
        " ".join(_since(fault, axis, named=len(faults) > 1) for fault in shown),
        f"{'; '.join(_where(fault, words) for fault in shown)}{_others(dearest[_TOLD:])}. "
        "The rest agrees.",
        " ".join(
            cost_text(f.over_promised, f.money, words, _place(f) if f.slices else "") for f in shown
        ),
        _action(worst, words),
    )


def _place(fault: Fault) -> str:
    """Its slices, or everywhere."""
    return " with ".join(formatting.place(*one) for one in fault.slices) or "everywhere"


def _where(fault: Fault, words: Words) -> str:
    """Where, how far, and how much of the whole excess it explains, if there is one."""
    ratio = f"no {words.click}" if fault.ratio is None else formatting.ratio(fault.ratio)
    if not fault.slices:
        return f"everywhere alike ({ratio}): no slice explains it"
    text = f"{_place(fault)} ({ratio})"
    if fault.share is None or fault.share <= 0:
        return text
    return f"{text}: {'all' if fault.share >= 1 else formatting.percent(fault.share)} of the excess"


def _since(fault: Fault, axis: str, *, named: bool) -> str:
    """When it began, with the interval; ``named``: after its place, where there are several."""
    if fault.start is None:
        text = "all along, since before the log begins"
    elif fault.is_new:
        text = f"since it first came, {when(fault.start, axis)}"
    else:
        low, high = (when(at or 0, axis) for at in (fault.start_low, fault.start_high))
        text = f"about {when(fault.start, axis)} ({low} to {high}, 95 %)"
    text += "." if fault.end is None else f", until about {when(fault.end, axis)}."
    return f"{_place(fault)}: {text}" if named else capital(text)


def _headline(fault: Fault, side: Direction, axis: str, words: Words) -> str:
    """What is, or was, off, how far, and since when."""
    ended = fault.end is not None
    if fault.slices:
        text = f"{_place(fault)} {'was' if ended else 'is'} {side}-predicted"
    else:
        text = f"it {side}-{'predicted' if ended else 'predicts'}"
    since = "all along"
    if fault.start is not None:
        since = f"{'from' if ended else 'since'} about {when(fault.start, axis)}"
    until = "" if fault.end is None else f" until about {when(fault.end, axis)}"
    everywhere = "" if fault.slices else " everywhere"
    none = f": not one {words.click} came" if fault.ratio is None else ""
    return f"{text}{by(fault.ratio)}{everywhere} {since}{until}{none}"


def _others(faults: Sequence[Fault]) -> str:
    """How many more there are, and were."""
    going_on = sum(fault.end is None for fault in faults)
    ended = len(faults) - going_on
    text = f"; {going_on} more {'is' if going_on == 1 else 'are'} off" if going_on else ""
    return text + (f"; {ended} more {'was' if ended == 1 else 'were'}" if ended else "")


def _action(fault: Fault, words: Words) -> str:
    place = _place(fault)
    if fault.end is not None:
        return OVER
    if fault.ratio is None:
        return f"See whether {words.clicks} of {place} reach the log at all: not one came."
    if not fault.slices:
        return scaled(fault.ratio, words)
    if fault.start is not None:
        anew = "retrain or go back to a version from before."
        return f"Look at what changed for {place} then, and {anew}"
    fields = " and ".join(repr(field) for field, _ in fault.slices)
    if len(fault.slices) == 1:
        return f"Give the model the field {fields}, or a cross with it: it was off from the start."
    return f"Give the model a cross of {fields}: it was off from the start."


def scaled(ratio: float, words: Words) -> str:
    """What to do about predictions that are all off alike."""
    until = "until the model is trained anew"
    if ratio <= 1:
        return f"Multiply predictions by {1 / ratio:.2f} {until}."
    lost = f"see whether {words.clicks} are lost on their way"
    return f"Divide predictions by {ratio:.2f} {until}, and {lost}."
