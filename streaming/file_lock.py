"""Locks of files, for one process at a time; the system gives one up with its process."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from features.errors import ClicktideError, SnapshotError

__all__ = ["hold_folder", "is_locked", "lock_file"]

_RETRY_S = 0.1


def lock_file(
    path: Path,
    conflict: Callable[[], str] | None = None,
    *,
    patience_s: float = 0.0,
    standby: Callable[[], object] | None = None,
) -> IO[str]:
    """Lock a file, made with its folder if need be; closing it gives the lock up.

    Parameters
    ----------
    path
        The file.
    conflict
        Says what is wrong if another process has it; by default that one is waited for.
    patience_s
        How long to wait before that is said.
    standby
        Called again and again while another process has it, until that ends; it may raise.

    Raises
    ------
    ClicktideError
        Another process has it, or it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise SnapshotError(
            f"{path.parent}: cannot be written ({error.strerror}). "
            "Fix: name a writable folder with --dir"
        ) from error
    if conflict is None:
        fcntl.flock(file, fcntl.LOCK_EX)
        return file
    end = time.monotonic() + patience_s
    while not _try_lock(file, fcntl.LOCK_EX):
        if standby is not None:
            standby()
        elif time.monotonic() >= end:
            file.close()
            raise ClicktideError(conflict())
        time.sleep(_RETRY_S)
    return file


def is_locked(path: Path) -> bool:
    """Whether another process has a file locked now."""
    try:
        with path.open() as file:
            return not _try_lock(file, fcntl.LOCK_SH)
    except OSError:
        return False


def _try_lock(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def hold_folder(folder: Path, who: str, standby: Callable[[], object] | None = None) -> IO[str]:
    """Lock a folder for one process of a kind.

    Parameters
    ----------
    folder
        Of the process's state.
    who
        What works there: names the lock.
    standby
        As for :func:`lock_file`; ``None``: another one there is an error.

    Raises
    ------
    ClicktideError
        Another process of this kind works there, or it cannot be written.
    """
    return lock_file(
        folder / f"{who}.lock",
        lambda: f"{folder}: another {who} works here. Fix: stop it, or give another --dir",
        standby=standby,
    )
