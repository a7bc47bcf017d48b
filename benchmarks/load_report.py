"""What the load test says: what was asked, what was measured, whether that is met."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from benchmarks.load_client import generator
from benchmarks.load_measures import Figures, Times
from benchmarks.report import Table, machine, markdown_table, said_ratio, version_of

__all__ = ["BEGIN", "END", "page"]

BEGIN, END = "<!-- load: begin -->", "<!-- load: end -->"
_LIBRARIES = ("clicktide", "fastapi", "uvicorn", "mlflow", "redis")
_BUSY = 0.7
Row = tuple[str, ...]


def page(figures: Figures, times: Times, impressions: int, now: datetime, busy: float = 0.0) -> str:
    """The README's section; ``busy``: the load average before it all began."""
    libraries = ", ".join(f"{name} {version_of(name)}" for name in _LIBRARIES)
    about = (
        f"{now:%Y-%m-%d}, {machine()}, {libraries}.\n"
        f"{impressions:,} simulated impressions learned; requests by {generator()}; latencies by "
        f"an open loop. Medians of {times.rounds} rounds of {times.each_s:g} s taken in turns "
        "(lowest–highest)."
    )
    if busy > _BUSY:
        about += (
            f"\n\n**The machine was not quiet: its load average was {busy:.1f} before it began. "
            "Latencies and rates suffer from that, and their ratios too.**"
        )
    for name, why in figures.failed.items():
        about += f"\n\n**Not measured to the end: {name}: {why}**"
    judged = Table(("", "asked", "measured", "met"), list(_judged(figures)))
    raw = Table(("", "median (lowest–highest)"), [_said(figures, name) for name in figures.runs])
    return "\n\n".join([about, markdown_table(judged), markdown_table(raw)]) + "\n"


def _judged(f: Figures) -> Iterator[Row]:
    """Rows of what was asked."""
    if "mlflow requests/s" in f:
        ours = f["predict requests/s"]
        for name, said in (("typed", "pydantic body"), ("raw", "raw body")):
            value = ours / f[f"{name} requests/s"]
            asked = f"predict, requests/s ÷ empty endpoint, {said}"
            yield asked, "≥ 50 %", f"{100 * value:.0f} %", _met(value >= 0.5)
        value = ours / f["mlflow requests/s"]
        yield (
            "predict, requests/s ÷ mlflow models serve",
            "≥ 8×",
            said_ratio(value),
            _met(value >= 8),
        )
    if "typed p99 ms" in f:
        for name, said in (("typed", "pydantic body"), ("raw", "raw body")):
            value = f["predict p99 ms"] / f[f"{name} p99 ms"]
            asked = f"predict, p99 ÷ empty endpoint, {said}, both at {f['rate']:,.0f} requests/s"
            yield asked, "≤ 3×", said_ratio(value), _met(value <= 3)
    if "rank p99 ms" in f:
        value = f["rank p99 ms"]
        asked = "rank, 200 candidates, p99 at 50 requests/s"
        yield asked, "≤ 20 ms", f"{value:.1f} ms", _met(value <= 20)
    if "rank scored/cpu s" in f:
        for name in "rank", "predict":
            value = f[f"{name} scored/cpu s"]
            asked = f"{name}, 1,000 at a time, scored a second and core"
            yield asked, "≥ 100,000", f"{value:,.0f}", _met(value >= 100_000)
    if "training p99 ms" in f:
        value = f["training p99 ms"] / f["quiet p99 ms"]
        asked = f"predict, p99 beside a learning trainer ÷ without, at {f['rate']:,.0f} requests/s"
        yield asked, "≤ 2×", said_ratio(value), _met(value <= 2)


def _met(holds: bool) -> str:
    return "yes" if holds else "**no**"


def _said(figures: Figures, name: str) -> Row:
    runs = figures.runs[name]
    digits = 2 if name.endswith("ms") else 0
    said = [f"{value:,.{digits}f}" for value in (figures[name], min(runs), max(runs))]
    return name, f"{said[0]} ({said[1]}–{said[2]})"
