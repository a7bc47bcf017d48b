"""Compiling kernels that make no array: without any counting of references, which costs more here
than the work itself where arrays travel in tuples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

__all__ = ["inlined", "jit"]

F = TypeVar("F", bound=Callable[..., Any])


def jit(function: F) -> F:
    """As :func:`features.jit.jit`."""
    return cast(F, njit(error_model="numpy", nogil=True, cache=True, _nrt=False)(function))


def inlined(function: F) -> F:
    """As :func:`features.jit.inlined`."""
    return cast(F, njit(error_model="numpy", nogil=True, cache=True, forceinline=True, _nrt=False)(function))
