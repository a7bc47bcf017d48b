"""Charts over time: the calibration ratio with its alarms, and one figure in a small chart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby

from markupsafe import Markup

from monitoring.report.model import ReportData, ReportWindow
from monitoring.report.svg import Picture, Scale, linear_ticks, ratio_ticks, time_ticks
from monitoring.watch import formatting
from monitoring.watch.detect.alarm import Alarm
from monitoring.watch.formatting import side_of, sign_of, size_text

__all__ = ["calibration_chart", "loss_charts"]

_LANE, _LANES = 17.0, 5
_VOLUME = 34.0
_DOTS = 90
_NAMED_VERSIONS = 6

Figure = Callable[[ReportWindow], float | None]


class _TimeChart(Picture):
    """A chart of a report's windows: the four sides of its inside, and its time axis."""

    def __init__(self, data: ReportData, width: float, top: float, bottom: float) -> None:
        super().__init__()
        self.data, self.windows, self.axis = data, data.windows, data.axis
        self.words = formatting.WORDS[data.outcome]
        self.left, self.right, self.top, self.bottom = 46.0, width - 10.0, top, bottom
        self.is_wide = self.right > 500
        self.x = Scale(self.windows[0].start, self.windows[-1].end, self.left, self.right)

    def middle(self, window: ReportWindow) -> float:
        """Where a window's point stands."""
        return self.x((window.start + window.end) / 2)

    def level(self, y: float, label: str, class_: str) -> None:
        """A line across, with its tick."""
        self.line(self.left, y, self.right, y, class_)
        self.text(self.left - 6, y + 4, label, "tick", "end")

    def runs(self, figure: Figure) -> Iterator[list[ReportWindow]]:
        """Stretches in which every window has a figure."""
        for known, run in groupby(self.windows, lambda w: figure(w) is not None):
            if known:
                yield list(run)

    def curve(self, figure: Figure, y: Scale) -> None:
        """A line through the windows' figures; it has a gap where one has none."""
        for run in self.runs(figure):
            self.path([(self.middle(w), y(figure(w) or 0.0)) for w in run], "line")

    def time_axis(self, y: float) -> None:
        """Ticks of the time axis below ``y``."""
        most = 9 if self.right >= 500 else 4
        self.line(self.left, y, self.right, y, "axis")
        for at, label in time_ticks(int(self.x.low), int(self.x.high), self.axis, most):
            x = self.x(at)
            self.line(x, y, x, y + 4, "axis")
            anchor = "end" if x > self.right - 14 else "start" if x < self.left + 8 else "middle"
            self.text(x, y + 17, label, "tick", anchor)

    def version_marks(self) -> None:
        """A dotted line where another version was served; named while there are few."""
        changes, bottom = self.data.version_changes, self.bottom
        for change in changes:
            x = self.x(change.at)
            self.line(x, self.top, x, bottom, "version")
            tip = f"Model version {change.version} from {formatting.when(change.at, self.axis)}"
            mark = f"M{x:.1f} {bottom - 5:.1f}l5 5l-5 5l-5 -5Z"
            self.add("path", d=mark, class_="version-mark", data_tip=tip)
            if len(changes) <= _NAMED_VERSIONS and self.is_wide:
                late = x > self.right - 80
                x += -7 if late else 7
                self.text(x, bottom - 5, change.version, "small", "end" if late else "start")

    def hits(self) -> None:
        """Unseen areas, one a window, that tell its figures."""
        for window in self.windows:
            start, end = self.x(window.start), self.x(window.end)
            self.add(
                "rect", x=start, y=self.top, width=max(1.0, end - start),
                height=self.bottom - self.top, class_="hit", data_tip=self._tip(window),
            )  # fmt: skip

    def _tip(self, window: ReportWindow) -> str:
        rows, clicks = formatting.count(window.count), formatting.count(window.clicks)
        return (
            f"{formatting.when(window.start, self.axis)}\n"
            f"{rows} {self.words.impressions}, {clicks} {self.words.clicks}\n"
            f"calibration ratio {formatting.ratio(window.calibration_ratio)} "
            f"({formatting.interval(window.calibration_low, window.calibration_high)})\n"
            f"log loss {formatting.decimals(window.log_loss)}, "
            f"NE {formatting.decimals(window.normalised_entropy)}"
        )


def calibration_chart(data: ReportData, width: float) -> Markup:
    """Draw it; windows without clicks leave a gap in the line, and a band open above."""
    alarms = data.alarms[:_LANES]
    top = 12.0 + len(alarms) * _LANE
    height = top + (270.0 if width > 500 else 230.0)
    chart = _TimeChart(data, width, top, height - 30 - _VOLUME)
    y = _scale(chart)
    for alarm in alarms:
        _span(chart, alarm)
    for tick in ratio_ticks(y):
        chart.level(y(tick), f"{tick:g}", "one" if tick == 1 else "grid")
    chart.text(chart.left + 6, top + 13, "▲ over-predicts", "small over")
    chart.text(chart.left + 6, chart.bottom - 8, "▼ under-predicts", "small under")
    _band(chart, y)
    chart.version_marks()
    chart.curve(_ratio, y)
    for window in data.windows:
        if window.calibration_ratio is not None:
            _point(chart, window, y(window.calibration_ratio))
    _volume(chart, height - 26)
    chart.time_axis(height - 26)
    chart.hits()
    for number, alarm in enumerate(alarms):
        _lane(chart, alarm, 4 + number * _LANE)
    label = f"Calibration ratio of {len(data.windows)} windows; {data.verdict.headline}"
    return chart.svg(width, height, label)


def _scale(chart: _TimeChart) -> Scale:
    """A log axis that holds every ratio but those of windows with next to no clicks."""
    sure = [w for w in chart.windows if w.calibration_ratio]
    sure = [w for w in sure if w.clicks >= 5] or sure
    ratios = [w.calibration_ratio or 1.0 for w in sure]
    bounds = [(w.calibration_low, w.calibration_high) for w in sure if w.clicks >= 20]
    ends = [bound for both in bounds for bound in both if bound]
    low = min([0.85, *ratios, *ends]) / 1.03
    high = max([1.18, *ratios, *ends]) * 1.03
    return Scale(max(low, 0.02), min(high, 50.0), chart.bottom, chart.top, log=True)


def _ratio(window: ReportWindow) -> float | None:
    return window.calibration_ratio


def _band(chart: _TimeChart, y: Scale) -> None:
    for run in chart.runs(_ratio):
        edges = [chart.x(run[0].start), *map(chart.middle, run), chart.x(run[-1].end)]
        run = [run[0], *run, run[-1]]
        above = [(x, y(w.calibration_high or y.high)) for x, w in zip(edges, run, strict=True)]
        below = [(x, y(w.calibration_low or y.low)) for x, w in zip(edges, run, strict=True)]
        chart.path([*above, *reversed(below)], "band", "Z")


def _point(chart: _TimeChart, window: ReportWindow, y: float) -> None:
    """A triangle up or down where the interval leaves 1 out: shape says what colour says."""
    x, few = chart.middle(window), len(chart.windows) <= _DOTS
    size = 5 if few else 3.5
    if (window.calibration_low or 0.0) > 1:
        above = f"M{x:.1f} {y - size:.1f}l{size} {2 * size}h-{2 * size}Z"
        chart.add("path", d=above, class_="over")
    elif window.calibration_high is not None and window.calibration_high < 1:
        below = f"M{x:.1f} {y + size:.1f}l{size} -{2 * size}h-{2 * size}Z"
        chart.add("path", d=below, class_="under")
    else:
        chart.add("circle", cx=x, cy=y, r=2.2 if few else 1.2, class_="dot")


def _volume(chart: _TimeChart, base: float) -> None:
    most = max(w.count for w in chart.windows) or 1
    chart.text(chart.left - 6, base - 4, "volume", "tick", "end")
    for window in chart.windows:
        start, end = chart.x(window.start), chart.x(window.end)
        width = max(0.5, end - start - (0.8 if end - start > 4 else 0))
        tall = (_VOLUME - 10) * window.count / most
        chart.add("rect", x=start, y=base - tall, width=width, height=tall, class_="volume")


def _stretch(chart: _TimeChart, alarm: Alarm) -> tuple[float, float]:
    """Where an alarm begins and ends; one that goes on ends with the chart."""
    end = chart.x.high if alarm.closed_ms is None else alarm.closed_ms
    return chart.x(alarm.since_ms), chart.x(end)


def _span(chart: _TimeChart, alarm: Alarm) -> None:
    """Shade the plot while an alarm that is about everything goes on."""
    x, end = _stretch(chart, alarm)
    if not alarm.field:
        size = {"width": max(2.0, end - x), "height": chart.bottom - chart.top}
        chart.add("rect", x=x, y=chart.top, class_="span", **size)
    chart.line(x, chart.top - 4, x, chart.bottom, "since")


def _lane(chart: _TimeChart, alarm: Alarm, y: float) -> None:
    """An alarm's bar above the plot, with a mark where it was found."""
    (start, end), side, place = _stretch(chart, alarm), side_of(alarm), alarm.where
    tip = (
        f"Alarm {alarm.opening}: {place}\n"
        f"since {formatting.when(alarm.since_ms, chart.axis)}\n"
        f"found {formatting.when(alarm.detected_ms, chart.axis)}\n"
        f"{size_text(alarm, chart.words)}"
    )
    width, bar, mark = max(3.0, end - start), f"bar {side}", f"found {side}"
    chart.add("rect", x=start, y=y + 9, width=width, height=4, class_=bar, data_tip=tip)
    chart.add("circle", cx=chart.x(alarm.detected_ms), cy=y + 11, r=4, class_=mark, data_tip=tip)
    name = f"{sign_of(alarm)} #{alarm.opening}"
    if chart.is_wide:
        name += f"  {place if len(place) <= 36 else place[:35] + '…'}"
    if start > (chart.left + chart.right) / 2:
        chart.text(start - 5, y + 14, name, f"small {side}", "end")
    else:
        chart.text(end + 7 if end < chart.right - 160 else start, y + 6, name, f"small {side}")


def loss_charts(data: ReportData, width: float) -> Markup:
    """Normalised entropy above log loss, on one time axis each."""
    an_impression = f"nats {'an' if data.outcome == 'click' else 'a'} "
    an_impression += formatting.WORDS[data.outcome].impression
    figures: tuple[tuple[str, Figure, float | None], ...] = (
        ("normalised entropy (below 1: better than the base rate)",
         lambda w: w.normalised_entropy, data.total.normalised_entropy),
        (f"log loss, {an_impression}", lambda w: w.log_loss, data.total.log_loss),
    )  # fmt: skip
    return Markup("").join(
        _series_chart(data, name, figure, overall, width) for name, figure, overall in figures
    )


def _series_chart(
    data: ReportData, name: str, figure: Figure, overall: float | None, width: float
) -> Markup:
    """One figure of each window as a line; ``overall`` as a dashed line across."""
    values = [value for window in data.windows if (value := figure(window)) is not None]
    if not values:
        return Markup("")
    height = 150.0
    chart = _TimeChart(data, width, 26.0, height - 28)
    low, high = _room(min(values), max(values))
    y = Scale(low, high, chart.bottom, chart.top)
    chart.text(chart.left - 36, 14, name if width > 500 else name.split(" (")[0], "name")
    for tick in linear_ticks(low, high, 3):
        chart.level(y(tick), f"{tick:.5g}", "grid")
    if overall is not None:
        chart.line(chart.left, y(overall), chart.right, y(overall), "overall")
    chart.version_marks()
    chart.curve(figure, y)
    chart.time_axis(chart.bottom)
    chart.hits()
    return chart.svg(width, height, f"{name} over time")


def _room(low: float, high: float) -> tuple[float, float]:
    """Ends of an axis, a little beyond the figures."""
    room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    return (max(0.0, low - room) if low >= 0 else low - room), high + room
