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
"""An event with more fields than this is learned without crosses: they would be thousands."""
_NO_STARTS = np.empty(0, np.int64)
_NO_EDGES = np.empty(0)


@lru_cache(MOST_CROSSED + 2)
def all_pairs(fields: int) -> NDArray[np.int32]:
    """Crosses of every pair of so many fields, int32 (crosses, 3); none of too many fields."""
    first, second = np.triu_indices(fields if fields <= MOST_CROSSED else 0, 1)
    return np.stack([first, second, np.full(len(first), -1)], axis=1).astype(np.int32)


class OpenFields:
    """Turns dicts and frames into token hashes, whatever their fields are.

    Fields stand in the order of their names; one that is missing has no token, so it makes no
    difference which fields other events have.

    Parameters
    ----------
    seed
        Of the hash.

    Examples
    --------
    >>> OpenFields().hash_event({"site": "news", "ad": 7, "user": None}).tokens.shape
    (2,)
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
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

    def hash_event(self, x: Mapping[Any, Any]) -> Hashed:
        """Token hashes of an event's fields that are not missing."""
        given = [
            token for name, token in self.tokens(x).items() if token != self._plans[name].missing
        ]
        return Hashed(np.array(given, np.uint64), _NO_STARTS, 1, len(given))

    def hash_frame(self, frame: pd.DataFrame) -> list[Hashed]:
        """Token hashes of the rows of a frame, in pieces of the same fields.

        Raises
        ------
        RowError
            As :meth:`tokens`, naming the row.
        """
        frame = frame.rename(columns=str)
        names = tuple(sorted(set(frame.columns)))
        if not names:
            return [Hashed(np.empty(0, np.uint64), _NO_STARTS, len(frame), 0)]
        vectoriser = self.vectoriser(names)
        hashed = vectoriser.hash_frame(frame)
        missing = np.array([field.missing for field in vectoriser.fields])
        given = hashed.tokens.reshape(len(frame), len(names)) != missing
        if given.all():
            return [hashed]
        if len(names) <= MOST_CROSSED:
            starts = np.concatenate([[0], np.cumsum(given)])
            return [Hashed(hashed.tokens[given.reshape(-1)], starts, len(frame), len(names))]
        rows = hashed.tokens.reshape(given.shape)
        pieces = (row[there] for row, there in zip(rows, given, strict=True))
        return [Hashed(tokens, _NO_STARTS, 1, len(tokens)) for tokens in pieces]
