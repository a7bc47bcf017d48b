"""A report of conversions: late ones, open windows, and words that say what is counted."""

import re

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from command import printed, refusal

from clicktide.cli import app
from monitoring.report.model import ReportData
from monitoring.report.page import render

_DAY = 86_400
_FIRST = 1_790_812_800


@pytest.fixture
def log(tmp_path):
    """A month of impressions; a click converts some days later as predicted, or not yet."""
    rng = np.random.default_rng(0)
    rows = 60_000
    shown = _FIRST + np.sort(rng.integers(0, 30 * _DAY, rows))
    clicked = rng.random(rows) < 0.2
    p = np.round(rng.uniform(0.1, 0.4, rows), 4)
    converted = shown + rng.exponential(1.5 * _DAY, rows).astype(np.int64)
    seen = clicked & (rng.random(rows) < p) & (converted <= shown[-1])
    table = {
        "ts": shown,
        "clicked": clicked.astype(int),
        "pcvr": np.where(clicked, p.astype(str), ""),
        "sold": seen.astype(int),
        "sold_at": np.where(seen, converted.astype(str), ""),
        "site": rng.choice(["Click & Co", "b"], rows, p=[0.7, 0.3]),
    }
    path = tmp_path / "log.csv"
    pyarrow.csv.write_csv(pa.table(table), path)
    return path


def _given(log, *options):
    out = log.with_suffix(".html")
    return ("report", "--from", log, "--out", out, "--prediction", "pcvr", *options)


def _report(log, *options):
    return msgspec.convert(printed(app, *_given(log, *options)), ReportData)


def test_rows_that_may_still_convert_are_not_judged_and_counted(log):
    given = ("--label", "clicked", "--conversions", "sold", "--slices", "site")
    early = _report(log, *given)
    assert early.verdict.state == "over"
    assert early.verdict.action.startswith("First leave out the newest rows")
    ripe = _report(log, *given, "--conversion-window", "9d")
    assert ripe.verdict.state == "calibrated"
    table = pyarrow.csv.read_csv(log)
    shown, clicked = (table[name].to_numpy() for name in ("ts", "clicked"))
    sure = clicked & (shown < shown[-1] - 9.25 * _DAY)
    judged = clicked & (shown <= shown[-1] - 9 * _DAY)
    assert sure.sum() < ripe.total.count <= judged.sum()
    left = clicked.sum() - ripe.total.count
    assert any(note.startswith(f"{left:,} rows were left out: their co") for note in ripe.notes)
    assert f"{(clicked == 0).sum():,} rows were left out: not clicked." in ripe.notes


def test_times_of_conversions_say_the_same_as_flags_and_late_ones_do_not_count(log):
    given = ("--label", "clicked", "--conversion-window", "9d", "--conversions")
    flags, times = _report(log, *given, "sold"), _report(log, *given, "sold_at")
    assert flags.total.count == times.total.count
    table = pyarrow.csv.read_csv(log)
    delay = table["sold_at"].to_numpy() - table["ts"].to_numpy()
    late = int((delay > 9 * _DAY).sum())
    assert 0 <= flags.total.clicks - times.total.clicks <= late
    soon = _report(log, "--label", "clicked", "--conversions", "sold_at",
                   "--conversion-window", "1d")  # fmt: skip
    assert soon.total.calibration_ratio == pytest.approx(1 / (1 - np.exp(-1 / 1.5)), rel=0.1)


def test_it_speaks_of_conversions_and_names_stay(log):
    report = _report(log, "--label", "clicked", "--conversions", "sold", "--slices", "site")
    assert report.outcome == "conversion"
    assert "conversions were promised" in report.verdict.cost
    page = render(report)
    words = page.split("</style>")[1].split("<script")[0].lower()
    assert "click &amp; co" in words
    names = words.replace("click &amp; co", "").replace("clicktide", "")
    assert names.count("rows were left out: not clicked.") == 1  # of clicks, whatever is counted
    assert "click" not in names.replace("not clicked.", "")
    assert "how often did they convert?" in words
    assert "impression" not in words


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--conversion-window", "60d"), "12,0.* rows were left out: their conversion window"),
        (("--conversion-window", "9 rows"), "--conversion-window: '9 rows' cannot be used"),
        (("--slices", "site", "--conversions", "site"), "column 'site': '.*': no conversions. Fix"),
        (("--conversions", "sale"), "no column 'sale'"),
    ],
)
def test_what_cannot_be_used_is_told_with_the_fix(log, options, told):
    said = refusal(app, *_given(log, "--label", "clicked", "--conversions", "sold", *options))
    assert "Fix: " in said and re.search(told, said)
