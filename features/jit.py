"""Compiling kernels: numba without the GIL, cached on disk in a folder named after their sources.

numba's own cache looks at a kernel's own file only, so it would go on running code of another file
that has since changed. Naming the folder after all files that a kernel's file imports mends that.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["inlined", "jit", "kernel_folder", "load64", "prefetch"]

F = TypeVar("F", bound=Callable[..., Any])
_ROOT = Path(__file__).resolve().parent.parent
_ROOMS = ("features", "learning", "streaming", "monitoring", "serving")
_IMPORT = re.compile(rb"^(?:from|import) ([\w.]+)(?: import (\([^)]*\)|.*))?", re.MULTILINE)


def jit(function: F) -> F:
    """Compile at first call: no GIL, C division (so that loops vectorise), cached on disk.

    No fast-math: a sum is taken in the order written, on every machine.
    """
    return _compiled(function)


def inlined(function: F) -> F:
    """Compile a part of a kernel: always inlined, which spares the counting of references."""
    return _compiled(function, forceinline=True)


def _compiled(function: F, **options: Any) -> F:
    config: Any = numba.config
    before = config.CACHE_DIR
    config.CACHE_DIR = str(_folder_of(function.__module__))
    try:
        compiler = njit(error_model="numpy", nogil=True, cache=True, **options)
        return cast(F, compiler(function))
    finally:
        config.CACHE_DIR = before


@cache
def _folder_of(module: str) -> Path:
    file = _module_file(module)
    return kernel_folder([file] if file else [])


def kernel_folder(files: Iterable[Path] | None = None) -> Path:
    """The folder for kernels that stand in these files (by default all that the product has).

    In ``NUMBA_CACHE_DIR`` if that is set, else in the user's cache, else a temporary one.
    """
    if files is None:
        found = (file for room in _ROOMS for file in _ROOT.joinpath(room).rglob("*.py"))
        files = (file for file in found if b"features.jit" in file.read_bytes())
    digest = hashlib.sha256(version("numba").encode())
    for file in sorted(_with_imports(files)):
        digest.update(file.read_bytes())
    folder = _writable_folder() / digest.hexdigest()[:16]
    folder.mkdir(exist_ok=True)
    return folder


@cache
def _writable_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    default = os.path.join(home, "clicktide", "kernels")
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or default)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return Path(tempfile.mkdtemp(prefix="clicktide-kernels-"))
    return folder


def _with_imports(files: Iterable[Path]) -> set[Path]:
    """These files and all of ours that they import, and those in turn."""
    reached: set[Path] = set()
    waiting = [*files]
    while waiting:
        file = waiting.pop()
        if file not in reached:
            reached.add(file)
            waiting += _imports(file)
    return reached


@cache
def _imports(file: Path) -> list[Path]:
    names: list[str] = []
    for module, imported in _IMPORT.findall(file.read_bytes()):
        if (name := module.decode()).partition(".")[0] in _ROOMS:
            names += [name, *(f"{name}.{part}" for part in re.findall(r"\w+", imported.decode()))]
    return [file for file in map(_module_file, names) if file is not None]


@cache
def _module_file(module: str) -> Path | None:
    path = _ROOT.joinpath(*module.split("."))
    choices = path.with_suffix(".py"), path / "__init__.py"
    return next((file for file in choices if file.is_file()), None)


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
