"""What the benchmark says: markdown tables, the machine it ran on, the README's section."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.timing import Timed

__all__ = [
    "BEGIN",
    "END",
    "Section",
    "Table",
    "machine",
    "markdown",
    "markdown_table",
    "raw_figures",
    "replace_section",
    "said_loss",
    "said_ratio",
    "said_speed",
    "setting",
    "speed_table",
    "version_of",
]

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
_LIBRARIES = ("clicktide", "numba", "numpy", "pyarrow", "river", "vowpalwabbit")


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as texts."""

    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Section:
    """One measure.

    Parameters
    ----------
    title
        Its heading.
    clock
        What the clock covers, what the figures are.
    tables
        To show.
    timed
        All runs behind them.
    """

    title: str
    clock: str
    tables: list[Table]
    timed: list[Timed] = field(default_factory=list)


# Cells


def said_speed(timed: Timed) -> str:
    """Median events/s and its span.

    Examples
    --------
    >>> from benchmarks.timing import Run
    >>> said_speed(Timed("a", [Run(100, 1.0), Run(100, 0.5), Run(100, 0.1)]))
    '200 (100–1,000)'
    """
    return f"{timed.median:,.0f} ({min(timed.rates):,.0f}–{max(timed.rates):,.0f})"


def said_loss(loss: float | None) -> str:
    """Log loss to five decimals, without the zero that all begin with."""
    return "" if loss is None else f"{loss:.5f}".removeprefix("0")


def said_ratio(value: float) -> str:
    """To three figures, or whole above a hundred."""
    return f"{value:.0f}×" if value >= 100 else f"{value:.3g}×"


def speed_table(timed: Iterable[Timed]) -> Table:
    """Contestants, their events/s and their log loss."""
    rows = [(one.name, said_speed(one), said_loss(one.log_loss)) for one in timed]
    return Table(("", "events/s", "log loss"), rows)


# Markdown


def markdown_table(table: Table) -> str:
    r"""One table; the first column to the left, figures to the right.

    Examples
    --------
    >>> print(markdown_table(Table(("", "n"), [("a|b", "1")])))
    |  | n |
    |---|---:|
    | a\|b | 1 |
    """
    lines = [table.header, *table.rows]
    shown = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    rule = "|---|" + "---:|" * (len(table.header) - 1)
    return "\n".join([shown[0], rule, *shown[1:]])


def markdown(sections: Sequence[Section], about: str) -> str:
    """All sections, under the setting they were measured in."""
    parts = [about]
    for number, section in enumerate(sections, 1):
        parts += [f"### {number}. {section.title}", section.clock]
        parts += [markdown_table(table) for table in section.tables]
    return "\n\n".join(parts) + "\n"


def replace_section(text: str, new: str, begin_mark: str = BEGIN, end_mark: str = END) -> str:
    """Put ``new`` between two markers of a README.

    Raises
    ------
    ValueError
        If the markers are not there, once each and in order.
    """
    before, begin, rest = text.partition(begin_mark)
    _, end, after = rest.partition(end_mark)
    if not begin or not end or begin_mark in rest or end_mark in after:
        raise ValueError(
            f"the README needs one line {begin_mark} and, below it, one line {end_mark}"
        )
    return f"{before}{begin_mark}\n\n{new.strip()}\n\n{end_mark}{after}"


# The setting


def setting(now: datetime, runs: int, rows: dict[str, int], note: str = "") -> str:
    """When and on what this was measured, and a warning if there is one."""
    libraries = ", ".join(f"{name} {version_of(name)}" for name in _LIBRARIES)
    logs = ", ".join(f"{name} ({count:,} rows)" for name, count in rows.items())
    return (
        f"{now:%Y-%m-%d}, {machine()}, {libraries}.\n"
        f"Logs: {logs}. Events/s: median of {runs} runs taken in turns (lowest–highest); "
        "ratios are of medians."
    ) + (f"\n\n**{note}**" if note else "")


def machine() -> str:
    """What this runs on."""
    return (
        f"{_cpu()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def version_of(name: str) -> str:
    """Version of an installed distribution."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"


def raw_figures(sections: Sequence[Section]) -> dict[str, Any]:
    """Every run and every table, for JSON."""
    return {section.title: asdict(section) for section in sections}
