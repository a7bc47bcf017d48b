"""How full a table is, is how often a value or a pair shares its bucket: counted one by one."""

from collections import defaultdict

import numpy as np
import pytest
from small_spec import spec_of

from features.hashed import Hashed
from features.hashing import cross_hash
from learning import ClickLearner
from learning.touched import occupancy

BITS = 12
SPEC = spec_of("ad", "site", pairs=True, bits=BITS)


@pytest.mark.parametrize("values", [150, 700, 3_000])
def test_it_is_the_share_of_those_whose_bucket_is_anothers_too(values):
    """Of what comes all the time as of what came once."""
    model, rng = ClickLearner(SPEC), np.random.default_rng(values)
    tokens = rng.integers(0, 2**64, (2, values), dtype=np.uint64)
    often = rng.zipf(1.3, 20_000) % values
    shown = np.stack([np.append(side, side[often]) for side in tokens], axis=1)
    rows = len(shown)
    model.learn_hashed(Hashed(shown.reshape(-1), np.empty(0, np.int64), rows, 2), np.zeros(rows))
    crossed = [np.uint64(cross_hash(a, b)) for a, b in set(map(tuple, shown))]
    told = occupancy(model.weights)
    for name, hashes in ("fields", tokens.reshape(-1)), ("crosses", crossed):
        buckets = defaultdict(set)
        for value in hashes:
            buckets[int(value) >> (64 - BITS)].add(value)
        share = np.mean([len(buckets[int(value) >> (64 - BITS)]) > 1 for value in hashes])
        assert told[name] == len(buckets) / 2**BITS
        assert share == pytest.approx(told[name], abs=5 * (0.25 / len(hashes)) ** 0.5)
