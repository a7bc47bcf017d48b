"""Checks of a report for continuous integration: what may not be, and what is."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple
from xml.etree import ElementTree

from features.errors import ClicktideError
from monitoring.report.model import ReportData
from monitoring.report.slices import FALSE_ALARMS
from monitoring.watch import formatting
from monitoring.watch.figures import SliceFigures, surprise

__all__ = ["Check", "Outcome", "junit", "outcome_of", "parse_check"]

_FIGURES = {
    "ratio": "calibration_ratio",
    "log_loss": "log_loss",
    "ne": "normalised_entropy",
    "auc": "auc",
    "ece": "ece",
    "over_promised": "over_promised",
    "money": "money",
}
_SHOWN = 5
_FORM = re.compile(
    r"\s*(\w+)\s*([<>])\s*([-+]?[\d.]+(?:e[-+]?\d+)?)\s*(?:,\s*slice\s*=\s*([^=]+?)\s*(?:=(.*))?)?",
    re.IGNORECASE,
)


class Check(NamedTuple):
    """What may not be.

    Parameters
    ----------
    text
        As it was written.
    figure
        Name of a figure of :class:`SliceFigures`.
    above
        Whether it may not be above the limit; else not below.
    limit
        The limit.
    field, value
        Of which slices; no field: of everything; no value: of each value of the field.
    """

    text: str
    figure: str
    above: bool
    limit: float
    field: str = ""
    value: str | None = None


class Outcome(NamedTuple):
    """What became of a check: no faults, or each of them in words."""

    check: str
    faults: tuple[str, ...]


def parse_check(text: str) -> Check:
    """Read a check.

    Parameters
    ----------
    text
        ``FIGURE>NUMBER`` or ``FIGURE<NUMBER``; of slices with ``,slice=FIELD`` or
        ``,slice=FIELD=VALUE`` behind it.

    Raises
    ------
    ClicktideError
        It is none.

    Examples
    --------
    >>> check = parse_check("ratio>1.1,slice=campaign")
    >>> check.figure, check.above, check.limit, check.field, check.value
    ('calibration_ratio', True, 1.1, 'campaign', None)
    """
    read = _FORM.fullmatch(text)
    figure = _FIGURES.get(read[1].lower()) if read else None
    try:
        limit = float(read[3]) if read else math.nan
    except ValueError:
        limit = math.nan
    if read is None or figure is None or not math.isfinite(limit):
        raise ClicktideError(
            f"--fail-if: {text!r} is no check. Fix: one of {', '.join(_FIGURES)}, > or <, and a "
            "number; of slices with ,slice=FIELD or ,slice=FIELD=VALUE behind: "
            "ratio>1.1,slice=campaign"
        )
    return Check(text, figure, read[2] == ">", limit, read[4] or "", read[5])


def outcome_of(check: Check, report: ReportData) -> Outcome:
    """Look whether a report passes a check.

    A calibration ratio must be *surely* beyond its limit: if the true one were at the limit, so few
    (or many) clicks would come, in any of the slices looked at, in fewer than 5 of 100 reports
    (Chernoff's bound). Other figures are compared as they are; one that is not known passes.

    Raises
    ------
    ClicktideError
        The report has no such slice.
    """
    looked_at = _looked_at(check, report)
    faults = [
        f"{place}: {_value(check, figures)}"
        for place, figures in looked_at
        if _is_beyond(check, figures, len(looked_at))
    ]
    shown, left = faults[:_SHOWN], len(faults) - _SHOWN
    return Outcome(check.text, tuple(shown + ([f"and {left} more"] if left > 0 else [])))


def _looked_at(check: Check, report: ReportData) -> Sequence[tuple[str, SliceFigures]]:
    if not check.field:
        return [("everything", report.total)]
    rows = [row for row in report.slices if row.field == check.field]
    if not rows:
        fields = ", ".join(dict.fromkeys(row.field for row in report.slices)) or "none"
        raise ClicktideError(
            f"--fail-if {check.text}: the report has no slices by {check.field!r} (it has: "
            f"{fields}). Fix: name the column with --slices"
        )
    rows = [row for row in rows if check.value in (None, row.value)]
    if not rows:
        raise ClicktideError(
            f"--fail-if {check.text}: no row has {check.field} {check.value!r}. "
            "Fix: give a value that the log has"
        )
    return [(formatting.place(row.field, row.value), row) for row in rows]


def _is_beyond(check: Check, figures: SliceFigures, among: int) -> bool:
    value = getattr(figures, check.figure)
    if check.figure != "calibration_ratio":
        return value is not None and (value > check.limit if check.above else value < check.limit)
    if check.limit <= 0.0:
        return check.above
    clicks, due = figures.clicks, (figures.over_promised + figures.clicks) / check.limit
    if (clicks >= due) if check.above else (clicks <= due):
        return False
    if due <= 0.0:
        return True
    return bool(surprise(clicks, due) > math.log(among / FALSE_ALARMS))


def _value(check: Check, figures: SliceFigures) -> str:
    value = getattr(figures, check.figure)
    rows = f"({formatting.count(figures.count)} impressions)"
    if value is None:  # a ratio beyond all limits
        return f"not one click came {rows}"
    return f"{value:.5g} is {'above' if check.above else 'below'} {check.limit:g} {rows}"


def junit(outcomes: Sequence[Outcome], source: str) -> str:
    """Outcomes as a JUnit file, which systems of continuous integration show.

    Examples
    --------
    >>> print(junit([Outcome("ratio>1.1", ("everything: 1.2 is above 1.1",))], "a log"))
    <testsuite name="clicktide report" tests="1" failures="1">
      <testcase classname="a log" name="ratio&gt;1.1">
        <failure message="everything: 1.2 is above 1.1" />
      </testcase>
    </testsuite>
    """
    failures = sum(bool(outcome.faults) for outcome in outcomes)
    suite = ElementTree.Element(
        "testsuite", name="clicktide report", tests=str(len(outcomes)), failures=str(failures)
    )
    for outcome in outcomes:
        case = ElementTree.SubElement(suite, "testcase", classname=source, name=outcome.check)
        if outcome.faults:
            ElementTree.SubElement(case, "failure", message="; ".join(outcome.faults))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode")
