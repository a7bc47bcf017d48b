"""The logs that are measured on, as rows, as every contestant's plain file, and as dicts."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.categories import NAMESPACES, category_reader, vw_line
from features.spec import Spec
from features.spec_file import load_spec
from features.values import as_text
from market import open_simulation

__all__ = ["LOGS", "Log", "open_logs"]

Row = dict[str, str]

LOGS = {
    "criteo_dac80k": "criteo_dac80k.tsv.gz",
    "avazu20k": "avazu20k_by_hour.csv.gz",
    "criteo_attribution165k": "criteo_attribution165k.csv.gz",
}
_SIMULATED = Path(__file__).with_name("simulated.toml")
_SIMULATED_ROWS = 80_000
_COUNTS = ("log_squared", "log2", "quantile")


@dataclass(frozen=True)
class Log:
    """A log held in memory, written to a file in any form when first asked for.

    Parameters
    ----------
    name
        To show.
    spec_name
        A shipped spec, or a path.
    rows
        Column name to text, in the log's order; an empty text is a missing value.
    folder
        Where its files go.
    """

    name: str
    spec_name: str
    rows: list[Row]
    folder: Path

    def spec(self, *overrides: str) -> Spec:
        """The log's spec with some keys changed."""
        return load_spec(self.spec_name, overrides)

    @cached_property
    def labels(self) -> list[bool]:
        """Whether each row was clicked."""
        label = self.spec().source.label
        return [row[label] == "1" for row in self.rows]

    @cached_property
    def events(self) -> list[Row]:
        """What the peers learn: field name to category."""
        return list(map(category_reader(self.spec()), self.rows))

    def file(self, form: str, times: int = 1) -> Path:
        """The rows as a plain file, ``times`` over.

        Parameters
        ----------
        form
            A key of the forms below: ``tsv``, ``jsonl``, ``text.jsonl``, ``mixed.jsonl``,
            ``parquet`` or ``vw``.
        times
            For ``tsv`` and ``vw``: how often all rows are written.
        """
        path = self.folder / f"{self.name}-{times}.{form}"
        if not path.exists():
            _WRITERS[form](self, path, times)
        return path


# The files


def _write_tsv(log: Log, path: Path, times: int) -> None:
    names = list(log.rows[0])
    lines = ["\t".join(row.values()) + "\n" for row in log.rows]
    _write_lines(path, ["\t".join(names) + "\n"], lines, times)


def _write_vw(log: Log, path: Path, times: int) -> None:
    if log.events and len(log.events[0]) > len(NAMESPACES):
        raise ValueError(f"{log.name}: more than {len(NAMESPACES)} fields, one letter each")
    lines = [f"{vw_line(*event)}\n" for event in zip(log.events, log.labels, strict=True)]
    _write_lines(path, [], lines, times)


def _write_lines(path: Path, head: Sequence[str], lines: Sequence[str], times: int) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(head)
        for _ in range(times):
            file.writelines(lines)


def _json_writer(value: Callable[[str, bool], Any]) -> Callable[[Log, Path, int], None]:
    def write(log: Log, path: Path, times: int) -> None:
        lines = [json.dumps(row, separators=(",", ":")) + "\n" for row in _typed(log, value)]
        _write_lines(path, [], lines, times)

    return write


def _write_parquet(log: Log, path: Path, times: int) -> None:
    del times
    pq.write_table(pa.Table.from_pylist(list(_typed(log, _number_or_null))), path)


def _typed(log: Log, value: Callable[[str, bool], Any]) -> Iterator[dict[str, Any]]:
    """Rows with JSON's types: ``value`` is asked with a text and whether its column counts."""
    spec = log.spec()
    counts = {name for f in spec.fields if f.transform in _COUNTS for name in f.names}
    counts |= {spec.source.label}
    for row in log.rows:
        yield {name: value(text, name in counts) for name, text in row.items()}


def _number_or_null(text: str, count: bool) -> Any:
    return _number(text) if count else text or None


def _number_or_text(text: str, count: bool) -> Any:
    number = _number(text) if count else None
    return number if number is not None else text or None


def _always_text(text: str, count: bool) -> Any:
    del count
    return text


def _number(text: str) -> int | None:
    return int(text) if text.removeprefix("-").isdecimal() else None


_WRITERS: dict[str, Callable[[Log, Path, int], None]] = {
    "tsv": _write_tsv,
    "vw": _write_vw,
    "jsonl": _json_writer(_number_or_null),
    "text.jsonl": _json_writer(_always_text),
    "mixed.jsonl": _json_writer(_number_or_text),
    "parquet": _write_parquet,
}


# Where the rows come from


def open_logs(data: Path, folder: Path, rows: int | None = None) -> list[Log]:
    """The real logs below ``data``; where one is absent, a simulated one instead of them all.

    Parameters
    ----------
    data
        Holds a folder for each name of :data:`LOGS`.
    folder
        Where plain files may be written.
    rows
        Take no more than so many of each.
    """
    paths = {name: data / name / file for name, file in LOGS.items()}
    if not all(path.is_file() for path in paths.values()):
        return [Log("simulated", str(_SIMULATED), _simulated(rows or _SIMULATED_ROWS), folder)]
    return [Log(name, name, _read(path, rows), folder) for name, path in paths.items()]


def _read(path: Path, rows: int | None) -> list[Row]:
    separator = "\t" if ".tsv" in path.name else ","
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(islice(csv.DictReader(file, delimiter=separator), rows))


def _simulated(rows: int) -> list[Row]:
    spec = load_spec(_SIMULATED)
    columns = [f.column or name for f in spec.fields for name in f.names] + [spec.source.label]
    batches = open_simulation(f"sim:stationary?events={rows}", columns)
    events = (row for batch in batches for row in batch.columns.to_pylist())
    return [{name: _simulated_text(value) for name, value in row.items()} for row in events]


def _simulated_text(value: Any) -> str:
    return str(int(value)) if isinstance(value, bool) else as_text(value)
