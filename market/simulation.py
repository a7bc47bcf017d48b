"""A whole simulation as one record, its record batches, and its name ``sim:NAME?key=value``."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode

import msgspec
import pyarrow as pa

from features.batch import Batch, Position
from features.errors import SourceError
from market.columns import COLUMNS, ColumnWriter, json_lines
from market.effects import Market, MarketSettings, build_market
from market.impressions import BLOCK, calibrate, draw_block
from market.scenarios import SCENARIOS, Scenario

__all__ = ["PREFIX", "Simulation", "open_simulation", "parse_sim", "simulate", "stream_uri"]


class Simulation(msgspec.Struct, frozen=True, kw_only=True):
    """All that determines a simulated stream.

    Parameters
    ----------
    scenario
        What changes while it runs.
    market
        Sizes and traffic.
    seed
        Another seed is another market and another stream.
    events
        Where the stream ends; absent: it never does.
    """

    scenario: Scenario
    market: MarketSettings = MarketSettings()
    seed: int = 0
    events: int | None = None

    def build_market(self) -> Market:
        """Draw the market and set its click rate; about a tenth of a second."""
        return calibrate(build_market(self.market, seed=self.seed))

    def batches(
        self, *, start: int = 0, batch_rows: int = BLOCK, columns: Sequence[str] = COLUMNS
    ) -> Iterator[pa.RecordBatch]:
        """Yield the events from number ``start`` on.

        Parameters
        ----------
        start
            Number of the first event; the ones before cost nothing but their own block.
        batch_rows
            Rows of a batch at most; batches also end where a block of 16,384 events ends.
        columns
            Wanted columns in the wanted order.

        Raises
        ------
        SourceError
            A column that the simulator does not have.
        """
        _check_columns(columns)
        return self._batches(start, max(1, batch_rows), columns)

    def _batches(
        self, start: int, batch_rows: int, columns: Sequence[str]
    ) -> Iterator[pa.RecordBatch]:
        market = self.build_market()
        dynamics = self.scenario.settle(self.events).bind(market)
        writer = ColumnWriter(market, columns)
        event = start
        while self.events is None or event < self.events:
            block, row = divmod(event, BLOCK)
            whole = writer.batch(*draw_block(market, dynamics, block))
            end = BLOCK if self.events is None else min(BLOCK, self.events - block * BLOCK)
            for begin in range(row, end, batch_rows):
                yield whole.slice(begin, min(batch_rows, end - begin))
            event = block * BLOCK + end


def simulate(
    scenario: str | Scenario,
    *,
    seed: int = 0,
    events: int | None = None,
    start: int = 0,
    batch_rows: int = BLOCK,
    market: MarketSettings | None = None,
    columns: Sequence[str] = COLUMNS,
) -> Iterator[pa.RecordBatch]:
    """Simulate an ad market: impressions, their clicks, and the probabilities behind them.

    The same arguments give the same events in every process, whatever ``batch_rows`` and
    ``start``; memory does not grow with ``events``.

    Parameters
    ----------
    scenario
        ``stationary``, ``gradual``, ``abrupt`` or ``churn``, or a scenario record.
    seed
        Seed of the market and the stream; 0 or more.
    events
        Number of the event to stop before; absent: never stop.
    start, batch_rows
        Number of the first event wanted, and rows of a batch at most.
    market
        Sizes and traffic; absent: the defaults of :class:`MarketSettings`.
    columns
        Wanted columns, of :data:`~market.columns.COLUMNS`: ``timestamp`` int64 ms
        since 1970, ``interests`` list of string, ``click`` and ``click_delay_ms`` int64, ``p_true``
        float64 (what the click was drawn with), all others string, some as dictionary arrays.

    Raises
    ------
    SourceError
        An unknown scenario or column.

    Examples
    --------
    >>> batch = next(simulate("stationary", seed=1, events=1000))
    >>> batch.num_rows
    1000
    >>> batch["impression_id"][999].as_py()
    'imp-000000000999'
    """
    if isinstance(scenario, str):
        scenario = _scenario_type(f"{PREFIX}{scenario}", scenario)()
    simulation = Simulation(
        scenario=scenario, market=market or MarketSettings(), seed=seed, events=events
    )
    return simulation.batches(start=start, batch_rows=batch_rows, columns=columns)


def _scenario_type(uri: str, name: str) -> type[Scenario]:
    if name not in SCENARIOS:
        raise SourceError(
            f"{uri}: no scenario {name!r}. Fix: sim:NAME with NAME one of {', '.join(SCENARIOS)}"
        )
    return SCENARIOS[name]


def _check_columns(columns: Sequence[str]) -> None:
    unknown = [name for name in columns if name not in COLUMNS]
    if unknown:
        raise SourceError(
            f"the simulator has no column {', '.join(map(repr, unknown))}. "
            f"Fix: use some of {', '.join(COLUMNS)}"
        )


PREFIX = "sim:"
"""How a source that is a simulation begins."""

_BATCH = BLOCK // 2  # as fast as a block; several wait in memory at a time
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
    (the fields of :class:`~market.effects.MarketSettings`).

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
    kind, values = _scenario_type(uri, name), _query_values(uri, query)
    _check_keys(uri, values, (_Run, kind, MarketSettings))
    run, scenario = _record(uri, _Run, values), _record(uri, kind, values)
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
    uri: str, columns: Sequence[str], start: Position | None = None, batch_rows: int = _BATCH
) -> Generator[Batch]:
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


def _as_batches(rows: Iterator[pa.RecordBatch], file: str, row: int) -> Generator[Batch]:
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
        problem = str(error).replace(" | null", "").replace(" - at `$.", " for `")
        raise SourceError(f"{uri}: {problem}. Fix: give such a number") from None


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
