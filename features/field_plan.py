"""A field made ready: its number, seed, kind and how one value of it becomes tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.errors import RowError
from features.hashing import code_hash, field_seed, missing_hash, text_hash
from features.spec import FieldSpec, Spec
from features.times import day_of_week, hour_of_day
from features.token_kernels import AS_CATEGORY, AS_MISSING, REJECT, number_token, wrong_token
from features.transforms import CATEGORY, KINDS, LOG_SQUARED, TIME, log_squared_thresholds
from features.values import ARRAY_TYPES, as_text, to_number

__all__ = ["MAX_LIST", "FieldPlan", "plan_fields"]

MAX_LIST = 64
"""Members of a list that count; more would let one row cost as much as thousands."""

_ON_TEXT = {"reject": REJECT, "missing": AS_MISSING, "category": AS_CATEGORY}
_TIME_CODES: dict[str, Callable[[Any], Any]] = {
    "hour_of_day": hour_of_day,
    "day_of_week": day_of_week,
}


@dataclass(frozen=True)
class FieldPlan:
    """One field of a spec, ready to hash."""

    number: int
    name: str
    column: str
    transform: str
    seed: np.uint64
    kind: int
    on_text: int
    declared_edges: NDArray[np.float64]
    buckets: int
    learn_from: int
    separator: str
    time_format: str

    @property
    def is_time(self) -> bool:
        """Whether the field is an hour or a day of a time."""
        return self.kind == TIME

    @property
    def learns_edges(self) -> bool:
        """Whether the field learns its quantile edges."""
        return self.transform == "quantile" and self.buckets > 0

    @property
    def time_code(self) -> Callable[[Any], Any]:
        """From milliseconds to the token's code."""
        return _TIME_CODES[self.transform]

    @cached_property
    def missing(self) -> np.uint64:
        """Token hash of a missing value."""
        return np.uint64(missing_hash(self.seed))

    @cached_property
    def time_tokens(self) -> list[np.uint64]:
        """Token hashes of all hours, or of all days."""
        return [self.code_token(code) for code in range(24)]

    def code_token(self, code: int) -> np.uint64:
        """Token hash of an integer code."""
        return np.uint64(code_hash(code, self.seed))

    def text_token(self, text: str) -> np.uint64:
        """Token hash of a text; empty is missing."""
        data = np.frombuffer(text.encode("utf-8", "replace"), np.uint8)
        return np.uint64(text_hash(data, 0, len(data), self.seed)) if text else self.missing

    def members(self, value: Any) -> list[str]:
        """Texts of the members of a list that count.

        Empty members say nothing and are left out; members past :data:`MAX_LIST` too.

        Parameters
        ----------
        value
            A list of scalars, or a text in which :attr:`separator` stands between members.

        Examples
        --------
        >>> from features.spec import FieldSpec, SourceSpec, Spec
        >>> tags = FieldSpec(names=("tags",), transform="categories", separator="|")
        >>> [plan] = plan_fields(Spec(name="x", source=SourceSpec(label="y"), fields=(tags,)))
        >>> plan.members("a||b"), plan.members([1, None, 2.0]), plan.members(None)
        (['a', 'b'], ['1', '2'], [])
        """
        members = value if isinstance(value, ARRAY_TYPES) else as_text(value).split(self.separator)
        return [text for text in map(as_text, members) if text][:MAX_LIST]

    def list_tokens(self, value: Any) -> list[np.uint64]:
        """Token hashes of the :meth:`members` of a list; one without any is missing."""
        return [self.text_token(text) for text in self.members(value)] or [self.missing]

    def scalar_token(
        self, value: Any, edges: NDArray[np.float64], low: int, high: int
    ) -> np.uint64:
        """Token hash of a scalar, under the edges ``edges[low:high]``.

        Raises
        ------
        RowError
            If it is a text where a number is declared and the spec says to reject those, or
            a list or an object where a scalar is declared.
        """
        if isinstance(value, (*ARRAY_TYPES, dict)):
            raise RowError(f"field {self.name!r}: a {type(value).__name__} is not a single value")
        text = as_text(value)
        if self.kind == CATEGORY or not text:
            return self.text_token(text)
        number = to_number(text)
        if number is not None:
            return np.uint64(number_token(self.kind, number, self.seed, edges, low, high))
        data = np.frombuffer(text.encode("utf-8", "replace"), np.uint8)
        status, token = wrong_token(self.on_text, data, 0, len(data), self.seed)
        if status:
            raise RowError(f"field {self.name!r}: {text[:60]!r} is not a number")
        return np.uint64(token)


def plan_fields(spec: Spec) -> tuple[FieldPlan, ...]:
    """The plan of every field of a spec, numbered as they stand in it."""
    pairs = [(name, fields) for fields in spec.fields for name in fields.names]
    return tuple(_plan(i, name, fields, spec) for i, (name, fields) in enumerate(pairs))


def _plan(number: int, name: str, fields: FieldSpec, spec: Spec) -> FieldPlan:
    kind = KINDS[fields.transform]
    edges = log_squared_thresholds() if kind == LOG_SQUARED else np.array(fields.edges, np.float64)
    return FieldPlan(
        number=number,
        name=name,
        column=fields.column or name,
        transform=fields.transform,
        seed=field_seed(name, spec.hash.seed),
        kind=kind,
        on_text=_ON_TEXT[fields.text],
        declared_edges=edges,
        buckets=fields.buckets,
        learn_from=fields.learn_from,
        separator=fields.separator,
        time_format=fields.timestamp_format or spec.source.timestamp_format,
    )
