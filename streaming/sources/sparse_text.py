"""Text formats of sparse learners: Vowpal Wabbit, libsvm, libffm, and values between blanks.

A line is a label and features. How these become columns (docs/spec.md, "Other learners' formats"):

- libsvm ``1 3:0.5 7:1``: column ``3`` holds the number, ``features`` the list of indices.
- libffm ``1 2:17:1 3:4:0.5``: column ``2`` holds the list of the field's indices, ``3:value`` the
  number of its first feature.
- Vowpal Wabbit ``1 2.0 'id|user u7 |ad price:3``: column ``user`` holds the list of the namespace's
  features, ``ad^price`` the number of one; ``label``, ``importance``, ``tag``. A namespace without
  a name is ``features``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from features.batch import Reject
from features.values import as_text, to_number
from streaming.sources.block import Block, Parsed, parse_each

__all__ = ["SPARSE", "SparseText", "parse_sparse", "sparse_columns", "sparse_format"]

_LABEL = r"\s*[-+]?\d+(?:\.\d*)?"
_VALUE = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_LIBSVM = re.compile(rf"{_LABEL}(?:\s+qid:\d+)?(?:\s+\d+:{_VALUE})*\s*(?:#.*)?")
_LIBFFM = re.compile(rf"{_LABEL}(?:\s+\d+:\d+:{_VALUE})*\s*")
_VW = re.compile(rf"(?:{_LABEL}(?:\s+{_VALUE}){{0,2}}\s+(?:'?[^\s|]*)?)?\|[^|]*(?:\s\|[^|]*)*")
_MARKS = {"libsvm": ":", "libffm": ":", "vw": "|"}
_FEW_INDICES = 64  # libsvm with more is read as a list of indices
_TEXTS = ("label", "tag")

Row = dict[str, Any]


def sparse_format(lines: Sequence[bytes]) -> str:
    """Name of the format that all lines are of; empty: none, or not to be told.

    Examples
    --------
    >>> sparse_format([b"1 3:0.5 7:1", b"-1 7:2"]), sparse_format([b"1 |u a", b"-1 |u b |s c"])
    ('libsvm', 'vw')
    """
    texts = [line.decode(errors="replace").rstrip("\r") for line in lines if line.strip()]
    for name, pattern in (("libffm", _LIBFFM), ("libsvm", _LIBSVM), ("vw", _VW)):
        mark = _MARKS[name]
        if any(mark in text for text in texts) and all(map(pattern.fullmatch, texts)):
            return name
    return ""


def parse_sparse(line: str, format: str) -> Row:
    """Columns of a line.

    Raises
    ------
    ValueError
        It is not of the format; says where.

    Examples
    --------
    >>> parse_sparse("+1 3:0.5 7:1", "libsvm")
    {'label': '1', 'features': ['3', '7'], '3': 0.5, '7': 1.0}
    >>> parse_sparse("0 2:17:1 2:18:1 3:4:0.5", "libffm")
    {'label': '0', '2': ['17', '18'], '2:value': 1.0, '3': ['4'], '3:value': 0.5}
    >>> parse_sparse("-1 2.0 'id7|ad price:3", "vw")
    {'label': '-1', 'importance': 2.0, 'tag': 'id7', 'ad': ['price'], 'ad^price': 3.0}
    """
    return SPARSE[format](line)


def sparse_columns(rows: Sequence[Mapping[str, Any]], format: str) -> list[str]:
    """Columns worth learning from among those of some rows, in order.

    A number that is always 1 says no more than the list that its feature is in, and a list says
    nothing where its features always have a number; libsvm's indices, if many, are one list.
    """
    numbers: dict[str, set[float]] = {}
    others: dict[str, None] = {"label": None}
    for row in rows:
        for name, value in row.items():
            if isinstance(value, float):
                numbers.setdefault(name, set()).add(value)
            else:
                others[name] = None
    measured = [name for name, values in numbers.items() if values != {1.0}]
    if format == "libsvm":
        dense = measured and len(numbers) <= _FEW_INDICES
        return ["label", *(sorted(numbers, key=int) if dense else ["features"])]
    flags = {re.split(r"[\^:]", name)[0] for name in numbers.keys() - measured}
    lists = [name for name in others if name in flags or name in _TEXTS]
    if format == "libffm":
        lists = list(others)  # an index is a category, whatever its value
    return [*lists, *measured]


def _libsvm(line: str) -> Row:
    label, *features = line.partition("#")[0].split() or [""]
    row: Row = {"label": _plain_label(label), "features": []}
    for feature in features:
        index, _, value = feature.partition(":")
        if index != "qid":
            row["features"].append(_index(index, feature))
            row[index] = _number(value, feature)
    return row


def _libffm(line: str) -> Row:
    label, *features = line.split() or [""]
    row: Row = {"label": _plain_label(label)}
    for feature in features:
        field, index, value = (*feature.split(":"), "", "")[:3]
        row.setdefault(_index(field, feature), []).append(_index(index, feature))
        row.setdefault(f"{field}:value", _number(value, feature))
    return row


def _vw(line: str) -> Row:
    before, *spaces = line.split("|")
    if not spaces:
        raise ValueError("no | between label and features")
    row = _vw_label(before)
    for space in spaces:
        words = space.split()
        named = bool(words) and not space[:1].isspace()
        name, _, scale = (words.pop(0) if named else "features").partition(":")
        members = row.setdefault(name or "features", [])
        times = _number(scale, space) if scale else 1.0
        for word in words:
            feature, _, value = word.rpartition(":")
            number = to_number(value) if feature else None
            feature = word if number is None else feature
            members.append(feature)
            row[f"{name}^{feature}"] = times * (1.0 if number is None else number)
    return row


def _vw_label(text: str) -> Row:
    """What stands before the first bar: label, importance, base, tag; each may be absent."""
    words = text.split()
    tag = ""
    if words and (words[-1].startswith("'") or (not text[-1:].isspace() and len(words) > 1)):
        tag = words.pop().removeprefix("'")
    row: Row = {"label": _plain_label(words[0]) if words else None}
    if len(words) > 1:
        row["importance"] = _number(words[1], text)
    return row | ({"tag": tag} if tag else {})


def _plain_label(text: str) -> str:
    """The shortest text of a label that is a number: ``+1``, ``1.0`` and ``1`` are one."""
    number = to_number(text)
    return text if number is None else as_text(number)


def _index(text: str, feature: str) -> str:
    if not text.isdigit():
        raise ValueError(f"{feature[:60]!r} is no index:value")
    return text


def _number(text: str, feature: str) -> float:
    number = to_number(text)
    if number is None or math.isnan(number):
        raise ValueError(f"{feature[:60]!r} has no number")
    return number


SPARSE: dict[str, Callable[[str], Row]] = {"libsvm": _libsvm, "libffm": _libffm, "vw": _vw}
"""Parser of a line of each format."""


@dataclass(frozen=True, slots=True)
class SparseText:
    """Parser of the blocks of one file.

    Parameters
    ----------
    format
        A key of :data:`SPARSE`.
    wanted
        Names of the columns to return, in order; one that a line lacks is null.
    max_line_bytes
        Longest line taken.
    """

    format: str
    wanted: tuple[str, ...]
    max_line_bytes: int

    def __call__(self, block: Block) -> list[Parsed]:
        """Parse a block, every bad row of it a reject."""
        rows = range(block.rows)
        good, numbers, rejects = parse_each(rows, lambda i: self._parse_row(block, i))
        arrays = [
            pa.array([row.get(name) for row in good], self._type(name)) for name in self.wanted
        ]
        columns = pa.RecordBatch.from_arrays(arrays, names=list(self.wanted))
        return [Parsed(columns, np.array(numbers, np.int64), block.rows, list(rejects.values()))]

    def _parse_row(self, block: Block, i: int) -> Row | Reject:
        if (long := block.long_reject(i, self.max_line_bytes)) is not None:
            return long
        try:
            return SPARSE[self.format](block.row(i).decode())
        except UnicodeDecodeError as error:
            return block.reject(i, "invalid_utf8", error.reason)
        except ValueError as error:
            return block.reject(i, f"broken_{self.format}", str(error))

    def _type(self, name: str) -> pa.DataType:
        """Of a column, by its name alone: so blocks agree."""
        if name in _TEXTS:
            return pa.string()
        number = {
            "libsvm": name.isdigit(),
            "libffm": name.endswith(":value"),
            "vw": "^" in name or name == "importance",
        }[self.format]
        return pa.float64() if number else pa.list_(pa.string())
