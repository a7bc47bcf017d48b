"""Bytes of a file or of standard input: decompressed as they come, text as UTF-8."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import BinaryIO, TypeVar

from features.errors import SourceError
from streaming.sources.compression import (
    COMPRESSED,
    MAGIC_BYTES,
    PIECE,
    compression_of,
    decompressed,
    unzipped,
)
from streaming.sources.faults import Damage, unreadable

__all__ = ["PEEKED", "STDIN", "peek", "read_chunks", "utf8_lines", "without_runs_of_blanks"]

STDIN = "-"
PEEKED = 1 << 16
"""First bytes that tell format, encoding and line ends."""

# The longer marks first: UTF-32's begins with UTF-16's.
_MARKS = {
    codecs.BOM_UTF8: "",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

_Item = TypeVar("_Item")


def read_chunks(path: str, chunk_bytes: int, stdin: BinaryIO | None = None) -> Generator[bytes]:
    """Yield the bytes of ``path`` (``-``: of ``stdin``), whatever it is compressed with.

    Raises
    ------
    SourceError
        The file cannot be opened, or is not what its ending says.
    Damage
        It is cut off or damaged; what could be decompressed has been yielded.
    """
    try:
        with _opened(path, stdin) as file:
            magic = _read_full(file, MAGIC_BYTES)
            kind = _checked(path, compression_of(magic), magic)
            if kind == "zip":
                yield from unzipped(path, chunk_bytes)
                return
            pieces = _pieces(file, magic, PIECE.get(kind, chunk_bytes))
            yield from decompressed(pieces, kind) if kind else pieces
    except OSError as error:
        raise unreadable(path, error) from error


def peek(
    items: Iterator[_Item], weight: Callable[[_Item], float], total: float
) -> tuple[list[_Item], Generator[_Item]]:
    """Take items until they weigh ``total``; return them, and all items as if none was taken.

    A SourceError met while taking is raised only when the replay comes to it.
    """
    taken: list[_Item] = []
    error: SourceError | None = None
    seen = 0.0
    try:
        while seen < total:
            taken.append(next(items))
            seen += weight(taken[-1])
    except StopIteration:
        pass
    except SourceError as met:
        error = met
    return taken, _replay(list(taken), items, error)


def utf8_lines(chunks: Iterator[bytes]) -> Generator[bytes]:
    r"""Text as UTF-8 with ``\n`` at line ends, without a byte order mark.

    UTF-16 and UTF-32 are told by their mark, UTF-16 without one by its zeros; a text whose first
    lines end in ``\r`` alone has no other line ends.
    """
    head, rest = peek(chunks, len, PEEKED)
    encoding, mark = _encoding(b"".join(head))
    text = _transcoded(rest, encoding) if encoding else _without(rest, mark)
    head, text = peek(text, len, PEEKED)
    begin = b"".join(head)
    if b"\r" in begin and b"\n" not in begin:
        text = (chunk.replace(b"\r", b"\n") for chunk in text)
    yield from text


def without_runs_of_blanks(chunks: Iterator[bytes]) -> Generator[bytes]:
    r"""Text in which any run of spaces and tabs is one space, and none at an end of a line.

    Examples
    --------
    >>> b"".join(without_runs_of_blanks(iter([b" 1  a", b"\t b \n 0 c", b" \r\n"])))
    b'1 a b\n0 c\r\n'
    """
    blanks, before = b"", b"\n"
    for chunk in chunks:
        data = before + blanks + chunk
        body = data.rstrip(b" \t\r")  # what follows tells whether it is at the end of a line
        blanks = data[len(body) :]
        body = re.sub(rb"[ \t]+(?=\r*(\n))|(?<=\n)[ \t]+", b"", body)
        body = re.sub(rb"[ \t]+", b" ", body)
        yield body[len(before) :]
        before = body[-1:]
    yield blanks.lstrip(b" \t")


def _encoding(begin: bytes) -> tuple[str, int]:
    """Name of an encoding other than UTF-8, and the bytes of UTF-8's mark."""
    for mark, encoding in _MARKS.items():
        if begin.startswith(mark):
            return encoding, 0 if encoding else len(mark)
    pairs = len(begin) // 2
    for first, name in ((0, "utf-16-be"), (1, "utf-16-le")):
        if (
            pairs > 1
            and begin[first : 2 * pairs : 2].count(0) > 0.9 * pairs
            and begin.count(0) <= (1.1 * pairs)
        ):
            return name, 0
    return "", 0


def _transcoded(chunks: Iterator[bytes], encoding: str) -> Generator[bytes]:
    """Text as UTF-8; half a surrogate pair becomes bytes that are none, so its row is rejected."""
    decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
    try:
        for chunk in chunks:
            yield decoder.decode(chunk).encode("utf-8", "surrogatepass")
        decoder.decode(b"", True)
    except UnicodeError as error:
        raise Damage(f"the {encoding.upper()} text is cut off or damaged ({error})") from error


def _without(chunks: Iterator[bytes], size: int) -> Generator[bytes]:
    """Leave out the first bytes."""
    for chunk in chunks:
        left, size = chunk[size:], max(size - len(chunk), 0)
        yield left


def _replay(
    taken: list[_Item], items: Iterator[_Item], error: SourceError | None
) -> Generator[_Item]:
    while taken:
        yield taken.pop(0)
    if error is not None:
        raise error
    yield from items


@contextmanager
def _opened(path: str, stdin: BinaryIO | None) -> Generator[BinaryIO]:
    if path != STDIN:
        with open(path, "rb", buffering=0) as file:
            yield file
    elif stdin is not None:
        yield stdin
    else:
        # Unbuffered: a thread waiting in sys.stdin.buffer would hold its lock at exit.
        with open(0, "rb", buffering=0, closefd=False) as file:
            yield file


def _read_full(file: BinaryIO, size: int) -> bytes:
    """Read ``size`` bytes, or to the end: a pipe gives less at a time."""
    got = bytearray()
    while len(got) < size and (piece := file.read(size - len(got))):
        got += piece
    return bytes(got)


def _pieces(file: BinaryIO, first: bytes, size: int) -> Generator[bytes]:
    yield first
    while piece := file.read(size):
        yield piece


def _checked(path: str, kind: str, magic: bytes) -> str:
    """The compression, refused where it cannot be, or is not what the name says."""
    if kind == "zip" and path == STDIN:
        raise SourceError(
            "-: a zip archive cannot be read from a pipe. "
            "Fix: give the file's path, or unzip -p FILE | clicktide replay -"
        )
    if magic and not kind and path.lower().endswith(COMPRESSED):
        raise SourceError(
            f"{path}: named as compressed, but holds neither gzip nor zstd, bzip2, xz or zip (or "
            "its beginning is damaged). Fix: take the ending away if it is plain, else get a whole "
            "copy"
        )
    return kind
