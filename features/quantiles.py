"""Quantile edges learned from a field's first values, one event at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.field_plan import FieldPlan
from features.values import as_text, to_number

__all__ = ["QuantileLearner"]


class QuantileLearner:
    """Edges of every field's buckets: declared ones, and those learned so far.

    A field that learns gathers its first ``learn_from`` values (missing ones do not count),
    then takes their quantiles as edges, once and for ever.

    Parameters
    ----------
    fields
        The plans of all fields.

    Attributes
    ----------
    edges, spans
        All edges in one float64 array; field i's are ``edges[spans[i]:spans[i + 1]]``.
    learning
        Whether any field is still gathering.
    """

    def __init__(self, fields: tuple[FieldPlan, ...]) -> None:
        self.fields = fields
        self._per_field = [field.declared_edges for field in fields]
        self._gathered: dict[int, list[float]] = {f.number: [] for f in fields if f.learns_edges}
        self._lay_out()

    @property
    def learning(self) -> bool:
        """Whether any field is still gathering values."""
        return bool(self._gathered)

    def is_learning(self, number: int) -> bool:
        """Whether this field is still gathering values."""
        return number in self._gathered

    def _lay_out(self) -> None:
        lengths = [len(edges) for edges in self._per_field]
        self.spans = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self.edges = np.concatenate([*self._per_field, np.empty(0)])

    def note_event(self, event: Mapping[Any, Any]) -> None:
        """Gather the values of one event."""
        for number in list(self._gathered):
            number_text = as_text(event.get(self.fields[number].column))
            value = to_number(number_text) if number_text else None
            self.note(number, np.array([np.nan if value is None else value]))

    def note(self, number: int, values: NDArray[np.float64]) -> int:
        """Gather a field's values, NaN where missing.

        Returns
        -------
        int
            The first row that is to see the edges: ``len(values)`` if they are not ready.
        """
        gathered = self._gathered[number]
        field = self.fields[number]
        rows = np.flatnonzero(~np.isnan(values))[: field.learn_from - len(gathered)]
        gathered.extend(values[rows].tolist())
        if len(gathered) < field.learn_from:
            return len(values)
        self._per_field[number] = _edges(np.array(gathered), field.buckets)
        del self._gathered[number]
        self._lay_out()
        return int(rows[-1]) + 1

    def state(self) -> dict[str, Any]:
        """What has been learned, as plain data for a snapshot."""
        learned = [f for f in self.fields if f.learns_edges]
        return {
            "edges": {
                f.name: self._per_field[f.number].tolist()
                for f in learned
                if f.number not in self._gathered
            },
            # a copy: who prepares batches ahead goes on gathering
            "gathered": {self.fields[n].name: [*values] for n, values in self._gathered.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what :meth:`state` gave."""
        for field in self.fields:
            if field.name in state["edges"]:
                self._per_field[field.number] = np.array(state["edges"][field.name], np.float64)
                self._gathered.pop(field.number, None)
            elif field.name in state["gathered"]:
                self._gathered[field.number] = list(state["gathered"][field.name])
        self._lay_out()


def _edges(values: NDArray[np.float64], buckets: int) -> NDArray[np.float64]:
    """Inner edges of equal-mass buckets; at least one, or nothing would show they are learned."""
    ranks = np.arange(1, buckets) / buckets
    return np.unique(np.quantile(values, ranks, method="higher"))
