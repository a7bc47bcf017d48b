"""What an event costs each process: CPU time and bytes, from which docs/sizing.md reckons.

``python -m benchmarks.sizing [--events 40000] [--kafka]``: publishes two simulated streams, one
of a quarter of the events, and lets each process run over both. An event costs the difference:
start and kernels' loading are in both. CPU time of all threads, so a busy machine changes little.
The trainer is run with 0 to 741 crosses; what an event costs it is fitted as a line in crosses.
With ``--kafka`` on a broker of its own, else on the embedded log.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from market.columns import COLUMNS

COMMAND = [sys.executable, "-m", "clicktide"]
_NO_FIELDS = {"impression_id", "timestamp", "interests", "click", "click_delay_ms", "p_true"}
FIELDS = [name for name in COLUMNS if name not in _NO_FIELDS]
WIDTHS = ((12, False), (12, True), (24, True), (39, True))
HEAD = """
name = "width"
[source]
label = "click"
event_id = "impression_id"
timestamp = "timestamp"
timestamp_format = "ms"
[crosses]
all_pairs = {crosses}
"""


def cpu_s(*arguments: str) -> float:
    """CPU seconds of a command, and of all that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*COMMAND, *arguments], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def width_spec(folder: Path, fields: int, crosses: bool) -> Path:
    """A spec with so many fields, columns used again under other names."""
    path = folder / f"width-{fields}-{int(crosses)}.toml"
    text = HEAD.format(crosses=str(crosses).lower())
    for i in range(fields):
        text += f'[[fields]]\nnames = ["f{i}"]\ncolumn = "{FIELDS[i % len(FIELDS)]}"\n'
    path.write_text(text)
    return path


class Stage:
    """A stream of so many events, and what has been run over it."""

    def __init__(self, top: Path, events: int, bootstrap: str | None, redis: str) -> None:
        self.folder, self.events, self.redis = top / str(events), events, redis
        self.folder.mkdir()
        log = f"kafka://{bootstrap}?prefix=n{events}." if bootstrap else str(self.folder / "log.db")
        self.where = ["--dir", str(self.folder), "--log", log]
        self.log = log

    def costs(self, widths: list[Path]) -> dict[str, float]:
        """CPU seconds of each process over the whole stream."""
        source = f"sim:stationary?events={self.events}"
        idle = ["--until-idle", "0"]
        out = {"publish": cpu_s("replay", source, "--spec", "market", "--to", self.log)}
        out["join"] = cpu_s("join", *self.where, *idle)
        out["count"] = cpu_s("count", *self.where, "--redis", self.redis, *idle)
        for spec in widths:
            folder = ["--dir", str(self.folder / spec.stem), "--log", self.log]
            out[spec.stem] = cpu_s("train", *folder, "--spec", str(spec), "--nice", "0", *idle)
        out["train, spec market"] = cpu_s("train", *self.where, "--nice", "0", *idle)
        out["monitor, spec market"] = cpu_s("monitor", *self.where, "--nice", "0", *idle)
        return out

    def sizes(self) -> dict[str, float]:
        """Mean bytes of an event in each topic."""
        from streaming.log import TopicPartition, open_log

        out = {}
        with open_log(self.log) as log:
            for topic in ("impressions", "clicks", "early_examples"):
                records = log.read(TopicPartition(topic, 0), log.start_offsets(topic)[0], 2_000)
                lines = [line for one in records for line in one.value.split(b"\n")]
                out[topic] = float(np.mean([len(line) + 1 for line in lines]))
        return out


def measured(top: Path, events: int, bootstrap: str | None) -> dict[str, Any]:
    """Microseconds of CPU and bytes an event."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
    from valkey_server import start_valkey

    widths = [width_spec(top, *width) for width in WIDTHS]
    costs, sizes = [], {}
    for count in (events // 4, events):
        store = start_valkey(top / f"valkey-{count}")
        try:
            stage = Stage(top, count, bootstrap, store.url)
            costs.append(stage.costs(widths))
            sizes = stage.sizes()
        finally:
            store.stop()
    more = events - events // 4
    us = {name: 1e6 * (costs[1][name] - costs[0][name]) / more for name in costs[1]}
    crosses = np.array([fields * (fields - 1) / 2 * pairs for fields, pairs in WIDTHS])
    learned = np.array([us.pop(spec.stem) for spec in widths])
    each, fixed = np.polyfit(crosses, learned, 1)
    for (fields, _), count, cost in zip(WIDTHS, crosses, learned, strict=True):
        us[f"train, {fields} fields, {count:.0f} crosses"] = cost
    return {"us": us, "line": f"{fixed:.1f} + {each:.3f} for each cross", "bytes": sizes}


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--kafka", action="store_true")
    options = parser.parse_args()
    cluster = None
    if options.kafka:
        sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "kafka"))
        from broker import start_broker

        cluster = start_broker()
    try:
        with tempfile.TemporaryDirectory(prefix="clicktide-sizing-") as top:
            found = measured(Path(top), options.events, cluster and cluster.bootstrap)
    finally:
        if cluster is not None:
            cluster.stop()
    for name, us in found["us"].items():
        print(f"{name:<36}{us:8.1f} us an event")
    for name, size in found["bytes"].items():
        print(f"{name:<36}{size:8.0f} bytes an event")
    print("train, us an event:", found["line"])


if __name__ == "__main__":
    main()
