"""Fields of events that no spec declares: each a category, known when it is first seen."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from features.errors import RowError
from features.field_plan import FieldPlan, plan_fields
from features.hashed import Hashed
from features.spec import FieldSpec, HashSpec, SourceSpec, Spec
from features.vectoriser import Vectoriser

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MOST_CROSSED", "OpenFields", "all_pairs"]

MOST_CROSSED = 64
"""The first so many fields that are seen are crossed with each other."""
MOST_FIELDS = 256
"""Fields seen after so many share the last one's place."""
_NO_STARTS = np.empty(0, np.int64)
_NO_EDGES = np.empty(0)


@lru_cache(MOST_CROSSED + 1)
def all_pairs(fields: int) -> NDArray[np.int32]:
    """Crosses of every pair of the first so many fields, int32 (crosses, 3).

    Those of one field more come after the rest.
    """
    second, first = np.tril_indices(min(fields, MOST_CROSSED), -1)
    return np.stack([first, second, np.full(len(first), -1)], axis=1).astype(np.int32)


class OpenFields:
    """Turns dicts and frames into token hashes, whatever their fields are.

    A field has a number from the first event learned that has it, new ones of one event in the
    order of their names. A missing value has no token.

    Parameters
    ----------
    seed
        Of the hash.

    Attributes
    ----------
    numbers
        Field number by name, up to :data:`MOST_FIELDS` of them.

    Examples
    --------
    >>> event = {"site": "news", "ad": 7, "user": None}
    >>> OpenFields().hash_event(event, learn=True).tokens.shape
    (2,)
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.numbers: dict[str, int] = {}
        self._plans: dict[str, FieldPlan] = {}
        self._last: Vectoriser | None = None

    def _spec(self, names: tuple[str, ...]) -> Spec:
        fields, hashing = (FieldSpec(names=names),), HashSpec(seed=self.seed)
        return Spec(name="", source=SourceSpec(label=""), fields=fields, hash=hashing)

    def _plan(self, name: str) -> FieldPlan:
        if name not in self._plans:
            self._plans[name] = plan_fields(self._spec((name,)))[0]
        return self._plans[name]

    def tokens(self, x: Mapping[Any, Any]) -> dict[str, np.uint64]:
        """Token hash of each field of an event, in the order of their names.

        Raises
        ------
        RowError
            A value is a list or an object, or two keys have the same text.
        """
        named = {str(key): value for key, value in x.items()}
        if len(named) < len(x):
            raise RowError(f"two fields have the same name as text, among {list(x)[:9]}")
        return {
            name: self._plan(name).scalar_token(named[name], _NO_EDGES, 0, 0)
            for name in sorted(named)
        }

    def vectoriser(self, names: tuple[str, ...]) -> Vectoriser:
        """A vectoriser of these fields; missing values have tokens in it."""
        if self._last is None or self._last.columns != names:
            self._last = Vectoriser(self._spec(names))
        return self._last

    def _number(self, name: str, *, learn: bool) -> int:
        """A field's number; -1: it has none, for it was never learned."""
        full = len(self.numbers) >= MOST_FIELDS
        if learn and not full:
            return self.numbers.setdefault(name, len(self.numbers))
        return self.numbers.get(name, MOST_FIELDS - 1 if full else -1)

    def hash_event(self, x: Mapping[Any, Any], *, learn: bool = False) -> Hashed:
        """Token hashes of an event's fields that are not missing.

        Parameters
        ----------
        x
            Field to value.
        learn
            Whether fields that are new get a number; else they have no token.
        """
        tokens = {k: v for k, v in self.tokens(x).items() if v != self._plans[k].missing}
        numbers = [self._number(name, learn=learn) for name in tokens]
        return self._in_order(np.array(numbers, np.int64), np.array([*tokens.values()], np.uint64))

    def known(self, x: Mapping[Any, Any]) -> list[str]:
        """Names of an event's fields that have tokens in :meth:`hash_event`, in their order."""
        tokens = self.tokens(x)
        names = [name for name in tokens if tokens[name] != self._plans[name].missing]
        numbers = {name: self._number(name, learn=False) for name in names}
        return sorted((name for name in names if numbers[name] >= 0), key=numbers.__getitem__)

    def _in_order(self, numbers: NDArray[np.int64], tokens: NDArray[np.uint64]) -> Hashed:
        """One event of tokens of these field numbers."""
        fields, known = len(self.numbers), numbers >= 0
        order = np.argsort(numbers[known], kind="stable")
        counts = np.bincount(numbers[known], minlength=fields)
        tokens = tokens[known][order]
        if (counts == 1).all():
            return Hashed(tokens, _NO_STARTS, 1, fields)
        return Hashed(tokens, np.concatenate([[0], np.cumsum(counts)]), 1, fields)

    def hash_frame(self, frame: pd.DataFrame, *, learn: bool = False) -> Hashed:
        """Token hashes of the rows of a frame, as :meth:`hash_event` gives each.

        Raises
        ------
        RowError
            As :meth:`tokens`, naming the row.
        """
        frame = frame.rename(columns=str)
        names = tuple(sorted(set(frame.columns)))
        given, tokens = np.empty((len(frame), 0), np.bool_), np.empty((len(frame), 0), np.uint64)
        if names and len(frame):
            vectoriser = self.vectoriser(names)
            tokens = vectoriser.hash_frame(frame).tokens.reshape(len(frame), len(names))
            given = tokens != np.array([field.missing for field in vectoriser.fields])
        first = np.where(given.any(axis=0), given.argmax(axis=0) if len(frame) else 0, len(frame))
        for column in np.argsort(first, kind="stable").tolist():
            if first[column] < len(frame):
                self._number(names[column], learn=learn)
        numbers = np.array([self._number(name, learn=False) for name in names], np.int64)
        rows = [self._in_order(numbers[of], row[of]) for of, row in zip(given, tokens, strict=True)]
        return _joined(rows, len(self.numbers))


def _joined(rows: list[Hashed], fields: int) -> Hashed:
    """Events of the same fields, one after the other."""
    if not any(len(row.starts) for row in rows):
        tokens = [row.tokens for row in rows] or [np.empty(0, np.uint64)]
        return Hashed(np.concatenate(tokens), _NO_STARTS, len(rows), fields)
    counts = [np.diff(row.starts) if len(row.starts) else np.ones(fields, int) for row in rows]
    starts = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    return Hashed(np.concatenate([row.tokens for row in rows]), starts, len(rows), fields)
