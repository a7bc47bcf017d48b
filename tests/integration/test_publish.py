"""``clicktide replay SOURCE --to LOG``: the log holds what happened, once, in order of time."""

import json
import signal
import sqlite3
import subprocess
import sys
import time

import msgspec
import pytest
from command import run_clicktide
from stream_runs import join_all, stream_log
from topic_records import values_of
from waiting import until

from clicktide.serving_worker import open_writer
from features.errors import ClicktideError
from features.events import Click, Heartbeat, Impression, decode_event, encode_event
from features.spec_file import load_spec
from market import open_simulation
from streaming.joiner import JoinerSettings
from streaming.log import NewRecord, TopicPartition, open_log
from streaming.publish import ClickDelay, Pacer, Publisher, RowReader, publish_group
from streaming.settings import CLICKS, IMPRESSIONS, StreamSettings
from streaming.sources import open_source

MARKET = "sim:abrupt?users=300&sites=30&seed=3"
SIM = f"{MARKET}&events=40000"

SPEC = """
name = "t"
[source]
label = "clicked"
event_id = "id"
timestamp = "when"
timestamp_format = "iso"
[[fields]]
names = ["site", "ad"]
[[fields]]
names = ["age"]
transform = "log2"
[[fields]]
names = ["hour"]
transform = "hour_of_day"
column = "when"
"""


def run(folder, *args, code=0):
    done = run_clicktide(*args, cwd=folder)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout, done.stderr


def publish(folder, *args):
    out, _ = run(folder, "replay", *args, "--json")
    return json.loads(out)


def held(log, topic):
    """Events of a topic, by partition; every key is the event's own id."""
    partitions = []
    for partition, end in enumerate(log.end_offsets(topic)):
        records = log.read(TopicPartition(topic, partition), 0, max(end, 1))
        found = [decode_event(record.value) for record in records]
        for record, event in zip(records, found, strict=True):
            if not isinstance(event, Heartbeat):
                assert record.key == event.impression_id.encode()
        partitions.append(found)
    return partitions


def values(path, topic):
    with open_log(str(path)) as log:
        return values_of(log, topic)


def without_heartbeats(partitions):
    return [e for part in partitions for e in part if not isinstance(e, Heartbeat)]


def json_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    """A simulation as files, and published: ``market/`` and ``log.db``."""
    folder = tmp_path_factory.mktemp("market")
    run(folder, "simulate", SIM, "--out", "market")
    summary = publish(folder, SIM, "--to", "log.db")
    assert (summary["impressions"], summary["rejected"], summary["ended"]) == (40_000, 0, True)
    return folder


def test_a_published_simulation_holds_what_its_files_hold(market):
    served = json_lines(market / "market" / "impressions.jsonl")
    clicked = json_lines(market / "market" / "clicks.jsonl")
    truth = {
        row["impression_id"]: row["p_true"] for row in json_lines(market / "market/truth.jsonl")
    }
    with open_log(str(market / "log.db")) as log:
        impressions = without_heartbeats(held(log, IMPRESSIONS))
        clicks = without_heartbeats(held(log, CLICKS))
    assert [(c.impression_id, c.timestamp) for c in clicks] == [
        (row["impression_id"], row["timestamp"]) for row in clicked
    ]
    assert len(impressions) == len(served)
    for event, row in zip(impressions, served, strict=True):
        name = row.pop("impression_id")
        assert (event.impression_id, event.timestamp) == (name, row["timestamp"])
        assert event.fields == row | {"p_true": truth[name]}
        assert event.probability is None


def small_log(tmp_path):
    (tmp_path / "spec.toml").write_text(SPEC)
    (tmp_path / "log.csv").write_text(
        "id,when,clicked,site,ad,age\n"
        "a,2025-03-01T10:00:00Z,1,s1,x,3\n"
        "broken\n"
        "b,2025-03-01T10:00:01Z,0,s2,,4\n"
        "c,2025-03-01T10:00:02Z,maybe,s1,y,5\n"
        "d,not a time,0,s1,y,5\n"
        ",2025-03-01T10:00:03Z,0,s1,y,5\n"
        "e,2025-03-01T10:00:04Z,true,s3,z,6\n"
    )


def test_a_real_log_keeps_its_columns_and_its_bad_rows_become_rejects(tmp_path):
    small_log(tmp_path)
    summary = publish(
        tmp_path, "log.csv", "--spec", "spec.toml", "--to", "log.db", "--rejects", "bad.jsonl"
    )
    assert (summary["impressions"], summary["clicks"], summary["rejected"]) == (3, 2, 4)
    reasons = [row["reason"] for row in json_lines(tmp_path / "bad.jsonl")]
    assert reasons == ["row_too_short", "bad_label", "bad_time", "id_length"]
    with open_log(str(tmp_path / "log.db")) as log:
        a, b, e = without_heartbeats(held(log, IMPRESSIONS))
        clicks = without_heartbeats(held(log, CLICKS))
    assert a.fields == {"site": "s1", "ad": "x", "age": "3", "when": "2025-03-01T10:00:00Z"}
    assert (a.timestamp, b.impression_id, e.timestamp) == (1740823200000, "b", 1740823204000)
    delay = ClickDelay(20.0, 600.0)
    assert sorted((c.impression_id, c.timestamp) for c in clicks) == [
        ("a", a.timestamp + delay.ms("a")),
        ("e", e.timestamp + delay.ms("e")),
    ]


def test_rows_without_ids_and_times_are_numbered_and_a_second_apart(tmp_path):
    (tmp_path / "log.csv").write_text("clicked,ad\n0,x\nbroken\n0,y\n")
    (tmp_path / "s.toml").write_text(
        'name = "s"\n[source]\nlabel = "clicked"\n[[fields]]\nnames = ["ad"]\n'
    )
    publish(tmp_path, "log.csv", "--spec", "s.toml", "--to", "log.db")
    with open_log(str(tmp_path / "log.db")) as log:
        x, y = without_heartbeats(held(log, IMPRESSIONS))
    assert (x.impression_id, y.impression_id) == ("log.csv:1", "log.csv:3")
    assert (x.timestamp, y.timestamp) == (1736121600000, 1736121602000)


def test_both_topics_have_an_impression_in_the_same_partition_and_time_never_falls(tmp_path):
    publish(tmp_path, f"{MARKET}&events=8000", "--to", "log.db", "--set", "stream.partitions=3")
    with open_log(str(tmp_path / "log.db")) as log:
        impressions, clicks = held(log, IMPRESSIONS), held(log, CLICKS)
    assert len(impressions) == len(clicks) == 3
    for shown, clicked in zip(impressions, clicks, strict=True):
        ids = {e.impression_id for e in shown if isinstance(e, Impression)}
        assert ids and {e.impression_id for e in clicked if isinstance(e, Click)} <= ids
        for events in (shown, clicked):
            times = [e.timestamp for e in events]
            assert times == sorted(times)
            assert [type(e) for e in events[-2:]] == [Heartbeat, Heartbeat]
            assert type(events[-3]) is not Heartbeat
            assert times[-1] > times[-2]


def test_the_heartbeats_come_after_every_window(tmp_path):
    summary = publish(
        tmp_path, f"{MARKET}&events=500", "--to", "log.db", "--set", "join.join_window_s=60"
    )
    join = JoinerSettings(join_window_s=60)
    windows = join.join_window_s + join.late_window_s + join.out_of_order_s
    with open_log(str(tmp_path / "log.db")) as log:
        for topic in (IMPRESSIONS, CLICKS):
            beats = held(log, topic)[0][-2:]
            assert all(b.timestamp > summary["last_event_ms"] + 1000 * windows for b in beats)


def test_no_end_sends_no_heartbeats_and_a_later_run_goes_on_exactly(tmp_path, market):
    first = publish(tmp_path, SIM, "--to", "log.db", "--events", "12345", "--no-end")
    assert (first["impressions"], first["ended"]) == (12_345, False)
    assert all(b'"heartbeat"' not in v for v in values(tmp_path / "log.db", CLICKS))
    second = publish(tmp_path, SIM, "--to", "log.db", "--resume")
    assert second["impressions"] == 40_000 - 12_345
    for topic in (IMPRESSIONS, CLICKS):
        assert values(tmp_path / "log.db", topic) == values(market / "log.db", topic)
    third = publish(tmp_path, SIM, "--to", "log.db", "--resume")
    assert (third["impressions"], third["clicks"]) == (0, 0)


def rows_in(path):
    """Impressions in a log that another process writes; 0 while it is not there."""
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
            row = db.execute(
                "SELECT sum(end_offset) FROM partitions WHERE topic = 'impressions'"
            ).fetchone()
            return int(row[0] or 0)
    except sqlite3.Error:
        return 0


def stopped_when(path, more, number, *args):
    """Start publishing; signal it when it has published some more; its return code."""
    goal = rows_in(path) + more
    command = [sys.executable, "-m", "clicktide", "replay", *args, "--resume"]
    process = subprocess.Popen(
        command, cwd=path.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: process.poll() is not None or rows_in(path) >= goal)
        process.send_signal(number)
        return process.wait()
    finally:
        process.kill()
        process.wait()


def test_killed_publishers_that_resume_lose_and_double_nothing(tmp_path, market):
    path, kills = tmp_path / "log.db", 0
    for _ in range(5):
        kills += stopped_when(path, 5_000, signal.SIGKILL, SIM, "--to", "log.db") < 0
    assert kills >= 2
    publish(tmp_path, SIM, "--to", "log.db", "--resume")
    for topic in (IMPRESSIONS, CLICKS):
        assert values(path, topic) == values(market / "log.db", topic)


def test_sigterm_stops_between_transactions_and_leaves_a_position(tmp_path):
    path = tmp_path / "log.db"
    code = stopped_when(path, 1, signal.SIGTERM, SIM, "--to", "log.db", "--speed", "100")
    assert code == 130
    done = rows_in(path)
    assert 0 < done < 40_000
    rest = publish(tmp_path, SIM, "--to", "log.db", "--resume")
    assert rest["impressions"] == 40_000 - done


def test_a_log_that_is_further_in_time_is_not_published_into(tmp_path):
    sim = f"{MARKET}&events=300"
    publish(tmp_path, sim, "--to", "log.db")
    _, said = run(tmp_path, "replay", sim, "--to", "log.db", code=2)
    assert "--resume" in said and "--id-prefix" in said
    _, said = run(tmp_path, "replay", sim, "--to", "log.db", "--id-prefix", "again-", code=2)
    assert "too_late" in said and "--shift now" in said
    before = time.time_ns() // 1_000_000
    args = ("--to", "log.db", "--id-prefix", "again-", "--shift", "now")
    summary = publish(tmp_path, sim, *args)
    assert before <= summary["first_event_ms"] <= time.time_ns() // 1_000_000
    with open_log(str(tmp_path / "log.db")) as log:
        ids = [e.impression_id for e in without_heartbeats(held(log, IMPRESSIONS))]
    assert len(set(ids)) == len(ids) == 600
    assert ids[300] == f"again-{ids[0]}"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--speed", "2"], "--speed is for publishing.*add --to"),
        (["--no-end", "--set", "stream.partitions=2"], "--no-end is for"),
        (["--to", "log.db", "--save", "m", "--plot", "p.png"], "--save, --plot has no meaning"),
        (["--to", "log.db", "--speed", "fast"], "neither a speed nor max"),
        (["--to", "log.db", "--speed", "0"], "neither a speed nor max"),
        (["--to", "log.db", "--shift", "later"], "nor whole ms"),
        (["--to", "log.db", "--set", "partition=2"], "partition"),
    ],
)
def test_options_without_sense_are_refused(tmp_path, args, said):
    _, err = run(tmp_path, "replay", f"{MARKET}&events=10", *args, code=2)
    assert said.split(".*")[0] in err and said.split(".*")[-1] in err
    assert not (tmp_path / "log.db").exists()


# --- without processes ---------------------------------------------------------------------


class Wall:
    """A clock that only sleeping moves."""

    def __init__(self):
        self.now, self.slept = 1000.0, 0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        self.slept += 1


def publisher(log, source, pacer, batch=1_000):
    settings = StreamSettings()
    log.create_topics(settings.topics())
    reader = RowReader(load_spec("sim"), source, delay=ClickDelay())
    return Publisher(log, publish_group(source), reader, settings, pacer=pacer, batch=batch)


def unpaced():
    return Pacer(None, clock=time.monotonic, sleep=time.sleep)


@pytest.mark.parametrize("speed", [1.0, 30.0])
def test_speed_ties_event_time_to_the_wall_clock(tmp_path, speed):
    wall, source = Wall(), "sim:stationary?users=100&sites=10&events=200"
    seen = []
    with open_log(str(tmp_path / "log.db")) as log:
        it = publisher(log, source, Pacer(speed, clock=wall, sleep=wall.sleep))

        def on_commit():
            if it.state.last_ms is not None and it.state.first_ms is not None:
                seen.append((wall.now - 1000.0, it.state.first_ms, it.state.last_ms))

        it.run(_sim(source, it), on_commit=on_commit)
    for elapsed, first_ms, last_ms in seen:
        assert (last_ms - first_ms) / 1000 / speed <= elapsed + 1e-6, "nothing before its time"
    whole = (seen[-1][2] - seen[-1][1]) / 1000 / speed
    assert whole <= wall.now - 1000.0 <= whole + 0.3
    assert wall.slept > 10


def _sim(source, it):
    yield from open_simulation(source, it.columns, it.start)


def test_max_speed_never_sleeps(tmp_path):
    wall, source = Wall(), "sim:stationary?users=100&sites=10&events=200"
    with open_log(str(tmp_path / "log.db")) as log:
        it = publisher(log, source, Pacer(None, clock=wall, sleep=wall.sleep))
        it.run(_sim(source, it))
    assert wall.slept == 0


class Crash(Exception):
    pass


@pytest.mark.parametrize("every", [1, 7, 50])
def test_a_crash_after_any_commit_repeats_and_loses_nothing(tmp_path, every):
    """Rows out of order and bad rows among them, small transactions, cut anywhere."""
    (tmp_path / "log.csv").write_text(messy_rows())
    spec = msgspec.structs.replace(load_spec(_spec_file(tmp_path)))

    def go(log, crash_after):
        reader = RowReader(spec, "log.csv", delay=ClickDelay(mean_s=30.0))
        it = Publisher(log, "publish:x", reader, StreamSettings(), pacer=unpaced(), batch=5)
        it.restore(resume=True)
        if it.state.ended:
            return True, []
        left, known = crash_after, it.state
        rejects = []

        def on_commit():
            nonlocal left, known
            if left is not None and it.state != known:
                left, known = left - 1, it.state
                if not left:
                    raise Crash

        path = str(tmp_path / "log.csv")
        batches = open_source(
            path, spec.source, it.columns, start=it.start, batch_rows=40, workers=1
        )
        try:
            it.run(batches, on_reject=rejects.append, on_commit=on_commit)
        except Crash:
            return False, rejects
        return True, rejects

    with stream_log(tmp_path / "whole.db") as log:
        _, rejects = go(log, None)
        position = log.committed("publish:x", TopicPartition(IMPRESSIONS, 0))
    assert len(rejects) > 3
    with stream_log(tmp_path / "parts.db") as log:
        again = []
        for _ in range(1000):
            done, some = go(log, every)
            again += some
            if done:
                break
        assert done
        assert log.committed("publish:x", TopicPartition(IMPRESSIONS, 0)) == position
    assert [(r.line, r.reason) for r in again] == [(r.line, r.reason) for r in rejects]
    for topic in (IMPRESSIONS, CLICKS):
        assert values(tmp_path / "parts.db", topic) == values(tmp_path / "whole.db", topic)


# Minutes between rows, and what becomes of 300 of them: the joiner waits 10 min 30 s.
@pytest.mark.parametrize(("step", "published"), [(1, 300), (-1, 0), (0, 300)])
def test_a_log_newest_first_is_refused_before_anything_is_published(tmp_path, step, published):
    times = [1_740_823_200 + 60 * step * i for i in range(300)]
    rows = [f"i{i},{when},0,s,a,1" for i, when in enumerate(times)]
    (tmp_path / "log.csv").write_text("\n".join(["id,when,clicked,site,ad,age", *rows]))
    spec = load_spec(_spec_file(tmp_path))
    with stream_log(tmp_path / "log.db") as log:
        reader = RowReader(spec, "x", delay=ClickDelay())
        it = Publisher(log, "publish:x", reader, StreamSettings(), pacer=unpaced())
        batches = open_source(str(tmp_path / "log.csv"), spec.source, it.columns)
        if published:
            it.run(batches, end=False)
        else:
            with pytest.raises(ClicktideError, match=r"go back by 4 h .* as too_late\. Fix: sort"):
                it.run(batches, end=False)
        assert it.state.impressions == sum(log.end_offsets(IMPRESSIONS)) == published


def _spec_file(folder):
    (folder / "spec.toml").write_text(SPEC.replace('"iso"', '"s"'))
    return str(folder / "spec.toml")


def messy_rows():
    rows = ["id,when,clicked,site,ad,age"]
    for i in range(300):
        when = 1_740_823_200 + 2 * i - (i * 7 % 13)
        clicked = "maybe" if i % 41 == 5 else int(i % 3 == 0)
        rows.append("broken" if i % 37 == 9 else f"i{i},{when},{clicked},s{i % 4},a{i % 9},{i}")
    return "\n".join(rows) + "\n"


def test_events_go_out_in_order_of_time_over_both_topics(tmp_path):
    source = f"{MARKET}&events=600"
    order = []
    with open_log(str(tmp_path / "log.db")) as log:
        it = publisher(log, source, unpaced(), batch=1)

        def on_commit():
            for topic in (IMPRESSIONS, CLICKS):
                known = sum(isinstance(e, _KIND[topic]) for e in order)
                records = log.read(TopicPartition(topic, 0), known, 1_000)
                order.extend(decode_event(record.value) for record in records)

        it.run(_sim(source, it), end=False, on_commit=on_commit)
    times = [event.timestamp for event in order]
    assert len(times) > 620 and times == sorted(times)


_KIND = {IMPRESSIONS: Impression, CLICKS: Click}


def test_going_on_under_another_recipe_is_refused(tmp_path):
    source = "sim:stationary?users=100&sites=10&events=200"
    with open_log(str(tmp_path / "log.db")) as log:
        it = publisher(log, source, unpaced())
        it.run(_sim(source, it), events=50, end=False)
        reader = RowReader(load_spec("sim"), source, delay=ClickDelay(mean_s=1.0))
        other = Publisher(log, publish_group(source), reader, StreamSettings(), pacer=unpaced())
        with pytest.raises(ClicktideError, match="another spec, click delay"):
            other.restore(resume=True)


def test_events_of_now_are_joined_behind_a_history_that_ends_now(tmp_path):
    stream, url = StreamSettings(), f"sqlite:///{tmp_path / 'run' / 'log.db'}"
    (tmp_path / "run").mkdir()
    source = f"{MARKET}&events=2000&max_click_delay_ms=600000"
    publish(tmp_path, source, "--dir", "run", "--shift", "ends-now")
    now = time.time_ns() // 1_000_000
    writer = open_writer(url, stream)
    for n in range(3):
        shown = Impression(v=1, impression_id=f"mine-{n}", timestamp=now, fields={"ad": "a"})
        click = Click(v=1, impression_id=f"mine-{n}", timestamp=now + 100)
        assert writer.submit([shown, click]).result(60).written == 2
    writer.close()
    with open_log(url) as log, log.producer("end").transaction() as tx:
        beat = encode_event(Heartbeat(v=1, timestamp=now + 3_600_000))
        for topic in (IMPRESSIONS, CLICKS):
            assert max(e.timestamp for e in held(log, topic)[0]) <= now + 100
            tx.append(topic, [NewRecord(None, beat, 0)] * 2)
    with open_log(url) as log:
        join_all(log, stream)
        records = log.read(TopicPartition("examples", 0), 0, 10_000)
        assert not log.read(TopicPartition("dead_letters", 0), 0, 1)
    examples = [e for r in records for e in map(decode_event, r.value.split(b"\n"))]
    labels = {e.impression.impression_id: e.label for e in examples}
    assert len(labels) == 2_003
    assert [labels[f"mine-{n}"] for n in range(3)] == [1, 1, 1]
