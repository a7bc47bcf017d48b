"""Crosses in half precision: what a prediction needs of a bucket, in 6 bytes for 16."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["HALVES", "compress_crosses", "expand_crosses"]

HALVES = 3
"""float16 numbers that stand for a bucket: w, the root of n, R / (V + 3)."""
_MOST = np.float32(65504)  # of a float16
_PRIOR = np.float32(3)


def compress_crosses(buckets: NDArray[np.float32]) -> NDArray[np.float16]:
    """Round what is predicted with; what is only learned with is left out.

    Parameters
    ----------
    buckets
        float32 (n, 4): w, n, R and V, as :mod:`learning.stack` keeps them.

    Returns
    -------
    ndarray of float16, shape (n, 3)
        w, sqrt(n) and R / (V + 3); the last is NaN for a bucket never seen.

    Examples
    --------
    >>> buckets = np.array([[0.1, 9.0, 2.0, 5.0], [0.0, 0.0, 0.0, 0.0]], np.float32)
    >>> expand_crosses(compress_crosses(buckets)).round(3).tolist()[0]
    [0.10000000149011612, 9.0, 1.0, 1.0]
    >>> expand_crosses(compress_crosses(buckets)).tolist()[1]
    [0.0, 0.0, 0.0, 0.0]
    """
    w, n, residual, variance = buckets.T
    share = np.where(variance > 0, residual / (variance + _PRIOR), np.float32(np.nan))
    halves = np.stack([w, np.sqrt(n), share], axis=1)
    return np.asarray(np.clip(halves, -_MOST, _MOST), np.float16)


def expand_crosses(halves: NDArray[np.float16]) -> NDArray[np.float32]:
    """Buckets that predict the same as those rounded: with a variance of 1, or 0 if never seen."""
    w, root, share = halves.astype(np.float32).T
    seen = ~np.isnan(share)
    residual = np.where(seen, share * (_PRIOR + np.float32(1)), np.float32(0))
    return np.stack([w, root * root, residual, seen.astype(np.float32)], axis=1)
