"""Makes a registered version of a staged snapshot, and keeps the run's metric series."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import deque
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace

from features.errors import SnapshotError
from features.spec import Spec
from features.whole_file import read_json, write_json
from learning.click_learner import ClickLearner
from learning.metrics import Tally
from monitoring.registry.client import Registry
from monitoring.registry.pyfunc import code_version, input_columns, write_model
from monitoring.registry.settings import RegistrySettings
from monitoring.registry.snapshots import SnapshotSummary, difference, snapshot_summary
from monitoring.registry.versions import Version, description

__all__ = ["VersionPublisher"]

_MOST_WAITING = 5_000
_VERSIONS = "versions"
_SERIES = (
    "log_loss", "normalised_entropy", "calibration_ratio", "calibration_low", "calibration_high",
    "auc", "ece", "mean_prediction", "base_rate",
)  # fmt: skip
Point = tuple[str, float, int, int]


class _State(msgspec.Struct):
    run: str = ""
    identity: str = ""
    code: str = ""


class VersionPublisher:
    """One run for as long as the trainer goes on with one spec and program.

    Parameters
    ----------
    registry
        Where it goes.
    folder
        What is kept from one start to the next: the run, and the figures up to the last version.
    settings
        Of the registry.
    attach
        Files to keep with every version.
    """

    def __init__(
        self, registry: Registry, folder: Path, settings: RegistrySettings, attach: tuple[Path, ...]
    ) -> None:
        self.registry, self.folder, self.settings, self.attach = registry, folder, settings, attach
        self._points: deque[Point] = deque(maxlen=_MOST_WAITING)
        self._before: Tally | None = None
        self._found: SnapshotSummary | None = None
        self._sent_s = 0.0
        self._state = read_json(folder / "run.json", _State) or _State()
        self._asked = False

    # --- metric series ---------------------------------------------------------------------

    def note(self, summary: SnapshotSummary, now_ms: int) -> None:
        """Note a point of each series: the figures since the point before."""
        since = difference(summary.tally, self._before or self._last_tally())
        if since.events == 0:
            return
        self._before, self._found = summary.tally, summary
        figures = msgspec.to_builtins(since.figures())
        values = {name: figures[name] for name in _SERIES if figures[name] is not None}
        values |= {
            "events": summary.events,
            "corrections": summary.corrections,
            "rejected": summary.rejected,
            "event_time_age_s": max(now_ms - summary.event_time, 0) / 1000,
        }
        self._points += [(key, float(v), now_ms, summary.events) for key, v in values.items()]

    def due(self, now: float) -> bool:
        """Whether points are to be sent."""
        return bool(self._points) and now - self._sent_s >= self.settings.metrics_every_s

    def send_points(self, now: float) -> None:
        """Send the points that wait, in one batch."""
        if not self._points or self._found is None:
            return
        points = list(self._points)
        self.registry.log_points(self.run_for(self._found), points)
        self._sent_s = now
        self._points.clear()

    # --- versions --------------------------------------------------------------------------

    def publish(self, staged: Path, now_ms: int) -> int:
        """Register a staged snapshot; its version number."""
        summary = snapshot_summary(staged)
        if summary is None:
            raise SnapshotError(f"{staged}: nothing staged here")
        since = difference(summary.tally, self._last_tally())
        version = Version(
            number=0,
            created_ms=now_ms,
            events=summary.events,
            event_time=summary.event_time,
            offsets=summary.offsets,
            spec=str(summary.spec.get("name", "")),
            identity=summary.identity,
            code=code_version(),
            figures=msgspec.to_builtins(since.figures()),
        )
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            model = Path(folder) / "model"
            self._write(staged, summary, since, version, model)
            name = f"{_VERSIONS}/{staged.name}"
            number = self.registry.publish(
                self.run_for(summary), model, name, version, description(version)
            )
        for file in filter(Path.exists, self.attach):
            self.registry.log_file(self.run_for(summary), file)
        draft = self.folder / "tally.part.npz"
        np.savez_compressed(draft, **summary.tally.state())
        draft.replace(self.folder / "tally.npz")
        return number

    def sweep(self, versions: list[Version]) -> None:
        """Delete what is left of publications that were broken off."""
        if self._state.run:
            self.registry.sweep(self._state.run, _VERSIONS, versions)

    def _write(
        self, staged: Path, summary: SnapshotSummary, since: Tally, version: Version, model: Path
    ) -> None:
        """The folder of a version: MLflow's model, and what people look at."""
        spec = msgspec.convert(summary.spec, Spec)  # asked for its columns, with small tables
        small = replace(spec, hash=replace(spec.hash, bits=8, cross_bits=8))
        write_model(staged, model, input_columns(ClickLearner(small)))
        texts = {
            "version.json": msgspec.to_builtins(version),
            "calibration.json": msgspec.to_builtins(since.reliability()),
            "spec.json": summary.spec,
        }
        for name, content in texts.items():
            (model / name).write_text(json.dumps(content, indent=1), encoding="utf-8")
        for file in filter(Path.exists, self.attach):
            shutil.copy2(file, model / file.name)

    # --- the run ---------------------------------------------------------------------------

    def run_for(self, summary: SnapshotSummary) -> str:
        """The run that a snapshot belongs to; a new one for another spec or program."""
        state = self._state
        same = (state.identity, state.code) == (summary.identity, code_version())
        if same and state.run and (self._asked or self.registry.has_run(state.run)):
            self._asked = True  # once in a process is enough
            return state.run
        params: dict[str, Any] = {
            "spec": summary.spec.get("name", ""),
            "spec_identity": summary.identity,
            "code_version": code_version(),
            "version_every_s": self.settings.version_every_s,
            "keep_versions": self.settings.keep_versions,
        }
        params |= {f"hash_{k}": v for k, v in summary.spec.get("hash", {}).items()}
        run = self.registry.begin_run(
            f"train {params['spec']}",
            {key: str(value) for key, value in params.items()},
            {"spec.json": json.dumps(summary.spec, indent=1)},
        )
        self._state = _State(run, summary.identity, code_version())
        write_json(self.folder / "run.json", self._state)
        return run

    def _last_tally(self) -> Tally | None:
        """Figures up to the last version."""
        try:
            with np.load(self.folder / "tally.npz", allow_pickle=False) as kept:
                return Tally.restored(dict(kept) | {"truth": bool(kept["truth"])})
        except (OSError, ValueError, KeyError, EOFError):
            return None
