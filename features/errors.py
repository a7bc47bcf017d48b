"""Every error Clicktide raises on purpose, as one tree.

::

    ClicktideError
    ├── SpecError         a feature spec that cannot be used
    ├── SourceError       a log that cannot be read at all (bad rows are rejects, not errors)
    ├── StrictError       a bad row, when the user asked to stop at the first one
    ├── RowError          an event with a value that its spec does not allow
    ├── EventError        an event that is not of the schema (features.events)
    ├── LogError          an event log that cannot be used (streaming.log.base)
    └── SnapshotError     a saved model that cannot be loaded or written
"""

from __future__ import annotations

__all__ = ["ClicktideError", "RowError", "SnapshotError", "SourceError", "SpecError", "StrictError"]


class ClicktideError(Exception):
    """Base of all errors that are the input's fault; says what, where and what to do."""


class SpecError(ClicktideError):
    """A feature spec is wrong.

    Parameters
    ----------
    message
        What is wrong, with the value found.
    file
        The spec file, if it was read from one.
    line
        1-based line of the offending key, when known.
    field
        Path of the offending key, such as ``fields[2].transform``.
    fix
        What to write instead.
    """

    def __init__(
        self, message: str, *, file: str = "", line: int = 0, field: str = "", fix: str = ""
    ) -> None:
        self.message, self.file, self.line, self.field, self.fix = message, file, line, field, fix
        where = f"{file or 'spec'}{f', line {line}' if line else ''}{f', {field}' if field else ''}"
        super().__init__(f"{where}: {message}{f'. Fix: {fix}' if fix else ''}")


class SourceError(ClicktideError):
    """A log cannot be read: absent, empty, without permission, damaged, not the spec's columns."""


class StrictError(ClicktideError):
    """A bad row was met under ``--strict``."""


class SnapshotError(ClicktideError):
    """A saved model is damaged, truncated, newer than this program, or of another spec."""


class RowError(ClicktideError, ValueError):
    """An event has a value that its spec does not allow, such as text where a number is due."""
