"""Compiles kernels: what a run needs before its clock starts, and those of all processes, once.

``python -m clicktide.kernels`` compiles the kernels of all processes; without it the processes of a
stream, which start together, would each compile the same ones.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from clicktide.child_processes import clicktide_command
from features.kernel_folder import kernel_folder
from features.spec import HashSpec, SourceSpec, Spec

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["compile_once", "warm_up"]


def warm_up(spec: Spec, console: Console, *, from_text: bool = True) -> None:
    """Make every kernel that learning by this spec needs; quick once they are on disk.

    Those that parse a log too, unless the rows do not come from one.
    """
    import msgspec
    import numpy as np
    import pyarrow as pa

    from features.vectoriser import Vectoriser
    from learning.click_learner import ClickLearner
    from learning.progress import Progress
    from streaming.sources import open_source

    small = msgspec.structs.replace(spec, hash=HashSpec(bits=4, cross_bits=4))
    with console.status("compiling kernels (once on each machine, up to a minute)"):
        vectoriser = Vectoriser(small)
        names = list(vectoriser.columns)
        # numbers and texts have kernels of their own; nulls, last, are no fault in any field
        for column in (pa.array([1]), pa.array(["1"]), pa.nulls(1, pa.string())):
            batch = pa.RecordBatch.from_arrays([column] * len(names), names=names)
            hashed, _ = vectoriser.hash_batch(batch)
        if from_text:
            source = SourceSpec(label="a", format="jsonl")
            list(open_source("-", source, ["a"], stdin=BytesIO(b'{"a":1}\n')))
        learner, one = ClickLearner(small), np.ones(hashed.rows)
        logits = learner.learn_hashed(hashed, one)
        progress = Progress()
        progress.add(logits, one, truth=one)
        progress.amend(logits)


_EVENTS = 3_000  # the monitor looks at click rates every 2,048
_DONE = "compiled"  # in the folder of the kernels, which is named after their sources


def compile_once(say: Callable[[str], None]) -> None:
    """Compile the kernels in a process of its own, unless that was done; tell people first."""
    if _mark().exists():
        return
    say("compiling kernels: once on this machine, a minute or two")
    command = clicktide_command(module=__name__)
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
            rates = ["--set", "monitor.detect.warmup_clicks=1"]  # they are looked at from then on
            for process, more in (("join", []), ("train", []), ("monitor", rates)):
                app([process, *of, "--until-idle", "0", *more], standalone_mode=False)
    _mark().touch()


if __name__ == "__main__":
    main()
