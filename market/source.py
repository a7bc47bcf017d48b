"""The simulator as a source: ``sim:NAME?key=value`` in place of a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode

import msgspec
import pyarrow as pa

from features.batch import Batch, Position
from features.errors import SourceError
from market.impressions import BLOCK
from market.json_lines import json_lines
from market.scenarios import SCENARIOS
from market.settings import MarketSettings
from market.simulation import Simulation

__all__ = ["PREFIX", "open_simulation", "parse_sim", "stream_uri"]

PREFIX = "sim:"
"""How a source that is a simulation begins."""

_RecordT = TypeVar("_RecordT", bound=msgspec.Struct)
_MAX_EVENTS = 10**12


class _Run(msgspec.Struct, forbid_unknown_fields=True):
    seed: int = 0
    events: int | None = None

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError("`seed` must be 0 or more")
        if self.events is not None and not 0 < self.events <= _MAX_EVENTS:
            raise ValueError(f"`events` must be from 1 to {_MAX_EVENTS:,}")


def parse_sim(uri: str) -> Simulation:
    """Read ``sim:NAME?key=value&...``.

    Keys are ``events``, ``seed``, the parameters of the scenario and the sizes of the market
    (the fields of :class:`~market.settings.MarketSettings`).

    Raises
    ------
    SourceError
        An unknown scenario or key, or a value that does not fit; it names the known ones.

    Examples
    --------
    >>> parse_sim("sim:abrupt?events=1000&seed=1").scenario.change_at
    500
    """
    name, _, query = uri.removeprefix(PREFIX).partition("?")
    if name not in SCENARIOS:
        raise SourceError(
            f"{uri}: no scenario {name!r}. Fix: sim:NAME with NAME one of {', '.join(SCENARIOS)}"
        )
    values = _query_values(uri, query)
    kinds: tuple[type[msgspec.Struct], ...] = (_Run, SCENARIOS[name], MarketSettings)
    _check_keys(uri, values, kinds)
    run = _record(uri, _Run, values)
    scenario = _record(uri, SCENARIOS[name], values)
    return Simulation(
        scenario=scenario.settle(run.events),
        market=_record(uri, MarketSettings, values),
        seed=run.seed,
        events=run.events,
    )


def stream_uri(simulation: Simulation) -> str:
    """Name the stream: equal for two simulations if and only if their events are equal.

    How many events there are is no part of it: a longer run goes on where a shorter one ended.

    Examples
    --------
    >>> stream_uri(parse_sim("sim:abrupt?events=1000&share=.3&factor=2"))
    'sim:abrupt?change_at=500&factor=2.0&seed=0'
    """
    scenario = simulation.scenario.settle(simulation.events)
    given = _not_default(scenario) | _not_default(simulation.market) | {"seed": simulation.seed}
    return f"{PREFIX}{scenario.name}?{urlencode(sorted(given.items()))}"


def open_simulation(
    uri: str, columns: Sequence[str], start: Position | None = None, batch_rows: int = BLOCK
) -> Iterator[Batch]:
    """Read a simulation as replay reads a file.

    Parameters
    ----------
    uri
        As :func:`parse_sim` takes it.
    columns
        Wanted columns in the wanted order, ``p_true`` among them if wanted.
    start
        Where an earlier reading of the same stream stopped.
    batch_rows
        Rows of a batch at most.

    Returns
    -------
    Batches without rejects; their file is :func:`stream_uri`, their row the event's number.

    Raises
    ------
    SourceError
        An unknown scenario, key or column, or a position of another stream.

    Examples
    --------
    >>> batch = next(open_simulation("sim:churn?events=100", ["ad", "click"]))
    >>> batch.position
    Position(file='sim:churn?seed=0', row=100)
    """
    simulation = parse_sim(uri)
    file = stream_uri(simulation)
    if start is not None and start.file != file:
        raise SourceError(
            f"{uri}: the position to go on from is in {start.file!r}, this stream is {file!r}. "
            "Fix: give the same scenario, seed and parameters, or start afresh"
        )
    row = 0 if start is None else start.row
    rows = simulation.batches(start=row, batch_rows=batch_rows, columns=columns)
    return _as_batches(rows, file, row)


def _as_batches(rows: Iterator[pa.RecordBatch], file: str, row: int) -> Iterator[Batch]:
    for batch in rows:
        yield _as_batch(batch, file, row)
        row += batch.num_rows


def _as_batch(batch: pa.RecordBatch, file: str, first: int) -> Batch:
    return Batch(
        columns=batch,
        file=file,
        origin=lambda i: (0, json_lines(batch.slice(i, 1)).rstrip(b"\n")),
        positions=lambda i: Position(file, first + i + 1),
        position=Position(file, first + batch.num_rows),
    )


def _query_values(uri: str, query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError:
        raise SourceError(
            f"{uri}: {query!r} cannot be read. Fix: sim:NAME?key=value&key=value"
        ) from None
    values = dict(pairs)
    if len(values) < len(pairs):
        raise SourceError(f"{uri}: a key is given twice. Fix: give each key once")
    return values


def _check_keys(uri: str, values: Mapping[str, str], kinds: Sequence[type[msgspec.Struct]]) -> None:
    known = [key for kind in kinds for key in kind.__struct_fields__]
    unknown = [key for key in values if key not in known]
    if unknown:
        raise SourceError(
            f"{uri}: unknown key {', '.join(map(repr, unknown))}. "
            f"Fix: this scenario's keys are {', '.join(known)}"
        )


def _record(uri: str, kind: type[_RecordT], values: Mapping[str, str]) -> _RecordT:
    own = {key: _number(values[key]) for key in kind.__struct_fields__ if key in values}
    try:
        return msgspec.convert(own, kind, strict=False)
    except msgspec.ValidationError as error:
        said = str(error).replace(" | null", "").replace(" - at `$.", " for `")
        raise SourceError(f"{uri}: {said}. Fix: give such a number") from None


def _number(text: str) -> int | float | str:
    """Read a number as Python does; other text stays, for the record to refuse."""
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def _not_default(record: msgspec.Struct) -> dict[str, Any]:
    default = type(record)()
    return {
        key: getattr(record, key)
        for key in record.__struct_fields__
        if getattr(record, key) != getattr(default, key)
    }
