"""In lockstep, what is served is a function of the source: how fast who runs changes no bit."""

import random
import time
from contextlib import ExitStack

import msgspec
from small_spec import spec_of

from features.spec import SourceSpec
from market import open_simulation
from streaming.join_process import JoinProcess
from streaming.joiner import JoinerSettings
from streaming.log import TopicPartition, open_log
from streaming.publish import (
    ClickDelay,
    Lockstep,
    Pacer,
    Patience,
    Publisher,
    RowReader,
    publish_group,
)
from streaming.settings import IMPRESSIONS, StreamSettings
from streaming.status import look_at
from streaming.train_process import Trainer

SOURCE = "sim:abrupt?users=50&sites=10&campaigns=8&events=1500&max_click_delay_ms=90000"
SETTINGS = StreamSettings(join=JoinerSettings(join_window_s=60, late_window_s=60))
SPEC = spec_of(
    "campaign",
    "site",
    name="market",
    source=SourceSpec(
        label="click", timestamp="timestamp", timestamp_format="ms", event_id="impression_id"
    ),
    pairs=True,
    bits=10,
)


def served(folder, *, pace, lockstep=True, most_turns=3):
    """Impressions as published, predicted by a trainer that gets its turns as ``pace`` has it."""
    folder.mkdir()
    rng = random.Random(pace)
    with ExitStack() as stack:
        log = stack.enter_context(open_log(str(folder / "log.db")))
        log.create_topics(SETTINGS.topics())
        trainer = stack.enter_context(
            Trainer(log, SPEC, SETTINGS, folder, now=time.time, report=str, pause=time.sleep)
        )
        # the clock of its idle watch leaps or stands still
        join = JoinProcess(log, SETTINGS, "join-0", str, clock=lambda: rng.random() * 1000)
        stack.callback(join.close)

        def turns(_=0.0):
            for process in rng.choices((join, trainer), k=rng.randint(1, most_turns)):
                process.step()

        def serve(impressions):
            turns()
            predict = trainer.replay.learner.predict_proba_one
            rows = [msgspec.json.decode(one) for one in impressions]
            return [
                msgspec.json.encode(row | {"probability": predict(row["fields"])[True]})
                for row in rows
            ]

        step = Lockstep(
            lambda: look_at(log, 0), 30.0, Patience(60.0, time.monotonic), sleep=turns,
            groups=("join", "train"),
        )  # fmt: skip
        publisher = Publisher(
            log, publish_group(SOURCE), RowReader(SPEC, SOURCE, delay=ClickDelay()), SETTINGS,
            pacer=Pacer(None, clock=time.monotonic, sleep=turns), serve=serve,
            lockstep=step if lockstep else None,
        )  # fmt: skip
        publisher.run(_batches(publisher))
        assert trainer.events > 1_000 or not lockstep
        records = log.read(TopicPartition(IMPRESSIONS, 0), 0, 10_000)
        return [record.value for record in records if record.key]  # heartbeats have none


def _batches(publisher):
    yield from open_simulation(SOURCE, publisher.columns, publisher.start, batch_rows=700)


def test_what_is_served_depends_on_the_source_alone(tmp_path):
    first = served(tmp_path / "0", pace=0)
    assert len({msgspec.json.decode(one)["probability"] for one in first[-500:]}) > 20
    for pace in (1, 2):
        assert served(tmp_path / str(pace), pace=pace) == first


def test_without_lockstep_it_does_not(tmp_path):
    runs = {
        tuple(served(tmp_path / str(n), pace=n, lockstep=False, most_turns=40)) for n in range(3)
    }
    assert len(runs) > 1
