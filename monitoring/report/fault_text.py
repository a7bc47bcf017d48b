"""A fault of a log in words: where it is, how far off, and since when."""

from __future__ import annotations

from monitoring.report.model import Fault
from monitoring.watch import formatting
from monitoring.watch.formatting import capital

__all__ = ["place_of", "since_of", "text_of"]


def place_of(fault: Fault) -> str:
    """Its slices, or everywhere."""
    return " with ".join(formatting.place(*one) for one in fault.slices) or "everywhere"


def text_of(fault: Fault) -> str:
    """Where, how far, and how much of the whole excess it explains, if there is one."""
    ratio = "no click" if fault.ratio is None else formatting.ratio(fault.ratio)
    text = f"{place_of(fault)} ({ratio})"
    if not fault.slices:
        return f"everywhere alike ({ratio}): no slice explains it"
    if fault.share is None or fault.share <= 0:
        return text
    share = "all" if fault.share >= 1 else formatting.percent(fault.share)
    return f"{text}: {share} of the excess"


def since_of(fault: Fault, axis: str, *, named: bool) -> str:
    """When it began, with the interval; ``named``: after its place, where there are several."""
    place = f"{place_of(fault)}: " if named else ""
    if fault.start is None:
        text = "all along, since before the log begins"
    elif fault.is_new:
        text = f"since it first came, {formatting.when(fault.start, axis)}"
    else:
        low, high = (formatting.when(at or 0, axis) for at in (fault.start_low, fault.start_high))
        text = f"about {formatting.when(fault.start, axis)} ({low} to {high}, 95 %)"
    text += "." if fault.end is None else f", until about {formatting.when(fault.end, axis)}."
    return f"{place}{text}" if named else capital(text)
