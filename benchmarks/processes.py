"""Whole processes: wall time from start to exit, and peak memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.peers_vw import VW_PROCESS

__all__ = ["Usage", "clicktide_process", "measure_process", "vw_process"]

_LAUNCH = str(Path(__file__).with_name("launch.py"))
_CLICKTIDE = "from clicktide.cli import main; main()"


class Usage(NamedTuple):
    """Of one process: wall seconds, and peak resident memory in bytes."""

    seconds: float
    peak_bytes: int


def measure_process(command: Sequence[str]) -> Usage:
    """Run a command to its end.

    Raises
    ------
    subprocess.CalledProcessError
        If it fails.
    """
    launcher = [sys.executable, "-S", "-E", _LAUNCH, *command]
    said = subprocess.run(launcher, check=True, stdout=subprocess.PIPE, text=True).stdout
    return Usage(**json.loads(said))


def clicktide_process(log: str, spec: str, overrides: Sequence[str] = ()) -> list[str]:
    """The command ``clicktide replay`` on a log."""
    settings = [part for override in overrides for part in ("--set", override)]
    return [
        *(sys.executable, "-c", _CLICKTIDE, "replay", log),
        *("--spec", spec, "--json", *settings),
    ]


def vw_process(path: Path, settings: str) -> list[str]:
    """What ``vw -d FILE ...`` is, by way of the wheel, which brings no such program."""
    return [sys.executable, "-c", VW_PROCESS, str(path), settings]
