"""Kernel, stages 2, 3, 5 and 6: gather z and n, weigh, step, scatter.

Everything here works on *lanes*: lane ``j * k + e`` is expert e of the event's j-th bucket.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from features.jit import inlined, jit, prefetch

__all__ = ["ask_for", "read_logits", "update", "weigh"]

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
Table = NDArray[np.float64]


@inlined
def ask_for(table: Table, slots: I64, base: int, count: int, size: int) -> None:
    """Ask for the cache lines of some buckets, to be there when they are gathered."""
    for j in range(base, base + count):
        prefetch(table, slots[j])
    if size > 8:  # a bucket wider than one cache line
        for j in range(base, base + count):
            prefetch(table, slots[j] + (size - 1))


@inlined
def _gather(table: Table, slots: I64, base: int, count: int, k: int, z: F64, n: F64) -> None:
    if k == 1:
        for j in range(count):
            at = np.uint64(slots[base + j])
            z[j] = table[at]
            n[j] = table[at + np.uint64(1)]
        return
    for j in range(count):
        at = np.uint64(slots[base + j])
        for e in range(k):
            z[j * k + e] = table[at + np.uint64(e)]
            n[j * k + e] = table[at + np.uint64(k + e)]


@inlined
def weigh(z: F64, n: F64, rates: F64, lanes: int, root: F64, weight: F64) -> None:
    """Weights of some lanes, and the roots of their n.

    ``w = -(z - sign(z) l1) / ((beta + sqrt(n)) / alpha + l2)`` where ``|z| > l1``, else exactly
    0. ``rates`` holds, per lane, 1/alpha, beta/alpha + l2, and l1.
    """
    inverse, stiffness, l1 = rates[0], rates[1], rates[2]
    for m in range(lanes):
        r = math.sqrt(n[m])
        root[m] = r
        excess = (abs(z[m]) - l1[m]) / (r * inverse[m] + stiffness[m])
        excess = excess if excess > 0.0 else 0.0
        weight[m] = -excess if z[m] > 0.0 else excess


@inlined
def _sum(values: F64, count: int) -> float:
    """Sum in a fixed order, by eight strands: one alone would wait for each addition."""
    a = b = c = d = e = f = g = h = 0.0
    whole = count & ~7
    for j in range(0, whole, 8):
        a += values[j]
        b += values[j + 1]
        c += values[j + 2]
        d += values[j + 3]
        e += values[j + 4]
        f += values[j + 5]
        g += values[j + 6]
        h += values[j + 7]
    for j in range(whole, count):
        a += values[j]
    return ((a + b) + (c + d)) + ((e + f) + (g + h))


@inlined
def _add_logits(weight: F64, count: int, k: int, logits: F64) -> None:
    if k == 1:
        logits[0] += _sum(weight, count)
        return
    for j in range(count):
        for e in range(k):
            logits[e] += weight[j * k + e]


@inlined
def _spread(gradient: F64, count: int, k: int, out: F64) -> None:
    for j in range(count):
        for e in range(k):
            out[j * k + e] = gradient[e]


@inlined
def _step(
    z: F64, n: F64, root: F64, weight: F64, rates: F64, g: F64, lanes: int, new_z: F64, new_n: F64
) -> None:
    """Add the gradient: ``sigma = (sqrt(n + g**2) - sqrt(n)) / alpha; z += g - sigma w``."""
    inverse = rates[0]
    for m in range(lanes):
        grown = n[m] + g[m] * g[m]
        new_z[m] = z[m] + (g[m] - (math.sqrt(grown) - root[m]) * inverse[m] * weight[m])
        new_n[m] = grown


@inlined
def _scatter_one(
    table: Table, slots: I64, base: int, count: int,
    z: F64, n: F64, new_z: F64, new_n: F64, shared: I64,
) -> int:  # fmt: skip
    """:func:`_scatter` of a single expert; notes the slots whose bucket was written before."""
    one = np.uint64(1)
    found = 0
    for j in range(count):
        at = np.uint64(slots[base + j])
        shared[found] = j
        found += (table[at] != z[j]) | (table[at + one] != n[j])
        table[at] = new_z[j]
        table[at + one] = new_n[j]
    return found


@inlined
def _scatter_many(
    table: Table, slots: I64, base: int, count: int, k: int,
    z: F64, n: F64, new_z: F64, new_n: F64, shared: I64,
) -> int:  # fmt: skip
    """:func:`_scatter` of k experts; notes the slots whose bucket was written before."""
    found = 0
    for j in range(count):
        at = np.uint64(slots[base + j])
        changed = False
        for e in range(k):
            lane = j * k + e
            at_z, at_n = at + np.uint64(e), at + np.uint64(k + e)
            changed |= (table[at_z] != z[lane]) | (table[at_n] != n[lane])
            table[at_z] = new_z[lane]
            table[at_n] = new_n[lane]
        shared[found] = j
        found += changed
    return found


@jit
def _step_shared(
    table: Table, slots: I64, base: int, count: int, k: int, j: int,
    z: F64, n: F64, root: F64, weight: F64, rates: F64, g: F64,
) -> None:  # fmt: skip
    """Take the step of a bucket that several features of the event share: x is their number."""
    at = slots[base + j]
    x = 0.0
    for i in range(base, base + count):
        x += 1.0 if slots[i] == at else 0.0
    for e in range(k):
        m = j * k + e
        grad = g[m] * x
        grown = n[m] + grad * grad
        sigma = (math.sqrt(grown) - root[m]) * rates[0, m]
        table[at + e] = z[m] + (grad - sigma * weight[m])
        table[at + k + e] = grown


@inlined
def _scatter(
    table: Table, slots: I64, base: int, count: int, k: int, z: F64, n: F64, root: F64,
    weight: F64, rates: F64, g: F64, new_z: F64, new_n: F64, shared: I64,
) -> None:  # fmt: skip
    """Write the new z and n back.

    A bucket that no longer holds what was gathered was written for an earlier feature of this
    very event: features share it, and its step is taken once for all of them.
    """
    if k == 1:
        found = _scatter_one(table, slots, base, count, z, n, new_z, new_n, shared)
    else:
        found = _scatter_many(table, slots, base, count, k, z, n, new_z, new_n, shared)
    for i in range(found):
        _step_shared(table, slots, base, count, k, shared[i], z, n, root, weight, rates, g)


@inlined
def read_logits(
    table: Table, slots: I64, base: int, count: int, k: int, rates: F64,
    z: F64, n: F64, root: F64, weight: F64, logits: F64,
) -> None:  # fmt: skip
    """Gather and weigh some buckets, and add each expert's weights to its logit."""
    _gather(table, slots, base, count, k, z, n)
    weigh(z, n, rates, count * k, root, weight)
    _add_logits(weight, count, k, logits)


@inlined
def update(
    table: Table, slots: I64, base: int, count: int, k: int, rates: F64, gradient: F64,
    z: F64, n: F64, root: F64, weight: F64, g: F64, new_z: F64, new_n: F64, shared: I64,
) -> None:  # fmt: skip
    """Take the step of some buckets by each expert's gradient, and write them back."""
    _spread(gradient, count, k, g)
    _step(z, n, root, weight, rates, g, count * k, new_z, new_n)
    _scatter(table, slots, base, count, k, z, n, root, weight, rates, g, new_z, new_n, shared)
