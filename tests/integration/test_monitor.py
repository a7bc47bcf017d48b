"""The monitor on the embedded log: every example counted once, whatever is killed when."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from example_log import example, fill
from hook_server import hook_server
from stream_runs import stream_log
from waiting import failing, until

from features.errors import ClicktideError
from features.spec_file import parse_spec
from monitoring.watch.alarm_actions import AlarmAction, append_action
from monitoring.watch.alarm_delivery import ALARMS, GROUP
from monitoring.watch.detect.alarm import Alarm
from monitoring.watch.monitor_files import read_monitor
from monitoring.watch.process import Monitor
from monitoring.watch.settings import MonitorSettings, WindowSettings
from streaming.log import LogUnavailableError, TopicPartition
from streaming.settings import EXAMPLES, StreamSettings

TOML = """
name = "shop"
[source]
label = "click"
timestamp = "time"
timestamp_format = "ms"
[[fields]]
names = ["ad", "site"]
[[fields]]
names = ["hour_of_day"]
transform = "hour_of_day"
column = "time"
"""


SPEC = parse_spec(TOML)
START = 1_736_121_600_000
SETTINGS = MonitorSettings(
    save_every_s=0.001, bid="bid", windows=WindowSettings(window_s=60, lateness_s=600)
)


def examples(count, seed=1, *, served=True, from_row=0):
    """Lines of examples, one a second; each ninth click comes late, as a correction."""
    rng = random.Random(seed)
    for i in range(from_row, from_row + count):
        p, at = round(rng.uniform(0.01, 0.4), 3), START + 1000 * i
        fields = {"ad": rng.choice(["a", "b", None]), "site": i % 3, "bid": 2.0}
        shown = {"probability": p, "model_version": f"v{i // 500}"} if served else {}
        clicked = rng.random() < p
        late = clicked and rng.random() < 1 / 9
        if late or not clicked:
            yield json.dumps(example(f"i{i}", at, fields, shown=shown))
        if clicked:
            said = {"click_timestamp": at + 4000} | ({"correction": True} if late else {})
            yield json.dumps(example(f"i{i}", at, fields, 1, shown=shown, **said))


def write(log, lines, partition=0, size=20):
    fill(log, [EXAMPLES], [line.encode() for line in lines], size, [partition])


@pytest.fixture
def log(tmp_path):
    with stream_log(tmp_path / "log.db") as opened:
        yield opened


class EveryHundred:
    """Raises an alarm at every hundredth row."""

    def __init__(self):
        self.rows = 0

    def update(self, scored):
        before, self.rows = self.rows, self.rows + len(scored)
        return [
            Alarm(
                id=f"{n // 2}",
                status=("open", "closed")[n % 2],
                since_ms=0,
                detected_ms=0,
                cause=f"{n}00",
            )
            for n in range(before // 100 + 1, self.rows // 100 + 1)
        ]

    def state(self):
        return {"rows": self.rows}

    def restore(self, state):
        self.rows = state["rows"]


def monitor(log, folder, settings=SETTINGS, **more):
    stream = StreamSettings(batch=7, examples_per_record=20)
    ways = {"now": time.time, "report": lambda line: None, "pause": lambda s: None}
    return Monitor(log, SPEC, stream, settings, folder, **(ways | more))


def run(log, folder, settings=SETTINGS, **more):
    with monitor(log, folder, settings, **more) as process:
        process.run(stopping=lambda: False, until_idle_s=0)
    return read_monitor(folder)


def alarms_in(log):
    return [json.loads(r.value)["cause"] for r in log.read(TopicPartition(ALARMS, 0), 0, 10_000)]


def test_windows_slices_delays_and_money_of_a_stream(log, tmp_path):
    write(log, [*examples(1000), "{}", "not JSON"])
    state = run(log, tmp_path / "m")
    now = state.now
    assert (now.seen, now.rejected, now.unscored, now.after_close) == (1000, 2, 0, 0)
    assert now.predictions == "served"
    assert now.freshness.served_version == "v1"
    assert now.fields == ["ad", "site", "hour_of_day"]
    assert len(state.windows) == 17
    assert sum(window.overall.count for window in state.windows) == 1000
    assert sum(window.overall.clicks for window in state.windows) == now.overall.clicks
    assert now.corrections == now.overall.corrected > 5
    assert 0.8 < now.overall.calibration_ratio < 1.25
    assert now.overall.money == pytest.approx(2 * now.overall.over_promised)
    assert [window.final for window in state.windows].index(False) == 6
    first = state.windows[0]
    assert sum(first.slices["site"].figures(str(n)).count for n in range(3)) == 60
    assert first.click_delay_s.p50 == pytest.approx(4.0, rel=0.1)


def test_a_monitor_that_is_lost_between_saves_counts_nothing_twice(log, tmp_path):
    write(log, examples(2000))
    whole = run(log, tmp_path / "whole")
    rng = random.Random(0)
    for _ in range(12):
        process = monitor(log, tmp_path / "cut", detectors=EveryHundred())
        for _ in range(rng.randrange(4)):
            process.step()
        process.folder.close()  # as a kill would: nothing is saved
    cut = run(log, tmp_path / "cut", detectors=EveryHundred())
    assert cut.now.overall.count == whole.now.overall.count == 2000
    assert cut.now.overall.clicks == whole.now.overall.clicks
    assert [w.overall.clicks for w in cut.windows] == [w.overall.clicks for w in whole.windows]
    rows = whole.now.seen + whole.now.corrections
    assert alarms_in(log) == [f"{n}00" for n in range(1, rows // 100 + 1)]
    assert [alarm.number for alarm in cut.alarms] == list(range(len(cut.alarms)))


def test_an_alarm_that_was_saved_and_not_sent_is_sent_once_after_the_restart(log, tmp_path):
    write(log, examples(350))
    process = monitor(log, tmp_path / "m", detectors=EveryHundred())
    process.outbox.send = lambda *_: False  # the crash comes after the state is saved
    process.run(stopping=lambda: False, until_idle_s=0)
    process.close()
    assert alarms_in(log) == []
    for _ in range(2):
        run(log, tmp_path / "m", detectors=EveryHundred())
    assert alarms_in(log) == ["100", "200", "300"]
    assert read_monitor(tmp_path / "m").now.alarms_open == []
    write(log, examples(50, from_row=350))
    [alarm] = run(log, tmp_path / "m", detectors=EveryHundred()).now.alarms_open
    assert (alarm.id, alarm.number) == ("2", 3)
    assert log.committed(GROUP, TopicPartition(EXAMPLES, 0)).offset == log.end_offsets(EXAMPLES)[0]


def test_a_new_state_does_not_take_anothers_alarms_for_its_own(log, tmp_path):
    write(log, examples(450))
    run(log, tmp_path / "first", detectors=EveryHundred())
    for _ in range(2):
        run(log, tmp_path / "second", detectors=EveryHundred())
    assert alarms_in(log) == ["100", "200", "300", "400"] * 2


def test_figures_are_refreshed_while_nothing_comes(log, tmp_path):
    write(log, examples(100))
    clock = [1_800_000_000.0]
    process = monitor(log, tmp_path / "m", now=lambda: clock[0])
    for _ in range(3):
        process.step()
    clock[0] += 60
    process.step()
    assert read_monitor(tmp_path / "m").now.at_ms == 1_800_000_060_000
    process.close()


def test_on_kafka_too_alarms_and_examples_count_once(kafka_url, tmp_path):
    with stream_log(kafka_url, StreamSettings(partitions=2)) as log:
        for partition in range(2):
            write(log, examples(300, seed=partition), partition)
        for _ in range(3):
            process = monitor(log, tmp_path / "m", detectors=EveryHundred())
            process.step()
            process.folder.close()
        action = AlarmAction(what="silence", at_ms=0, by="ann", field="ad", until_ms=9)
        append_action(log, action)
        state = run(log, tmp_path / "m", detectors=EveryHundred())
        assert state.now.seen == 600
        assert state.now.alarm_actions == [action]
        rows = state.now.seen + state.now.corrections
        assert alarms_in(log) == [f"{n}00" for n in range(1, rows // 100 + 1)]


def test_alarms_go_to_a_webhook_and_a_broken_one_stops_nothing(log, tmp_path):
    write(log, examples(250))
    lines = []
    with hook_server(500, 204, 204) as server:
        hooked = msgspec.structs.replace(SETTINGS, webhook=server.url)
        run(log, tmp_path / "m", hooked, detectors=EveryHundred())
    assert [alarm["cause"] for alarm in server.bodies] == ["100", "100", "200"]
    run(log, tmp_path / "n", hooked, detectors=EveryHundred(), report=lines.append)
    [refused, *_] = [line for line in lines if "webhook did not take" in line]
    assert "secret" not in refused


def test_a_silence_is_told_with_the_alarms_and_keeps_them_from_the_webhook(log, tmp_path):
    write(log, examples(250))
    done = AlarmAction(what="silence", at_ms=0, by="ann", until_ms=int(time.time() * 1000) + 60_000)
    append_action(log, done)
    with hook_server() as server:
        hooked = msgspec.structs.replace(SETTINGS, webhook=server.url)
        state = run(log, tmp_path / "m", hooked, detectors=EveryHundred())
    assert server.bodies == []
    assert alarms_in(log) == ["100", "200"]
    assert state.now.alarm_actions == [done]


def test_a_stream_without_predictions_is_watched_with_the_monitors_own(log, tmp_path):
    write(log, examples(1500, served=False))
    first = monitor(log, tmp_path / "m")
    first.step()
    first.save()
    first.step()
    first.folder.close()
    state = run(log, tmp_path / "m")
    assert (state.now.predictions, state.now.seen) == ("own", 1500)
    assert 0.5 < state.now.overall.calibration_ratio < 2.0
    assert len(list((tmp_path / "m").glob("model-*"))) == 1


def test_new_values_are_a_slice_that_a_restart_does_not_forget(log, tmp_path):
    day = 86_400
    lines = [*examples(10), *examples(10, from_row=2 * day), *examples(10, from_row=2 * day + 60)]
    lines = [line.replace('"ad"', '"old"').replace('"site"', '"ad"') for line in lines]
    sliced = msgspec.structs.replace(SETTINGS, slices=("new:ad",))
    write(log, [line.replace('"ad": 1', '"ad": 9') for line in lines[:10]])
    run(log, tmp_path / "m", sliced)
    write(log, lines[10:])
    state = run(log, tmp_path / "m", sliced)
    seen = {name: 0 for name in ("new", "known")}
    for window in state.windows:
        for name in seen:
            seen[name] += window.slices["new:ad"].figures(name).count
    assert seen == {"new": 6, "known": 24}


def test_served_only_counts_what_was_left_out(log, tmp_path):
    write(log, [*examples(100), *examples(50, served=False, from_row=100)])
    state = run(log, tmp_path / "m", msgspec.structs.replace(SETTINGS, predict="served"))
    assert state.now.seen == 100
    assert state.now.unscored >= 50


def test_partitions_are_read_in_step_by_event_time(tmp_path):
    with stream_log(tmp_path / "log.db", StreamSettings(partitions=3)) as log:
        for partition, count in ((0, 1500), (1, 1500), (2, 10)):
            write(log, examples(count, seed=partition), partition)
        state = run(log, tmp_path / "m")
    assert state.now.seen == 3010
    assert state.now.after_close == 0


def test_another_logs_state_other_slices_and_a_second_monitor_are_refused(log, tmp_path):
    write(log, examples(200))
    run(log, tmp_path / "m")
    with stream_log(":memory:") as other:
        write(other, examples(300, seed=9))
        with pytest.raises(ClicktideError, match="another log"):
            monitor(other, tmp_path / "m")
    with pytest.raises(ClicktideError, match=r"fields.*Fix:"):
        monitor(log, tmp_path / "m", msgspec.structs.replace(SETTINGS, slices=("ad",)))
    longer = msgspec.structs.replace(SETTINGS, windows=WindowSettings(window_s=120))
    with pytest.raises(ClicktideError, match=r"windows\.window_s 60, not 120"):
        monitor(log, tmp_path / "m", longer)
    with (
        monitor(log, tmp_path / "m"),
        pytest.raises(ClicktideError, match="another monitor works here"),
    ):
        monitor(log, tmp_path / "m")
    (tmp_path / "m" / "state").write_bytes(b"clicktide-plain 1 00\nx")
    with pytest.raises(ClicktideError, match="damaged"):
        monitor(log, tmp_path / "m")


def test_records_that_retention_removed_unread_are_told(log, tmp_path):
    write(log, examples(200))
    process = monitor(log, tmp_path / "m")
    process.step()
    process.close()
    lines = []
    process = monitor(log, tmp_path / "n", report=lines.append)
    start = log.start_offsets
    log.start_offsets = lambda topic: [offset + 5 for offset in start(topic)]
    process.reader.offsets = [-1]
    process.step()
    process.close()
    assert process.reader.lost == 6
    assert any("LOST 6 records" in line for line in lines)
    assert process.watch.seen < 200


def test_a_log_that_is_away_is_waited_for(log, tmp_path):
    write(log, examples(100))
    lines, waits, away = [], [], LogUnavailableError("broker is away")
    process = monitor(log, tmp_path / "m", report=lines.append, pause=waits.append)
    log.read = failing(log.read, away, away)
    process.run(stopping=lambda: False, until_idle_s=0)
    process.close()
    assert process.watch.seen == 100
    assert waits[:2] == [0.1, 0.2]
    assert any("does not answer" in line for line in lines)


def test_a_full_disk_stops_no_watching(log, tmp_path, monkeypatch):
    write(log, examples(300))
    lines = []
    process = monitor(log, tmp_path / "m", report=lines.append)
    monkeypatch.setattr(
        "monitoring.watch.monitor_folder.os.fsync", lambda _: (_ for _ in ()).throw(OSError(28))
    )
    process.step()
    assert not process.save()
    monkeypatch.undo()
    process.run(stopping=lambda: False, until_idle_s=0)
    process.close()
    assert read_monitor(tmp_path / "m").now.seen == 300
    assert any("NOT SAVED" in line for line in lines)


def test_the_command_killed_at_random_counts_every_example_once(log, tmp_path):
    (tmp_path / "shop.toml").write_text(TOML)
    write(log, examples(3000))
    command = [sys.executable, "-m", "clicktide", "monitor", "--log", str(tmp_path / "log.db")]
    command += ["--spec", "shop.toml", "--slices", "ad,hour,weekday,bid"]
    command += ["--set", "monitor.save_every_s=0.01", "--set", "stream.batch=1"]
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    killed = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    try:
        until((tmp_path / "monitor" / "now.json").exists)
        killed.send_signal(signal.SIGKILL)
    finally:
        killed.kill()
        killed.wait()
    done = subprocess.run(
        [*command, "--until-idle", "0", "--json"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    figures = json.loads(done.stdout)
    assert figures["overall"]["count"] == figures["seen"] == 3000
    assert figures["fields"] == ["ad", "hour", "weekday", "bid"]
    assert "monitor: saved at 3,000 examples" in done.stderr


def test_a_monitor_that_is_stopped_while_the_log_is_away_saves_what_it_has(log, tmp_path):
    write(log, examples(100))
    process = monitor(log, tmp_path / "m")
    process.step()
    log.topics = log.read = lambda *_: (_ for _ in ()).throw(LogUnavailableError("away"))
    stops = iter([False, True])
    process.run(stopping=lambda: next(stops, True))
    process.close()
    assert read_monitor(tmp_path / "m").now.seen == process.watch.seen > 0
