"""The page: one HTML file with everything inside, made from a report's data and nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import msgspec
from markupsafe import Markup

from features.whole_file import whole_file
from monitoring.report.conversions import page_of_conversions
from monitoring.report.model import FieldDrift, Grid, ReportData
from monitoring.report.share_charts import (
    grid_charts,
    off_diagonal,
    reliability_chart,
    shares_chart,
)
from monitoring.report.slice_table import COLUMNS, columns_of, slice_rows, slices_text
from monitoring.report.time_charts import calibration_chart, loss_charts
from monitoring.report.verdict import open_first
from monitoring.watch import formatting
from monitoring.watch.alarm_actions import active_silences, status_of
from monitoring.watch.repair.state_machine import RepairedSlice

__all__ = ["render", "write_report"]

_WIDE, _NARROW = 1036.0, 340.0
_MARKS = {"over": "▲", "under": "▼", "mixed": "◆", "calibrated": "✔", "ended": "✔", "unknown": "?",
          "stale": "⚠"}  # fmt: skip
_SIDES = {"mixed": "over", "calibrated": "fine", "ended": "fine", "stale": "over"}
_MOST_ROWS = 1000


def render(data: ReportData) -> str:
    """Draw a report as one HTML file: no other file, no network.

    Values from the data are escaped; the page's own policy lets nothing but its own style and
    script run.

    Examples
    --------
    >>> import numpy as np
    >>> from monitoring.report.build import ReportCounts, report_of
    >>> from monitoring.report.slices import Period
    >>> sums = np.array([10_000.0, 200.0, 210.0, 5.0, 950.0, 0.0, 0.0, 0.0])
    >>> histogram = np.array([[200.0, 9800.0, 210.0]])
    >>> counted = ReportCounts("<script>alert(1)", [Period("", 0, 9, sums)], histogram)
    >>> page = render(report_of(counted, 0))
    >>> page.startswith("<!doctype html>"), "<script>alert" in page
    (True, False)
    """
    css, js = _part("page.css"), _part("page.js")
    page = _template().render(
        data=data,
        css=Markup(css),
        js=Markup(js),
        policy=_policy(css, js),
        **_context(data),
    )
    return page_of_conversions(page, data) if data.outcome == "conversion" else page


def write_report(data: ReportData, out: Path) -> None:
    """Write both files, each in one step.

    Raises
    ------
    ClicktideError
        They cannot be written.
    """
    page = render(data).encode()
    with whole_file(out) as file, whole_file(out.with_suffix(".json")) as beside:
        file.write(page)
        beside.write(msgspec.json.format(msgspec.json.encode(data)))


def _context(data: ReportData) -> dict[str, Any]:
    kept = columns_of(data.slices)
    rows = slice_rows(data.slices, kept, data.axis, _MOST_ROWS)
    grid = data.grid
    status = {a.id: status_of(a, data.alarm_actions, data.made_at) for a in data.alarms}
    known = {alarm: text for alarm, text in status.items() if text != "new"}
    return {
        "w": formatting,
        "both": _both,
        "open": open_first(data.alarms, known),
        "silences": active_silences(data.alarm_actions, data.made_at),
        "status": status,
        "mark": _MARKS[data.verdict.state],
        "side": _SIDES.get(data.verdict.state, data.verdict.state),
        "period": _period(data),
        "rate": formatting.percent(data.total.clicks / data.total.count)
        if data.total.count
        else "",
        "figures": _figures(data),
        "sections": _sections(data),
        "window_text": _window_text(data),
        "charts": _charts(data),
        "columns": [COLUMNS[i] for i in kept],
        "rows": rows,
        "rows_left_out": len(data.slices) - len(rows) + data.slices_left_out,
        "fields": sorted({row.field for row in data.slices}),
        "slices_text": slices_text(data.slices),
        "grid_text": "" if grid is None else _grid_text(grid),
        "rivals_legend": () if data.challengers is None else _grid_legend(data.challengers),
        "grid_legend": () if grid is None else _grid_legend(grid),
        "reliability_text": _reliability_text(data),
        "drift_text": _drift_text(data),
        "drifts": [
            (d, _level(d), shares_chart(d, 300.0) if _has_drifted(d) else "") for d in data.drift
        ],
        "label_figures": _label_figures(data),
        "repairs": [_repair_cells(data, repair) for repair in data.repairs],
        "notes": (*data.notes, *_NOTES),
    }


_NOTES = (
    "Calibration ratio: the sum of predicted click probabilities over the number of clicks. Above "
    "1 the model promises more clicks than come (▲, orange), below 1 fewer (▼, blue).",
    "Intervals are of 95 %, by the score test; where clicks are few they have no upper end (∞).",
    "Normalised entropy (NE): log loss over the entropy of the click rate of the same impressions; "
    "below 1 is better than predicting that rate for all.",
    "Cost in clicks: predicted less observed. In money: the same, each weighed by its bid.",
)


def _charts(data: ReportData) -> dict[str, tuple[Markup, Markup]]:
    """Every picture twice: for a wide page, and for a phone."""
    none = Markup("")
    grid, bins, rivals = data.grid, data.reliability, data.challengers
    drawn: dict[str, Callable[[float], Markup]] = {
        "calibration": lambda width: calibration_chart(data, width),
        "loss": lambda width: loss_charts(data, width),
        "reliability": lambda width: reliability_chart(bins, width) if bins else none,
        "grid": lambda width: none if grid is None else grid_charts(grid, width),
        "challengers": lambda width: none if rivals is None else grid_charts(rivals, width),
    }
    return {name: (draw(_WIDE), draw(_NARROW)) for name, draw in drawn.items()}


def _both(pictures: tuple[Markup, Markup]) -> Markup:
    wide, narrow = pictures
    return Markup('<div class="wide">{}</div><div class="narrow">{}</div>').format(wide, narrow)


def _period(data: ReportData) -> str:
    start, end = data.windows[0].start, data.windows[-1].end
    if data.axis == "row":
        return "no times: by row number"
    return f"{formatting.day_and_time(start)} to {formatting.day_and_time(end)} UTC"


def _window_text(data: ReportData) -> str:
    size = data.windows[0].end - data.windows[0].start
    if data.axis == "row":
        return f"window of {formatting.count(size)} rows"
    return f"window of {formatting.span(size / 1000)}"


_MEANINGS = {
    "calibration ratio": "Clicks promised for each that came: 1 is right, 1.10 is 10 % too many.",
    "mean prediction": "The click rate that the model promises.",
    "log loss": "How surprising the clicks were; lower is better, on the same impressions.",
    "normalised entropy": "Log loss over that of always saying the click rate: below 1 is better.",
    "AUC": "How often a click was rated above a view without one: 0.5 is chance, 1 always.",
    "ECE": "How far predictions are from click rates, on average over 20 groups of impressions.",
}


def _figures(data: ReportData) -> list[tuple[str, str, str, str]]:
    """Name, value, interval and meaning of each tile."""
    total = data.total
    interval = formatting.interval(total.calibration_low, total.calibration_high)
    found = {
        "calibration ratio": (formatting.ratio(total.calibration_ratio), interval),
        "mean prediction": (formatting.percent(total.mean_prediction), ""),
        "log loss": (formatting.decimals(total.log_loss, 4), ""),
        "normalised entropy": (formatting.decimals(total.normalised_entropy, 4), ""),
    }
    if total.auc is not None:
        error = total.auc_error or 0.0
        found["AUC"] = f"{total.auc:.4f}", f"± {error:.4f}" if error >= 0.0001 else ""
    if total.ece is not None:
        found["ECE"] = formatting.percent(total.ece), ""
    return [(name, *texts, _MEANINGS[name]) for name, texts in found.items()]


def _sections(data: ReportData) -> list[tuple[str, str]]:
    there = (
        ("calibration", "Calibration", True),
        ("alarms", "Alarms", data.alarms or data.alarm_actions),
        ("repairs", "Repairs", data.repairs),
        ("slices", "Slices", data.slices),
        ("grid", "Slice grid", data.grid),
        ("loss", "Log loss, NE", True),
        ("reliability", "Reliability", data.reliability),
        ("drift", "Field drift", data.drift),
        ("labels", "Labels", data.labels),
        ("freshness", "Freshness", data.freshness),
        ("versions", "Versions", data.versions),
    )
    return [(anchor, name) for anchor, name, shown in there if shown]


def _repair_cells(data: ReportData, repair: RepairedSlice) -> list[str]:
    """A repaired slice: how far off it was, is, and what that gained on examples since."""
    clicks = max(repair.clicks, 1e-9)
    return [
        formatting.place(repair.field, repair.value),
        formatting.when(repair.since_ms, data.axis),
        f"× {repair.factor:.2f}",
        formatting.count(repair.rows),
        formatting.ratio(repair.model_clicks / clicks) if repair.clicks else "∞",
        formatting.ratio(repair.repaired_clicks / clicks) if repair.clicks else "∞",
        formatting.clicks(abs(repair.model_clicks - repair.repaired_clicks)),
        f"{repair.nats:+.1f}",
    ]


def _grid_text(grid: Grid) -> str:
    width = (
        "Slices with most impressions come first, and are widest where there is room; ▲ ▼ mark "
        "what chance does not explain."
    )
    if grid.measure == "change":
        return f"Normalised entropy of each version and challenger against the champion's. {width}"
    return f"Calibration ratios of slices, by {grid.rows_are[:-1]}. {width}"


def _grid_legend(grid: Grid) -> list[tuple[str, str]]:
    if grid.measure == "change":
        text = ("5 % better", "1 % better", "0.1 % better", "as good")
        worse = ("0.1 % worse", "1 % worse", "5 % worse")
    else:
        text = ("under 0.78", "under 0.90", "under 0.97", "calibrated, or within chance")
        worse = ("over 1.03", "over 1.11", "over 1.28")
    kinds = ("u3", "u2", "u1", "n", "o1", "o2", "o3")
    return [*zip(kinds, text + worse, strict=True), ("none", "no clicks")]


def _reliability_text(data: ReportData) -> str:
    off = [bin_ for bin_ in data.reliability if off_diagonal(bin_)]
    if not off:
        return "Every group's interval holds its prediction."
    worst = max(off, key=lambda b: abs(b.predicted - b.observed) * b.count)
    return (
        f"{len(off)} of {len(data.reliability)} groups are off the diagonal. Most clicks are amiss "
        f"where {formatting.percent(worst.predicted)} was predicted: "
        f"{formatting.percent(worst.observed)} clicked."
    )


def _level(drift: FieldDrift) -> str:
    return "little" if drift.psi < 0.1 else "some" if drift.psi < 0.25 else "much"


def _drift_text(data: ReportData) -> str:
    if data.compared_with:
        return f"{data.compared_with} to the report's."
    if any(drift.before_count for drift in data.drift):
        return "the first third of the log to its last."
    return "the monitor's reference windows to the newest."


def _has_drifted(drift: FieldDrift) -> bool:
    """Whether there is anything to see."""
    return any(abs(share.after - share.before) >= 0.01 for share in drift.shares)


def _label_figures(data: ReportData) -> list[tuple[str, str]]:
    labels, skew = data.labels, data.skew
    if labels is None:
        return []
    found = labels.click_shares()
    if skew is not None and skew.skew_rate is not None:
        found["served counters skewed"] = skew.skew_rate
    return [(name, formatting.percent(share)) for name, share in found.items()]


def _policy(css: str, js: str) -> str:
    return (
        f"default-src 'none'; style-src '{_hash(css)}'; script-src '{_hash(js)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _part(name: str) -> str:
    return (files("monitoring.report") / name).read_text(encoding="utf-8")


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_part("page.html"))
