"""How fast a stream flows, against a bare kafka-python consumer of the same topics.

``python -m benchmarks.stream_bench [--kafka HOST:PORT] [--impressions N] [--streams N]
[--rounds N] [--only joiner]``. Ratios within one run, each reader in its turn; figures are events
a second.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median

from kafka import KafkaConsumer, TopicPartition
from rich.console import Console

from clicktide.kernels import warm_up
from features.spec_file import load_spec
from streaming.join_process import JoinProcess
from streaming.log import open_log
from streaming.settings import StreamSettings, load_stream_settings
from streaming.train_process import Trainer


def publish(url: str, impressions: int) -> None:
    """A simulated stream into a log."""
    source = f"sim:stationary?events={impressions}"
    command = [sys.executable, "-m", "clicktide", "replay", source, "--to", url, "--speed", "max"]
    subprocess.run(command, check=True, capture_output=True)


def bare(bootstrap: str, topics: list[str]) -> float:
    """Seconds that a consumer takes that only polls."""
    places = [TopicPartition(topic, 0) for topic in topics]
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    consumer.assign(places)
    ends = consumer.end_offsets(places)
    consumer.seek_to_beginning(*places)
    start = time.perf_counter()
    while any(consumer.position(at) < ends[at] for at in places):
        consumer.poll(200, max_records=2000)
    seconds = time.perf_counter() - start
    consumer.close()
    return seconds


def join(url: str, settings: StreamSettings) -> tuple[float, int]:
    """Seconds that the joiner takes, once it reads, over the rest of a log; events of it.

    Until the last event is joined and committed, as the bare consumer's clock stops when it has the
    last; not until it is sure that no more will come.
    """
    with open_log(url) as log:
        log.create_topics(settings.topics())
        process = JoinProcess(log, settings, "join-0", lambda line: None)
        while not process.read:  # connects, and joins its group
            process.step()
        first, start = process.read, time.perf_counter()
        read, end = first, start

        def looked() -> bool:  # before each batch
            nonlocal read, end
            if process.read > read:
                read, end = process.read, time.perf_counter()
            return False

        process.run(looked, until_idle_s=0)
        process.close()
        return end - start, read - first


def train(url: str, overrides: list[str], folder: Path) -> tuple[float, float, int]:
    """Seconds from the log to the learned model, once it reads, and to save it; examples of them.

    What is read when the clock starts is learned, but not counted.
    """
    spec = load_spec("sim", overrides)
    warm_up(spec, Console(stderr=True, quiet=True))
    settings = load_stream_settings(None, ["train.snapshot_every_s=3600"])
    quiet = {"now": time.time, "report": lambda line: None, "pause": time.sleep}
    with open_log(url) as log, Trainer(log, spec, settings, folder, **quiet) as trainer:
        trainer.step()  # connects, and reads
        start = time.perf_counter()
        trainer.step()
        first = trainer.events
        while trainer.step():
            pass
        learned = time.perf_counter()
        trainer.finish()
        return learned - start, time.perf_counter() - learned, trainer.events - first


Figures = dict[str, list[float]]
SINGLE = ["learner.kind=single"]
SPECS = {"stack, 66 crosses": [], "single, 66 crosses": SINGLE}


def measure_joiner(
    url_of: Callable[[str], str], bootstrap: str | None, impressions: int, rounds: int
) -> Figures:
    """The joiner's lines alone, at the default of examples a record: a new stream each round."""
    out: Figures = defaultdict(list)
    for _ in range(rounds):
        url = url_of(f"b{uuid.uuid4().hex[:8]}")
        publish(url, impressions)
        seconds, events = join(url, load_stream_settings(None, []))
        out["joiner, 100 a record"].append(events / seconds)
        if bootstrap:
            prefix = url.partition("prefix=")[2]
            seconds = bare(bootstrap, [prefix + "impressions", prefix + "clicks"])
            out["bare consumer, events"].append(events / seconds)
    return out


def measure(
    url_of: Callable[[str], str], bootstrap: str | None, impressions: int, rounds: int, top: Path
) -> Figures:
    """Every figure of every line: a joiner once, those that only read in turns."""
    out: Figures = defaultdict(list)
    for most in (1, 100):
        url = url_of(f"b{uuid.uuid4().hex[:8]}")
        publish(url, impressions)
        settings = load_stream_settings(None, [f"stream.examples_per_record={most}"])
        seconds, events = join(url, settings)
        out[f"joiner, {most} a record"].append(events / seconds)
        for _ in range(rounds):
            prefix = url.partition("prefix=")[2]
            if bootstrap:
                topics = [prefix + "impressions", prefix + "clicks"]
                out["bare consumer, events"].append(events / bare(bootstrap, topics))
                seconds = bare(bootstrap, [prefix + "examples"])
                out[f"bare consumer, examples, {most} a record"].append(impressions / seconds)
            for name, overrides in SPECS.items():
                folder = top / uuid.uuid4().hex
                seconds, save_s, learned = train(url, overrides, folder)
                shutil.rmtree(folder)
                out[f"trainer, {most} a record, {name}"].append(learned / seconds)
                out[f"saves a second, {most} a record, {name}"].append(1 / save_s)
    return out


def ratios(figures: dict[str, float]) -> dict[str, float]:
    """Of each line to the bare consumer of the topics that it reads."""
    out = {}
    for name, figure in figures.items():
        base = "bare consumer, events"
        if name.startswith("trainer"):
            base = f"bare consumer, examples,{name.split(',')[1]}"
        if name.startswith(("trainer", "joiner")):
            out[name] = round(figure / figures[base], 2)
    return out


def main() -> None:
    """Print the medians, and the best, which others on the machine disturbed least."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kafka", help="HOST:PORT; the embedded log if absent")
    parser.add_argument("--impressions", type=int, default=200_000)
    parser.add_argument("--streams", type=int, default=3, help="how many are published")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is read")
    parser.add_argument("--only", choices=["joiner"], help="not the trainers; a stream a round")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        top = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def url_of(name: str) -> str:
            if options.kafka:
                return f"kafka://{options.kafka}?prefix={name}."
            return str(top / f"{name}.db")

        def measured(impressions: int, rounds: int) -> Figures:
            if options.only:
                return measure_joiner(url_of, options.kafka, impressions, rounds)
            return measure(url_of, options.kafka, impressions, rounds, top)

        measured(2_000, 1)  # kernels are loaded, and not timed
        found: Figures = defaultdict(list)
        for _ in range(options.streams):
            for name, each in measured(options.impressions, options.rounds).items():
                found[name] += each
    for what, taken in (("median", median), ("best", max)):
        figures = {name: taken(each) for name, each in found.items()}
        print(what, json.dumps({name: round(f, 1) for name, f in figures.items()}, indent=1))
        if options.kafka:
            print(what, "of the bare consumer", json.dumps(ratios(figures), indent=1))


if __name__ == "__main__":
    main()
