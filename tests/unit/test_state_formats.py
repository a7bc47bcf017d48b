"""A state that another version saved is refused, and the error says what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from features.errors import ClicktideError
from monitoring.watch.categorical import Categorical
from monitoring.watch.detect.detector import SequentialDetector
from monitoring.watch.folder import MonitorFolder, save_state
from monitoring.watch.scored import Scored


def test_a_monitor_folder_of_an_older_version_is_refused(tmp_path: Path) -> None:
    save_state(tmp_path / "state", {"format": 1, "windows": {"closed_to_ms": 0}})
    keeper = MonitorFolder(tmp_path, 10)
    with pytest.raises(ClicktideError, match=r"format 1, not 2.*Fix: name another --dir"):
        keeper.load({})
    keeper.close()


def test_detectors_refuse_a_state_of_an_older_version() -> None:
    detector = SequentialDetector()
    no = np.full(2, np.nan)
    slices = {"ad": Categorical.constant("a", 2)}
    detector.update(Scored(np.arange(2), no * 0 + 0.1, no * 0, no, no, no == 0, slices))
    state = detector.state() | {"format": 1}
    with pytest.raises(ClicktideError, match=r"format 1, not 2.*Fix: begin anew"):
        SequentialDetector().restore(state)
