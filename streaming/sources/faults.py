"""What a source raises inside, before the file's name or the line reached is known."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from features.errors import SourceError

__all__ = ["Damage", "EmptySource", "check_columns", "check_rows", "empty", "unreadable"]

_NAMES_SHOWN = 60


class Damage(SourceError):
    """The bytes cannot be decompressed any further.

    Parameters
    ----------
    message
        What is wrong with them.
    fix
        What to do about it.
    """

    def __init__(self, message: str, fix: str = "get a whole copy of the file") -> None:
        self.fix = fix
        super().__init__(message)


class EmptySource(SourceError):
    """A file without a single row; skipped where it is one of many."""


def unreadable(path: str, error: OSError) -> SourceError:
    """Say in a user's words why the operating system does not give us ``path``."""
    if isinstance(error, FileNotFoundError):
        return SourceError(f"{path}: no such file or folder. Fix: check the path")
    if isinstance(error, PermissionError):
        return SourceError(f"{path}: no permission to read it. Fix: chmod a+r, or be its owner")
    return SourceError(f"{path}: cannot be read: {error.strerror or error}. Fix: check the device")


def empty(file: str) -> EmptySource:
    """Say that ``file`` holds no rows."""
    return EmptySource(f"{file}: it is empty: no rows. Fix: give a log with at least one row")


def check_rows(rows: int, start: int, file: str) -> None:
    """Refuse a file without rows, or with fewer than were read from it before."""
    if rows <= 0:
        raise empty(file)
    if rows < start:
        raise SourceError(
            f"{file}: has only {rows} rows, so there is nothing after row {start}. "
            "Fix: give the file that was being read, or start from the beginning"
        )


def check_columns(file: str, found: Sequence[str], wanted: Sequence[str], where: str = "") -> None:
    """Refuse a file in which a wanted column is absent or named twice.

    Parameters
    ----------
    file
        Its name, for the message.
    found
        The names of its columns.
    wanted
        The names looked for.
    where
        What to say of where ``found`` comes from.

    Raises
    ------
    SourceError
        With the column, names near it, and the columns found.
    """
    for name in wanted:
        if name not in found:
            raise SourceError(_absent(file, name, found, where))
        if list(found).count(name) > 1:
            raise SourceError(
                f"{file}: the column {name!r} occurs more than once{where}. "
                "Fix: give each column its own name, with header = false and columns if need be"
            )


def _absent(file: str, name: str, found: Sequence[str], where: str) -> str:
    near = difflib.get_close_matches(name, found, n=3)
    shown = ", ".join(map(repr, found[:_NAMES_SHOWN])) or "none"
    more = f" and {len(found) - _NAMES_SHOWN} more" if len(found) > _NAMES_SHOWN else ""
    separator = _separator_hint(found[0]) if len(found) == 1 else ""
    return (
        f"{file}: no column {name!r}{where}{f', near it: {near}' if near else ''}; "
        f"columns found: {shown}{more}{separator}. Fix: use the file's names in the spec"
    )


def _separator_hint(header: str) -> str:
    likely = max(",;\t|", key=header.count)
    if not header.count(likely):
        return " (is the separator right?)"
    return f" (its values seem to be separated by {likely!r}: separator under [source])"
