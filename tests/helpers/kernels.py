"""Compile the kernels that most tests need, once for all workers of a run; later runs find them.

Each worker would otherwise compile the same ones at the same time, for a minute of CPU each.
"""

import runpy
from io import BytesIO

import numpy as np
import pandas as pd
from rich.console import Console

from clicktide.kernels import main, warm_up
from features.hashed import Hashed
from features.spec import HashSpec, LearnerSpec, SourceSpec
from features.spec_file import load_spec
from learning import FTRLClassifier
from learning.weights import weights_for
from monitoring.report import calibration_report
from streaming.log.partition import key_partitions
from streaming.sources import open_source


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


def warm_up_files():
    """Of reading delimited text with quotes, and of Kafka's partitions."""
    source = SourceSpec(label="a", format="csv")
    list(open_source("-", source, ["a"], stdin=BytesIO(b'a,b\n1,"x"\n')))
    key_partitions([b"key"], 2)


def warm_up_report():
    """Of the windows and the attribution of a log."""
    frame = pd.DataFrame({"y": [0, 1] * 50, "p": [0.2] * 100, "a": ["x"] * 100, "b": ["z"] * 100})
    calibration_report(frame, label="y", prediction="p", slices=["a", "b"])


if __name__ == "__main__":
    for name in ("market", "sim"):
        warm_up(load_spec(name), Console(quiet=True))
    warm_up_single()
    warm_up_files()
    warm_up_report()
    runpy.run_module("clicktide.serving_preload")
    main()  # as `clicktide up` does
