"""Bytes of a file or of standard input, decompressed as they come."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Protocol, TypeVar

import zstandard

from features.errors import SourceError
from streaming.sources.faults import Damage, unreadable

__all__ = ["STDIN", "peek", "read_chunks", "without_bom"]

STDIN = "-"
_BOM = b"\xef\xbb\xbf"
# Compressed bytes inflated at once. Small, because the worst input makes 1000 (gzip) or 30 000
# (zstd) bytes of each, and what is lost when the damage lies within one piece.
_GZIP_PIECE, _ZSTD_PIECE = 16_384, 4096

_Item = TypeVar("_Item")


class _Decoder(Protocol):
    """What zlib and zstandard decompression objects share."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def read_chunks(path: str, chunk_bytes: int, stdin: BinaryIO | None = None) -> Generator[bytes]:
    """Yield the decompressed bytes of ``path`` (``-``: of ``stdin``), gzip and zstd by content.

    Raises
    ------
    SourceError
        The file cannot be opened, or is not what its ending says.
    Damage
        It is cut off or damaged; what could be decompressed has been yielded.
    """
    try:
        with _opened(path, stdin) as file:
            magic = _read_full(file, 4)
            pieces = _pieces(file, magic, chunk_bytes)
            yield from _decompressed(path, magic, pieces)
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


def without_bom(chunks: Iterator[bytes]) -> Generator[bytes]:
    """Drop a UTF-8 byte order mark at the beginning."""
    taken, rest = peek(chunks, len, len(_BOM))
    for _ in taken:
        next(rest)
    yield b"".join(taken).removeprefix(_BOM)
    yield from rest


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


def _pieces(file: BinaryIO, first: bytes, chunk_bytes: int) -> Generator[bytes]:
    size = {b"\x1f\x8b": _GZIP_PIECE, b"\x28\xb5": _ZSTD_PIECE}.get(first[:2], chunk_bytes)
    yield first
    while piece := file.read(size):
        yield piece


def _is_zstd(magic: bytes) -> bool:
    skippable = magic[1:] == b"\x2a\x4d\x18" and magic[0] & 0xF0 == 0x50
    return magic == b"\x28\xb5\x2f\xfd" or skippable


def _decompressed(path: str, magic: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    if magic[:2] == b"\x1f\x8b":
        return _inflated(pieces, "gzip", lambda: zlib.decompressobj(wbits=31))
    if _is_zstd(magic):
        return _inflated(pieces, "zstd", zstandard.ZstdDecompressor().decompressobj)
    named = path.lower().endswith((".gz", ".gzip", ".zst", ".zstd"))
    if named and magic:
        raise SourceError(
            f"{path}: named as compressed, but holds neither gzip nor zstd (or its beginning is "
            "damaged). Fix: take the ending away if it is plain, else get a whole copy"
        )
    return pieces


def _inflated(pieces: Iterator[bytes], kind: str, new: Callable[[], _Decoder]) -> Generator[bytes]:
    """Decompress, over any number of members (gzip) or frames (zstd)."""
    decoder = new()
    for piece in pieces:
        rest = piece
        while rest:
            if decoder.eof:
                decoder = new()
            try:
                yield decoder.decompress(rest)
            except (zlib.error, zstandard.ZstdError) as error:
                raise Damage(f"the {kind} data is damaged ({error})") from error
            rest = decoder.unused_data if decoder.eof else b""
    if not decoder.eof:
        raise Damage(f"the {kind} data is cut off")
