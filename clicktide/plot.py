"""The plot of a run: learning curve, calibration in time, and reliability curve, in one image."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from features.errors import ClicktideError
from features.whole_file import whole_file
from learning.metrics import Figures, ReliabilityBin

__all__ = ["check_ending", "save_plot"]

F64 = NDArray[np.float64]

_ENDINGS = (".png", ".svg", ".pdf")
_SIZE_INCHES, _DPI = (12.0, 8.0), 100
# Okabe and Ito's colours: told apart by colour-blind readers too
_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#666666"
_LOW_RATE = 0.1
_RATIO_TICKS = {
    1.05: 0.95,
    1.1: 0.9,
    1.25: 0.8,
    1.5: 0.67,
    2.0: 0.5,
    3.0: 0.33,
    5.0: 0.2,
    10.0: 0.1,
}
_LEAST_RATIO, _MOST_RATIO = 1.1, 10.0
_STUB = 0.25
_LONG_TITLE = 90
_FEW_WINDOWS = 30


def check_ending(path: str | os.PathLike[str]) -> str:
    """Tell the format of a plot by its file's ending.

    Raises
    ------
    ClicktideError
        If it is none that can be written.

    Examples
    --------
    >>> check_ending("curve.PNG")
    'png'
    """
    ending = Path(path).suffix.lower()
    if ending not in _ENDINGS:
        raise ClicktideError(
            f"{path}: a plot cannot be written as {ending or 'a file without ending'}. "
            f"Fix: end the name in {', '.join(_ENDINGS)}"
        )
    return ending[1:]


def save_plot(
    path: str | os.PathLike[str],
    windows: list[Figures],
    overall: Figures,
    reliability: list[ReliabilityBin],
    *,
    title: str,
) -> None:
    """Draw a run and write the image, in place of one that is there.

    Parameters
    ----------
    path
        Ends in ``.png`` (1200 x 800 pixels), ``.svg`` or ``.pdf``.
    windows
        Figures of each window, oldest first. A last window much shorter than the one before
        is left out of the curves: it is mostly noise.
    overall, reliability
        Of the whole run, from one :class:`learning.metrics.Tally`.
    title
        Above all panels.

    Raises
    ------
    ClicktideError
        If the ending is unknown or the file cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from learning.progress import Progress
    >>> progress = Progress()
    >>> progress.add(np.full(3000, -1.0), np.tile([0.0, 0.0, 1.0], 1000))
    >>> path = os.path.join(tempfile.mkdtemp(), "run.svg")
    >>> tally = progress.overall
    >>> save_plot(path, progress.windows(), tally.figures(), tally.reliability(), title="a run")
    >>> os.path.getsize(path) > 1000
    True
    """
    kind = check_ending(path)
    figure = Figure(figsize=_SIZE_INCHES, dpi=_DPI, layout="constrained")
    shown = title if len(title) <= 2 * _LONG_TITLE else f"{title[: 2 * _LONG_TITLE - 1]}…"
    size = min(14.0, 14.0 * _LONG_TITLE / len(shown)) if shown else 14.0
    figure.suptitle(shown, fontsize=size, fontweight="bold", parse_math=False)
    _draw(figure, windows, overall, reliability)
    with whole_file(path) as file:
        figure.savefig(file, format=kind)


def _draw(
    figure: Figure, windows: list[Figures], overall: Figures, reliability: list[ReliabilityBin]
) -> None:
    """In time on the left, one below the other; the whole run on the right."""
    windows = _without_stub(windows)
    panels: list[Callable[[Axes, F64, list[Figures]], None]] = [_draw_loss, _draw_calibration]
    if any(window.excess_log_loss is not None for window in windows):
        panels.insert(1, _draw_excess)
    halves: Any = figure.subfigures(1, 2, width_ratios=(1.5, 1.0))
    left, right = halves
    axes = left.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axis, draw in zip(axes, panels, strict=True):
        axis.grid(True, color="#dddddd", linewidth=0.8)
        draw(axis, _ends(windows), windows)
    axes[-1].set_xlabel("events learned")
    axes[-1].xaxis.set_major_formatter(EngFormatter(sep=""))
    axes[-1].set_xlim(0, max(overall.events, 10))
    top, bottom = right.subplots(2, 1, height_ratios=(1.6, 1.0))
    _draw_reliability(top, overall, reliability)
    _write_figures(bottom, overall)


def _without_stub(windows: list[Figures]) -> list[Figures]:
    """Without a last window that has few events beside the one before."""
    if len(windows) > 1 and windows[-1].events < _STUB * windows[-2].events:
        return windows[:-1]
    return windows


def _ends(windows: Sequence[Figures]) -> F64:
    """Where the windows begin and end, in events: one more than there are windows."""
    return np.cumsum([0.0, *(window.events for window in windows)])


def _values(windows: Sequence[Figures], name: str) -> F64:
    """One figure of every window; NaN, which leaves a gap, where it cannot be said."""
    values = (getattr(window, name) for window in windows)
    return np.array([math.nan if value is None else value for value in values], np.float64)


def _curve(axis: Axes, ends: F64, values: F64, **style: Any) -> None:
    """A line through the middles of the windows; points where few lines would show."""
    if not np.isfinite(values).any():
        _say(axis, "no events" if len(values) == 0 else "no clicks")
    style = {"linewidth": 1.6, "marker": "o" if len(values) <= _FEW_WINDOWS else ""} | style
    axis.plot((ends[:-1] + ends[1:]) / 2.0, values, markersize=4, **style)


def _legend(axis: Axes) -> None:
    """Beside the title, where it hides nothing."""
    beside = (1.0, 1.0)
    axis.legend(loc="lower right", bbox_to_anchor=beside, borderaxespad=0.1, ncols=2, frameon=False)


# The panels


def _draw_loss(axis: Axes, ends: F64, windows: list[Figures]) -> None:
    loss = _values(windows, "log_loss")
    _curve(axis, ends, loss, color=_BLUE, label="model")
    # what always predicting the window's own click rate would lose
    naive = loss / _values(windows, "normalised_entropy")
    if np.isfinite(naive).any():
        _curve(axis, ends, naive, color=_GREY, linestyle="--", linewidth=1.2, label="base rate")
        _legend(axis)
    axis.set_title("Log loss of each window", loc="left")
    axis.set_ylabel("nats an event")


def _draw_excess(axis: Axes, ends: F64, windows: list[Figures]) -> None:
    _curve(axis, ends, _values(windows, "excess_log_loss"), color=_GREEN)
    axis.set_title("Excess log loss over a perfect predictor", loc="left")
    axis.set_ylabel("nats an event")
    axis.set_ylim(bottom=0.0)


def _draw_calibration(axis: Axes, ends: F64, windows: list[Figures]) -> None:
    ratio = _values(windows, "calibration_ratio")
    low, high = _values(windows, "calibration_low"), _values(windows, "calibration_high")
    limit = _ratio_limit(ratio, low, high)
    low = np.maximum(np.nan_to_num(low, nan=0.0), 1 / limit)
    high = np.minimum(np.nan_to_num(high, nan=limit), limit)
    x = (ends[:-1] + ends[1:]) / 2.0
    if len(windows) <= _FEW_WINDOWS:  # over the whole of each window: one alone has a width too
        x, low, high = np.repeat(ends, 2)[1:-1], np.repeat(low, 2), np.repeat(high, 2)
    axis.fill_between(x, low, high, color=_ORANGE, alpha=0.25, lw=0, label="95 % interval")
    _curve(axis, ends, np.clip(ratio, 1 / limit, limit), color=_ORANGE, label="ratio")
    axis.axhline(1.0, color="black", linewidth=1.0)
    axis.set_yscale("log")
    _tick_ratios(axis, limit)
    axis.set_ylim(1 / limit, limit)  # after the ticks, which may lie outside
    axis.set_title("Calibration: predicted / observed clicks", loc="left")
    axis.set_ylabel("ratio (above 1: too high)")
    _legend(axis)


def _ratio_limit(ratio: F64, low: F64, high: F64) -> float:
    """How far from 1 to show: all ratios and nearly all intervals, within reason."""
    sides = np.abs(np.log(np.concatenate([ratio, low, high])))
    sides = sides[np.isfinite(sides)]
    if not len(sides):
        return _MOST_RATIO
    farthest = max(np.nanmax(np.abs(np.log(ratio)), initial=0.0), float(np.quantile(sides, 0.95)))
    return float(np.clip(math.exp(farthest) * 1.05, _LEAST_RATIO, _MOST_RATIO))


def _tick_ratios(axis: Axes, limit: float) -> None:
    """As many factors as there is room for, each with its inverse."""
    least = 1.05 if limit < 1.3 else 1.25 if limit < 4.0 else 1.5
    above = [tick for tick in _RATIO_TICKS if least <= tick <= limit]
    below = [_RATIO_TICKS[tick] for tick in reversed(above)]
    axis.set_yticks([*below, 1.0, *above], [f"{tick:g}" for tick in (*below, 1.0, *above)])
    axis.yaxis.set_minor_locator(NullLocator())


def _draw_reliability(axis: Axes, overall: Figures, bins: list[ReliabilityBin]) -> None:
    axis.grid(True, color="#dddddd", linewidth=0.8)
    axis.set_title("Reliability of the whole run", loc="left")
    axis.set_xlabel("predicted click probability")
    axis.set_ylabel("observed click rate, with 95 % interval")
    if not bins:
        _say(axis, "no events")
        return
    log = (overall.base_rate or 0.0) < _LOW_RATE
    floor, ceiling = _limits(bins, log)
    predicted, observed, low, high = (
        np.array([getattr(one, name) for one in bins])
        for name in ("predicted", "observed", "low", "high")
    )
    axis.plot([floor, ceiling], [floor, ceiling], color="black", linewidth=1.0, zorder=1)
    spread = np.maximum([observed - low, high - observed], 0.0)
    seen = observed > 0.0 if log else np.ones(len(bins), np.bool_)
    bars: dict[str, Any] = {
        "color": _BLUE,
        "fmt": "o",
        "markersize": 5,
        "elinewidth": 1.2,
        "capsize": 2.5,
    }
    axis.errorbar(predicted[seen], observed[seen], spread[:, seen], **bars)
    # on a log axis there is no 0: only the upper end of the interval can be shown
    axis.vlines(predicted[~seen], floor, high[~seen], color=_BLUE, linewidth=1.2, linestyle=":")
    if log:
        axis.set_xscale("log")
        axis.set_yscale("log")
    axis.set_xlim(floor, ceiling)
    axis.set_ylim(floor, ceiling)
    for one in (axis.xaxis, axis.yaxis):
        one.set_major_formatter(FuncFormatter(_percent))
        one.set_minor_formatter(NullFormatter())
        if log and ceiling / floor < 1000.0:
            steps = (1.0, 2.0, 5.0) if ceiling / floor < 100.0 else (1.0, 3.0)
            one.set_major_locator(LogLocator(subs=steps))


def _limits(bins: list[ReliabilityBin], log: bool) -> tuple[float, float]:
    """The same for both axes, so that the diagonal is one."""
    ceiling = min(max(max(one.predicted, one.high) for one in bins) * 1.1, 1.0)
    if not log:
        return 0.0, ceiling
    points = [x for one in bins for x in (one.predicted, one.observed, one.low) if x > 0.0]
    return max(min(points) / 1.3, ceiling * 1e-6), ceiling


def _percent(share: float, _: object = None) -> str:
    return f"{100.0 * share:.3g} %"


def _write_figures(axis: Axes, overall: Figures) -> None:
    """The figures of the whole run, as text."""
    axis.axis("off")
    rows = [
        ("events", f"{overall.events:,}"),
        ("clicks", f"{overall.clicks:,.0f}"),
        ("base rate", "-" if overall.base_rate is None else _percent(overall.base_rate)),
        ("log loss", _figure_text(overall.log_loss)),
        ("normalised entropy", _figure_text(overall.normalised_entropy)),
        ("AUC", _figure_text(overall.auc)),
        ("calibration ratio", _figure_text(overall.calibration_ratio)),
        ("ECE", _figure_text(overall.ece)),
    ]
    if overall.excess_log_loss is not None:
        rows.append(("excess log loss", _figure_text(overall.excess_log_loss)))
    for i, (name, value) in enumerate(rows):
        y = 0.95 - i / 9.0
        axis.text(0.1, y, name, transform=axis.transAxes, color=_GREY, fontsize=11)
        axis.text(0.9, y, value, transform=axis.transAxes, ha="right", fontsize=11)


def _figure_text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _say(axis: Axes, text: str) -> None:
    axis.text(0.5, 0.6, text, transform=axis.transAxes, ha="center", color=_GREY)
