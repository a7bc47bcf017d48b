"""Imports and compiles what every worker needs, in the process that workers are forked from."""

# ruff: noqa: E402 - what others import only to see whether it is there must be absent first
from clicktide.process_resources import do_without_probed

do_without_probed()

from clicktide.serving_worker import warm_up
from features.spec_file import load_spec

__all__ = ["warm_up"]

warm_up(load_spec("market"))  # most kernels are the same for every spec
