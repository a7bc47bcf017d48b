"""A small shop's click log, its spec, and standard input from a file."""

import os
from contextlib import contextmanager

import numpy as np
import pandas as pd

from features.spec_file import parse_spec

TOML = """
name = "shop"
[source]
label = "click"
event_id = "id"
timestamp = "at"
timestamp_format = "s"
[hash]
bits = 14
cross_bits = 14
[[fields]]
names = ["site", "ad"]
[[fields]]
names = ["views"]
transform = "log_squared"
[[fields]]
names = ["price"]
transform = "quantile"
buckets = 5
learn_from = 100_000
[crosses]
all_pairs = true
"""


SPEC = parse_spec(TOML)


def some_events(rows, seed):
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
def standard_input(path):
    kept = os.dup(0)
    try:
        with path.open("rb") as file:
            os.dup2(file.fileno(), 0)
        yield
    finally:
        os.dup2(kept, 0)
        os.close(kept)
