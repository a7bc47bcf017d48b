"""Copying many short texts, eight bytes at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from features.jit import load64
from streaming.compiling import inlined

__all__ = ["SLACK", "copy_short"]

SLACK = 8
"""Bytes after a copied text that may be written too."""


@intrinsic
def _store64(typingctx: Any, array: Any, index: Any, word: Any) -> Any:
    """Write the 8 bytes of a uint64 into a uint8 array from ``index`` on; needs no alignment."""
    signature = types.void(array, index, types.uint64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        pointer = builder.gep(data, [args[1]])
        word = builder.bitcast(pointer, ir.IntType(64).as_pointer())
        builder.store(args[2], word, align=1)
        return context.get_dummy_value()

    return signature, codegen


store64: Callable[[Any, Any, np.uint64], None] = cast(Any, _store64)


@inlined
def copy_short(data: Any, start: int, size: int, out: Any, at: int) -> None:
    """Copy ``data[start : start + size]`` to ``out[at:]``; up to ``SLACK`` bytes after it too."""
    done = 0
    while done < size and start + done + 8 <= len(data):
        store64(out, at + done, load64(data, start + done))
        done += 8
    while done < size:
        out[at + done] = data[start + done]
        done += 1
