"""Imports and compiles what every worker needs, in the process that workers are forked from."""

# ruff: noqa: E402 - what others import only to see whether it is there must be absent first
from clicktide.process_start import do_without_probed

do_without_probed()

from clicktide import serving_worker
from features.spec_file import load_spec
from serving.judging import judge
from serving.warm import warm_up

__all__ = ["serving_worker"]

warm_up(load_spec("market"), None, judge)  # most kernels are the same for every spec
