"""Where compiled kernels are kept on disk: in a folder named after their sources.

numba's own cache forgets that a kernel calls another file's kernel, so it would go on running
code that has since changed. Naming the folder after all kernel sources mends that.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import cache
from importlib.metadata import version
from pathlib import Path

__all__ = ["kernel_folder"]


@cache
def kernel_folder() -> Path:
    """A writable folder: numba's own setting, else in the user's cache, else a temporary one."""
    if given := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(given)
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = Path(home) / "clicktide" / "kernels" / _sources_digest()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="clicktide-kernels-"))
    return folder


def _sources_digest() -> str:
    """Hash of every Python file of the two packages whose kernels others call."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256(version("numba").encode())
    for file in sorted([*root.glob("features/**/*.py"), *root.glob("learning/**/*.py")]):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
