"""Where compiled kernels are kept on disk: in a folder named after the files that they come from.

numba's own cache looks at a kernel's own file only, so it would go on running code of another file
that has since changed. Naming the folder after all files that a kernel's file imports mends that.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path

__all__ = ["kernel_folder", "module_folder"]

_ROOT = Path(__file__).resolve().parent.parent
_ROOMS = ("features", "learning", "streaming", "monitoring", "serving")
_IMPORT = re.compile(rb"^(?:from|import) ([\w.]+)(?: import (\([^)]*\)|.*))?", re.MULTILINE)


@cache
def module_folder(module: str) -> Path:
    """The folder for the kernels of a module."""
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
