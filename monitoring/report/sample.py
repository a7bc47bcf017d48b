"""A made-up report with every part, to look at the page with, and to test it."""

from __future__ import annotations

import math

import numpy as np

from learning.metrics import calibration_interval
from monitoring.report.model import (
    Alarm,
    Bin,
    Drift,
    Freshness,
    Grid,
    GridCell,
    GridColumn,
    GridRow,
    LabelHealth,
    LabelWindow,
    ReportData,
    Share,
    SliceRow,
    Total,
    Version,
    VersionChange,
    Window,
)
from monitoring.report.verdict import verdict

__all__ = ["sample_report"]

_HOUR = 3_600_000
_START = 1_767_600_000_000
_ALARM_AT = 50
_RATE, _P2 = 0.021, 0.001


def sample_report(windows: int = 72, seed: int = 1) -> ReportData:
    """Three days of a market in which one campaign's click rate falls by a third.

    Parameters
    ----------
    windows
        Hours.
    seed
        Of the chance in it.

    Examples
    --------
    >>> sample_report().verdict.state
    'over'
    """
    rng = np.random.default_rng(seed)
    series = tuple(_window(rng, number) for number in range(windows))
    alarms = _alarms()
    slices = _slices(rng)
    count, clicks = sum(w.count for w in series), sum(w.clicks for w in series)
    total = Total(
        count, clicks, 0.0216, *_ratio(clicks * 1.03, clicks), 0.0921, 0.874, 0.81, 0.0004, 0.002
    )
    return ReportData(
        source="simulated market, campaign drift <script>alert(1)</script>",
        made_at=_START + windows * _HOUR,
        windows=series,
        total=total,
        verdict=verdict(total, alarms, slices, "time"),
        alarms=alarms,
        version_changes=tuple(
            VersionChange(_START + hour * _HOUR, f"v{hour // 18 + 3}") for hour in (18, 36, 54)
        ),
        reliability=_bins(rng),
        slices=slices,
        slices_left_out=12,
        grid=_grid(rng),
        drift=_drift(),
        labels=_labels(rng, windows),
        freshness=(
            Freshness("in the log", 0.02, 0.11),
            Freshness("joined", 900.0, 912.0),
            Freshness("learned", 903.0, 921.0),
            Freshness("served", 903.2, 921.4),
        ),
        versions=_versions(),
        notes=("Alarms: at most one false one in 20 such reports, all slices together.",),
    )


def _ratio(expected: float, clicks: float) -> tuple[float | None, float | None, float | None]:
    low, high = calibration_interval(clicks, expected, expected, expected * _P2 / _RATE)
    return (expected / clicks if clicks else None), low, high


def _window(rng: np.random.Generator, number: int) -> Window:
    count = int(9000 + 6000 * math.sin(number / 24 * 2 * math.pi) + rng.integers(500))
    clicks = float(rng.binomial(count, _RATE))
    expected = count * _RATE * (1.0 if number < _ALARM_AT else 1.25)
    loss = 0.0925 + 0.002 * rng.standard_normal() + (0.004 if number >= _ALARM_AT else 0)
    start = _START + number * _HOUR
    figures = _ratio(expected, clicks)
    return Window(
        start, start + _HOUR, count, clicks, expected / count, *figures, loss, loss / 0.1055
    )


def _alarms() -> tuple[Alarm, ...]:
    since = _START + _ALARM_AT * _HOUR
    return (
        Alarm(
            "calibration", since, since + 3 * _HOUR, None, "campaign", "c7", 1.52, 1.38, 1.67,
            1240.0, 812.4, "The site mix of c7 moved: site s12 from 4 % to 31 %",
            "Pause c7's bids on s12, or roll back to v4: clicktide models rollback --to 4",
        ),
        Alarm(
            "calibration", _START + 9 * _HOUR, _START + 11 * _HOUR, _START + 20 * _HOUR,
            "site", "</text><script>alert(2)</script>", 0.81, 0.7, 0.9, -120.0, None,
        ),
    )  # fmt: skip


def _slices(rng: np.random.Generator) -> tuple[SliceRow, ...]:
    rows = []
    for field, values in (("campaign", 40), ("site", 120), ("device", 4), ("hour", 24)):
        for number in range(values):
            count = int(700_000 / (number + 1) ** 0.8 / 10)
            off = field == "campaign" and number == 7
            clicks = float(rng.binomial(count, _RATE))
            ratio, low, high = _ratio(count * _RATE * (1.5 if off else 1.0), clicks)
            cost = count * _RATE * (1.5 if off else 1.0) - clicks
            rows.append(
                SliceRow(
                    field, f"{field[0]}{number}", count, clicks, _RATE, ratio, low, high, 0.092,
                    0.874, cost, cost * 0.65, off, float(rng.normal(0, 0.01)),
                )
            )  # fmt: skip
    rows.append(SliceRow("site", '<img src=x onerror="alert(3)">', 50, 0.0, 0.02))
    return tuple(rows)


def _grid(rng: np.random.Generator) -> Grid:
    columns = [
        GridColumn(field, f"{field[0]}{number}", int(100_000 / (number + 1)))
        for field, values in (("campaign", 12), ("device", 4))
        for number in range(values)
    ]
    rows = []
    for name, better in (("v5 champion", 0.0), ("v4", 0.006), ("AdPredictor", 0.03)):
        shades = rng.normal(better, 0.015, len(columns)) if better else np.zeros(len(columns))
        cells = [
            GridCell(c.count, float(shade), 1.0, 0.9, 1.1, 0.88, bool(abs(shade) > 0.02))
            for c, shade in zip(columns, shades, strict=True)
        ]
        rows.append(GridRow(name, tuple(cells)))
    return Grid("versions", "change", tuple(columns), tuple(rows))


def _bins(rng: np.random.Generator) -> tuple[Bin, ...]:
    found = []
    for number in range(20):
        p = 0.002 * 1.35**number
        rate = p * (1.0 if number < 16 else 0.8) * float(rng.normal(1, 0.03))
        half = 1.96 * math.sqrt(p / 30_000)
        found.append(Bin(p, rate, max(0.0, rate - half), rate + half, 30_000))
    return tuple(found)


def _drift() -> tuple[Drift, ...]:
    return (
        Drift("prediction", 0.031, 0.08, 300_000, 90_000),
        Drift(
            "site", 0.41, 0.22, 300_000, 90_000,
            (Share("s12", 0.04, 0.31), Share("s3", 0.22, 0.12), Share("(missing)", 0.0, 0.02)),
        ),
        Drift("device", 0.002, 0.01, 300_000, 90_000, (Share("phone", 0.61, 0.63),)),
    )  # fmt: skip


def _labels(rng: np.random.Generator, windows: int) -> LabelHealth:
    series = tuple(
        LabelWindow(
            _START + n * _HOUR, _START + (n + 1) * _HOUR,
            0.985 + 0.004 * float(rng.standard_normal()), 21 + float(rng.normal()), 180.0,
        )
        for n in range(windows)
    )  # fmt: skip
    return LabelHealth(0.985, 0.011, 0.004, 0.0021, 21.0, 180.0, 840.0, series)


def _versions() -> tuple[Version, ...]:
    return tuple(
        Version(
            f"v{number}", _START + 18 * (number - 3) * _HOUR,
            "champion" if number == 5 else "candidate" if number == 6 else "",
            200_000 * number, 180_000, 1.0 + 0.05 * (number - 4), 0.97, 1.16, 0.874,
            "refused by the gate: ratio 1.10 above 1.05" if number == 6 else "",
        )
        for number in (6, 5, 4, 3)
    )  # fmt: skip
