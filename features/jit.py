"""Compiling kernels: numba without the GIL, cached on disk (:mod:`features.kernel_folder`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from features.kernel_folder import module_folder

__all__ = [
    "byte_marks",
    "inlined",
    "jit",
    "load64",
    "pointers",
    "prefetch",
    "read_only",
    "zeros_below",
]

F = TypeVar("F", bound=Callable[..., Any])
N = TypeVar("N", bound=np.generic)
T = TypeVar("T", bound=tuple[Any, ...])


def jit(function: F) -> F:
    """Compile at first call: no GIL, C division (so that loops vectorise), cached on disk.

    No fast-math: a sum is taken in the order written, on every machine.
    """
    return _compiled(function)


def inlined(function: F) -> F:
    """Compile a part of a kernel: always inlined, which spares the counting of references."""
    return _compiled(function, forceinline=True)


def read_only(array: NDArray[N]) -> NDArray[N]:
    """A view that cannot be written: for a kernel whose callers have both kinds.

    A kernel is compiled for each kind of each of its arrays, in seconds, and Arrow's buffers, or
    the labels of a frame, are of either kind.
    """
    view = array.view()
    view.flags.writeable = False
    return view


def _compiled(function: F, **options: Any) -> F:
    config: Any = numba.config
    before = config.CACHE_DIR
    config.CACHE_DIR = str(module_folder(function.__module__))
    try:
        compiler = njit(error_model="numpy", nogil=True, cache=True, **options)
        return cast(F, compiler(function))
    finally:
        config.CACHE_DIR = before


def _data_pointer(context: Any, builder: Any, array_type: Any, array: Any) -> Any:
    """Where the elements begin of an array, or of a pointer of :data:`pointers`."""
    is_array = isinstance(array_type, types.Array)
    return context.make_array(array_type)(context, builder, array).data if is_array else array


def _element_pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    return builder.gep(_data_pointer(context, builder, array_type, array), [index])


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


@intrinsic
def _zeros_below(typingctx: Any, word: Any) -> Any:
    """How many zero bits stand below the lowest one; all of them where there is none."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return word(word), codegen


@intrinsic
def _pointers(typingctx: Any, arrays: Any) -> Any:
    """A named tuple with pointers to the elements in place of its arrays, contiguous ones.

    They are indexed as arrays of one dimension are. Nobody counts references to them, which costs
    more than all else where a kernel hands its arrays to many small parts with several ends.
    """
    if any(isinstance(it, types.Array) and it.layout != "C" for it in arrays):
        return None
    pointer: Any = types.CPointer
    named: Any = types.NamedTuple
    kinds = [pointer(it.dtype) if isinstance(it, types.Array) else it for it in arrays]
    signature = named(kinds, arrays.instance_class)(arrays)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        parts = cgutils.unpack_tuple(builder, args[0])  # type: ignore[no-untyped-call]
        found = [
            _data_pointer(context, builder, kind, part)
            for kind, part in zip(sig.args[0], parts, strict=True)
        ]
        return context.make_tuple(builder, sig.return_type, found)

    return signature, codegen


# mypy takes an intrinsic's typing context for an argument of the caller
pointers: Callable[[T], T] = cast(Any, _pointers)
load64: Callable[[Any, Any], np.uint64] = cast(Any, _load64)
prefetch: Callable[[Any, Any], None] = cast(Any, _prefetch)
zeros_below: Callable[[Any], int] = cast(Any, _zeros_below)
_ONES, _TOPS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)


@inlined
def byte_marks(word: Any, byte: int) -> Any:
    """The top bit of each of 8 bytes that is ``byte``; right up to the first one."""
    odd = word ^ (_ONES * np.uint64(byte))
    return (odd - _ONES) & ~odd & _TOPS
