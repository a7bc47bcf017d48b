"""Compiling the detectors' kernels, which stand in several files and call each other.

numba's cache looks at a kernel's own file only; naming its folder after all of them mends that,
as in :mod:`features.jit`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba

from features import jit as plain

__all__ = ["inlined", "jit"]

F = TypeVar("F", bound=Callable[..., Any])
_FILES = ("kernels.py", "side_kernels.py", "state.py")


def _folder() -> str:
    digest = hashlib.sha256()
    for name in _FILES:
        digest.update((Path(__file__).parent / name).read_bytes())
    return os.path.join(numba.config.CACHE_DIR, digest.hexdigest()[:16])  # type: ignore[attr-defined]


_FOLDER = _folder()


def _in_folder(compiling: Callable[[F], F], function: F) -> F:
    before = numba.config.CACHE_DIR  # type: ignore[attr-defined]
    numba.config.CACHE_DIR = _FOLDER  # type: ignore[attr-defined]
    try:
        return compiling(function)
    finally:
        numba.config.CACHE_DIR = before  # type: ignore[attr-defined]


def jit(function: F) -> F:
    """Compile at first call, as :func:`features.jit.jit` does."""
    return _in_folder(plain.jit, function)


def inlined(function: F) -> F:
    """Compile a part of a kernel, as :func:`features.jit.inlined` does."""
    return _in_folder(plain.inlined, function)
