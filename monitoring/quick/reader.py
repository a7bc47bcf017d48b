"""Records of the examples topic, read in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from monitoring.coded import Coded
from monitoring.quick.coding import (
    CODED,
    COPIED,
    MOST_ROWS,
    Cells,
    Coding,
    add_cells,
    fresh,
    side_by_side,
)  # fmt: skip
from monitoring.quick.layout import Layout
from monitoring.quick.lines import (
    DONE,
    NO_ROOM,
    ODD_LINE,
    OTHER_MODE,
    PAD,
    Said,
    scan_fields,
    scan_lines,
)  # fmt: skip
from monitoring.quick.odd import GiveUp, Odd, strict_cells
from streaming.log import Record
from streaming.sources.json_lines import JsonLines
from streaming.sources.json_scan import text_array, typed_column

__all__ = ["QuickReader", "QuickRows"]

_AT_ONCE = 1 << 18  # bytes that are read while they are in a cache
_FEW = 16  # one row in so many may be odd
_MOST_SKIPPED = 64
_LEAST_BYTES = 100  # of an example; the shortest has more
_SPARE = 0.8  # lines may be so much shorter than they were without a second pass
_PADDING = b"\n" * PAD


@dataclass(frozen=True, slots=True)
class QuickRows:
    """What stands in n examples.

    Parameters
    ----------
    label, time
        int64 (n,).
    clicked
        float64 (n,): ms since 1970, NaN without a click.
    kind
        int8 (n,): see :data:`streaming.prepare.CORRECTION`.
    probability
        float64 (n,), as it is written, NaN where none is.
    version
        Of the model.
    coded, copied
        By column: those that are texts, and those that hold something else.
    rejected
        Lines that are no example.
    """

    label: NDArray[np.int64]
    time: NDArray[np.int64]
    clicked: NDArray[np.float64]
    kind: NDArray[np.int8]
    probability: NDArray[np.float64]
    version: Coded
    coded: dict[str, Coded]
    copied: dict[str, pa.Array]
    rejected: int


class QuickReader:
    """Reads records in one pass, or says that it cannot.

    Parameters
    ----------
    columns
        Fields that are wanted.
    copied
        Those of them that are wanted as what they are: the others are wanted as codes, and get
        them unless they turn out to hold floats or lists.
    """

    def __init__(self, columns: Sequence[str], copied: Sequence[str]) -> None:
        self.columns = list(columns)
        modes = [COPIED if name in copied else CODED for name in columns]
        self._mode = np.array([*modes, COPIED, CODED], np.uint8)
        self._layout = Layout.of(columns)
        self._cells = Cells.of(len(self._mode))
        self._coding: Coding | None = None
        self._text = np.empty(0, np.uint8)
        self._skip, self._skipped = 0, 0
        self._row_bytes = 0.0

    def read(self, records: Sequence[Record], parser: JsonLines) -> QuickRows | None:
        """Read some records; ``None``: they are for the general reader.

        After records that were not for it, it lets some pass by without a try.
        """
        if self._skipped < self._skip:
            self._skipped += 1
            return None
        try:
            found = self._pass(records, parser)
            while found is None:
                found = self._pass(records, parser)
        except GiveUp:
            self._skip, self._skipped = min(2 * self._skip + 1, _MOST_SKIPPED), 0
            return None
        self._skip = 0
        return found

    def _pass(self, records: Sequence[Record], parser: JsonLines) -> QuickRows | None:
        """``None``: a column must be read otherwise, try again."""
        size = sum(len(record.value) for record in records)
        if not self._row_bytes:
            first = records[0].value
            self._row_bytes = _SPARE * len(first) / (first.count(b"\n") + 1) + 1.0
        most = int(size / self._row_bytes) + 16
        if most > MOST_ROWS:
            raise GiveUp
        self._coding = fresh(self._mode, most, self._coding)
        one = _Pass(self, self._coding, parser, most)
        for data in _chunks(records):
            if not one.read(data):
                return None
        found = one.rows()
        self._row_bytes = _SPARE * size / max(len(found.time), 1) + 1.0
        return found


def _chunks(records: Sequence[Record]) -> Iterator[bytes]:
    """The lines of some records at a time, newlines after them."""
    some: list[bytes] = []
    size = 0
    for record in records:
        some.append(record.value)
        size += len(record.value)
        if size >= _AT_ONCE:
            yield b"\n".join([*some, _PADDING])
            some, size = [], 0
    if some:
        yield b"\n".join([*some, _PADDING])


class _Pass:
    """One pass over some records."""

    def __init__(self, reader: QuickReader, coding: Coding, parser: JsonLines, most: int) -> None:
        self._reader, self._coding, self._parser, self._most = reader, coding, parser, most
        self._said = Said(*(np.zeros(most, np.int64) for _ in range(3)))
        self._kind = np.zeros(most, np.int8)
        self._where = np.zeros(2, np.int64)
        self._odd = self._rejected = 0
        self._strict = False

    def read(self, data: bytes) -> bool:
        """Read some lines; false: a column must be read otherwise."""
        if not data.isascii():
            _check_utf8(data)
        reader, where = self._reader, self._where
        self._need(len(data))
        where[0] = 0
        view = np.frombuffer(data, np.uint8)
        while True:
            how = scan_lines(
                view, where, reader._layout, reader._cells, self._said, self._coding, reader._text
            )
            if how == DONE:
                return True
            if how == OTHER_MODE:
                return self._turn()
            if how == NO_ROOM:
                return self._widen()
            begin = int(where[0])
            where[0] = end = data.index(b"\n", begin)
            if not self._odd_line(data[begin : end - (data[end - 1 : end] == b"\r")]):
                return False

    def _need(self, size: int) -> None:
        """Make room for the texts of so many bytes."""
        reader, used = self._reader, int(self._coding.used[0])
        if len(reader._text) < used + size + PAD:
            text = np.empty(2 * (used + size + PAD), np.uint8)
            text[:used] = reader._text[:used]
            reader._text = text

    def _turn(self) -> bool:
        """Copy the columns from now on that hold floats or lists."""
        mode = self._reader._mode
        mode[(self._reader._cells.kind > 2) & (mode == CODED)] = COPIED
        return False

    def _widen(self) -> bool:
        """Make room for as many rows as there can be."""
        self._reader._row_bytes = float(_LEAST_BYTES)
        return False

    def _odd_line(self, line: bytes) -> bool:
        self._odd += 1
        if self._odd * _FEW > int(self._where[1]) + 8 * _FEW:
            raise GiveUp
        known = Odd.of(line)
        if known is None:
            self._rejected += 1
            return True
        cells = self._reader._cells
        fields = known.fields + _PADDING
        view = np.frombuffer(fields, np.uint8)
        how = scan_fields(view, self._reader._layout, cells, self._coding)
        how = ODD_LINE if len(known.fields) > self._parser.max_line_bytes else how
        if how == OTHER_MODE:
            return self._turn()
        if how == ODD_LINE:
            texts = strict_cells(known.fields, self._parser, cells)
            if texts is None:
                self._rejected += 1
                return True
            fields, self._strict = texts, True
        self._add(known, fields)
        return True

    def _add(self, known: Odd, fields: bytes) -> None:
        """Add a row that was read strictly."""
        row, cells = int(self._where[1]), self._reader._cells
        said, kind = self._said, self._kind
        said.label[row], said.timestamp[row] = known.label, known.timestamp
        said.clicked[row], kind[row] = known.clicked, known.kind
        data = fields
        for column, text in ((-2, known.probability), (-1, known.version)):
            cells.begin[column], cells.size[column] = len(data), len(text)
            cells.kind[column] = 2 if text else 0
            data += text
        self._need(len(data))
        view = np.frombuffer(data + _PADDING, np.uint8)
        add_cells(view, cells, row, self._coding, self._reader._text)
        self._where[1] += 1

    def rows(self) -> QuickRows:
        """All that was found."""
        rows, names, mode = int(self._where[1]), self._reader.columns, self._coding.mode
        said = Said(*(column[:rows] for column in self._said))
        coded = {n: self._coded(i, rows) for i, n in enumerate(names) if mode[i] == CODED}
        copied = {n: self._copied(i, rows) for i, n in enumerate(names) if mode[i] == COPIED}
        return QuickRows(
            said.label,
            said.timestamp,
            np.where(said.clicked > 0, said.clicked, np.nan),
            self._kind[:rows],
            self._probabilities(rows),
            self._coded(len(names) + 1, rows),
            coded,
            copied,
            self._rejected,
        )

    def _texts(self, column: int, count: int) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        coding = self._coding
        begin, size = coding.begin[column, :count], coding.size[column, :count]
        return side_by_side(self._reader._text, begin, size)

    def _coded(self, column: int, rows: int) -> Coded:
        coding, count = self._coding, int(self._coding.distinct[column])
        text, offsets = self._texts(column, count)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(text)]
        words = pa.Array.from_buffers(pa.string(), count, buffers)
        hashes = coding.hashes[column, :count].copy()
        return Coded.encoded(coding.codes[column, :rows], words, hashes)

    def _copied(self, column: int, rows: int) -> pa.Array:
        """A column as it is; the general reader makes the same of it, but for its type."""
        array = typed_column(*self._texts(column, rows), self._coding.kinds[column, :rows])
        expected = self._parser.schema.field(self._reader.columns[column]).type
        if array is None or (self._strict and array.type != expected):
            raise GiveUp
        return array

    def _probabilities(self, rows: int) -> NDArray[np.float64]:
        column = len(self._reader.columns)
        texts = text_array(*self._texts(column, rows), self._coding.kinds[column, :rows], 1)
        try:
            numbers = texts.cast(pa.float64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid as error:
            raise GiveUp from error
        return np.asarray(numbers, np.float64)


def _check_utf8(data: bytes) -> None:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise GiveUp from error
