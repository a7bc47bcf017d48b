"""What a process of ours takes of the machine: memory, garbage collection, imports, priority."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import os
import re
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

__all__ = [
    "collect_seldom",
    "do_without_probed",
    "give_way",
    "keep_freed_memory",
    "release_compiler",
]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_BYTES, _ARENAS = 1 << 28, 2
_PROBED = ("pandas", "scipy", "cffi", "yaml")
_MADV_DONTNEED = 4
_COMPILER = "libllvmlite"
_MAPPING = re.compile(
    rf"^([0-9a-f]+)-([0-9a-f]+) r-[-x]p .*{_COMPILER}.*\n(?:[A-Z].*\n)*?Anonymous: +0 kB$",
    re.MULTILINE,
)


def collect_seldom() -> None:
    """Let Python look for cyclic garbage seldom, and not at all at the exit.

    Importing makes 140,000 objects that live to the end. By default they are looked through
    again and again as they come, and twice more when the process ends, which then takes half a
    second to go.
    """
    gc.set_threshold(50_000, 20, 20)
    atexit.register(gc.freeze)


def keep_freed_memory() -> None:
    """Tell glibc to keep freed blocks of up to 256 MiB for the next batch.

    By default each batch's arrays come from the system anew, and the system zeroes their pages
    at first touch: a tenth of the time of a replay. What a thread frees is kept for the threads of
    its arena alone, so there are two arenas, not eight for each core. Arrow is to take its memory
    from glibc as well, and not from an allocator of its own, which keeps 20 MiB and more beside
    that. Elsewhere than on glibc nothing is done.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _BYTES)
        mallopt(_M_TRIM_THRESHOLD, _BYTES)
        mallopt(_M_ARENA_MAX, _ARENAS)
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


class _Absent(MetaPathFinder):
    def __init__(self, packages: Sequence[str]) -> None:
        self.packages = frozenset(packages)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Say that a package is not installed."""
        if fullname in self.packages:
            raise ModuleNotFoundError(f"{fullname}: this process does without", name=fullname)
        return None


def do_without_probed() -> None:
    """Let this process take pandas, SciPy, cffi and yaml for not installed, from here on.

    pyarrow imports pandas, and numba SciPy, cffi and yaml, to see whether they are there: nearly a
    second of every start, in processes that use none of them.
    """
    sys.meta_path.insert(0, _Absent(_PROBED))


def release_compiler() -> None:
    """Take the pages of LLVM's code out of this process's memory; they come back if needed.

    Reading the kernels from disk runs once through 65 MiB of LLVM's file, which stay in the
    process's resident memory, though nothing uses them from then on. The pages stay in the page
    cache, so other processes, and a kernel that is compiled later, do not read the disk for them.
    Pages that differ from the file are left alone. Elsewhere than on Linux nothing is done.
    """
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):
        madvise = ctypes.CDLL(None).madvise
        for mapping in _MAPPING.finditer(Path("/proc/self/smaps").read_text("utf-8")):
            first, end = (int(address, 16) for address in mapping.groups())
            madvise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), _MADV_DONTNEED)


def give_way(nice: int) -> None:
    """Lower this thread's priority, and that of all threads that it starts.

    Where Linux shares the cores out by session (autogroup), also that of the session, if it is
    this process's own: else niceness would count for nothing beside processes of other sessions.
    """
    os.nice(nice)
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):  # no such thing here
            Path("/proc/self/autogroup").write_text(str(nice), "ascii")
