"""A small shop's click log, its spec, and standard input from a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from features.spec import CrossSpec, FieldSpec, HashSpec, SourceSpec, Spec

SPEC = Spec(
    name="shop",
    source=SourceSpec(label="click", event_id="id", timestamp="at", timestamp_format="s"),
    fields=(
        FieldSpec(names=("site", "ad")),
        FieldSpec(names=("views",), transform="log_squared"),
        FieldSpec(names=("price",), transform="quantile", buckets=5, learn_from=100_000),
    ),
    crosses=CrossSpec(all_pairs=True),
    hash=HashSpec(bits=14, cross_bits=14),
)


def some_events(rows: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    site, ad = rng.integers(9, size=rows), rng.integers(40, size=rows)
    return pd.DataFrame(
        {
            "id": [f"e{i}" for i in range(rows)],
            "at": np.arange(rows) + 10**9,
            "site": [f"s{n}" for n in site],
            "ad": ad,
            "views": rng.integers(200, size=rows),
            "price": rng.normal(size=rows),
            "click": (rng.random(rows) < 0.05 + 0.05 * site).astype(int),
        }
    )


@contextmanager
def standard_input(path: Path) -> Iterator[None]:
    kept = os.dup(0)
    try:
        with path.open("rb") as file:
            os.dup2(file.fileno(), 0)
        yield
    finally:
        os.dup2(kept, 0)
        os.close(kept)
