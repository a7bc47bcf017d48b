"""Compiles the kernels of all processes once: ``python -m clicktide.compile_kernels``.

Without it the processes of a stream, which start together, would each compile the same ones.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

from clicktide.spawn import own_command
from features.jit import kernel_folder

__all__ = ["compile_once"]

_EVENTS = 300
_DONE = "compiled"  # in the folder of the kernels, which is named after their sources


def compile_once(say: Callable[[str], None]) -> None:
    """Compile the kernels in a process of its own, unless that was done; tell people first."""
    if _mark().exists():
        return
    say("compiling kernels: once on this machine, a minute or two")
    command = own_command(module=__name__)
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL)  # else each compiles its own


def _mark() -> Path:
    return kernel_folder() / _DONE


def main() -> None:
    """Run a small stream from its log to its API, each part once."""
    if _mark().exists():
        return
    from clicktide import serving_preload  # noqa: F401 - compiles what serving needs
    from clicktide.cli import app

    with (
        TemporaryDirectory(prefix="clicktide-kernels-") as folder,
        open(os.devnull, "w") as nothing,
    ):
        of = ["--dir", folder]
        source = f"sim:stationary?events={_EVENTS}&max_click_delay_ms=1000"
        with redirect_stdout(nothing), redirect_stderr(nothing):
            app(["replay", source], standalone_mode=False)
            app(["replay", source, *of], standalone_mode=False)
            for process in ("join", "train", "monitor"):
                app([process, *of, "--until-idle", "0"], standalone_mode=False)
    _mark().touch()


if __name__ == "__main__":
    main()
