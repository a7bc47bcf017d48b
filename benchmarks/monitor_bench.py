"""What watching a stream costs beside learning it, and what it holds: ``--help``.

Made-up examples of 20 fields, some with few values and some with endlessly many, as they stand
in the examples topic; then the same rows through the trainer's steps and through the monitor's.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Iterator

import numpy as np

from features.batch import Position
from features.spec import CrossSpec, FieldSpec, SourceSpec, Spec
from features.vectoriser import Vectoriser
from learning.click_learner import ClickLearner
from monitoring.watch.detect.detector import SequentialDetector
from monitoring.watch.examples import ScoredReader
from monitoring.watch.repair.state_machine import SliceRepair
from monitoring.watch.settings import WindowSettings
from monitoring.watch.slices import slice_fields
from monitoring.watch.windows import Windows
from streaming.examples import ExampleReader, examples_source, lines_of_records
from streaming.log import Record
from streaming.prepare import Preparer
from streaming.replay import Replay

START = 1_736_121_600_000
VALUES = (2, 3, 5, 7, 10, 24, 24, 50, 100, 100, 200, 500, 1000, 2000, 5000, 10**4, 10**5, 10**6)
RECORD, READ = 100, 200
STEPS = (
    "monitor: read",
    "monitor: count",
    "monitor: detect",
    "monitor: repair",
    "trainer: read",
    "trainer: learn",
)


def spec_of(crosses: bool) -> Spec:
    """Twenty categories: those of ``VALUES``, and two whose values never come again."""
    names = tuple(f"f{i}" for i in range(20))
    return Spec(
        name="bench",
        source=SourceSpec(label="click", timestamp="time", timestamp_format="ms"),
        fields=(FieldSpec(names=names),),
        crosses=CrossSpec(all_pairs=crosses),
    )


def records(rows: int, rate: float) -> Iterator[list[Record]]:
    """Records as the monitor reads them at a time."""
    rng, made = np.random.default_rng(0), 0
    while made < rows:
        some = []
        for _ in range(READ):
            lines = [_line(rng, made + i, rate) for i in range(RECORD)]
            some.append(Record("examples", 0, made // RECORD, 0, None, "\n".join(lines).encode()))
            made += RECORD
        yield some


def _line(rng: np.random.Generator, row: int, rate: float) -> str:
    ids = [int(rng.pareto(1.0) * size / 50) % size for size in VALUES]
    fields = {f"f{i}": f"v{value}" for i, value in enumerate(ids)}
    fields |= {"f18": f"user{row}", "f19": f"session{row * 7}"}
    p = float(np.exp(rng.normal(-4.0, 1.0)))
    impression = {"type": "impression", "v": 1, "impression_id": f"imp-{row}"}
    impression |= {"timestamp": START + int(row / rate * 1000), "fields": fields}
    impression |= {"probability": min(p, 1.0), "model_version": "ctr-12"}
    click = int(rng.random() < p)
    said = {"type": "example", "v": 1, "label": click, "impression": impression}
    return json.dumps(said | ({"click_timestamp": impression["timestamp"] + 900} if click else {}))


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--rate", type=float, default=1000.0, help="impressions a second")
    parser.add_argument("--crosses", action="store_true", help="the trainer learns all pairs too")
    parser.add_argument("--monitor-only", action="store_true")
    asked = parser.parse_args()
    spec = spec_of(asked.crosses)
    source = examples_source(spec)
    reader = ScoredReader(slice_fields(spec))
    windows = Windows([field.name for field in reader.fields], WindowSettings())
    detectors, repair = SequentialDetector(), SliceRepair(reader.fields)
    prepare = Preparer(Vectoriser(spec), source)
    trainer = ExampleReader(source, prepare.columns)
    replay = Replay(ClickLearner(spec))
    spent = dict.fromkeys(STEPS, 0.0)
    done = 0
    for number, some in enumerate(records(asked.rows, asked.rate)):
        t0 = time.process_time()
        read = reader.read(some).batches
        t1 = time.process_time()
        for it in read:
            windows.update(it.scored)
        t2 = time.process_time()
        for it in read:
            detectors.update(it.scored)
        t3 = time.process_time()
        for it in read:
            repair.update(it.scored)
        t4 = t5 = t6 = time.process_time()
        if not asked.monitor_only:
            data, _ = lines_of_records(some)
            batches = trainer.batches(data, lambda line: ("", line), Position())
            ready = [prepare(batch) for batch in batches]
            t5 = time.process_time()
            for part in ready:
                replay.learn(part)
            t6 = time.process_time()
        if number > 1:  # the first two compile
            done += len(some) * RECORD
            for name, seconds in zip(STEPS, np.diff([t0, t1, t2, t3, t4, t5, t6]), strict=True):
                spent[name] += seconds
    print(f"{done:,} examples of 20 fields, {asked.rate:g} a second of event time; CPU time")
    for name, seconds in spent.items():
        if seconds:
            print(f"{name:16} {done / seconds:12,.0f} examples/s")
    monitor = sum(spent[name] for name in STEPS[:4])
    print(f"{'monitor':16} {done / monitor:12,.0f} examples/s")
    if not asked.monitor_only:
        both = spent["trainer: read"] + spent["trainer: learn"]
        print(f"{'trainer':16} {done / both:12,.0f} examples/s")
        print(f"monitor / trainer {monitor / both:.1%}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:,.0f} MB; windows of {windows.window_ms / 1000:g} s")


if __name__ == "__main__":
    main()
