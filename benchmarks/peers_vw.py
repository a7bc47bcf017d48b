"""Vowpal Wabbit's contestant: its own driver over its own text format."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

from benchmarks.timing import Run

__all__ = ["DEFAULT", "PAIRS", "PAIRS_FTRL", "PLAIN", "SETTINGS", "VW_PROCESS", "learn_vw"]

PLAIN = "-b 22 --ftrl --ftrl_alpha .1 --ftrl_beta 1 --l2 1"
DEFAULT = "-b 22"
PAIRS = "-b 24 -q :: -l .1"
PAIRS_FTRL = "-b 24 -q :: --ftrl --ftrl_alpha .005"
SETTINGS = (
    DEFAULT,
    "-b 22 -l .2",
    "-b 22 --ftrl --ftrl_alpha .05",
    PLAIN,
    "-b 24 -q :: -l .05",
    PAIRS,
    "-b 24 -q :: -l .5",
    PAIRS_FTRL,
    "-b 24 -q :: --ftrl --ftrl_alpha .01",
)
"""Among which its best on a log is looked for, by progressive log loss."""

_ALWAYS = "--loss_function logistic --quiet --no_stdin"

VW_PROCESS = f"""
import sys, pylibvw
model = pylibvw.vw(["-d", sys.argv[1], *"{_ALWAYS}".split(), *sys.argv[2].split()])
model.run_parser()
model.finish()
"""
"""A whole process that does what the ``vw`` program does, without the Python package's imports."""


def learn_vw(path: Path, settings: str, events: int) -> Run:
    """From the construction of the workspace, which reads and learns the file, to its end.

    One pass, no cache file; Vowpal Wabbit predicts each example before it learns it, so the
    average loss that it reports is the progressive log loss.

    Raises
    ------
    ValueError
        If it did not learn all ``events``.
    """
    from vowpalwabbit import Workspace  # an extra: only `make bench` needs it

    start = perf_counter()
    model = Workspace(f"{_ALWAYS} {settings}", arg_list=["-d", str(path)])
    learned, loss = model.get_weighted_examples(), model.get_sum_loss()
    model.finish()
    seconds = perf_counter() - start
    if learned != events:
        raise ValueError(f"vw {settings} learned {learned:.0f} of {events} events of {path.name}")
    return Run(events, seconds, loss / learned)
