"""How fresh a stream is, and what is said of it, with every clock passed in."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from monitoring.report.model import Since, Total
from monitoring.report.stream import stream_counts
from monitoring.report.verdict import stale_first, verdict
from monitoring.watch.categorical import Categorical
from monitoring.watch.detect.alarm import Alarm, slice_name
from monitoring.watch.monitor_files import MonitorState, Now
from monitoring.watch.scored_batch import Scored
from monitoring.watch.settings import WindowSettings
from monitoring.watch.state_machine import StaleWeights, WeightsAge
from monitoring.watch.windows import Windows
from streaming.freshness import Freshness, Reader, ages, clock_note, freshness, stale
from streaming.status import Look, TrainerState

NOW = 1_736_121_600_000
MIN = 60_000
FINE = Reader(0, NOW, NOW, 0.0)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"monitor": FINE, "trainer": FINE}, []),
        ({"monitor": Reader(9, NOW - 6 * MIN, NOW, 360.0)}, ["Not watched since 2025-01-05 23:54"]),
        ({"monitor": Reader(9, NOW, NOW - 3 * MIN, 0.0)}, ["Not watched since 2025-01-05 23:57"]),
        ({"trainer": Reader(9, NOW - 25 * MIN, NOW, 1500.0)}, ["Weights are 25 min old: the tra"]),
        ({"trainer": Reader(9, NOW, NOW - 25 * MIN, 0.0)}, ["Weights are 25 min old: the trainer"]),
        ({"trainer": Reader(0, NOW, NOW - 25 * MIN, 0.0)}, []),  # nothing was there to learn
        ({"trainer": FINE, "weights_s": 1500.0}, ["Weights are 25 min old: so old were those"]),
        (
            {"monitor": Reader(1, NOW, NOW - 3 * MIN, 0.0), "weights_s": 400.0},
            ["Not watched since", "Weights are 6 min 40 s old"],
        ),
    ],
)
def test_what_is_stale_is_said_first_and_nothing_else_is(facts, said):
    found = stale(Freshness(NOW, **facts), NOW)
    assert len(found) == len(said)
    assert all(line.startswith(due) for line, due in zip(found, said, strict=True))


def test_a_monitor_that_was_fine_when_it_stopped_does_not_vouch_for_later():
    facts = Freshness(NOW, monitor=FINE)
    assert not stale(facts, NOW + MIN)
    assert "the monitor has stopped" in stale(facts, NOW + 10 * MIN)[0]


@pytest.mark.parametrize(
    ("ahead_ms", "said"), [(0, ""), (110_000, ""), (130_000, "ahead"), (-2 * 3_600_000, "behind")]
)
def test_the_streams_clock_is_compared_with_the_wall_clock(ahead_ms, said):
    assert said in clock_note(Freshness(NOW, clock_ms=NOW + ahead_ms), NOW)
    assert bool(said) == bool(clock_note(Freshness(NOW, clock_ms=NOW + ahead_ms), NOW))


def test_an_event_of_the_future_has_no_age():
    facts = Freshness(NOW, trainer=Reader(0, NOW + 7_851_611, NOW, 0.0), joined_s=-7851.6)
    assert set(ages(facts)) == {
        "trainer behind the newest example", "since the last commit of the trainer",
    }  # fmt: skip


OFF = Total(
    100_000, 5000, 0.06, 1.2, 1.17, 1.23, over_promised=1000.0,
    since=Since(60_000, 3000, 0.06, 1.3, 1.2, 1.4, over_promised=900.0, start=NOW),
)  # fmt: skip
OLD = [StaleWeights(NOW - 10 * MIN, NOW + 60 * MIN, 1500.0)]


def test_a_shift_of_everything_while_old_weights_were_served_is_called_that():
    said = verdict(OFF, (), (), "time", OLD)
    assert said.headline.startswith("Stale weights: weights up to 25 min old were served")
    assert "Divide predictions" not in said.action
    everywhere = Alarm(
        since_ms=NOW, detected_ms=NOW, size=1.3, size_low=1.2, size_high=1.4,
        clicks_over_promised=2000.0,
    )  # fmt: skip
    assert verdict(OFF, [everywhere], (), "time", OLD).headline.startswith("Stale weights")


@pytest.mark.parametrize("spell", [[], [StaleWeights(NOW - 900 * MIN, NOW - 800 * MIN, 1500.0)]])
def test_a_shift_at_another_time_is_not(spell):
    assert verdict(OFF, (), (), "time", spell).headline.startswith("No: it over-predicts")


def test_old_weights_do_not_explain_a_shift_of_one_slice():
    alarm = Alarm(
        since_ms=NOW, detected_ms=NOW, field="campaign", value="campaign-003", size=0.5,
        size_low=0.4, size_high=0.6, clicks_over_promised=-5000.0,
    )  # fmt: skip
    said = verdict(OFF, [alarm], (), "time", OLD)
    assert "in campaign-003, since" in said.headline and "Stale" not in said.headline


def test_a_verdict_that_is_stale_is_never_green():
    fine = verdict(Total(1000, 100, 0.1, 1.0, 0.9, 1.1), (), (), "time")
    said = stale_first(fine, ["Not watched since noon."])
    assert (said.state, said.headline[:23]) == ("stale", "Not watched since noon.")
    assert stale_first(fine, ()) is fine


def scored(times, learned):
    nothing = np.zeros(len(times))
    version = Categorical.of(pa.array([f"live-0a1b2c3d-{k}" for k in learned]))
    return replace(Scored.of(nothing, nothing + 0.1, time_ms=times), version=version)


@pytest.mark.parametrize(("behind", "age_s"), [(0, 0), (60, 0), (1800, 1200)])
def test_versions_tell_how_old_the_weights_of_predictions_were(behind, age_s):
    """One impression a second; labels take 600 s, and the trainer is so many examples behind."""
    age = WeightsAge(600.0)
    for start in range(0, 6000, 1000):
        numbers = np.arange(start, start + 1000)
        learned = np.maximum(numbers - 600 - max(0, behind - 600), 1)
        age.update(scored((NOW + 1000 * numbers).tolist(), learned.tolist()))
    assert age.age_s == pytest.approx(age_s, abs=5)
    assert bool(age.stretches) == (age_s > 300)
    again = WeightsAge(600.0)
    again.restore(age.state())
    assert (again.age_s, again.stretches) == (age.age_s, age.stretches)


def test_a_version_of_more_than_was_seen_tells_nothing():
    age = WeightsAge(600.0)
    age.update(scored([NOW, NOW + 1000], [5000, 5000]))
    assert age.age_s is None and not age.stretches


def test_a_slice_is_not_named_twice():
    assert slice_name("advertiser", "advertiser-12") == "advertiser-12"
    assert slice_name("hour", "12") == "hour 12"


def test_a_report_of_a_stream_says_which_table_of_the_learner_is_too_full():
    windows = []
    series = Windows([], WindowSettings(window_s=1, lateness_s=5), windows.append)
    series.update(Scored.of([0, 1, 0], [0.1, 0.4, 0.2], time_ms=[0, 500, 9000]))
    for crosses, said in (0.9, ["table of crosses is 90% full"]), (0.3, []):
        trainer = TrainerState(learned=5, event_time=NOW, at=NOW, occupancy={"crosses": crosses})
        facts = freshness(Look(NOW, {}, {}, None, trainer, NOW))
        now = Now(
            at_ms=NOW, event_time_ms=NOW, seen=2, corrections=0, unscored=0, rejected=0,
            after_close=0, lost=0, overall=windows[0].overall, fields=[], window_s=1.0,
            freshness=facts,
        )  # fmt: skip
        notes = stream_counts(MonitorState(now, windows, []), "a stream").notes
        found = [note for note in notes if "full" in note]
        assert len(found) == len(said)
        assert all(part in note for part, note in zip(said, found, strict=True))
