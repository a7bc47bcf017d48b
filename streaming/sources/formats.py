"""Which format a file has, by its name or its first bytes, and what its first lines look like."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import BinaryIO

from features.errors import SourceError
from streaming.sources.cutting import index_records
from streaming.sources.delimited import header_names, split_line
from streaming.sources.faults import empty
from streaming.sources.files import format_by_name, list_files
from streaming.sources.sparse_text import sparse_format
from streaming.sources.streams import peek, read_chunks, utf8_lines, without_runs_of_blanks

__all__ = [
    "SEPARATORS",
    "FileHead",
    "describe_head",
    "excel_separator",
    "format_of",
    "head_of",
    "refuse_foreign",
    "refuse_json_array",
    "separator_in",
]

SEPARATORS = {",": "csv", "\t": "tsv", ";": "csv", "|": "csv"}
_LOOKED_AT = 50  # lines that tell a separator
_HEAD_BYTES = 1 << 18
_ENOUGH = 0.8  # share of them that it cuts into the same number of values
_NUMBER = re.compile(rb"[-+]?[\d.]+(e[-+]?\d+)?", re.IGNORECASE)
_NUMBER_TEXT = re.compile(_NUMBER.pattern.decode(), re.IGNORECASE)
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


def format_of(head: bytes, file: str, separator: str = "") -> str:
    """Format of a file by its name, or else by its first bytes; any where there are none.

    Raises
    ------
    SourceError
        It is none of the formats.
    """
    refuse_foreign(head, file)
    if head.startswith(b"PAR1"):
        return "parquet"
    named = format_by_name(file)
    if named == "jsonl":
        refuse_json_array(head, file)
    return named or _format_by_content(head, file, separator)


def _format_by_content(head: bytes, file: str, separator: str) -> str:
    text = head.lstrip()
    if not text:
        return "csv"
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

    One that cuts the first line, which may be a header, likewise goes before any that does not:
    that may stand in lists. A space is one only where no other is, and every line has a number.

    Examples
    --------
    >>> separator_in([b"1;a b;2,5", b"0;c d;3,5"]), separator_in([b"1 a", b"0 b"])
    (';', ' ')
    >>> separator_in([b"click,ad,tags", *[b"0,7,a|b|c|d"] * 20])
    ','
    """
    best, most = "", (False, 1)
    for separator, format in SEPARATORS.items():
        quoted = format == "csv"
        count = _usual_count(lines, separator, quoted=quoted)
        first = count > 1 and _usual_count(lines[:1], separator, quoted=quoted) == count
        if count > 1 and (first, count) > most:
            best, most = separator, (first, count)
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


_NO_NUMBERS = ("null", "none", "na", "nan", "inf", r"\n")
_MOSTLY = 0.9


@dataclass(frozen=True, slots=True)
class FileHead:
    """What a log looks like.

    Parameters
    ----------
    format
        A format of :class:`features.spec.SourceSpec`, not ``auto``.
    separator
        Between columns (CSV and TSV), else empty.
    header
        Whether the first line holds the names (CSV and TSV); else the columns are c1, c2, ...
    columns
        Names, in the file's order, of CSV and TSV.
    keys
        Those of ``[source]`` without which the readers do not see this themselves.
    row_bytes
        About how long a line is.
    skipped_lines
        Lines before the first row.
    """

    format: str
    separator: str = ""
    header: bool = True
    columns: tuple[str, ...] = ()
    keys: Mapping[str, object] = field(default_factory=dict)
    row_bytes: float = 0.0
    skipped_lines: int = 0


def describe_head(path: str, *, stdin: BinaryIO | None = None) -> FileHead:
    r"""Look at the beginning of a log; of a folder, of its first file.

    Raises
    ------
    SourceError
        It cannot be read, is empty, its format cannot be told, or its header does not fit.

    Examples
    --------
    >>> import io
    >>> head = describe_head("-", stdin=io.BytesIO(b"click;ad\n1;a\n0;b\n"))
    >>> head.format, head.separator, head.header, head.columns
    ('csv', ';', True, ('click', 'ad'))
    """
    file = list_files(path, "auto")[0].path
    with closing(read_chunks(file, _HEAD_BYTES, stdin)) as raw:
        first, _ = peek(utf8_lines(raw), len, _HEAD_BYTES)
    return head_of(b"".join(first), file)


def head_of(begin: bytes, file: str) -> FileHead:
    """Look at the beginning of a file's text."""
    format = format_of(begin, file)
    if format == "parquet":
        return FileHead("parquet")
    if not begin.strip():
        raise empty(file)
    whole = begin[: begin.rfind(b"\n") + 1] or begin
    row_bytes = len(whole) / max(whole.count(b"\n"), 1)
    if format not in ("csv", "tsv"):
        return FileHead(format, row_bytes=row_bytes)
    return _delimited_head(whole, file, format, row_bytes)


def _delimited_head(text: bytes, file: str, format: str, row_bytes: float) -> FileHead:
    excel = excel_separator(text)
    text = text.split(b"\n", 1)[1] if excel else text
    lines = [line.removesuffix(b"\r") for line in text.split(b"\n") if line.strip()]
    usual = next(s for s, f in SEPARATORS.items() if f == format)
    separator = excel or separator_in(lines[:50]) or usual
    if separator == " ":
        text = b"".join(without_runs_of_blanks(iter([text])))
    block, _, _ = index_records(text, file, 1, 0, separator, is_end=False)
    if not block.rows:
        raise empty(file)
    cells = [_cells(block.row(i), separator, format) for i in range(block.rows)]
    header = _is_header(cells[0], cells[1:])
    columns = header_names(block, separator, quoted=format == "csv")  # refuses other encodings
    if header:
        _check_lengths(cells, file, separator)
    else:
        columns = tuple(f"c{i + 1}" for i in range(len(columns)))
    keys: dict[str, object] = {} if separator in (usual, excel) else {"separator": separator}
    keys |= {} if header else {"header": False, "columns": columns}
    lines_of_header = int(block.lines[1] - block.lines[0]) if header and block.rows > 1 else 0
    before = bool(excel) + int(block.lines[0]) - 1
    return FileHead(format, separator, header, columns, keys, row_bytes, before + lines_of_header)


def _cells(line: bytes, separator: str, format: str) -> list[str]:
    values = split_line(line, separator.encode(), format == "csv") or []
    return [value.decode(errors="replace") for value in values]


def _is_header(first: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row holds names: no numbers, and no values of the rows below it."""
    names = first[1:] if not first[0].strip() else first  # pandas leaves its index without a name
    if names and list(names) == [str(i) for i in range(len(names))] and len(names) > 2:
        return True  # pandas names columns without names by their numbers
    columns = list(zip(*_of_length(rows, len(first)), strict=True))
    if any(_names_numbers(name, column) for name, column in zip(first, columns, strict=False)):
        return True
    if not any(name.strip() for name in names) or any(map(_NUMBER_TEXT.fullmatch, names)):
        return False
    return not any(
        name and column.count(name) > len(column) // 100
        for name, column in zip(first, columns, strict=False)
    )


def _names_numbers(name: str, column: Sequence[str]) -> bool:
    """Whether a word stands above numbers only."""
    values = [value for value in column if value]
    if not values or not re.search(r"[^\W\d]", name) or name.lower() in _NO_NUMBERS:
        return False
    return not _NUMBER_TEXT.fullmatch(name) and all(map(_NUMBER_TEXT.fullmatch, values))


def _of_length(rows: Sequence[Sequence[str]], count: int) -> list[Sequence[str]]:
    return [row for row in rows if len(row) == count]


def _check_lengths(cells: Sequence[Sequence[str]], file: str, separator: str) -> None:
    """Refuse a header that has not as many names as nearly all rows have values."""
    names, lengths = len(cells[0]), Counter(map(len, cells[1:]))
    (usual, times), *_ = lengths.most_common(1) or [(names, 1)]
    if usual == names or times < _MOSTLY * max(len(cells) - 1, 1):
        return
    rows = _of_length(cells[1:], usual)
    fix = "give each column a name in the first line, or take the line away"
    problem = f"the header has {names} names, and the rows {usual} values"
    if usual == names + 1 and not any(row[-1] for row in rows):
        problem += ", the last of them empty: each row ends in a separator"
        fix = f"sed -i 's/{separator}\\r*$//' FILE takes it away"
    elif usual == names - 1 and not cells[0][-1]:
        problem += ": the header ends in a separator"
        fix = f"sed -i '1s/{separator}\\r*$//' FILE takes it away"
    elif usual == names + 1:
        problem += ": the first column, of row names perhaps, has none"
        fix = f"sed -i '1s/^/row{separator}/' FILE names it"
    raise SourceError(f"{file}: {problem}. Fix: {fix}")
