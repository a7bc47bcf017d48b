"""From examples that are off to predictions that are repaired: the monitor, the log, the API."""

import random
import time

import msgspec
import pytest
import served_app
from example_log import example_line, fill
from stream_runs import stream_log
from waiting import until

from clicktide.serving_worker import state_of
from clicktide.stream_folder import StreamFolder
from features.spec_file import load_spec
from learning import ClickLearner
from learning.live import create_live
from monitoring.watch.monitor_files import read_monitor
from monitoring.watch.process import Monitor
from monitoring.watch.repair.table import REPAIRS, RepairTable, repaired
from monitoring.watch.settings import MonitorSettings, RepairSettings
from serving.app import build_app
from serving.bodies import EXAMPLE
from serving.log_followers import RepairSource
from streaming.log import LogUnavailableError, NewRecord, TopicPartition, open_log
from streaming.settings import EXAMPLES, StreamSettings

START, SPEC = 1_736_121_600_000, "market"
SETTINGS = MonitorSettings(repair=RepairSettings(warmup_clicks=100), slices=("site",))


def examples(rows, bad="site-004"):
    """A site on which nine of ten clicks fail to come."""
    rng, shown = random.Random(3), {"probability": 0.2, "model_version": "live-0a1b2c3d-100"}
    for i in range(rows):
        fields = {"site": f"site-{rng.randrange(10):03}", "campaign": f"campaign-{i % 3:03}"}
        label = int(rng.random() < (0.02 if fields["site"] == bad else 0.2))
        yield example_line(f"i{i}", START + 1000 * i, fields, label, shown=shown)


def write(log, lines):
    fill(log, [EXAMPLES], [*lines], 10_000)


@pytest.fixture
def stream(tmp_path):
    create_live(tmp_path / "live.weights", ClickLearner(load_spec(SPEC)), time.time_ns() // 10**6)
    folder = StreamFolder(
        tmp_path, str(tmp_path / "log.db"), SPEC, changes=("serve.access_log=none",)
    )
    stream_log(folder.log).close()
    return folder


def watch(stream, settings=SETTINGS, folder="monitor", now=time.time):
    with open_log(stream.log) as log:
        process = Monitor(
            log, load_spec(SPEC), StreamSettings(), settings, stream.path / folder, now=now,
            report=lambda line: None, pause=lambda s: None,
        )  # fmt: skip
        with process:
            process.run(stopping=lambda: False, until_idle_s=0)
            process.repairs._at = -1e9  # whatever the wall clock says, it is time
            process.work()
    return read_monitor(stream.path / folder).now


def newest(stream):
    with open_log(stream.log) as log:
        *_, last = log.read(TopicPartition(REPAIRS, 0), 0, 100)
    return msgspec.json.decode(last.value, type=RepairTable)


def ask(app, path, body):
    [reply] = served_app.ask(app, "POST", path, json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_a_slice_that_is_off_is_repaired_in_the_answers_and_they_say_so(stream):
    state = state_of(stream, stream.serve_settings(), stream.stream_settings())
    app = build_app(state)
    good, bad = {"fields": EXAMPLE | {"site": "site-001"}}, {"fields": EXAMPLE}
    before = [ask(app, "/v1/predict", one) for one in (good, bad)]
    with open_log(stream.log) as log:
        write(log, examples(3500))
    now = watch(stream)
    [told] = now.repairs
    assert (told.field, told.value) == ("site", "site-004")
    assert told.repaired_clicks < 0.4 * told.model_clicks
    assert told.nats > 5
    until(lambda: state.scorer.repairs() is not None)
    [repair] = newest(stream).repairs
    assert 0.25 <= repair.factor < 0.4  # a quarter is the least

    same, mended = (ask(app, "/v1/predict", one) for one in (good, bad))
    [was], [is_now] = before[1]["predictions"], mended["predictions"]
    assert same["predictions"] == before[0]["predictions"]
    assert is_now["model_probability"] == was["probability"]
    assert is_now["probability"] == pytest.approx(repaired(was["probability"], repair.factor))
    told = {"slice": "site-004", "factor": repair.factor, "since": repair.since_ms}
    assert is_now["calibrated_by"] == [told]
    assert mended["model_version"] == before[1]["model_version"] + f"+r{newest(stream).id}"

    explained = ask(app, "/v1/explain", bad)
    assert explained["probability"] == is_now["probability"]
    assert explained["model_probability"] == was["probability"]
    assert explained["calibrated_by"] == [told]
    context = {k: v for k, v in EXAMPLE.items() if k not in ("ad", "site")}
    candidates = [{"bid": 1, "fields": {"ad": "a", "site": f"site-{i:03}"}} for i in (4, 1)]
    ranked = ask(app, "/v1/rank", {"context": context, "candidates": candidates, "log": True})
    assert [one["index"] for one in ranked["candidates"]] == [1, 0]
    assert ranked["candidates"][1]["calibrated_by"] == [told]
    assert "calibrated_by" not in ranked["candidates"][0]

    watch(stream, msgspec.structs.replace(SETTINGS, repair=RepairSettings(on=False)))
    until(lambda: state.scorer.repairs() is None)
    assert ask(app, "/v1/predict", bad) == before[1] | {
        "weights_age_s": pytest.approx(before[1]["weights_age_s"], abs=600)
    }
    state.close()


def test_switched_off_in_serving_nothing_is_read(stream):
    settings = msgspec.structs.replace(stream.serve_settings(), repair=False)
    state = state_of(stream, settings, stream.stream_settings())
    assert state.scorer.repairs is None
    state.close()


def test_a_monitor_that_fell_silent_repairs_nothing(stream):
    with open_log(stream.log) as log:
        write(log, examples(3500))
    watch(stream)
    clock = [time.time_ns() // 10**6]
    source = RepairSource(lambda: open_log(stream.log), lambda: clock[0], poll_s=0.01)
    until(lambda: source.current() is not None)
    clock[0] += 11 * 60_000
    assert source.current() is None
    source.close()


def test_a_log_that_fails_and_a_table_of_another_version_stop_nothing(stream):
    with open_log(stream.log) as log:
        write(log, examples(3500))
    watch(stream)
    tries = []

    def connect():
        tries.append(1)
        if len(tries) < 3:
            raise LogUnavailableError("no answer")
        return open_log(stream.log)

    with open_log(stream.log) as log, log.producer("x").transaction() as tx:
        tx.append(REPAIRS, [NewRecord(None, b"not JSON", 0)])
    source = RepairSource(connect, lambda: time.time_ns() // 10**6, poll_s=0.01)
    until(lambda: source.current() is not None)
    assert [one.name for one in source.current().repairs] == ["site-004"]
    source.close()
