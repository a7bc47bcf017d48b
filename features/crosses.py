"""Which fields are crossed: a spec's pairs, triples and groups as index arrays for the kernel."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from features.spec import Spec
from features.spec_check_fields import field_names

__all__ = ["cross_indices"]


def cross_indices(spec: Spec) -> NDArray[np.int32]:
    """Field numbers of every cross of a spec, each once.

    The members of a cross stand in the order of their names, so that neither the order of
    the spec's fields nor of a cross changes its bucket.

    Returns
    -------
    ndarray of int32, shape (crosses, 3)
        The third is -1 for a pair.

    Examples
    --------
    >>> from features.spec import CrossSpec, FieldSpec, SourceSpec
    >>> fields, pairs = (FieldSpec(names=("site", "ad")),), CrossSpec(all_pairs=True)
    >>> cross_indices(Spec("a", SourceSpec(label="y"), fields, crosses=pairs)).tolist()
    [[1, 0, -1]]
    """
    names, groups, crosses = field_names(spec), _groups(spec), spec.crosses
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


def _groups(spec: Spec) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for fields in spec.fields:
        if fields.group:
            groups.setdefault(fields.group, []).extend(fields.names)
    return groups
