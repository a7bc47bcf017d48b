"""Which format a file has: by its name, by its first bytes; and what it is if it is none."""

from __future__ import annotations

import os
import re
from collections import Counter

from features.errors import SourceError
from streaming.sources.compression import COMPRESSED
from streaming.sources.csv_records import index_records
from streaming.sources.delimited import split_line
from streaming.sources.sparse_text import sparse_format

__all__ = [
    "ENDINGS",
    "SEPARATORS",
    "excel_separator",
    "format_by_content",
    "format_by_name",
    "refuse_foreign",
    "refuse_json_array",
    "separator_in",
]

ENDINGS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".vw": "vw",
    ".libsvm": "libsvm",
    ".svmlight": "libsvm",
    ".svm": "libsvm",
    ".libffm": "libffm",
    ".ffm": "libffm",
    ".txt": "",
}
"""Format of each known ending; empty: text of some kind."""

SEPARATORS = {",": "csv", "\t": "tsv", ";": "csv", "|": "csv"}
_LOOKED_AT = 50  # lines that tell a separator
_ENOUGH = 0.8  # share of them that it cuts into the same number of values
_NUMBER = re.compile(rb"[-+]?[\d.]+(e[-+]?\d+)?", re.IGNORECASE)
_EXCEL_LINE = re.compile(rb'"?sep=(.)"?\r?\n', re.IGNORECASE)

# First bytes of what is no format of a click log, and the way to one.
_FOREIGN = {
    b"SQLite format 3\0": ("an SQLite database", "sqlite3 -csv -header FILE 'select ...'"),
    b"Obj\x01": ("Avro", "avro-tools tojson FILE"),
    b"ARROW1": ("an Arrow IPC (Feather) file", "write it as Parquet"),
    b"\x89HDF": ("HDF5", "write it as Parquet"),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook", 'save the sheet as "CSV UTF-8"'),
    b"\x80\x04\x95": ("a pickle", "write it as Parquet"),
    b"\x04\x22\x4d\x18": ("compressed with lz4", "lz4 -dc FILE | clicktide replay -"),
    b"\xff\x06\0\0sNaPpY": ("compressed with snappy", "decompress it first"),
    b"\x1f\x9d": ("compressed with compress", "uncompress -c FILE | clicktide replay -"),
    b"7z\xbc\xaf\x27\x1c": ("a 7-Zip archive", "7z x -so FILE | clicktide replay -"),
    b"%PDF": ("a PDF", "get the table it was made from"),
    b"<!DOCTYPE": ("a web page", "look at what was downloaded"),
    b"<html": ("a web page", "look at what was downloaded"),
    b"version https://git-lfs": ("a Git LFS pointer, not the file", "git lfs pull"),
}


def format_by_name(path: str) -> str | None:
    """Format by the ending, a compression ending aside; ``""``: text of some kind; or None."""
    stem, ending = os.path.splitext(path.lower())
    if ending in COMPRESSED:
        ending = os.path.splitext(stem)[1]
    return ENDINGS.get(ending)


def format_by_content(head: bytes, file: str, separator: str = "") -> str:
    """Format of a file by its first bytes; any where there are none, for reading it says why.

    Raises
    ------
    SourceError
        It is none of the formats.
    """
    text = head.lstrip()
    if not text:
        return "csv"
    if text.startswith(b"PAR1"):
        return "parquet"
    if text.startswith(b"{"):
        return "jsonl"
    refuse_foreign(text, file)
    refuse_json_array(text, file)
    if excel_separator(head):
        return "csv"
    lines = text.split(b"\n")[:-1] or [text]
    sparse = "" if separator else sparse_format(lines[:_LOOKED_AT])
    found = separator or separator_in(lines)
    if not sparse and not found:
        raise SourceError(
            f"{file}: its format can be told neither by its name nor by its first bytes. "
            'Fix: say it in the spec, such as format = "csv" under [source]'
        )
    return sparse or SEPARATORS.get(found, "csv")


def refuse_foreign(head: bytes, file: str) -> None:
    """Refuse a file that is of a known format, but of none that is read here."""
    for magic, (kind, fix) in _FOREIGN.items():
        if head.startswith(magic):
            raise SourceError(f"{file}: it is {kind}, not a log. Fix: {fix}")
    if head[257:262] == b"ustar":
        raise SourceError(f"{file}: it is a tar archive. Fix: unpack it, and give the folder")


def refuse_json_array(head: bytes, file: str) -> None:
    """Refuse a file that is one JSON array."""
    if head.lstrip().startswith(b"["):
        raise SourceError(
            f"{file}: it is one JSON array, not JSON Lines. "
            "Fix: write one object per line, for instance with jq -c '.[]'"
        )


def excel_separator(head: bytes) -> str:
    r"""Separator that a first line ``sep=;`` gives, as Excel writes and reads it; else empty.

    Examples
    --------
    >>> excel_separator(b"sep=;\r\nclick;ad\r\n")
    ';'
    """
    match = _EXCEL_LINE.match(head)
    return match[1].decode("latin-1") if match else ""


def separator_in(lines: list[bytes]) -> str:
    """The separator that cuts nearly all of ``lines`` into the same number of values, the most.

    A space is one only where no other is, and every line has a number.

    Examples
    --------
    >>> separator_in([b"1;a b;2,5", b"0;c d;3,5"]), separator_in([b"1 a", b"0 b"])
    (';', ' ')
    """
    best, most = "", 1
    for separator, format in SEPARATORS.items():
        count = _usual_count(lines, separator, quoted=format == "csv")
        if count > most:
            best, most = separator, count
    words = [line.split() for line in lines[:_LOOKED_AT]]
    if not best and all(any(map(_NUMBER.fullmatch, row)) for row in words):
        squeezed = [b" ".join(row) for row in words]
        best = " " if _usual_count(squeezed, " ", quoted=True) > 1 else ""
    return best


def _usual_count(lines: list[bytes], separator: str, *, quoted: bool) -> int:
    """How many values nearly all lines have; 0: they do not agree."""
    rows = lines[:_LOOKED_AT]
    if quoted:
        block, _, _ = index_records(b"\n".join(rows), "", 1, 0, separator, is_end=False)
        rows = [block.row(i) for i in range(block.rows)] or rows
    values = (split_line(row, separator.encode(), quoted) for row in rows)
    counts = Counter(len(row) if row else 0 for row in values)
    (usual, times), *_ = counts.most_common(1)
    return usual if times >= _ENOUGH * counts.total() else 0
