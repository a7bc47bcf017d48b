"""Steady load for twenty minutes: memory and p99 of serving stay flat.

``python tests/chaos/soak.py --minutes 20 --rate 150``: a whole `clicktide up` with two workers,
predictions, rankings and events. Every interval: p99, failed requests, each worker's own memory.
At the end the last third is compared with the end of the first: exit code 1 if a worker grew by
more than 5 MB + 3 %, if the p99 more than doubled, or if a request failed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / part) for part in ("helpers", "kafka", "chaos")]

from serve_faults import Stage  # noqa: E402
from steady_load import PREDICT, RANK, Load, as_json, private_mb, quantile  # noqa: E402


def run(top, minutes, rate, spec, intervals=12):
    """Figures of each interval."""
    stage, rows = Stage(top, spec, 30_000), []
    try:
        with Load(stage.url, rate) as load:
            workers = stage.workers()
            for _ in range(intervals):
                mark = time.monotonic()
                time.sleep(60 * minutes / intervals)
                asked = load.since(mark, (PREDICT, RANK))
                rows.append({
                    "requests": len(load.since(mark)),
                    "failed": len(load.failed(mark)),
                    "refused_events": len(load.refused(mark)),
                    "p50_ms": round(quantile(asked, 0.5), 1),
                    "p99_ms": round(quantile(asked, 0.99), 1),
                    "private_mb": [round(private_mb(pid), 1) for pid in workers],
                })  # fmt: skip
                print(rows[-1], file=sys.stderr, flush=True)
            same = workers == stage.workers()
    finally:
        stage.up.end()
    return rows, same


def judged(rows, same):
    """What of it is not flat."""
    early, late = rows[len(rows) // 3], rows[-max(1, len(rows) // 3) :]
    wrong = [] if same else ["a worker was replaced"]
    if any(row["failed"] for row in rows):
        wrong.append("requests failed")
    for i, before in enumerate(early["private_mb"]):
        now = statistics.median(row["private_mb"][i] for row in late)
        if now > before * 1.03 + 5.0:
            wrong.append(f"worker {i} grew from {before} to {now} MB")
    slow = statistics.median(row["p99_ms"] for row in late)
    if slow > 2 * early["p99_ms"] + 5:
        wrong.append(f"p99 from {early['p99_ms']} to {slow} ms")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=150.0)
    parser.add_argument("--spec", default="market", help="market, small or a file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clicktide-soak-") as top:
        rows, same = run(Path(top), options.minutes, options.rate, options.spec)
    wrong = judged(rows, same)
    print(as_json({"intervals": rows, "not_flat": wrong}))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
