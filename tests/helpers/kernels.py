"""Compile the kernels that most tests need, once for all workers of a run; later runs find them.

Each worker would otherwise compile the same ones at the same time, for a minute of CPU each.
"""

import runpy

import numpy as np
from rich.console import Console

from clicktide.kernels import warm_up
from features.hashed import Hashed
from features.spec import HashSpec, LearnerSpec
from features.spec_file import load_spec
from learning import FTRLClassifier
from learning.weights import weights_for


def warm_up_single():
    """The other learner's, with its deviations, and the one of plain numbers."""
    event = Hashed(np.zeros(1, np.uint64), np.empty(0, np.int64), 1, 1)
    sizes, crosses = HashSpec(bits=4, cross_bits=4), np.empty((0, 3), np.int32)
    weights = weights_for(sizes, LearnerSpec(kind="single"), crosses, 1)
    weights.learn(event, np.ones(1))
    weights.predict_with_deviation(event)
    plain = FTRLClassifier()
    plain.learn_one({"a": 1.0}, True)
    plain.predict_proba_one({"a": 1.0})
    assert plain.weights


if __name__ == "__main__":
    for name in ("market", "sim"):
        warm_up(load_spec(name), Console(quiet=True))
    warm_up_single()
    runpy.run_module("clicktide.serving_preload")
    runpy.run_module("clicktide.kernels", run_name="__main__")  # as `clicktide up` does
