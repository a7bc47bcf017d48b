"""Judges candidates: fetches two versions, scores both on what came after, and says which wins."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from learning.click_learner import ClickLearner
from learning.metrics import Figures
from learning.snapshot import load_snapshot
from monitoring.registry.actions import promote
from monitoring.registry.client import Registry
from monitoring.registry.gate import Verdict, judge
from monitoring.registry.pyfunc import SNAPSHOT
from monitoring.registry.settings import GateSettings
from monitoring.registry.versions import CHAMPION, SERVE, Version
from monitoring.registry.window import score_after
from streaming.log import EventLog

__all__ = ["judge_newest"]


def judge_newest(
    registry: Registry,
    log: EventLog,
    settings: GateSettings,
    now_ms: int,
    report: Callable[[str], None],
) -> Verdict | None:
    """Judge the newest version that waits for it; those before it are superseded.

    Parameters
    ----------
    registry
        Of the versions.
    log
        Whose examples come after them.
    settings
        The bounds.
    now_ms
        Wall-clock time.
    report
        Takes lines for people.

    Returns
    -------
    verdict
        ``None``: there was nothing to judge, or serving is pinned, which holds the gate.
    """
    versions = registry.versions()
    champion = next((v for v in versions if CHAMPION in v.aliases), None)
    newest = champion.number if champion else 0
    waiting = [v for v in versions if v.gate in ("pending", "held") and v.number > newest]
    if not waiting or any(SERVE in v.aliases for v in versions):
        return None
    candidate = waiting[-1]
    if champion is not None and champion.identity != candidate.identity:
        report(f"register: champion {champion.number} is of another spec; it is not compared")
        champion = None
    mine, other = _figures(registry, log, candidate, champion, settings.max_examples)
    usual = None if champion is None else champion.figures.get("base_rate")
    verdict = judge(mine, other, settings, usual)
    _write_down(registry, candidate, verdict, mine, other)
    for older in waiting[:-1]:
        registry.tag(older.number, {"gate": "superseded"})
    if verdict.passed:
        promote(registry, candidate.number, now_ms, verdict.reasons[0])
    report(f"register: version {candidate.number} {verdict.state}: {'; '.join(verdict.reasons)}")
    return verdict


def _figures(
    registry: Registry,
    log: EventLog,
    candidate: Version,
    champion: Version | None,
    most: int,
) -> tuple[Figures, Figures | None]:
    """Of both, on the examples after the candidate's place."""
    learners = [_learner(registry, candidate)]
    if champion is not None:
        learners.append(_learner(registry, champion))
    tallies = score_after(log, candidate.offsets, learners, most)
    figures = [tally.figures() for tally in tallies]
    return figures[0], figures[1] if champion is not None else None


def _learner(registry: Registry, version: Version) -> ClickLearner:
    with tempfile.TemporaryDirectory() as folder:
        return load_snapshot(registry.download(version, Path(folder)) / SNAPSHOT).learner


def _write_down(
    registry: Registry,
    candidate: Version,
    verdict: Verdict,
    mine: Figures,
    other: Figures | None,
) -> None:
    judged = {"candidate": msgspec.to_builtins(mine)}
    if other is not None:
        judged["champion"] = msgspec.to_builtins(other)
    registry.tag(
        candidate.number,
        {"gate": verdict.state, "reasons": list(verdict.reasons), "judged": judged},
    )
