"""Decompression of a file's bytes as they come: gzip, zstd, bzip2, xz; zip of a single file."""

from __future__ import annotations

import bz2
import lzma
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from typing import Any

import zstandard

from features.errors import SourceError
from streaming.sources.faults import Damage

__all__ = [
    "COMPRESSED",
    "MAGIC_BYTES",
    "PIECE",
    "compression_of",
    "decompressed",
    "unzipped",
]

COMPRESSED = (".gz", ".gzip", ".zst", ".zstd", ".bz2", ".xz", ".zip")
"""Endings of compressed files."""

MAGIC_BYTES = 10
"""First bytes that :func:`compression_of` needs."""

PIECE = {"gzip": 16_384, "zstd": 4096, "bzip2": 16_384, "xz": 16_384}
"""Compressed bytes inflated at once. Small, because the worst input makes 1000 (gzip) or 30 000
(zstd) bytes of each, and what is lost when the damage lies within one piece."""

_MOST_OUT = 1 << 20  # bytes that bzip2 and xz inflate at once; they stop there and go on
_LARGEST_WINDOW = 2**31  # of zstd --long=31, the most that the format's own tool makes
_PADDED = ("gzip", "xz")  # formats whose members may be followed by zeros


# Each has eof, unused_data and decompress.
_DECODERS: dict[str, Callable[[], Any]] = {
    "gzip": lambda: zlib.decompressobj(wbits=31),
    "zstd": lambda: zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW).decompressobj(),
    "bzip2": bz2.BZ2Decompressor,
    "xz": lzma.LZMADecompressor,
}
_ERRORS = (zlib.error, zstandard.ZstdError, OSError, lzma.LZMAError, ValueError)
# What a decoder says of a file that is whole but more than it can do, and the way round it.
_LIMITS = {
    "memory": (
        "needs more memory than there is",
        "decompress it on a larger machine (zstd -d --long=31), and give the plain file",
    ),
    "dictionary": (
        "was made with a dictionary",
        "zstd -d -D DICTIONARY --stdout FILE | clicktide replay -",
    ),
    "unsupported": (
        "is of a kind that is not known here",
        "decompress it with the program that made it, and give the plain file",
    ),
}


def compression_of(magic: bytes) -> str:
    r"""Tell a compression by a file's first bytes: ``gzip``, ``zstd``, ..., ``zip`` or none.

    Examples
    --------
    >>> compression_of(b"\x1f\x8b\x08"), compression_of(b"click,ad\n")
    ('gzip', '')
    """
    if magic[:2] == b"\x1f\x8b":
        return "gzip"
    skippable = magic[1:4] == b"\x2a\x4d\x18" and magic[0] & 0xF0 == 0x50
    if magic[:4] == b"\x28\xb5\x2f\xfd" or skippable:
        return "zstd"
    if magic[:3] == b"BZh" and magic[4:10] in (b"1AY&SY", b"\x17rE8P\x90"):
        return "bzip2"
    if magic[:6] == b"\xfd7zXZ\0":
        return "xz"
    return "zip" if magic[:4] in (b"PK\x03\x04", b"PK\x05\x06") else ""


def decompressed(pieces: Iterator[bytes], kind: str) -> Generator[bytes]:
    """Decompress all members (gzip, xz), frames (zstd) or streams (bzip2) that follow each other.

    Raises
    ------
    Damage
        The data is cut off or damaged, or goes beyond what can be decompressed.
    """
    decoder, members = _DECODERS[kind](), 0
    for piece in pieces:
        rest = piece
        while rest:
            if decoder.eof:
                rest = rest.lstrip(b"\0") if kind in _PADDED else rest
                if not rest:
                    break
                decoder, members = _DECODERS[kind](), members + 1
            try:
                yield from _inflated(decoder, rest)
            except (*_ERRORS, MemoryError) as error:
                raise _fault(kind, error, members) from error
            rest = decoder.unused_data if decoder.eof else b""
    if not decoder.eof:
        raise Damage(f"the {kind} data is cut off")


def _inflated(decoder: Any, data: bytes) -> Generator[bytes]:
    if not isinstance(decoder, (bz2.BZ2Decompressor, lzma.LZMADecompressor)):
        yield decoder.decompress(data)
        return
    yield decoder.decompress(data, max_length=_MOST_OUT)
    while not decoder.eof and not decoder.needs_input:
        yield decoder.decompress(b"", max_length=_MOST_OUT)


def _fault(kind: str, error: Exception, members: int) -> Damage:
    message = "memory" if isinstance(error, MemoryError) else str(error)
    for word, (what, fix) in _LIMITS.items():
        if word in message.lower():
            return Damage(f"the {kind} data {what} ({message}); it is not damaged", fix)
    if members:
        return Damage(
            f"what follows the end of its {kind} data is damaged, or not part of it ({message})",
            "cut off what does not belong to it, or get a whole copy of the file",
        )
    return Damage(f"the {kind} data is damaged ({message})")


def unzipped(path: str, chunk_bytes: int) -> Generator[bytes]:
    """Yield the bytes of the one file in a zip archive.

    Raises
    ------
    SourceError
        It holds none or several, or is encrypted.
    Damage
        It is cut off or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open(_only_member(archive, path)) as file:
            while piece := file.read(chunk_bytes):
                yield piece
    except (zipfile.BadZipFile, zlib.error, EOFError, lzma.LZMAError) as error:
        raise Damage(f"the zip archive is cut off or damaged ({error})") from error
    except (NotImplementedError, RuntimeError) as error:
        raise SourceError(
            f"{path}: a zip archive that cannot be read here ({error}). "
            "Fix: unpack it, and give the file"
        ) from error


def _only_member(archive: zipfile.ZipFile, path: str) -> str:
    names = archive.namelist()
    if "[Content_Types].xml" in names:
        raise SourceError(
            f"{path}: an Excel workbook (or another Office file), not text. "
            'Fix: save the sheet as "CSV UTF-8"'
        )
    shown = [n for n in names if not n.endswith("/") and not n.startswith(("__MACOSX", "."))]
    if len(shown) == 1:
        return shown[0]
    some = ", ".join(shown[:5]) + (", ..." if len(shown) > 5 else "")
    raise SourceError(
        f"{path}: a zip archive of {len(shown)} files ({some or 'none'}), not of one. "
        f"Fix: unpack it and give the folder, or one file of it: unzip -p {path} NAME | "
        "clicktide replay -"
    )
