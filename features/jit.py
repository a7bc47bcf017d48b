"""Compiling kernels: numba without the GIL, cached on disk under a name made from the sources.

numba's own cache forgets that a kernel calls another file's kernel, so it would go on running
code that has since changed. Naming the folder after all kernel sources mends that.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["inlined", "jit", "load64", "prefetch"]

F = TypeVar("F", bound=Callable[..., Any])


def _sources_digest() -> str:
    """Hash of every Python file of the two packages that hold kernels."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256(numba.__version__.encode())
    for file in sorted([*root.glob("features/**/*.py"), *root.glob("learning/**/*.py")]):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _cache_folder() -> str:
    """A writable folder for compiled kernels: the user's cache, else a temporary one."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = Path(home) / "clicktide" / "kernels" / _sources_digest()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return tempfile.mkdtemp(prefix="clicktide-kernels-")
    return str(folder)


if not os.environ.get("NUMBA_CACHE_DIR"):
    numba.config.CACHE_DIR = _cache_folder()  # type: ignore[attr-defined]


def jit(function: F) -> F:
    """Compile at first call: no GIL, C division (so that loops vectorise), cached on disk.

    No fast-math: a sum is taken in the order written, on every machine.
    """
    return cast(F, njit(error_model="numpy", nogil=True, cache=True)(function))


def inlined(function: F) -> F:
    """Compile a part of a kernel: always inlined, which spares the counting of references."""
    return cast(F, njit(error_model="numpy", nogil=True, cache=True, forceinline=True)(function))


def _element_pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


@intrinsic
def _prefetch(typingctx: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line of ``array[index]``, to be written soon."""
    signature = types.void(array, index)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _element_pointer(context, builder, sig.args[0], args[0], args[1])
        byte = ir.IntType(8).as_pointer()
        i32 = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, i32, i32, i32])
        llvm = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
            builder.module, kind, "llvm.prefetch.p0"
        )
        builder.call(llvm, [builder.bitcast(pointer, byte), i32(1), i32(3), i32(1)])
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _load64(typingctx: Any, array: Any, index: Any) -> Any:
    """The 8 bytes of a uint8 array from ``index`` as one uint64; needs no alignment."""
    signature = types.uint64(array, index)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _element_pointer(context, builder, sig.args[0], args[0], args[1])
        word = builder.bitcast(pointer, ir.IntType(64).as_pointer())
        return builder.load(word, align=1)

    return signature, codegen


# mypy takes an intrinsic's typing context for an argument of the caller
load64: Callable[[Any, Any], np.uint64] = cast(Any, _load64)
prefetch: Callable[[Any, Any], None] = cast(Any, _prefetch)
