"""Any log of predictions and clicks: read, counted, and refused with the place and the fix."""

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from command import invoke, printed, refusal

from clicktide.cli import app
from monitoring.report.build import report_of
from monitoring.report.log_columns import LogColumns
from monitoring.report.log_counts import LogCounts
from monitoring.report.log_reader import LogReader, read_log
from monitoring.watch.scored_batch import Scored

_START = 1_767_600_000_000
_COLUMNS = LogColumns("click", "p", time="t", slices=("site",), bid="bid", version="v")


def _log(rows=20_000, seed=1):
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.01, 0.3, rows)
    return pa.table(
        {
            "t": _START + np.sort(rng.integers(0, 86_400_000, rows)),
            "site": [f"s{i}" for i in rng.integers(0, 5, rows)],
            "p": p,
            "click": (rng.random(rows) < p).astype(int),
            "bid": rng.uniform(0.5, 1.5, rows),
            "v": np.where(np.arange(rows) < rows // 2, "v1", "v2"),
        }
    )


def _report(path, columns=_COLUMNS, **options):
    reader = LogReader(columns, **options)
    tally = LogCounts(columns.slices, "time" if columns.time else "row")
    for scored, _ in read_log(path, reader):
        tally.update(scored)
    return report_of(tally.gathered("log"), 0)


def test_the_figures_are_those_of_the_definition(tmp_path):
    table = _log()
    pq.write_table(table, tmp_path / "log.parquet")
    report = _report(str(tmp_path / "log.parquet"))
    p, y = table["p"].to_numpy(), table["click"].to_numpy()
    assert report.total.count == len(p) and report.total.clicks == y.sum()
    assert report.total.calibration_ratio == pytest.approx(p.sum() / y.sum(), rel=1e-12)
    loss = -np.mean(np.where(y == 1, np.log(p), np.log1p(-p)))
    assert report.total.log_loss == pytest.approx(loss, rel=1e-12)
    at = table["site"].to_numpy() == "s3"
    row = next(row for row in report.slices if row.value == "s3")
    assert row.count == at.sum() and row.clicks == y[at].sum()
    bids = table["bid"].to_numpy()
    assert row.money == pytest.approx((bids * (p - y))[at].sum(), rel=1e-9)
    assert sum(w.count for w in report.windows) == len(p)
    assert [change.version for change in report.version_changes] == ["v2"]
    assert report.version_changes[0].at == table["t"][len(p) // 2].as_py()


def _csv(table, path):
    pyarrow.csv.write_csv(table, path)


def _json_lines(table, path):
    path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))


@pytest.mark.parametrize(
    ("name", "write"), [("a.csv", _csv), ("a.jsonl", _json_lines), ("a.parquet", pq.write_table)]
)
def test_every_format_gives_the_same_report(tmp_path, name, write):
    table = _log(3000)
    write(table, tmp_path / name)
    pq.write_table(table, tmp_path / "truth.parquet")
    assert _report(str(tmp_path / name)) == _report(str(tmp_path / "truth.parquet"))


def test_an_unsorted_log_gives_the_report_of_the_sorted_one(tmp_path):
    table = _log(5000)
    order = np.random.default_rng(0).permutation(table.num_rows)
    pq.write_table(table, tmp_path / "sorted.parquet")
    pq.write_table(table.take(pa.array(order)), tmp_path / "mixed.parquet")
    one, two = (
        (
            [(w.start, w.count, w.clicks) for w in report.windows],
            {(s.value, s.count, s.clicks) for s in report.slices},
        )
        for report in (_report(str(tmp_path / f"{name}.parquet")) for name in ("sorted", "mixed"))
    )
    assert one == two


def _by_user(users, step):
    """The report by user of so many unclicked rows, counted in batches, with room for 50."""
    rows = len(users)
    whole = Scored.of(np.zeros(rows), np.full(rows, 0.1), slices={"user": users})
    tally = LogCounts(("user",), "row", room=50)
    for start in range(0, rows, step):
        tally.update(whole.take(slice(start, start + step)))
    report = report_of(tally.gathered("x"), 0)
    assert sum(row.count for row in report.slices) == rows
    return report


def test_endless_values_share_one_slice_and_nothing_is_lost():
    report = _by_user([f"u{i}" for i in range(4000)], 500)
    assert len(report.slices) == 51
    assert any("(other)" in note for note in report.notes)


def test_a_frequent_value_that_comes_late_has_figures_of_its_own():
    report = _by_user([f"u{i}" if i % 10 or i < 2000 else "new" for i in range(4000)], 2000)
    assert {row.value: row.count for row in report.slices}["new"] == 200
    assert len(report.slices) == 52


def _planted(rows=40_000):
    """A log whose site s3 has twice the clicks on device d1 from the middle on."""
    rng = np.random.default_rng(4)
    table = _log(rows, seed=2)
    device = rng.integers(0, 3, rows)
    site, p = table["site"].to_numpy(), table["p"].to_numpy() / 3
    off = (site == "s3") & (device == 1) & (np.arange(rows) >= rows // 2)
    click = (rng.random(rows) < np.where(off, 2 * p, p)).astype(int)
    table = table.set_column(2, "p", [p]).set_column(3, "click", [click])
    return table.append_column("device", pa.array([f"d{i}" for i in device]))


_BY_TWO = LogColumns("click", "p", time="t", slices=("site", "device"), bid="bid")


def test_the_verdict_names_the_pair_of_slices_its_start_and_its_price(tmp_path):
    table = _planted()
    pq.write_table(table, tmp_path / "log.parquet")
    report = _report(str(tmp_path / "log.parquet"), _BY_TWO)
    (fault,) = report.faults
    assert fault.slices == (("site", "s3"), ("device", "d1"))
    assert fault.start_low <= table["t"][20_000].as_py() <= fault.start_high
    verdict = report.verdict
    assert "site s3 with device d1 is under-predicted" in verdict.headline
    assert verdict.where.startswith("site s3 with device d1 (0.")
    assert "under-bid" in verdict.cost and "95 %" in verdict.since


def test_times_far_from_all_others_are_set_aside_counted_and_told(tmp_path):
    table = _planted()
    pq.write_table(table, tmp_path / "log.parquet")
    whole = _report(str(tmp_path / "log.parquet"), _BY_TWO)
    times = table["t"].to_numpy().copy()
    times[[7, 11_000, 30_000]] = 0
    times[5] = 4_102_444_800_000  # the year 2100
    pq.write_table(table.set_column(0, "t", [times]), tmp_path / "far.parquet")
    report = _report(str(tmp_path / "far.parquet"), _BY_TWO)
    assert [(w.start, w.end) for w in report.windows] == [(w.start, w.end) for w in whole.windows]
    assert report.total.count == 40_000 - 4
    assert any(note.startswith("4 rows have times far from all others") for note in report.notes)
    assert report.verdict.headline.split(" by ")[0] == whole.verdict.headline.split(" by ")[0]


def test_windows_have_clicks_enough_to_say_something(tmp_path):
    table = _log(20_000)
    rare = table.set_column(2, "p", [np.full(20_000, 0.05)])
    rng = np.random.default_rng(0)
    rare = rare.set_column(3, "click", [(rng.random(20_000) < 0.05).astype(int)])
    pq.write_table(rare, tmp_path / "log.parquet")
    report = _report(str(tmp_path / "log.parquet"))
    assert len(report.windows) >= 8
    assert np.mean([window.clicks for window in report.windows]) >= 50


def test_fields_are_compared_with_a_reference(tmp_path):
    table = _log(20_000)
    pq.write_table(table, tmp_path / "was.parquet")
    moved = ["s0" if site == "s1" else site for site in table["site"].to_pylist()]
    half = table.num_rows // 2
    now = table.set_column(1, "site", [moved])
    pq.write_table(now, tmp_path / "now.parquet")
    both = pa.concat_tables([table.slice(0, half), now.slice(half)])
    pq.write_table(both, tmp_path / "both.parquet")
    at = np.datetime64(both["t"][half].as_py(), "ms")

    def given(log, *more):
        return _given(tmp_path / log, tmp_path / "r.html", "--time", "t", "--slices", "site", *more)

    def moved_by(log, *more):
        data = printed(app, *given(log, *more))
        assert ("rows of reference" in data["compared_with"]) == bool(more)
        [drift] = [drift for drift in data["drift"] if drift["field"] == "site"]
        if more:
            assert data["total"]["count"] == (half if log == "both.parquet" else 20_000)
            assert "rows of reference" in (tmp_path / "r.html").read_text()
        return float(drift["psi"])

    assert moved_by("now.parquet") < 0.01
    assert moved_by("now.parquet", "--reference", tmp_path / "was.parquet") > 0.25
    assert moved_by("both.parquet", "--reference", at) > 0.25
    for wrong in "yesterday", "1999-01-01":
        assert "Fix: " in refusal(app, *given("now.parquet", "--reference", wrong))


_BAD = {
    "a missing column": ("click,pr\n1,0.5\n", {}, r"no column 'p', near it: \['pr'\].*--predict"),
    "a prediction above 1": ("click,p\n0,0.2\n1,7.5\n", {}, r"line 3, column 'p': '7\.5'.*percent"),
    "log-odds": ("click,p\n0,0.2\n0,-3\n1,7.5\n", {}, r"line 3, column 'p': '-3'.*log-odds"),
    "more than rounding": ("click,p\n0,0.2\n1,1.001\n", {}, r"'1\.001'.*a little above 1: clip"),
    "below 0": ("click,p\n0,0.2\n1,-0.01\n", {}, r"'-0\.01'.*a little below 0: clip"),
    "no number": ("click,p\n0,0.2\n1,NaN\n", {}, r"'NaN'.*rows that were not predicted"),
    "infinity": ("click,p\n0,0.2\n1,inf\n", {}, r"'inf'.*it overflowed"),
    "a percentage": ("click,p\n0,50%\n", {}, r"'50%'.*divide percentages by 100"),
    "a column named twice": ("click,p,p\n0,0.5,0.5\n", {}, r"'p' occurs more than once.*Fix"),
    "a log-odds prediction": ("click,p\n0,-2.5\n", {}, r"column 'p': '-2\.5'.*1 / \(1 \+ exp"),
    "a prediction that is text": ("click,p\n0,high\n", {}, r"line 2, column 'p': 'high'"),
    "an empty prediction": ("click,p\n0,\n", {}, r"line 2, column 'p': it is empty"),
    "a label of 2": ("click,p\n0,0.1\n2,0.1\n", {}, r"line 3, column 'click': '2'.*--label-values"),
    "an empty file": ("", {}, r"log\.csv: it is empty"),
    "a header alone": ("click,p\n", {}, r"empty|no row"),
    "a short line": ("click,p,t\n0,0.1,5\n0,0.1\n", {}, r"line 3: row too short.*--skip-bad"),
    "a time that is none": (
        "click,p,t\n0,0.1,2026-01-05T08:00:00\n0,0.1,noon\n",
        {"--time": "t"},
        r"line 3, column 't': 'noon'.*--time-format",
    ),
    "a bid that is none": (
        "click,p,t\n0,0.1,x\n", {"--bid": "t"}, r"line 2, column 't': 'x'.*--bid",
    ),
    "labels of which one is none": (
        "click,p\nN,0.1\nmaybe,0.1\n", {"--label-values": "N=0,Y=1"}, r"'maybe'.*'N', 'Y'",
    ),
    "a window of the wrong kind": (
        "click,p\n0,0.1\n", {"--window": "1h"}, r"--window: '1h'.*without --time",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", _BAD)
def test_bad_input_is_named_with_its_place_and_fix(tmp_path, case):
    content, options, said = _BAD[case]
    log, out = tmp_path / "log.csv", tmp_path / "out.html"
    log.write_text(content)
    told = refusal(app, *_given(log, out, *(part for pair in options.items() for part in pair)))
    assert "Fix: " in told and re.search(said, told, re.DOTALL)
    assert not out.exists()


def _given(log, out, *more):
    return ("report", "--from", log, "--out", out, "--label", "click", "--prediction", "p", *more)


def _report_of(folder, *more):
    """What the command says of ``log.csv``."""
    return printed(app, *_given(folder / "log.csv", folder / "r.html", *more))


def test_bad_rows_can_be_left_out_and_are_counted(tmp_path):
    (tmp_path / "log.csv").write_text("click,p\n0,0.1\n1,nine\n1,0.2\n0\n")
    report = _report_of(tmp_path, "--skip-bad")
    assert json.loads((tmp_path / "r.json").read_bytes()) == report
    assert report["total"]["count"] == 2
    left_out = {"1 rows were left out: bad p.", "1 rows were left out: row too short."}
    assert left_out <= set(report["notes"])


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_told_from_the_log(tmp_path, separator):
    rows = ["click,p", *("0,0.25" for _ in range(75)), *("1,0.25" for _ in range(25))]
    (tmp_path / "log.csv").write_text("\n".join(rows).replace(",", separator))
    assert _report_of(tmp_path)["total"]["calibration_ratio"] == 1.0


_EXTREME = {
    "one row": ("1,0.5\n", "unknown"),
    "no click, and few promised": ("0,0.01\n" * 50, "unknown"),
    "no click, and many promised": ("0,0.5\n" * 50, "over"),
    "nothing promised": ("0,0\n" * 50, "unknown"),
    "nothing promised, all clicked": ("1,0\n" * 50, "unknown"),
    "everything sure": ("1,1\n" * 50, "calibrated"),
}


@pytest.mark.parametrize("case", _EXTREME)
def test_extreme_logs_have_a_report_too(tmp_path, case):
    rows, state = _EXTREME[case]
    (tmp_path / "log.csv").write_text(f"click,p\n{rows}")
    assert _report_of(tmp_path)["verdict"]["state"] == state


def test_drift_fails_a_build_when_asked_to(tmp_path):
    table, out = _log(4000), tmp_path / "r.html"
    twice = np.minimum(1.0, table["p"].to_numpy() * 2)
    _csv(table.set_column(2, "p", pa.array(twice)), tmp_path / "log.csv")
    _csv(table, tmp_path / "good.csv")
    strict = ("--fail-if-drift",)
    for name, more, code in ("log", (), 0), ("log", strict, 3), ("good", strict, 0):
        assert invoke(app, *_given(tmp_path / f"{name}.csv", out, *more)).exit_code == code


def test_without_a_stream_it_says_how_to_get_a_report(tmp_path):
    told = refusal(app, "report", "--dir", tmp_path, "--out", tmp_path / "r.html")
    assert "no monitor has run here" in told


_PAIRS = [("0", "1"), ("-1", "1"), ("N", "Y"), ("no", "YES")]
_NAMED = {
    "no time": "click,p\n{0},0.25\n{1},0.5\n{0},0.75\n",
    "names of the field": "clk,ts,pctr\n{0},1700000000,0.25\n{1},1700000060,0.5\n"
    "{0},1700000120,0.75\n",
}
_SCORED = (
    "event_id,probability,bought,hour\na,0.25,{0},23110100\nb,0.5,{1},23110101\n"
    "c,0.75,{0},23110102\n"
)


@pytest.mark.parametrize(
    ("content", "values"),
    [*((_NAMED[name], pair) for name in _NAMED for pair in _PAIRS), (_SCORED, ("0", "1"))],
)
def test_columns_and_labels_are_told_by_their_names_and_values(tmp_path, content, values):
    log, out = tmp_path / "log.csv", tmp_path / "out.html"
    log.write_text(content.format(*values))
    report = printed(app, "report", "--from", log, "--out", out)
    assert (report["total"]["clicks"], report["total"]["calibration_ratio"]) == (1.0, 1.5)
    assert report["axis"] == ("time" if len(content.split(",")) > 5 else "row")
    assert ("read so" in str(report["notes"])) == (values != ("0", "1"))


def test_a_probability_that_rounding_took_beyond_0_or_1_is_one(tmp_path):
    (tmp_path / "log.csv").write_text("click,p\n1,1.0000001\n0,-1e-9\n1,1\n")
    total = _report_of(tmp_path)["total"]
    assert (total["count"], total["calibration_ratio"]) == (3, 1.0)
