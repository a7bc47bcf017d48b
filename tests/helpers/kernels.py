"""Compile the kernels that most tests need, once for all workers of a run; later runs find them.

Each worker would otherwise compile the same ones at the same time, for a minute of CPU each.
"""

import runpy

from rich.console import Console

from clicktide.kernels import warm_up
from features.spec_file import load_spec

if __name__ == "__main__":
    for name in ("market", "sim"):
        warm_up(load_spec(name), Console(quiet=True))
    runpy.run_module("clicktide.serving_preload")
