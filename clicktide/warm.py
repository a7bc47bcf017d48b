"""Compiling the kernels before the clock starts, so that figures are of learning."""

from __future__ import annotations

from io import BytesIO

import msgspec
import numpy as np
import pyarrow as pa
from rich.console import Console

from features.spec import HashSpec, SourceSpec, Spec
from features.vectoriser import Vectoriser
from learning.click_learner import ClickLearner
from learning.progress import Progress
from streaming.sources import open_source

__all__ = ["warm_up"]


def warm_up(spec: Spec, console: Console) -> None:
    """Make every kernel that learning by this spec needs; quick once they are on disk."""
    small = msgspec.structs.replace(spec, hash=HashSpec(bits=4, cross_bits=4))
    with console.status("compiling kernels (once on each machine, up to a minute)"):
        vectoriser = Vectoriser(small)
        names = list(vectoriser.columns)
        # numbers and texts have kernels of their own; nulls, last, are no fault in any field
        for column in (pa.array([1]), pa.array(["1"]), pa.nulls(1, pa.string())):
            batch = pa.RecordBatch.from_arrays([column] * len(names), names=names)
            hashed, _ = vectoriser.hash_batch(batch)
        json_lines, tsv = (SourceSpec(label="a", format=form) for form in ("jsonl", "tsv"))
        for source, text in ((json_lines, b'{"a":1}\n'), (tsv, b"a\n1\n")):
            list(open_source("-", source, ["a"], stdin=BytesIO(text)))
        learner, one = ClickLearner(small), np.ones(hashed.rows)
        logits = learner.learn_hashed(hashed, one)
        Progress().add(logits, one, truth=one)
