"""The guard: live weights that do harm are not served; the champion is, until a version is better.

What was served is compared with what the champion would have said, on the labels that the trainer
learns from, seconds after the impressions. Were the served probabilities right, the likelihood
ratio of the two would have a mean of 1 whatever the past, and its cumulative sum from the worst
start (Page 1954) would reach ``h`` once in exp(h) examples; live weights that are worse by less
than the gate allows a candidate are given that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.errors import ClicktideError
from features.whole_file import read_json, write_json
from learning.click_learner import ClickLearner, probabilities
from monitoring.registry.actions import pin, unpin
from monitoring.registry.client import Registry
from monitoring.registry.gate import VersionScorer, new_rows
from monitoring.registry.settings import GateSettings
from monitoring.registry.snapshots import SnapshotCache
from monitoring.registry.versions import SERVE, Version, champion_of
from monitoring.watch.alarm_actions import AlarmAction, append_action
from monitoring.watch.categorical import Categorical
from streaming.examples import PREDICTION, PREDICTION_COLUMNS
from streaming.log import EventLog, OffsetError, Record, TopicPartition
from streaming.prepare import ONE_IN

__all__ = ["Guard", "Harm"]

F64 = NDArray[np.float64]
_ENOUGH = 20.0  # nats: one false rollback in exp(20) examples
_LABELS = 1000  # examples in which the click rate is looked at
_FEWEST = 50.0  # clicks, or expected clicks, that say something about labels
_LEAST = 1e-4  # probabilities are taken as no nearer to 0 or 1: one example is no proof
_READ, _COMPARED = 400, 20  # records at a look
_LOOK_S, _ASK_S = 1.0, 10.0


class Harm:
    """Weighs served probabilities against the champion's; pure.

    Parameters
    ----------
    settings
        What the gate allows.

    Attributes
    ----------
    nats
        By which the champion's were likelier, from the start that makes it most.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = (rng.random(4000) < 0.1).astype(float)
    >>> good, bad = np.full(4000, 0.1), rng.uniform(0.0, 0.2, 4000)
    >>> Harm(GateSettings()).update(good, bad, y), Harm(GateSettings()).update(bad, good, y)
    ('', 'the champion predicts the newest labels better than what is served, by 20 nats')
    """

    def __init__(self, settings: GateSettings) -> None:
        self.settings = settings
        self.nats = 0.0
        self._recent = np.zeros(3)  # examples, clicks, clicks that the champion expected

    def update(self, served: F64, champion: F64, label: F64) -> str:
        """Take examples, in order; why what is served does harm, or nothing."""
        p, q = (np.clip(of, _LEAST, 1.0 - _LEAST) for of in (served, champion))
        gain = np.where(label > 0, np.log(q / p), np.log1p(-q) - np.log1p(-p))
        allowed = self.settings.max_ne_increase * _entropy(q)
        for each in (gain - allowed).tolist():
            self.nats = max(0.0, self.nats + each)
            if self.nats >= _ENOUGH:
                return (
                    "the champion predicts the newest labels better than what is served, by "
                    f"{self.nats:.0f} nats"
                )
        return self._labels(q, label)

    def _labels(self, champion: F64, label: F64) -> str:
        """Whether labels come that no model should be learning."""
        self._recent += len(label), label.sum(), champion.sum()
        rows, clicks, expected = self._recent.tolist()
        if rows < _LABELS:
            return ""
        self._recent[:] = 0.0
        most = self.settings.max_rate_change
        if max(clicks, expected) < _FEWEST or expected / most <= clicks <= expected * most:
            return ""
        return (
            f"of {rows:,.0f} examples {clicks:,.0f} were clicked, the champion expected "
            f"{expected:,.0f}: such labels are more likely wrong than it is"
        )


def _entropy(p: F64) -> F64:
    return np.asarray(-p * np.log(p) - (1.0 - p) * np.log1p(-p), np.float64)


class _RolledBack(msgspec.Struct):
    """What the guard has pinned; 0: nothing."""

    number: int = 0
    at_ms: int = 0
    why: str = ""


class _Champion:
    """Predicts examples that live weights served with the champion's weights."""

    def __init__(self, version: Version, learner: ClickLearner) -> None:
        self.number = version.number
        self._live = f"live-{version.identity[:8]}-"  # those of another spec it cannot stand for
        self._scorer = VersionScorer(learner, learner, columns=[PREDICTION])

    def compare(self, record: Record) -> list[tuple[F64, F64, F64]]:
        """Served probabilities, its own and labels of a record's examples that live weights saw."""
        out = []
        for batch, ready, logits in self._scorer.score(record.value):
            _, _, served, version = map(batch.columns.column, PREDICTION_COLUMNS)
            p = served.to_numpy(zero_copy_only=False)[ready.rows]
            coded = Categorical.of(version)
            of_live = np.array([name.startswith(self._live) for name in coded.values])[coded.codes]
            some = of_live[ready.rows] & ~np.isnan(p) & new_rows(ready)
            own = probabilities(logits)
            if ONE_IN in batch.columns.schema.names:
                one_in = batch.columns.column(ONE_IN).to_numpy()[ready.rows]
                p, own = _among_chosen(p, one_in), _among_chosen(own, one_in)
            out.append((p[some], own[some], ready.labels[some]))
        return out


def _among_chosen(p: F64, one_in: NDArray[np.int64]) -> F64:
    """The chance of a click where of those without one only one in so many is looked at.

    Examples
    --------
    >>> _among_chosen(np.array([0.1, 0.1]), np.array([1, 9]))
    array([0.1, 0.5])
    """
    odds = p * one_in
    return np.asarray(odds / (odds + 1.0 - p), np.float64)


class Guard:
    """Rolls live weights back to the champion while they do harm.

    Parameters
    ----------
    registry, snapshots
        Of the versions; where a champion's weights come from. Used by the thread that runs it.
    open_log
        The event log.
    topic
        Examples that the trainer learns from.
    settings
        What the gate allows.
    folder
        Where it is kept what was rolled back.
    report
        Takes lines for people.
    """

    def __init__(
        self,
        registry: Registry,
        snapshots: SnapshotCache,
        open_log: Callable[[], AbstractContextManager[EventLog]],
        topic: str,
        settings: GateSettings,
        folder: Path,
        report: Callable[[str], None],
    ) -> None:
        self.registry, self.snapshots, self.open_log = registry, snapshots, open_log
        self.topic, self.settings, self.report = topic, settings, report
        self._file = folder / "guard.json"
        self._state = read_json(self._file, _RolledBack) or _RolledBack()
        self._champion: _Champion | None = None
        self._harm = Harm(settings)
        self._at: list[int] = []
        self._looked = self._asked = -math.inf
        self._open = ExitStack()
        self._log: EventLog | None = None

    @property
    def pinned(self) -> int:
        """The version that the guard has pinned; 0: none."""
        return self._state.number

    def run(
        self,
        *,
        stopping: Callable[[], bool],
        now: Callable[[], float],
        pause: Callable[[float], object],
    ) -> None:
        """Look again and again until asked to stop; all in one thread."""
        down = False
        while not stopping():
            try:
                self.step(now())
                down = False
            except ClicktideError as error:  # the registry, or a version that cannot be read
                if not down:
                    self.report(f"register: the guard cannot act: {error}")
                down = True
            pause(_LOOK_S)
        self.close()

    def step(self, now: float) -> None:
        """Look at what is new, if it is time.

        Raises
        ------
        RegistryError
            It does not answer.
        """
        if not self.settings.roll_back_on_harm or now - self._looked < _LOOK_S:
            return
        if not self._state.number and not any(self.snapshots.folder.glob("*")):
            return  # no version yet: MLflow, which takes seconds to import, need not be asked
        self._looked = now
        if now - self._asked >= _ASK_S:
            self._asked = now
            self._ask(int(now * 1000))
        if self._champion is None or self._state.number:
            return
        try:
            why = self._read()
        except ClicktideError as error:
            self.report(f"register: the guard cannot read {self.topic} now: {error}")
            self.close()
            return
        if why:
            self._roll_back(why, int(now * 1000))

    def _ask(self, now_ms: int) -> None:
        """See who is champion, and whether what was rolled back can go on."""
        versions = self.registry.versions()
        champion = champion_of(versions)
        pinned = next((v.number for v in versions if SERVE in v.aliases), 0)
        if self._state.number and pinned != self._state.number:
            self._tell("serve_live", self._state.number, "somebody decided otherwise", now_ms)
            self._keep(_RolledBack())
        if champion is None:
            self._champion = None
            return
        state = self._state  # with what live weights became since it must pass; not with before
        if state.number and champion.number > state.number and champion.created_ms > state.at_ms:
            unpin(self.registry)
            self.report(
                f"register: version {champion.number} passed the gate: live weights serve again"
            )
            self._tell("serve_live", champion.number, "it passed the gate", now_ms)
            self._keep(_RolledBack())
        elif pinned and not self._state.number:
            self._champion = None  # live weights are not served
            return
        if self._champion is None or self._champion.number != champion.number:
            self._champion = _Champion(champion, self.snapshots.learner(champion))
            self._harm, self._at = Harm(self.settings), []

    def _read(self) -> str:
        """Compare what came since the last look; of many records a few, that it keeps up."""
        if self._log is None:
            self._log = self._open.enter_context(self.open_log())
        if self.topic not in self._log.topics():
            return ""
        ends = self._log.end_offsets(self.topic)
        self._at = self._at or list(ends)  # from now on
        assert self._champion is not None
        for partition, end in enumerate(ends):
            first = max(self._at[partition], end - _READ)
            self._at[partition] = end
            try:
                records = self._log.read(TopicPartition(self.topic, partition), first, _READ)
            except OffsetError:
                continue
            for record in records[:: max(1, len(records) // _COMPARED)]:
                for compared in self._champion.compare(record):
                    if why := self._harm.update(*compared):
                        return why
        return ""

    def _roll_back(self, why: str, now_ms: int) -> None:
        assert self._champion is not None
        # Kept first: what is pinned without being kept would be taken for people's.
        self._keep(_RolledBack(self._champion.number, now_ms, why))
        pin(self.registry, self._champion.number)
        self._tell("roll_back", self._champion.number, why, now_ms)
        self._harm, self._at = Harm(self.settings), []
        self.report(
            f"register: ROLLED BACK to version {self._champion.number}: {why}. Live weights are "
            "served again when a later version has passed the gate, or by: clicktide models unpin"
        )

    def _tell(
        self, what: Literal["roll_back", "serve_live"], number: int, why: str, now_ms: int
    ) -> None:
        """Write down what was done, for reports and the dashboard."""
        action = AlarmAction(what=what, at_ms=now_ms, by="guard", why=why, number=number)
        try:
            with self.open_log() as log:
                append_action(log, action)
        except ClicktideError as error:
            self.report(f"register: {action.text} could not be written down: {error}")

    def _keep(self, state: _RolledBack) -> None:
        self._state = state
        write_json(self._file, state)

    def close(self) -> None:
        """Let go of the log."""
        self._open.close()
        self._log = None
