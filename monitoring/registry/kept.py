"""Snapshots of versions kept near at hand, so that the gate need not fetch what was just sent."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path

from learning.click_learner import ClickLearner
from learning.snapshot import load_snapshot
from monitoring.registry.client import Registry
from monitoring.registry.pyfunc import SNAPSHOT
from monitoring.registry.versions import Version

__all__ = ["Kept"]


class Kept:
    """A folder of snapshots by version number.

    Parameters
    ----------
    registry
        Where a version is fetched from that is not here.
    folder
        Made when needed.
    """

    def __init__(self, registry: Registry, folder: Path) -> None:
        self.registry, self.folder = registry, folder

    def put(self, number: int, staged: Path) -> None:
        """Take over the snapshot of a version."""
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.folder / str(number), ignore_errors=True)
        staged.replace(self.folder / str(number))

    def learner(self, version: Version) -> ClickLearner:
        """The learner of a version."""
        own = self.folder / str(version.number)
        if not own.is_dir():
            with tempfile.TemporaryDirectory() as draft:
                fetched = self.registry.download(version, Path(draft)) / SNAPSHOT
                self.folder.mkdir(parents=True, exist_ok=True)
                shutil.move(fetched, own)
        return load_snapshot(own).learner

    def keep_only(self, numbers: Collection[int]) -> None:
        """Forget all others."""
        for own in self.folder.glob("*"):
            if own.name not in map(str, numbers):
                shutil.rmtree(own, ignore_errors=True)
