"""Hashed crosses as a River transformer, for any River model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

import numpy as np
from river import base

from features.hashing import cross_hash
from learning.open_fields import OpenFields

__all__ = ["HashedCrosses"]


class HashedCrosses(base.Transformer):
    """Turns a dict of values into a sparse dict of hashed fields and crosses.

    Each field becomes one feature, each cross of two or three fields another, named by its
    bucket. The hash is Clicktide's: seeded, and the same in every process, unlike that of
    ``preprocessing.FeatureHasher`` by default. Two features in one bucket add up.

    Parameters
    ----------
    crosses
        Which fields to cross, as tuples of two or three names; ``None``: every pair of the
        fields of the event at hand.
    bits
        The sparse dict has keys below ``2**bits``; more means fewer collisions.
    seed
        Of the hash; another seed gives other collisions.

    Examples
    --------
    >>> from learning import HashedCrosses
    >>> x = HashedCrosses().transform_one({"site": "news", "ad": "shoes"})
    >>> len(x), set(x.values())
    (3, {1.0})

    >>> from river.linear_model import LogisticRegression
    >>> model = HashedCrosses() | LogisticRegression()
    """

    def __init__(
        self, crosses: tuple[tuple[str, ...], ...] | None = None, bits: int = 22, seed: int = 0
    ) -> None:
        self.crosses = crosses
        self.bits = bits
        self.seed = seed
        self._fields = OpenFields(seed)

    def transform_one(  # type: ignore[override]
        self, x: Mapping[Any, Any]
    ) -> dict[int, float]:
        """Features of an event, bucket to count.

        Parameters
        ----------
        x
            Field to value: text, number, boolean, or ``None`` for missing.

        Raises
        ------
        RowError
            A value is a list or an object.
        """
        tokens = self._fields.tokens(x)
        hashes = list(tokens.values())
        for cross in self._crosses(tokens):
            pair = cross_hash(tokens[cross[0]], tokens[cross[1]])
            hashes.append(cross_hash(np.uint64(pair), tokens[cross[2]]) if cross[2:] else pair)
        out: dict[int, float] = {}
        for h in hashes:
            bucket = int(h) >> (64 - self.bits)
            out[bucket] = out.get(bucket, 0.0) + 1.0
        return out

    def _crosses(self, tokens: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
        if self.crosses is None:
            yield from combinations(sorted(tokens), 2)
            return
        for cross in self.crosses:
            if all(name in tokens for name in cross):
                yield tuple(sorted(cross))
