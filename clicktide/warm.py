"""Compiling the kernels before the clock starts, so that figures are of learning."""

from __future__ import annotations

import msgspec
import numpy as np
import pyarrow as pa
from rich.console import Console

from features.spec import HashSpec, Spec
from features.vectoriser import Vectoriser
from learning.click_learner import ClickLearner
from learning.progress import Progress

__all__ = ["warm_up"]


def warm_up(spec: Spec, console: Console) -> None:
    """Make every kernel that learning by this spec needs; quick once they are on disk."""
    small = msgspec.structs.replace(spec, hash=HashSpec(bits=4, cross_bits=4))
    with console.status("compiling kernels (once on each machine, up to a minute)"):
        vectoriser = Vectoriser(small)
        words = pa.array(["1"]).cast(pa.string())
        batch = pa.RecordBatch.from_arrays(
            [words] * len(vectoriser.columns), names=list(vectoriser.columns)
        )
        hashed, _ = vectoriser.hash_batch(batch)
        learner, one = ClickLearner(small), np.ones(hashed.rows)
        logits = learner.learn_hashed(hashed, one)
        Progress().add(logits, one, truth=one)
