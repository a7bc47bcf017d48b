"""A whole simulation as one record, and the stream of record batches it stands for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import pyarrow as pa

from features.errors import SourceError
from market.columns import COLUMNS, ColumnWriter
from market.impressions import BLOCK, calibrate, draw_block
from market.market import Market, build_market
from market.scenarios import SCENARIOS, Scenario
from market.settings import MarketSettings

__all__ = ["Simulation", "simulate"]


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
    chosen = scenario if isinstance(scenario, Scenario) else _scenario_type(scenario)()
    simulation = Simulation(
        scenario=chosen, market=market or MarketSettings(), seed=seed, events=events
    )
    return simulation.batches(start=start, batch_rows=batch_rows, columns=columns)


def _scenario_type(name: str) -> type[Scenario]:
    if name not in SCENARIOS:
        known = ", ".join(SCENARIOS)
        raise SourceError(f"sim:{name}: no scenario of this name. Fix: one of {known}")
    return SCENARIOS[name]


def _check_columns(columns: Sequence[str]) -> None:
    unknown = [name for name in columns if name not in COLUMNS]
    if unknown:
        raise SourceError(
            f"the simulator has no column {', '.join(map(repr, unknown))}. "
            f"Fix: use some of {', '.join(COLUMNS)}"
        )
