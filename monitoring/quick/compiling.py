"""Compiling the kernels of this package, see :mod:`streaming.compiling`."""

from __future__ import annotations

from pathlib import Path

from streaming.compiling import compiler

__all__ = ["inlined", "jit"]

_FILES = sorted(Path(__file__).parent.glob("*.py"))

jit = compiler(_FILES)
inlined = compiler(_FILES, forceinline=True)
