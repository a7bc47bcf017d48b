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
from monitoring.report.model import FieldDrift, Grid, ReportData, Total
from monitoring.report.share_charts import (
    grid_charts,
    off_diagonal,
    reliability_chart,
    shares_chart,
)
from monitoring.report.slice_table import columns_of, slice_rows, slices_text
from monitoring.report.time_charts import calibration_chart, loss_charts
from monitoring.report.verdict import open_first
from monitoring.watch import formatting
from monitoring.watch.alarm_actions import active_silences, status_of
from monitoring.watch.formatting import WORDS, Words, capital
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
    policy = (
        f"default-src 'none'; style-src '{_hash(css)}'; script-src '{_hash(js)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    look = {"css": Markup(css), "js": Markup(js), "policy": policy}
    return _template().render(data=data, **look, **_context(data))


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
    """What the template asks for besides the data."""
    words, total, grid = WORDS[data.outcome], data.total, data.grid
    columns, (period, window_text) = columns_of(data.slices, words), _period(data)
    rows = slice_rows(data.slices, columns, data.axis, _MOST_ROWS)
    status = {a.id: status_of(a, data.alarm_actions, data.made_at) for a in data.alarms}
    known = {alarm: text for alarm, text in status.items() if text != "new"}
    return {
        "w": formatting,
        "n": words,
        "both": _both,
        "open": open_first(data.alarms, known),
        "silences": active_silences(data.alarm_actions, data.made_at),
        "status": status,
        "mark": _MARKS[data.verdict.state],
        "side": _SIDES.get(data.verdict.state, data.verdict.state),
        "period": period,
        "rate": formatting.percent(total.clicks / total.count) if total.count else "",
        "figures": _figures(total, words),
        "sections": _sections(data),
        "window_text": window_text,
        "charts": _charts(data, words),
        "columns": columns,
        "rows": rows,
        "rows_left_out": len(data.slices) - len(rows) + data.slices_left_out,
        "fields": sorted({row.field for row in data.slices}),
        "slices_text": slices_text(data.slices),
        "grid_text": "" if grid is None else _grid_text(grid, words),
        "rivals_legend": _grid_legend(data.challengers, words),
        "grid_legend": _grid_legend(grid, words),
        "reliability_text": _reliability_text(data, words),
        "drift_text": _drift_text(data),
        "drifts": [(drift, _level(drift), _shares(drift)) for drift in data.drift],
        "label_figures": _label_figures(data),
        "repairs": [_repair_cells(data, repair) for repair in data.repairs],
        "notes": (*data.notes, *_notes(words)),
    }


def _notes(words: Words) -> tuple[str, ...]:
    click, clicks = words.click, words.clicks
    return (
        f"Calibration ratio: the sum of predicted {click} probabilities over the number of "
        f"{clicks}. Above 1 the model promises more {clicks} than come (▲, orange), below 1 fewer "
        "(▼, blue).",
        f"Intervals are of 95 %, by the score test; where {clicks} are few they have no upper end "
        "(∞).",
        f"Normalised entropy (NE): log loss over the entropy of the {click} rate of the same "
        f"{words.impressions}; below 1 is better than predicting that rate for all.",
        f"Cost in {clicks}: predicted less observed. In money: the same, each weighed by its bid.",
    )


def _charts(data: ReportData, words: Words) -> dict[str, tuple[Markup, Markup]]:
    """Every picture twice: for a wide page, and for a phone."""
    none = Markup("")
    grid, bins, rivals = data.grid, data.reliability, data.challengers
    drawn: dict[str, Callable[[float], Markup]] = {
        "calibration": lambda width: calibration_chart(data, width),
        "loss": lambda width: loss_charts(data, width),
        "reliability": lambda width: reliability_chart(bins, width, words) if bins else none,
        "grid": lambda width: none if grid is None else grid_charts(grid, width, words),
        "challengers": lambda width: none if rivals is None else grid_charts(rivals, width, words),
    }
    return {name: (draw(_WIDE), draw(_NARROW)) for name, draw in drawn.items()}


def _both(pictures: tuple[Markup, Markup]) -> Markup:
    wide, narrow = pictures
    return Markup('<div class="wide">{}</div><div class="narrow">{}</div>').format(wide, narrow)


def _period(data: ReportData) -> tuple[str, str]:
    """Which rows the report is of, and those of a window."""
    first, end = data.windows[0], data.windows[-1].end
    size = first.end - first.start
    if data.axis == "row":
        return "no times: by row number", f"window of {formatting.count(size)} rows"
    start, end_text = formatting.day_and_time(first.start), formatting.day_and_time(end)
    return f"{start} to {end_text} UTC", f"window of {formatting.span(size / 1000)}"


def _figures(total: Total, words: Words) -> list[tuple[str, str, str, str]]:
    """Name, value, interval and meaning of each tile."""
    clicks, rate, error = words.clicks, f"{words.click} rate", total.auc_error or 0.0
    tiles = [
        ("calibration ratio", formatting.ratio(total.calibration_ratio),
         formatting.interval(total.calibration_low, total.calibration_high),
         f"{capital(clicks)} promised for each that came: 1 is right, 1.10 is 10 % too many."),
        ("mean prediction", formatting.percent(total.mean_prediction), "",
         f"The {rate} that the model promises."),
        ("log loss", formatting.decimals(total.log_loss, 4), "",
         f"How surprising the {clicks} were; lower is better, on the same {words.impressions}."),
        ("normalised entropy", formatting.decimals(total.normalised_entropy, 4), "",
         f"Log loss over that of always saying the {rate}: below 1 is better."),
    ]  # fmt: skip
    if total.auc is not None:
        meaning = f"How often a {words.click} was rated above a view without one: "
        meaning += "0.5 is chance, 1 always."
        note = f"± {error:.4f}" if error >= 0.0001 else ""
        tiles.append(("AUC", f"{total.auc:.4f}", note, meaning))
    if total.ece is not None:
        meaning = f"How far predictions are from {rate}s, on average over 20 groups of "
        tiles.append(("ECE", formatting.percent(total.ece), "", f"{meaning}{words.impressions}."))
    return tiles


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


def _grid_text(grid: Grid, words: Words) -> str:
    width = (
        f"Slices with most {words.impressions} come first, and are widest where there is room; "
        "▲ ▼ mark what chance does not explain."
    )
    if grid.measure == "change":
        return f"Normalised entropy of each version and challenger against the champion's. {width}"
    return f"Calibration ratios of slices, by {grid.rows_are[:-1]}. {width}"


def _grid_legend(grid: Grid | None, words: Words) -> list[tuple[str, str]]:
    if grid is None:
        return []
    texts = {
        "change": ("5 % better", "1 % better", "0.1 % better", "as good",
                   "0.1 % worse", "1 % worse", "5 % worse"),
        "calibration": ("under 0.78", "under 0.90", "under 0.97", "calibrated, or within chance",
                        "over 1.03", "over 1.11", "over 1.28"),
    }  # fmt: skip
    kinds = ("u3", "u2", "u1", "n", "o1", "o2", "o3")
    return [*zip(kinds, texts[grid.measure], strict=True), ("none", f"no {words.clicks}")]


def _reliability_text(data: ReportData, words: Words) -> str:
    off = [bin_ for bin_ in data.reliability if off_diagonal(bin_)]
    if not off:
        return "Every group's interval holds its prediction."
    worst = max(off, key=lambda b: abs(b.predicted - b.observed) * b.count)
    return (
        f"{len(off)} of {len(data.reliability)} groups are off the diagonal. Most {words.clicks} "
        f"are amiss where {formatting.percent(worst.predicted)} was predicted: "
        f"{formatting.percent(worst.observed)} {words.clicked}."
    )


def _level(drift: FieldDrift) -> str:
    return "little" if drift.psi < 0.1 else "some" if drift.psi < 0.25 else "much"


def _drift_text(data: ReportData) -> str:
    if data.compared_with:
        return f"{data.compared_with} to the report's."
    if any(drift.before_count for drift in data.drift):
        return "the first third of the log to its last."
    return "the monitor's reference windows to the newest."


def _shares(drift: FieldDrift) -> Markup:
    """The picture of what moved, if there is anything to see."""
    moved = any(abs(share.after - share.before) >= 0.01 for share in drift.shares)
    return shares_chart(drift, 300.0) if moved else Markup("")


def _label_figures(data: ReportData) -> list[tuple[str, str]]:
    labels, skew = data.labels, data.skew
    if labels is None:
        return []
    found = labels.click_shares()
    if skew is not None and skew.skew_rate is not None:
        found["served counters skewed"] = skew.skew_rate
    return [(name, formatting.percent(share)) for name, share in found.items()]


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
