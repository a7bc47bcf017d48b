"""The rejects file: every bad row with its reason, as JSON Lines."""

from __future__ import annotations

import base64
from pathlib import Path
from types import TracebackType

import msgspec

from features.errors import ClicktideError, StrictError
from streaming.sources import Reject

__all__ = ["RejectSink"]


class RejectSink:
    """Takes bad rows: writes them down, or stops at the first.

    Parameters
    ----------
    path
        The rejects file; ``None``: none is kept.
    strict
        Whether to stop at the first bad row.
    append
        Whether to add to what is there (a run that goes on) or replace it.
    """

    def __init__(self, path: Path | None, *, strict: bool, append: bool) -> None:
        self.strict = strict
        try:
            self._file = path.open("ab" if append else "wb") if path else None
        except OSError as error:
            raise ClicktideError(
                f"{path}: cannot be written: {error.strerror}. "
                "Fix: name a file in a folder that exists and may be written to"
            ) from error

    def __call__(self, reject: Reject) -> None:
        """Take one bad row."""
        if self._file is not None:
            self._file.write(msgspec.json.encode(_record(reject)) + b"\n")
        if self.strict:
            where = f", line {reject.line}" if reject.line else ""
            raise StrictError(
                f"{reject.file}{where}: {reject.detail} ({reject.reason}). "
                "Fix: mend the row, or leave out --strict to skip and count such rows."
            )

    def __enter__(self) -> RejectSink:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()


def _record(reject: Reject) -> dict[str, str | int]:
    """The row as text where it is UTF-8, else as base64: nothing of it is lost."""
    where: dict[str, str | int] = {
        "reason": reject.reason,
        "detail": reject.detail,
        "file": reject.file,
        "line": reject.line,
    }
    try:
        return where | {"raw": reject.raw.decode("utf-8")}
    except UnicodeDecodeError:
        return where | {"raw_base64": base64.b64encode(reject.raw).decode("ascii")}
