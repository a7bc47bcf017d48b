"""Verdicts, changes and slices: what figures amount to."""

import msgspec
import numpy as np
import pytest

from monitoring.registry.versions import Version
from monitoring.report.build import ReportCounts, report_of
from monitoring.report.model import Fault, Since, Total
from monitoring.report.slice_grid import challenger_grid
from monitoring.report.slices import Period, is_off, periods_of, shift_in, slices_of
from monitoring.report.stream import version_rows
from monitoring.report.verdict import verdict
from monitoring.watch.detect.alarm import Alarm, newest_alarms
from monitoring.watch.formatting import side_of, size_text
from monitoring.watch.scored_batch import Scored
from monitoring.watch.settings import WindowSettings
from monitoring.watch.windows import Windows

_TOTAL = Total(100_000, 2000, 0.0202, 1.01, 0.97, 1.05, over_promised=20.0)


def _sums(count, clicks, expected, bid=0.0):
    loss = count * 0.09
    spread = expected * expected / max(count, 1.0)
    return np.array([count, clicks, expected, spread, loss, bid * expected, bid * clicks, 0.0])


def test_an_open_alarm_makes_the_headline():
    alarm = _alarm(
        since_ms=0, detected_ms=3_600_000, field="campaign", value="c7", size=1.5,
        clicks_over_promised=120.0, money_over_promised=80.0,
    )  # fmt: skip
    said = verdict(_TOTAL, [alarm], [], "time")
    assert said.state == "over"
    assert said.headline == (
        "No: it over-predicts by 50 % in campaign c7, since 1 Jan 1970, 00:00 UTC."
    )
    assert "found 1 h later" in said.since
    assert said.cost == (
        "120 clicks were promised that did not come: 80.00 was over-bid, if a click is worth its "
        "bid."
    )


def _fault(value, **changes):
    fault = Fault(
        slices=(("site", value),), start=1000, start_low=500, start_high=2000, is_new=False,
        ratio=1.5, clicks=100.0, over_promised=50.0, money=None, share=None,
    )  # fmt: skip
    return msgspec.structs.replace(fault, **changes)


def test_where_no_click_comes_any_more_that_is_said_and_what_to_do():
    said = verdict(_TOTAL, (), (), "row", faults=[_fault("a", ratio=None, clicks=0.0)])
    assert said.headline.endswith(
        "site a is over-predicted since about row 1,000: not one click came."
    )
    assert said.where.startswith("site a (no click)")
    assert said.action == "See whether clicks of site a reach the log at all: not one came."


def test_faults_that_ended_come_last_and_alone_they_are_history():
    ended = _fault("a", end=9000, over_promised=500.0)
    both = verdict(_TOTAL, (), (), "row", faults=[ended, _fault("b")])
    assert both.state == "mixed" and "site b is over-predicted" in both.headline
    assert both.headline.endswith("; 1 more was.")
    alone = verdict(_TOTAL, (), (), "row", faults=[ended])
    assert alone.state == "ended"
    assert alone.headline == (
        "Yes, again: site a was over-predicted by 50 % from about row 1,000 until about row 9,000."
    )
    assert alone.since.endswith("95 %), until about row 9,000.")


def test_of_many_faults_as_many_are_told_as_can_be_read():
    said = verdict(_TOTAL, (), (), "row", faults=[_fault(f"s{at}") for at in range(9)])
    assert said.headline.endswith("; 8 more are off.")
    assert said.where.count("(1.50)") == said.since.count("95 %") == 4
    assert said.where.endswith("; 5 more are off. The rest agrees.")


def _alarm(**changes):
    """An alarm as the monitor keeps it."""
    alarm = Alarm(
        id="1", field="site", value="s1", since_ms=1000, since_low_ms=500, since_high_ms=2000,
        detected_ms=9000, detected_event=7, size=1.4, size_low=1.2, size_high=1.7, events=900,
        clicks=50.0, expected_clicks=70.0, clicks_over_promised=20.0, cause="a cause",
        action="an action",
    )  # fmt: skip
    kept = msgspec.json.encode(msgspec.structs.replace(alarm, **changes))
    return msgspec.json.decode(kept, type=Alarm)


def test_the_last_telling_of_an_alarm_counts():
    told = [_alarm(), _alarm(id="2"), _alarm(status="closed", closed_ms=20_000, size=1.5)]
    alarms = newest_alarms(told)
    assert [(alarm.id, alarm.closed_ms) for alarm in alarms] == [("1", 20_000), ("2", None)]


def test_an_alarm_without_a_single_click_is_over_predicted():
    alarm = _alarm(size=None, size_high=None)
    assert side_of(alarm) == "over"
    assert size_text(alarm) == "calibration ratio – (1.20 to ∞)"


@pytest.mark.parametrize(
    ("what", "size", "said"),
    [
        ("click_rate", 0.5, "The click rate of site s1 fell by 50 %, and the model follows, since"),
        ("missing", 0.31, "The field site is missing in 31 % of impressions, since"),
        ("click_delay", 3.0, "Clicks come 3.0 times as late in site s1, since"),
    ],
)
def test_every_kind_of_alarm_has_a_headline(what, size, said):
    alarm = _alarm(what=what, size=size)
    assert verdict(_TOTAL, [alarm], [], "time").headline.startswith(said)


def test_an_alarm_that_ended_is_told_as_history():
    alarm = _alarm(closed_ms=3_600_000, field="", value="", size=0.8, clicks_over_promised=-50.0)
    said = verdict(_TOTAL, [alarm], [], "time")
    assert said.state == "ended" and "50 clicks came unpromised" in said.cost


def test_a_small_alarm_does_not_hide_that_everything_is_off():
    total = Total(10**6, 20_000, 0.016, 0.8, 0.78, 0.82, over_promised=-4000.0)
    alarm = _alarm(field="campaign", value="c38", size=7.0, clicks_over_promised=18.0)
    said = verdict(total, [alarm], [], "time")
    assert said.headline == "No: it under-predicts by 20 % all along."
    assert "campaign c38" in said.where and "4,000 clicks came unpromised" in said.cost
    dear = msgspec.structs.replace(alarm, clicks_over_promised=3000.0)
    assert "campaign c38" in verdict(total, [dear], [], "time").headline


def test_a_tiny_error_that_is_surely_there_is_still_calibrated():
    total = Total(10**8, 2_000_000, 0.0206, 1.03, 1.028, 1.032)
    assert verdict(total, [], [], "time").state == "calibrated"


@pytest.mark.parametrize(("ratio", "state"), [(1.3, "over"), (0.7, "under")])
def test_off_over_the_whole_log(ratio, state):
    total = Total(10**6, 20_000, 0.02 * ratio, ratio, ratio - 0.02, ratio + 0.02)
    assert verdict(total, [], [], "row").state == state


def test_slices_off_by_chance_are_rarely_called_off():
    """A hundred calibrated slices a report, from 2 to 2,000 clicks: at most 5 in 100 reports."""
    rng = np.random.default_rng(5)
    wrong = 0
    for _ in range(100):
        sizes = np.geomspace(100, 100_000, 100)
        slices = {
            f"v{i}": _sums(n, float(rng.binomial(int(n), 0.02)), int(n) * 0.02)
            for i, n in enumerate(sizes)
        }
        wrong += any(is_off(sums, len(slices)) for sums in slices.values())
    assert wrong <= 5


def test_a_slice_without_a_click_is_off_if_many_were_promised():
    assert is_off(_sums(1000, 0, 20), 10)
    assert not is_off(_sums(100, 0, 2), 10)


def test_a_change_in_one_slice_is_dated_and_priced_from_then_on():
    calm, off = _sums(50_000, 1000, 1000, 0.5), _sums(50_000, 600, 1000, 0.5)
    parts = [calm] * 8 + [off] * 3
    history = [(i * 1000, {"campaign": {"c7": sums}}) for i, sums in enumerate(parts)]
    [row] = slices_of({"campaign": {"c7": np.sum(parts, axis=0)}}, history)
    assert row.since is not None and row.since.start == 8000 and row.drifted
    assert row.since.calibration_ratio == pytest.approx(1000 / 600)
    assert (row.since.over_promised, row.since.money) == (1200.0, 600.0)
    assert row.calibration_ratio == pytest.approx(11_000 / 9800)


def test_changes_are_rarely_seen_where_there_is_none():
    rng = np.random.default_rng(3)
    series = ([_sums(5000, float(rng.poisson(100)), 100) for _ in range(60)] for _ in range(300))
    assert sum(shift_in(parts) is not None for parts in series) <= 15


def test_a_report_of_sums():
    windows = [Period("", i * 1000, i * 1000 + 1000, _sums(1000, 20, 21)) for i in range(4)]
    by_site = {"site": {"a": _sums(2000, 40, 42), "b": _sums(10, 0, 0.2)}}
    whole = _sums(2010, 40, 42.2)
    periods = [Period(f"p{i}", i * 2000, i * 2000 + 2000, whole, by_site) for i in range(2)]
    histogram = np.array([[80.0, 3920.0, 84.0]])
    report = report_of(ReportCounts("x", windows, histogram, periods=periods), 7)
    assert report.total.calibration_ratio == pytest.approx(1.05)
    assert report.grid is not None and [row.name for row in report.grid.rows] == ["p0", "p1"]
    assert report.grid.rows[0].cells[1] is not None
    assert [row.value for row in report.slices] == ["a", "b"]
    assert report.slices[1].calibration_ratio is None


def test_a_dated_change_of_everything_is_priced_in_money_too():
    since = Since(50_000, 600, 0.02, 1.67, 1.6, 1.7, over_promised=400.0, money=800.0, start=0)
    total = Total(10**6, 20_000, 0.02, 1.02, 1.01, 1.03, over_promised=400.0, since=since)
    cost = verdict(total, [], [], "time").cost
    assert "400 clicks" in cost and "800" in cost and "no bids" not in cost


def test_a_version_has_the_figures_that_the_registry_knows():
    known = {"events": 1000, "clicks": 20, "mean_prediction": 0.03, "auc": 0.7, "log_loss": 0.1}
    [row] = version_rows([Version(number=7, created_ms=5, figures=known)])
    assert (row.auc, row.log_loss, row.over_promised) == (0.7, 0.1, pytest.approx(10.0))


# --- Challengers beside the served predictions, by period and by slice.

N, QUARTER_MS = 4_000, 900_000
RNG = np.random.default_rng(3)
SITES = np.where(np.arange(N) % 4 == 0, "small", "large")
P = np.where(SITES == "small", 0.3, 0.1)
Y = (RNG.random(N) < P).astype(float)
TIMES = np.arange(N) * (4 * QUARTER_MS // N)


def windows(p, length_s, rows=slice(None)):
    """What a monitor, or a challenger, keeps of these predictions."""
    kept, sites = [], {"site": SITES[rows].tolist()}
    counted = Windows(["site"], WindowSettings(window_s=length_s, lateness_s=0), kept.append)
    counted.update(Scored.of(Y[rows], p[rows], time_ms=TIMES[rows], slices=sites))
    counted.close()
    return kept


def served():
    """Quarters of an hour of a champion that predicts one number for all."""
    return periods_of(windows(np.full(N, 0.15), 900), 14)


def challenger(p=P, rows=slice(None)):
    return windows(p, 60, rows)


def test_one_that_knows_the_sites_is_better_where_the_other_was_wrong():
    grid = challenger_grid(served(), {"knows": challenger(), "same": challenger(np.full(N, 0.15))})
    assert [(c.field, c.value) for c in grid.columns[4:]] == [("site", "large"), ("site", "small")]
    assert [c.count for c in grid.columns[4:]] == [3000, 1000]
    by_name = {row.name: row.cells for row in grid.rows}
    assert by_name["served"][4].shade == 0.0
    for cell in by_name["same"]:
        assert cell.shade == pytest.approx(0.0, abs=1e-9) and not cell.sure
    assert all(cell.shade < -0.01 and cell.sure for cell in by_name["knows"][4:])
    small = SITES == "small"
    y, p = Y[small], P[small]
    loss = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    entropy = -(y.mean() * np.log(y.mean()) + (1 - y.mean()) * np.log(1 - y.mean()))
    assert by_name["knows"][5].normalised_entropy == pytest.approx(loss / entropy, rel=1e-9)


def test_where_it_saw_other_impressions_there_is_no_cell():
    late = challenger(rows=TIMES >= 2 * QUARTER_MS)
    grid = challenger_grid(served(), {"late": late})
    cells = grid.rows[1].cells
    assert cells[0] is None and cells[1] is None and cells[2] is not None
    assert [c.count for c in grid.columns[4:]] == [1500, 500]  # of the quarters it knows
