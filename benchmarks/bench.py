"""``make bench``: Clicktide beside River and Vowpal Wabbit, on the same rows, in one run."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from benchmarks import measures
from benchmarks.accuracy import accuracy
from benchmarks.delays import delays
from benchmarks.logs import LOGS, open_logs
from benchmarks.measures import QUICK, Bench, Sizes
from benchmarks.report import Section, markdown, raw_figures, replace_section, setting
from benchmarks.unseen import unseen

__all__ = ["MEASURES", "main"]

MEASURES: dict[str, Callable[[Bench], Section]] = {
    "kernel": measures.kernel,
    "files": measures.files,
    "pairs": measures.pairs,
    "events": measures.events,
    "default": measures.default,
    "processes": measures.processes,
    "growth": measures.growth,
    "accuracy": accuracy,
    "memory": measures.memory,
    "unseen": unseen,
    "delays": delays,
}
_README = Path(__file__).with_name("README.md")
_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print markdown, and keep it where asked."""
    options = _options(arguments)
    console = Console(stderr=True)
    if find_spec("vowpalwabbit") is None:
        sys.exit("Vowpal Wabbit is not installed. Fix: pip install 'clicktide[bench]'")
    with tempfile.TemporaryDirectory(prefix="clicktide-bench-") as folder:
        bench = _bench(options, Path(folder), console)
        sections = _measure(bench, options.only or MEASURES, console)
    rows = {log.name: len(log.rows) for log in bench.logs}
    about = setting(datetime.now(UTC), bench.runs, rows, _warning(bench))
    text = markdown(sections, about)
    print(text)
    if options.json:
        options.json.write_text(json.dumps({"about": about, **raw_figures(sections)}, indent=1))
    if options.write:
        _write(text, bench, console)


def _write(text: str, bench: Bench, console: Console) -> None:
    """Put the result into the README, unless it is one of the simulated log."""
    if bench.main.name not in LOGS:
        console.print(f"{_README.name} keeps its result of the real logs.", style="yellow")
        return
    _README.write_text(replace_section(_README.read_text("utf-8"), text), "utf-8")


def _measure(bench: Bench, names: Iterable[str], console: Console) -> list[Section]:
    sections = []
    for name in names:
        with console.status(name) as status:
            bench.say = lambda said, name=name: status.update(f"{name}: {said}")  # type: ignore[misc]
            sections.append(MEASURES[name](bench))
        console.print(f"{name}: done", highlight=False)
    return sections


def _bench(options: argparse.Namespace, folder: Path, console: Console) -> Bench:
    sizes = QUICK if options.quick else Sizes()
    with console.status("reading the logs"):
        logs = open_logs(options.data, folder, sizes.rows)
    bench = Bench(logs, runs=1 if options.quick else options.runs, sizes=sizes)
    if warning := _warning(bench):
        console.print(warning, style="yellow", highlight=False)
    return bench


def _warning(bench: Bench) -> str:
    """Why the ratios are not what is asked for."""
    said = []
    if bench.main.name not in LOGS:
        said.append("The real logs are not here (`--data`): this is measured on a simulated one.")
    if bench.sizes == QUICK:
        said.append("A quick run: its figures mean nothing, only that the benchmark works.")
    return " ".join(said)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    add = parser.add_argument
    add("--runs", type=int, default=5, help="counted runs of each contestant (default 5)")
    add("--quick", action="store_true", help="few rows, one run: does it work at all?")
    add("--only", nargs="+", choices=MEASURES, metavar="NAME", help=", ".join(MEASURES))
    add("--data", type=Path, default=_DATA, help="folder of the real logs")
    add("--json", type=Path, metavar="FILE", help="keep every run as JSON")
    add("--write", action="store_true", help="put the result into benchmarks/README.md")
    options = parser.parse_args(arguments)
    if options.runs < 1:
        parser.error("--runs must be 1 or more")
    if options.write and (options.quick or options.only):
        parser.error("--write keeps a whole run: leave out --quick and --only")
    return options


if __name__ == "__main__":
    main()
