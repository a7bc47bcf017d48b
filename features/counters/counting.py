"""All counters of a spec: keys of events, values by event time, and the tokens made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.counters.keys import CounterKeys
from features.counters.names import COLUMN_PREFIX, half_life_ms, value_names
from features.counters.rates import CounterFields
from features.counters.table import CounterTable
from features.spec import Spec
from features.values import as_text, to_number

__all__ = ["Counters", "Occurrences"]

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Occurrences:
    """What counters are to know of some events, in order.

    Parameters
    ----------
    keys
        uint64 (rows, keys of all tables).
    times
        int64 milliseconds; ``NO_TIME`` where missing.
    clicked
        Whether each was clicked.
    delays
        int64 milliseconds to the click; ``None``: 0.
    """

    keys: NDArray[np.uint64]
    times: NDArray[np.int64]
    clicked: NDArray[np.bool_]
    delays: NDArray[np.int64] | None = None


class Counters:
    """The counters of a spec, all tables of it.

    Parameters
    ----------
    spec
        With at least one counter.

    Attributes
    ----------
    columns
        Source columns that the keys read.
    names
        Of the fields, as tokens have them.
    value_names
        Of the values, as :meth:`advance` gives them.
    """

    def __init__(self, spec: Spec) -> None:
        self._keys = [CounterKeys(spec, one) for one in spec.counters]
        self._fields = [CounterFields(one, spec.hash.seed) for one in spec.counters]
        self._halves = [len(one.half_lives_h) for one in spec.counters]
        self._tables = [
            CounterTable([half_life_ms(hours) for hours in one.half_lives_h], keys.width)
            for one, keys in zip(spec.counters, self._keys, strict=True)
        ]
        self.columns = tuple(dict.fromkeys(c for keys in self._keys for c in keys.columns))
        self.names = [name for fields in self._fields for name in fields.names]
        self.value_names = [name for one in spec.counters for name in value_names(one)]
        self.missing: NDArray[np.uint64] = self.tokens(np.full((1, len(self.value_names)), np.nan))[
            0
        ]

    # --- keys and time ---------------------------------------------------------------------

    def keys_of_batch(self, batch: pa.RecordBatch) -> NDArray[np.uint64]:
        """Give the keys of the rows of a batch, table after table."""
        return np.concatenate([keys.of_batch(batch) for keys in self._keys], axis=1)

    def advance(self, seen: Occurrences, wanted: NDArray[np.bool_] | None = None) -> F64:
        """Read every event (or those wanted) at its time, then count it; (rows, values)."""
        parts = [
            table.advance(keys, seen.times, seen.clicked, seen.delays, wanted)
            for table, keys in self._split(seen.keys)
        ]
        return _side_by_side(parts)

    def read(self, seen: Occurrences) -> F64:
        """Read every event at its time and count nothing; (rows, values)."""
        return _side_by_side([t.read(keys, seen.times) for t, keys in self._split(seen.keys)])

    def _split(self, keys: NDArray[np.uint64]) -> list[tuple[CounterTable, NDArray[np.uint64]]]:
        ends = np.cumsum([table.width for table in self._tables])[:-1]
        return list(zip(self._tables, np.split(keys, ends, axis=1), strict=True))

    # --- values and tokens -----------------------------------------------------------------

    def tokens(self, values: F64) -> NDArray[np.uint64]:
        """Turn values (rows, values) into tokens (rows, fields)."""
        out, at = [], 0
        for fields, keys, halves in zip(self._fields, self._keys, self._halves, strict=True):
            size = keys.width * halves * 2
            part = values[:, at : at + size].reshape(len(values), keys.width, halves, 2)
            out.append(fields.tokens(part))
            at += size
        return np.concatenate(out, axis=1)

    def served_in_event(self, event: Mapping[Any, Any]) -> F64 | None:
        """Give the values that an event carries, (1, values); ``None`` if it has none."""
        wanted = [event.get(COLUMN_PREFIX + name) for name in self.value_names]
        if all(value is None for value in wanted):
            return None
        return np.array([[_number(value) for value in wanted]], np.float64)

    def served_in_batch(self, batch: pa.RecordBatch) -> F64 | None:
        """Give the values that a batch carries, (rows, values); ``None`` if it has none."""
        names = {*batch.schema.names}
        columns = [COLUMN_PREFIX + name for name in self.value_names]
        if names.isdisjoint(columns):
            return None
        nothing = pa.nulls(batch.num_rows, pa.float64())
        found = [batch.column(c) if c in names else nothing for c in columns]
        return np.stack([_numbers(column) for column in found], axis=1)

    # --- as data ---------------------------------------------------------------------------

    def state(self) -> dict[str, NDArray[Any]]:
        """Give all that is known, as plain arrays."""
        return {
            f"{i}_{name}": array
            for i, table in enumerate(self._tables)
            for name, array in table.dump().items()
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take up what :meth:`state` gave; what it lacks is a KeyError, a misfit a ValueError."""
        for i, table in enumerate(self._tables):
            head = f"{i}_"
            table.restore({k.removeprefix(head): v for k, v in state.items() if k.startswith(head)})


def _side_by_side(parts: list[F64]) -> F64:
    return np.concatenate([p.reshape(len(p), int(np.prod(p.shape[1:]))) for p in parts], axis=1)


def _number(value: Any) -> float:
    number = to_number(as_text(value))
    # what is no count of anything is missing
    return number if number is not None and 0.0 <= number < np.inf else np.nan


def _numbers(column: pa.Array) -> F64:
    if pa.types.is_floating(column.type) or pa.types.is_null(column.type):
        values = pc.fill_null(column.cast(pa.float64()), float("nan"))
        numbers = np.asarray(values.to_numpy(zero_copy_only=False), np.float64)
        with np.errstate(invalid="ignore"):
            return np.where((numbers >= 0.0) & (numbers < np.inf), numbers, np.nan)
    return np.array([_number(value) for value in column.to_pylist()], np.float64)
