"""``make load``: serving under load, beside an empty FastAPI endpoint and ``mlflow models serve``.

``python -m benchmarks.load [--json FILE] [--write] [--quick] [--only MEASURE ...]``. One run, all
on this machine; figures are medians of rounds taken in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.load_measures import Figures, Load, Times
from benchmarks.load_report import BEGIN, END, page
from benchmarks.load_stage import Stage
from benchmarks.report import replace_section

__all__ = ["main"]

_MEASURES = ("most", "latencies", "rank", "large", "training")
_README = Path(__file__).with_name("README.md")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the tables, and keep them where asked."""
    options, (busy, _, _) = _options(arguments), os.getloadavg()
    times = Times(2, 2.0, 3.0) if options.quick else Times(options.rounds, options.seconds)
    now = datetime.now(UTC)
    with (
        tempfile.TemporaryDirectory(prefix="clicktide-load-") as folder,
        Stage(options.dir or Path(folder), options.impressions) as stage,
    ):
        _say("simulating, counting and learning")
        stage.learn()
        load = Load(stage, times, _say)
        for name in options.only or _MEASURES:
            try:
                getattr(load, name)()
            except RuntimeError as error:
                load.figures.failed[name] = str(error)
                _say(f"{name}: {error}")
    _tell(page(load.figures, times, options.impressions, now, busy), load.figures, options)


def _tell(text: str, figures: Figures, options: argparse.Namespace) -> None:
    print(text)
    if options.json:
        options.json.write_text(json.dumps(figures.runs, indent=1), encoding="utf-8")
    if options.write:
        before = _README.read_text(encoding="utf-8")
        _README.write_text(replace_section(before, text, BEGIN, END), encoding="utf-8")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--impressions", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each round")
    parser.add_argument("--quick", action="store_true", help="does it work at all?")
    parser.add_argument("--only", nargs="+", choices=_MEASURES, help="some of them, in this order")
    parser.add_argument("--dir", type=Path, help="learn here, or use what an earlier run learned")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every single round")
    parser.add_argument("--write", action="store_true", help="put the result into the README")
    return parser.parse_args(arguments)


def _say(line: str) -> None:
    print(f"load: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
