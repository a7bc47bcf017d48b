"""Judges candidates: takes two versions, scores both on what came after, and says which wins."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from learning.metrics import Figures
from monitoring.registry.actions import promote
from monitoring.registry.client import Registry
from monitoring.registry.gate import Verdict, judge
from monitoring.registry.kept import Kept
from monitoring.registry.settings import GateSettings
from monitoring.registry.versions import CHAMPION, SERVE, Version
from monitoring.registry.window import has_after, score_after
from streaming.log import EventLog

__all__ = ["judge_newest", "waiting"]


def waiting(versions: list[Version]) -> list[Version]:
    """Versions that the gate may still judge, oldest first: those after the champion."""
    champion = max((v.number for v in versions if CHAMPION in v.aliases), default=0)
    return [v for v in versions if v.gate in ("pending", "held") and v.number > champion]


def judge_newest(
    registry: Registry,
    log: EventLog,
    kept: Kept,
    settings: GateSettings,
    now_ms: int,
    report: Callable[[str], None],
) -> Verdict | None:
    """Judge the newest version that enough examples have come after; older ones are superseded.

    Parameters
    ----------
    registry
        Of the versions.
    log
        Whose examples come after them.
    kept
        Where learners come from.
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
    if any(SERVE in v.aliases for v in versions):
        return None
    candidates = waiting(versions)
    champion = next((v for v in versions if CHAMPION in v.aliases), None)
    for at in range(len(candidates) - 1, -1, -1):
        candidate = candidates[at]
        if not has_after(log, candidate.offsets, settings.min_examples):
            continue
        verdict = _judge(log, kept, candidate, champion, settings, report)
        if verdict.verdict.state == "pending":
            continue  # too few clicks so far: an older one has seen more
        _write_down(registry, verdict, candidates[:at], now_ms)
        said = "; ".join(verdict.verdict.reasons)
        report(f"register: version {candidate.number} {verdict.verdict.state}: {said}")
        return verdict.verdict
    return None


class _Judged(msgspec.Struct, frozen=True):
    candidate: Version
    verdict: Verdict
    mine: Figures
    other: Figures | None


def _judge(
    log: EventLog,
    kept: Kept,
    candidate: Version,
    champion: Version | None,
    settings: GateSettings,
    report: Callable[[str], None],
) -> _Judged:
    """Score both on the examples after the candidate's place."""
    if champion is not None and champion.identity != candidate.identity:
        report(f"register: champion {champion.number} is of another spec; it is not compared")
        champion = None
    learners = [kept.learner(v) for v in (candidate, champion) if v is not None]
    tallies = score_after(log, candidate.offsets, learners, settings.max_examples)
    mine = tallies[0].figures()
    other = None if champion is None else tallies[1].figures()
    usual = None if champion is None else champion.figures.get("base_rate")
    return _Judged(candidate, judge(mine, other, settings, usual), mine, other)


def _write_down(registry: Registry, judged: _Judged, older: list[Version], now_ms: int) -> None:
    verdict = judged.verdict
    figures = {"candidate": msgspec.to_builtins(judged.mine)}
    if judged.other is not None:
        figures["champion"] = msgspec.to_builtins(judged.other)
    written = registry.update(
        judged.candidate, gate=verdict.state, reasons=verdict.reasons, judged=figures
    )
    for version in older:
        registry.update(version, gate="superseded")
    if verdict.passed:
        promote(registry, written.number, now_ms, verdict.reasons[0])
