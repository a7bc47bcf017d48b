"""The 64-bit key of a counter: one hash for the table of this process and for a shared store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.columns import ColumnHasher
from features.counters.names import OVERALL, counter_name, key_parts
from features.field_plan import FieldPlan, plan_fields
from features.hashing import cross_hash, field_seed
from features.quantiles import QuantileLearner
from features.spec import CounterSpec, FieldSpec, SourceSpec, Spec
from features.values import ARRAY_TYPES

__all__ = ["CounterKeys"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_NONE = np.uint64(0)


@dataclass(frozen=True)
class _Key:
    name: str
    parts: tuple[FieldPlan, ...]
    """One a value; none for the overall counter."""


class CounterKeys:
    """Gives the keys of events for one table of counters.

    A key is the hash of the counter's name and its values' texts, whatever the spec's hash
    seed: models of different seeds share their counters. 0 means that a value is missing.

    Parameters
    ----------
    spec
        The spec; a key that names a field reads the field's column.
    counters
        One of its tables.

    Attributes
    ----------
    columns
        Source columns that are read, each once.
    width
        Keys of an event; the last is of the overall counter, if the prior rate is a running
        one.

    Examples
    --------
    >>> counted = CounterSpec(keys=("ad",), half_lives_h=(24,), prior_rate=0.1)
    >>> spec = Spec(name="x", source=SourceSpec(label="y"), fields=(), counters=(counted,))
    >>> keys = CounterKeys(spec, counted)
    >>> batch = pa.RecordBatch.from_pydict({"ad": ["7", None]})
    >>> keys.of_batch(batch)[:, 0].tolist() == [int(keys.of_event({"ad": 7})[0]), 0]
    True
    """

    def __init__(self, spec: Spec, counters: CounterSpec) -> None:
        named = {name: f.column or name for f in spec.fields for name in f.names}
        keys = [_key(counter_name(k), key_parts(k), named) for k in counters.keys]
        if counters.prior_rate is None:
            keys.append(_Key(OVERALL, ()))
        self._keys = keys
        self.columns = tuple(dict.fromkeys(p.column for key in keys for p in key.parts))
        self.width = len(keys)
        self._overall = _never_zero(np.array([field_seed(f"counter {OVERALL}", 0)], np.uint64))

    def of_event(self, event: Mapping[Any, Any]) -> NDArray[np.uint64]:
        """Give the keys of an event: uint64 (width,); values are read as a field's are."""
        rows = [
            self._join([_one(part, event.get(part.column)) for part in key.parts], key, 1)
            for key in self._keys
        ]
        return np.concatenate(rows)

    def of_batch(self, batch: pa.RecordBatch) -> NDArray[np.uint64]:
        """Give the keys of the rows of a batch: uint64 (rows, width)."""
        out = np.empty((batch.num_rows, self.width), np.uint64)
        for column, key in enumerate(self._keys):
            tokens = [_column(part, batch) for part in key.parts]
            out[:, column] = self._join(tokens, key, batch.num_rows)
        return out

    def _join(self, tokens: list[NDArray[np.uint64]], key: _Key, rows: int) -> NDArray[np.uint64]:
        if not tokens:
            return np.repeat(self._overall, rows)
        joined = tokens[0] if len(tokens) == 1 else _crossed(tokens[0], tokens[1])
        known = np.ones(rows, np.bool_)
        for part, values in zip(key.parts, tokens, strict=True):
            known &= values != part.missing
        return np.where(known, _never_zero(joined), _NONE)


def _key(name: str, parts: tuple[str, ...], named: Mapping[str, str]) -> _Key:
    """Plan a key: each of its values is hashed as a category of a field of its own."""
    plans: list[FieldPlan] = []
    for i, part in enumerate(parts):
        field = FieldSpec(names=(f"counter {name} {i}",), column=named.get(part, part))
        plans += plan_fields(Spec(name="", source=SourceSpec(label=""), fields=(field,)))
    return _Key(name, tuple(plans))


def _column(part: FieldPlan, batch: pa.RecordBatch) -> NDArray[np.uint64]:
    return ColumnHasher(batch, QuantileLearner((part,))).hash(part).tokens


def _one(part: FieldPlan, value: Any) -> NDArray[np.uint64]:
    single = not isinstance(value, (*ARRAY_TYPES, dict))  # a list is no value to count
    seeded = part.scalar_token(value, np.empty(0), 0, 0) if single else part.missing
    return np.array([seeded], np.uint64)


def _crossed(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Cross two columns of tokens as :func:`features.hashing.cross_hash` does two of them."""
    with np.errstate(over="ignore"):
        return np.asarray(cross_hash.py_func(a, b), np.uint64)  # type: ignore[attr-defined]


def _never_zero(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return np.where(keys == _NONE, _GOLDEN, keys)
