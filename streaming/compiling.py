"""Compiling parts of kernels that look through lines, without any counting of references.

Such a part makes no array. Counting who holds those it is given, as numba does by default, costs
more than the work itself where a part is called for every value of a line.

numba's cache looks at a kernel's own file only; naming its folder after all files that kernels take
parts from mends that, as in :mod:`features.jit`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

import features.jit  # noqa: F401 - it names the folder

__all__ = ["compiler", "inlined", "jit"]

F = TypeVar("F", bound=Callable[..., Any])
_HERE = Path(__file__).parent
_OWN = ("example_scan.py", "served_counters.py")
_PARTS = [*(_HERE / name for name in _OWN), *sorted((_HERE / "sources").glob("*.py"))]
_njit: Any = numba.njit  # its types do not know that references may go uncounted


def compiler(files: Iterable[Path], **options: Any) -> Callable[[F], F]:
    """A decorator that compiles at first call, as :func:`features.jit.jit` does.

    Parameters
    ----------
    files
        Where the kernels stand that it is for, and those that they call, beside the parts here.
    options
        More of numba's.
    """
    digest = hashlib.sha256()
    for file in [Path(__file__), *_PARTS, *files]:
        digest.update(file.read_bytes())
    name = digest.hexdigest()[:16]

    def compiled(function: F) -> F:
        before = numba.config.CACHE_DIR  # type: ignore[attr-defined]
        numba.config.CACHE_DIR = os.path.join(before, name)  # type: ignore[attr-defined]
        try:
            how = _njit(error_model="numpy", nogil=True, cache=True, _nrt=False, **options)
            return cast(F, how(function))
        finally:
            numba.config.CACHE_DIR = before  # type: ignore[attr-defined]

    return compiled


jit = compiler(())
"""Compile a kernel of the files here."""
inlined = compiler((), forceinline=True)
"""Compile a part of a kernel, always inlined."""
