"""Follows how far slices are off, and says which are to be repaired; no log and no clock."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.jit import read_only
from monitoring.watch.categorical import Categorical
from monitoring.watch.detect.slots import SlotTable
from monitoring.watch.repair import kernels as kernels
from monitoring.watch.repair.kernels import JUMPS, RATIOS
from monitoring.watch.repair.table import MOST, Repair, RepairTable, repaired, table_of
from monitoring.watch.scored_batch import Scored
from monitoring.watch.settings import RepairSettings
from monitoring.watch.slices import SliceField

__all__ = ["RepairedSlice", "SliceRepair"]

_LOOK = 512  # rows between tables: where the stream is cut into batches changes none
_MOVED = 0.03  # of a factor, in logarithms: less is not worth a new table
_TABLES = 256  # known by their id


class RepairedSlice(msgspec.Struct, frozen=True):
    """A slice that is repaired, and what that has done on the examples since.

    Parameters
    ----------
    field, value, factor, since_ms
        As in :class:`~monitoring.watch.repair.table.Repair`.
    rows, clicks
        Impressions and clicks since.
    model_clicks, repaired_clicks
        Clicks that the model promised for them, and that it promised with the factor.
    nats
        Log likelihood that the factor has gained on them.
    """

    field: str
    value: str
    factor: float
    since_ms: int
    rows: int
    clicks: float
    model_clicks: float
    repaired_clicks: float
    nats: float


class SliceRepair:
    """Learns from the examples which slices are off, and by how much.

    Deterministic: the same rows give the same tables, wherever they are cut into batches, and
    after any restart from :meth:`state`.

    Parameters
    ----------
    fields
        Slices; those by value are followed.
    settings
        How.

    Attributes
    ----------
    table
        What is to be repaired now.
    unknown
        Examples left out: they were served with repairs that are not known any more.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> site = rng.integers(0, 4, 40_000)
    >>> y = rng.random(40_000) < np.where((site == 3) & (np.arange(40_000) > 20_000), 0.06, 0.1)
    >>> repair = SliceRepair([SliceField("site", column="site")], RepairSettings(warmup_clicks=9))
    >>> repair.update(Scored.of(y, np.full(40_000, 0.1), slices={"site": [f"s{i}" for i in site]}))
    >>> [(one.name, 0.5 < one.factor < 0.75) for one in repair.table.repairs]
    [('site=s3', True)]
    """

    def __init__(
        self, fields: Sequence[SliceField], settings: RepairSettings | None = None
    ) -> None:
        self.settings = settings or RepairSettings()
        self._columns = {field.name: field.column for field in fields if field.kind == "value"}
        self._most = self.settings.values_per_field + 2  # of a field: missing, others, and those
        most = (self._most + 1) * max(1, len(self._columns))
        self._values = SlotTable(list(self._columns), most)
        self._dropped: dict[int, int] = {}  # by field: the row from which on it is not followed
        self._state = kernels.begin(64)
        self._rates = np.array(
            [1.0 / self.settings.change_clicks, 1.0 / self.settings.fade_clicks, 0.002]
        )
        self._warm = np.array([0.0, self.settings.warmup_clicks])
        self._seen = 0
        self.unknown = 0
        self.table = RepairTable(0)
        self._tables = {self.table.id: self.table}

    def update(self, scored: Scored) -> None:
        """Learn from examples, in the order of the log; late clicks are left out."""
        if scored.correction.any():
            scored = scored.take(~scored.correction)
        versions = [] if scored.version is None else scored.version.values
        slots, served = self._slots(scored), [table_of(str(version)) for version in versions]
        start = 0
        while start < len(scored):
            stop = min(len(scored), start + _LOOK - self._seen % _LOOK)
            self._follow(scored, slots, served, slice(start, stop))
            self._seen += stop - start
            if self._seen % _LOOK == 0:
                self._look(int(scored.time_ms[stop - 1]))
            start = stop

    def _follow(
        self, scored: Scored, slots: NDArray[np.int32], served: Sequence[str], part: slice
    ) -> None:
        time, label = scored.time_ms[part], np.asarray(scored.label[part], np.float64)
        slots, p = slots[part], scored.probability[part]
        if any(served):
            p, known = self._model_probability(scored.take(part), served)
            self.unknown += int((~known).sum())
            time, label, slots, p = time[known], label[known], slots[known], p[known]
        kernels.follow(
            read_only(time), p, label, slots, RATIOS, JUMPS, self._rates, self._warm, self._state
        )

    def _slots(self, scored: Scored) -> NDArray[np.int32]:
        """Slots of the values; below 0: missing, of a field with too many, of none."""
        fields = self._values.fields
        slots = np.full((len(scored), len(fields)), -1, np.int32)
        for f, name in enumerate(fields):
            if f in self._dropped:
                continue
            self._values.put(f, scored.slices[name], slots)
            slots[slots[:, f] == len(fields) + f, f] = self._most * len(fields)  # too many by far
            over = np.flatnonzero(slots[:, f] >= self._most * len(fields))
            if len(over):
                self._dropped[f] = self._seen + int(over[0])
                slots[over[0] :, f] = -1
        slots[slots < 2 * len(fields)] = -1
        room = self._most * len(fields)
        if self._values.room > len(self._state):
            more = min(max(self._values.room, 2 * len(self._state)), room) - len(self._state)
            self._state = np.concatenate([self._state, kernels.begin(max(more, 0))])
        return slots

    def _model_probability(
        self, part: Scored, served: Sequence[str]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """What the model said before it was repaired, and of which rows that is known."""
        assert part.version is not None
        p, known = part.probability, np.ones(len(part), np.bool_)
        for code in np.unique(part.version.codes).tolist():
            if not served[code]:
                continue
            rows = part.version.codes == code
            table = self._tables.get(served[code])
            if table is None:
                known &= ~rows
            else:
                p = np.where(rows, repaired(p, 1.0 / self.row_factors(table, part.slices)), p)
        return p, known

    @staticmethod
    def row_factors(table: RepairTable, slices: Mapping[str, Categorical]) -> NDArray[np.float64]:
        """Factor of each row of some slices, as serving finds it for the same values."""
        total = np.ones(len(next(iter(slices.values()))))
        for repair in table.repairs:
            coded = slices[repair.field]
            code = [i for i, value in enumerate(coded.values) if value == repair.value]
            total[np.isin(coded.codes, code)] *= repair.factor
        return np.clip(total, 1.0 / MOST, MOST)

    def _look(self, time_ms: int) -> None:
        """Make a new table if the last one is not what is known now."""
        before = {(r.field, r.value): r for r in self.table.repairs}
        now = []
        for slot in self._repaired():
            f, value = self._values.named(slot)
            field = self._values.fields[f]
            factor = round(float(self._state[slot, kernels.FACTOR]), 3)
            old = before.get((field, value))
            if old is not None and abs(math.log(old.factor / factor)) < _MOVED:
                factor = old.factor
            since = int(self._state[slot, kernels.SINCE])
            now.append(Repair(field, value, self._columns[field], factor, since))
        table = RepairTable(time_ms, tuple(now))
        if table.id != self.table.id:
            self.table = table
            self._tables.pop(table.id, None)
            self._tables[table.id] = table
            for old_id in list(self._tables)[:-_TABLES]:
                del self._tables[old_id]

    def _repaired(self) -> list[int]:
        slots: list[int] = np.flatnonzero(self._state[:, kernels.FACTOR] != 1.0).tolist()
        gone = {f for f, row in self._dropped.items() if row <= self._seen}
        return [slot for slot in slots if slot % len(self._values.fields) not in gone]

    def figures(self) -> list[RepairedSlice]:
        """What is repaired, what gains the most first."""
        repairs = []
        for slot in self._repaired():
            f, value = self._values.named(slot)
            of = self._state[slot, kernels.FACTOR : kernels.OFF].tolist()
            factor, since, rows, *figures = of  # in the order of the columns
            field = self._values.fields[f]
            repairs.append(RepairedSlice(field, value, factor, int(since), int(rows), *figures))
        return sorted(repairs, key=lambda repair: -repair.nats)

    def state(self) -> dict[str, Any]:
        """JSON values and arrays."""
        return {
            "values": self._values.state(),
            "dropped": sorted(self._dropped.items()),
            "slices": self._state,
            "warm": float(self._warm[0]),
            "seen": self._seen,
            "unknown": self.unknown,
            "tables": msgspec.to_builtins(list(self._tables.values())),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` gave."""
        self._values.restore(state["values"])
        self._dropped = dict(state["dropped"])
        self._state = np.array(state["slices"]).reshape(-1, kernels.COLUMNS)
        self._warm[0] = state["warm"]
        self._seen, self.unknown = state["seen"], state["unknown"]
        tables = msgspec.convert(state["tables"], list[RepairTable])
        self._tables = {table.id: table for table in tables}
        self.table = tables[-1]
