"""The hash: ours, seeded, 64 bits, the same in every process and on every machine, for ever.

A token is a field's value after its transform: text (hashed over its UTF-8 bytes), an integer
code (hashed by value), or *missing*. Its hash starts from the field's own seed, so equal values
of two fields are unrelated. Crosses mix the hashes of their fields. A bucket is the hash's top
bits. ``tests/unit/test_hashing.py`` holds golden vectors and a plain-Python reference.

The byte loop is MurmurHash64A's (Appleby 2008, public domain) with splitmix64's finaliser
(Steele, Lea, Flood 2014), which its top bits need.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features.jit import inlined, load64

__all__ = ["code_hash", "cross_hash", "field_seed", "missing_hash", "mix", "text_hash"]

U64 = np.uint64
_M = U64(0xC6A4A7935BD1E995)
_GOLDEN = U64(0x9E3779B97F4A7C15)
_MIX_1 = U64(0xBF58476D1CE4E5B9)
_MIX_2 = U64(0x94D049BB133111EB)
_CROSS = U64(0xD6E8FEB86659FD93)
_MISSING = U64(0x6D697373696E6721)
_CODE = U64(0x636F6465636F6465)


@inlined
def mix(h: np.uint64) -> np.uint64:
    """Spread every bit of ``h`` over all 64 (splitmix64's finaliser)."""
    h = (h ^ (h >> U64(30))) * _MIX_1
    h = (h ^ (h >> U64(27))) * _MIX_2
    return h ^ (h >> U64(31))


@inlined
def _stir(h: np.uint64, word: np.uint64) -> np.uint64:
    word = word * _M
    word = (word ^ (word >> U64(47))) * _M
    return (h ^ word) * _M


@inlined
def text_hash(data: NDArray[np.uint8], low: int, high: int, seed: np.uint64) -> np.uint64:
    """Hash of ``data[low:high]`` under a field's seed.

    Parameters
    ----------
    data
        uint8 buffer, any alignment.
    low, high
        Byte range; empty text is *missing* and is for the caller to tell.
    seed
        Of the field, from :func:`field_seed`.
    """
    h = seed ^ (U64(high - low) * _M)
    at = low
    while at + 8 <= high:
        h = _stir(h, load64(data, at))
        at += 8
    if at < high:
        h = _stir(h, _tail(data, at, high))
    return mix(h)


@inlined
def _tail(data: NDArray[np.uint8], at: int, high: int) -> np.uint64:
    """The last 1 to 7 bytes as one word, the rest zero; read at once where the buffer allows."""
    if at + 8 <= len(data):
        return load64(data, at) & ((U64(1) << U64(8 * (high - at))) - U64(1))
    word = U64(0)
    shift = U64(0)
    while at < high:
        word |= U64(data[at]) << shift
        shift += U64(8)
        at += 1
    return word


@inlined
def code_hash(code: int, seed: np.uint64) -> np.uint64:
    """Hash of an integer token: a bucket number, an hour."""
    return mix(seed ^ mix(U64(code) * _GOLDEN + _CODE))


@inlined
def missing_hash(seed: np.uint64) -> np.uint64:
    """Hash of a field's *missing* token."""
    return mix(seed ^ _MISSING)


@inlined
def cross_hash(a: np.uint64, b: np.uint64) -> np.uint64:
    """Hash of the cross of two tokens; for three, cross the cross. Order matters."""
    h = (a ^ (b * _GOLDEN)) * _CROSS
    h = (h ^ (h >> U64(32))) * _CROSS
    return h


def field_seed(name: str, seed: int) -> np.uint64:
    """Seed of a field: its name hashed under the spec's seed.

    Examples
    --------
    >>> from features.hashing import field_seed
    >>> int(field_seed("ad", 0))
    14014163205528873662
    """
    data = np.frombuffer(name.encode(), np.uint8)
    return U64(text_hash(data, 0, len(data), U64(seed)))
