"""Lines that the quick pass leaves out: read strictly, one by one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from streaming.example_lines import ExampleLines
from streaming.sources.batch import Reject
from streaming.sources.block import Block
from streaming.sources.json_lines import JsonLines
from streaming.sources.json_scan import BOOL, INT, TEXT

__all__ = ["Envelope", "GiveUp", "Odd", "read_envelope", "strict_cells"]


class _Shown(msgspec.Struct, gc=False):
    timestamp: int
    probability: float | None = None
    model_version: str | None = None


class Envelope(msgspec.Struct, gc=False):
    """What an example says beside its fields."""

    impression: _Shown
    click_timestamp: int | None = None


_plain_number = re.compile(rb"-?[0-9]{1,18}(\.[0-9]{1,18})?(e-?[0-9]{1,2})?").fullmatch
read_envelope = msgspec.json.Decoder(Envelope).decode


class GiveUp(Exception):
    """These records are not to be read in one pass; the general reader says what they are."""


@dataclass(frozen=True, slots=True)
class Odd:
    """What a line says: its label, time, click (0: none), kind, fields, prediction and version."""

    label: int
    timestamp: int
    clicked: int
    kind: int
    fields: bytes
    probability: bytes
    version: bytes

    @classmethod
    def of(cls, line: bytes) -> Odd | None:
        """Read a line; ``None``: it is no example."""
        lines = ExampleLines.of(line, lambda i: ("", i))
        if lines.rejects:
            return None
        found = lines.found
        said = _as_found(lines)
        if not found.plain[0] or found.clicked[0] < 0:
            said = _strictly(line)
        begin, end = int(found.begin[0]), int(found.end[0])
        label, timestamp = int(found.label[0]), int(found.timestamp[0])
        return cls(label, timestamp, said[0], int(lines.kind[0]), lines.data[begin:end], *said[1:])


def _as_found(lines: ExampleLines) -> tuple[int, bytes, bytes]:
    """As the scan of examples has it; what it cannot read makes it read others otherwise too."""
    found = lines.found
    if found.plain[0] and found.counters[0, 1]:
        raise GiveUp
    spans = (found.probability[0].tolist(), found.model[0].tolist())
    probability, model = (lines.data[begin:end] for begin, end in spans)
    if model and (model[:1] != b'"' or b"\\" in model):
        raise GiveUp
    _check_number(probability)
    return int(found.clicked[0]), probability, model[1:-1]


def _check_number(text: bytes) -> None:
    if not text or _plain_number(text):
        return
    try:
        pa.array([text.decode()], pa.string()).cast(pa.float64())
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise GiveUp from error


def _strictly(line: bytes) -> tuple[int, bytes, bytes]:
    """As the schema has it."""
    try:
        said = read_envelope(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise GiveUp from error
    p, shown = said.impression.probability, said.impression
    probability = b"" if p is None else repr(p).encode()
    return said.click_timestamp or 0, probability, (shown.model_version or "").encode()


def strict_cells(fields: bytes, parser: JsonLines, cells: Any) -> bytes | None:
    """Put the values of fields that are not plain into ``cells``.

    Returns
    -------
    bytes or None
        Their texts; ``None``: a line to reject.

    Raises
    ------
    GiveUp
        A value is none whose text is the same in any company.
    """
    ends = np.array([len(fields)])
    block = Block(fields, "", np.zeros(1, np.int64), ends, ends, 0)
    values = parser.parse_line(block, 0)
    if isinstance(values, Reject):
        return None
    if not values:
        return b""
    kinds, texts = zip(*map(_cell, values), strict=True)
    sizes = list(map(len, texts))
    columns = len(values)
    cells.size[:columns], cells.kind[:columns] = sizes, kinds
    cells.begin[:columns] = list(accumulate(sizes, initial=0))[:-1]
    return b"".join(texts)


def _cell(value: Any) -> tuple[int, bytes]:
    if value is None:
        return 1, b""
    if isinstance(value, str):
        return TEXT, value.encode()
    if isinstance(value, bool):
        return BOOL, b"true" if value else b"false"
    if isinstance(value, int):
        return INT, b"%d" % value
    raise GiveUp
