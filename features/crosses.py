"""Which fields are crossed: a spec's pairs, triples and groups as index arrays for the kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from features.spec import CrossSpec

__all__ = ["cross_indices"]


def cross_indices(
    names: Sequence[str], groups: Mapping[str, Sequence[str]], crosses: CrossSpec
) -> NDArray[np.int32]:
    """Field numbers of every cross, each once.

    The members of a cross stand in the order of their names, so that neither the order of
    the spec's fields nor of a cross changes its bucket.

    Parameters
    ----------
    names
        Field names, by field number.
    groups
        Group name to its field names.
    crosses
        What the spec asks for.

    Returns
    -------
    ndarray of int32, shape (crosses, 3)
        The third is -1 for a pair.

    Examples
    --------
    >>> from features.crosses import cross_indices
    >>> from features.spec import CrossSpec
    >>> cross_indices(["site", "ad"], {}, CrossSpec(all_pairs=True)).tolist()
    [[1, 0, -1]]
    """
    wanted: list[tuple[str, ...]] = []
    if crosses.all_pairs:
        wanted += combinations(names, 2)
    for left, right in crosses.groups:
        wanted += [(a, b) for a, b in product(groups[left], groups[right]) if a != b]
    wanted += crosses.named
    number = {name: i for i, name in enumerate(names)}
    distinct = dict.fromkeys(tuple(sorted(cross)) for cross in wanted)
    rows = [[number[name] for name in cross] + [-1] * (3 - len(cross)) for cross in distinct]
    return np.array(rows, np.int32).reshape(-1, 3)
