"""Writes a report: the page, and the same as JSON beside it."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from features.errors import ClicktideError
from monitoring.report import ReportData, render

__all__ = ["check_out", "write_report"]


def check_out(out: Path) -> None:
    """Refuse a place where no page can be written, before any work is done for it.

    Raises
    ------
    ClicktideError
        It does not end in .html, or is a folder.
    """
    if out.suffix not in (".html", ".htm"):
        raise ClicktideError(f"{out}: not a page. Fix: give a name that ends in .html")
    if out.is_dir():
        raise ClicktideError(f"{out}: it is a folder. Fix: name a file in it, {out}/report.html")


def write_report(data: ReportData, out: Path) -> None:
    """Write both files, each in one step.

    Raises
    ------
    ClicktideError
        They cannot be written.
    """
    files = {
        out: render(data).encode(),
        out.with_suffix(".json"): msgspec.json.format(msgspec.json.encode(data)),
    }
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for path, content in files.items():
            draft = path.with_name(f".{path.name}.partial-{os.getpid()}")
            try:
                draft.write_bytes(content)
                draft.replace(path)
            finally:
                draft.unlink(missing_ok=True)
    except OSError as error:
        raise ClicktideError(
            f"{out}: cannot be written: {error.strerror or error}. "
            "Fix: choose a folder that can be written to and has room, with --out"
        ) from error
