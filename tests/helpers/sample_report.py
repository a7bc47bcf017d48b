"""A made-up report with every part, to look at the page with, and to test it."""

import math

import numpy as np

from learning.metrics import calibration_interval
from monitoring.report.model import (
    Bin,
    FieldDrift,
    Grid,
    GridCell,
    GridColumn,
    GridRow,
    ReportData,
    ReportWindow,
    Share,
    SliceRow,
    Total,
    VersionChange,
    VersionRow,
)
from monitoring.report.verdict import verdict
from monitoring.watch.detect.alarm import Alarm
from monitoring.watch.monitor_files import LabelHealth
from monitoring.watch.skew import Skew

HOUR = 3_600_000
START = 1_767_600_000_000
ALARM_AT = 50
RATE, P2 = 0.021, 0.001


def sample_report(windows=72, seed=1):
    """So many hours of a market in which one campaign's click rate falls by a third."""
    rng = np.random.default_rng(seed)
    series = tuple(window(rng, number) for number in range(windows))
    slices = slice_rows(rng)
    count, clicks = sum(w.count for w in series), sum(w.clicks for w in series)
    total = figures(Total, count, clicks, clicks * 1.03, auc=0.81, auc_error=0.0004, ece=0.002)
    return ReportData(
        source="simulated market, campaign drift <script>alert(1)</script>",
        made_at=START + windows * HOUR,
        windows=series,
        total=total,
        verdict=verdict(total, alarms(), slices, "time"),
        alarms=alarms(),
        version_changes=tuple(
            VersionChange(START + hour * HOUR, f"v{hour // 18 + 3}") for hour in (18, 36, 54)
        ),
        reliability=bins(rng),
        slices=slices,
        slices_left_out=12,
        grid=grid(rng),
        drift=drift(),
        labels=LabelHealth(900_000, 20_000, 0.985, 0.011, 0.004, 0.0021),
        skew=Skew(1000, 0.01),
        freshness={"in the log": 0.02, "joined": 900.0, "learned": 903.0, "served": 903.2},
        versions=versions(),
        notes=("Alarms: at most one false one in 20 such reports, all slices together.",),
    )


def figures(kind, count, clicks, expected, **more):
    """A record with figures of so many impressions."""
    low, high = calibration_interval(clicks, expected, expected, expected * P2 / RATE)
    return kind(
        **{
            "count": count,
            "clicks": int(clicks),
            "mean_prediction": expected / count,
            "calibration_ratio": expected / clicks if clicks else None,
            "calibration_low": low,
            "calibration_high": high,
            "log_loss": 0.0921,
            "normalised_entropy": 0.874,
            "over_promised": expected - clicks,
            **more,
        }
    )


def window(rng, number):
    count = int(9000 + 6000 * math.sin(number / 24 * 2 * math.pi) + rng.integers(500))
    clicks = rng.binomial(count, RATE)
    expected = count * RATE * (1.0 if number < ALARM_AT else 1.25)
    loss = 0.0925 + 0.002 * rng.standard_normal() + (0.004 if number >= ALARM_AT else 0)
    start = START + number * HOUR
    return figures(
        ReportWindow, count, clicks, expected, log_loss=loss, normalised_entropy=loss / 0.1055,
        start=start, end=start + HOUR,
    )  # fmt: skip


def alarms():
    since = START + ALARM_AT * HOUR
    return (
        Alarm(
            id="c7", number=17, opening=17, share=0.043, severity="warning",
            since_ms=since, detected_ms=since + 3 * HOUR, field="campaign", value="c7",
            size=1.52, size_low=1.38, size_high=1.67, clicks_over_promised=1240.0,
            money_over_promised=812.4, cause="The site mix of c7 moved: site s12 from 4 % to 31 %",
            action="Pause c7's bids on s12, or roll back to v4: clicktide models rollback --to 4",
        ),
        Alarm(
            id="s", number=14, opening=12, share=0.004, severity="info",
            since_ms=START + 9 * HOUR, detected_ms=START + 11 * HOUR, closed_ms=START + 20 * HOUR,
            status="closed", field="site", value="</text><script>alert(2)</script>",
            size=0.81, size_low=0.7, size_high=0.9, clicks_over_promised=-120.0,
        ),
    )  # fmt: skip


def slice_rows(rng):
    rows = []
    for field, values in (("campaign", 40), ("site", 120), ("device", 4), ("hour", 24)):
        for number in range(values):
            count = int(700_000 / (number + 1) ** 0.8 / 10)
            off = field == "campaign" and number == 7
            clicks, expected = rng.binomial(count, RATE), count * RATE * (1.5 if off else 1.0)
            money = (expected - clicks) * 0.65
            name = {"field": field, "value": f"{field[0]}{number}"}
            rows.append(
                figures(SliceRow, count, clicks, expected, drifted=off, money=money, **name)
            )
    rows.append(SliceRow(50, 0, 0.02, field="site", value='<img src=x onerror="alert(3)">'))
    return tuple(rows)


def grid(rng):
    columns = [
        GridColumn(field, f"{field[0]}{number}", int(100_000 / (number + 1)))
        for field, values in (("campaign", 12), ("device", 4))
        for number in range(values)
    ]
    rows = []
    for name, better in (("v5 champion", 0.0), ("v4", 0.006), ("AdPredictor", 0.03)):
        shades = rng.normal(better, 0.015, len(columns)) if better else np.zeros(len(columns))
        cells = [
            figures(GridCell, c.count, c.count * RATE, c.count * RATE, shade=float(shade),
                    sure=bool(abs(shade) > 0.02))
            for c, shade in zip(columns, shades, strict=True)
        ]  # fmt: skip
        rows.append(GridRow(name, tuple(cells)))
    return Grid("versions", "change", tuple(columns), tuple(rows))


def bins(rng):
    found = []
    for number in range(20):
        p = 0.002 * 1.35**number
        rate = p * (1.0 if number < 16 else 0.8) * float(rng.normal(1, 0.03))
        half = 1.96 * math.sqrt(p / 30_000)
        found.append(Bin(p, rate, max(0.0, rate - half), rate + half, 30_000))
    return tuple(found)


def drift():
    moved = (Share("s12", 0.04, 0.31), Share("s3", 0.22, 0.12), Share("(missing)", 0.0, 0.02))
    return (
        FieldDrift("prediction", 0.031, 0.08, 300_000, 90_000),
        FieldDrift("site", 0.41, 0.22, 300_000, 90_000, moved),
        FieldDrift("device", 0.002, 0.01, 300_000, 90_000, (Share("phone", 0.61, 0.63),)),
    )


def versions():
    return tuple(
        figures(
            VersionRow, 180_000, 3780, 3780 * (1.0 + 0.05 * (number - 4)), name=f"v{number}",
            created=START + 18 * (number - 3) * HOUR, events=200_000 * number,
            alias="champion" if number == 5 else "candidate" if number == 6 else "",
            note="refused by the gate: ratio 1.10 above 1.05" if number == 6 else "",
        )
        for number in (6, 5, 4, 3)
    )  # fmt: skip
