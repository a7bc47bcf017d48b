"""The one vectoriser: events in any form to token hashes, the same bits for the same event."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.columns import ColumnHasher
from features.counters.counting import Counters
from features.counters.names import COLUMN_PREFIX
from features.errors import RowError
from features.field_plan import FieldPlan, plan_fields
from features.hashed import Hashed, Part, assemble
from features.quantiles import QuantileLearner
from features.spec import Spec
from features.times import NO_TIME, time_ms
from features.token_kernels import SEPARATOR, hash_event_texts
from features.transforms import TIME
from features.values import ARRAY_TYPES, as_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Vectoriser"]

_JOIN = chr(SEPARATOR)
_SCALARS = frozenset({str, int, float, bool, type(None)})


@dataclass(frozen=True, slots=True)
class Faults:
    """Rows of a batch that the spec does not allow.

    Parameters
    ----------
    field
        int32 per row: 0 where good, else 1 + the number of the first field at fault.
    """

    field: NDArray[np.int32]

    def __bool__(self) -> bool:
        return bool(self.field.any())


class Vectoriser:
    """Turns events into token hashes by a spec.

    A dict, a pandas frame and an Arrow batch of the same events give the same bits. The only
    state is the edges of quantile fields that learn them (:attr:`quantiles`) and the table of
    counters; everything else is fixed by the spec. Counters come after the fields: their
    values stand in the event, named ``counter:ad_views_24h`` and so on, or are given by who
    reads the table; else they are missing.

    Parameters
    ----------
    spec
        The feature spec.

    Attributes
    ----------
    fields
        The plan of each field, by field number.
    columns
        Source columns that the fields read, each once.
    crosses
        int32 of shape (crosses, 3): field numbers, -1 where a cross has but two.
    counters
        Those that the spec declares, and what is known of them; ``None`` if there are none.
    width
        Fields of an event, counters included.

    Examples
    --------
    >>> from features.spec import FieldSpec, SourceSpec, Spec
    >>> from features.vectoriser import Vectoriser
    >>> spec = Spec(name="x", source=SourceSpec(label="click"),
    ...             fields=(FieldSpec(names=("site", "ad")),))
    >>> hashed = Vectoriser(spec).hash_event({"site": "a", "ad": 7})
    >>> hashed.tokens.shape
    (2,)
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.fields = plan_fields(spec)
        self.columns = tuple(dict.fromkeys(f.column for f in self.fields))
        crosses = [[*cross, -1][:3] for cross in spec.crossed_fields()]
        self.crosses = np.array(crosses, np.int32).reshape(-1, 3)
        self.quantiles = QuantileLearner(self.fields)
        self.counters = Counters(spec) if spec.counters else None
        self.width = len(self.fields) + (len(self.counters.names) if self.counters else 0)
        self._lists = [f for f in self.fields if f.transform == "categories"]
        self._times = [f for f in self.fields if f.is_time]
        texts = [f for f in self.fields if not f.is_time and f not in self._lists]
        # an itemgetter of one name gives no tuple
        self._simple = len(texts) > 1
        self._text_columns = [f.column for f in texts]
        self._values: Callable[[Mapping[Any, Any]], tuple[Any, ...]] = itemgetter(
            *(self._text_columns or ("",))
        )
        # lists are put in afterwards, as times are
        kinds = [TIME if f in self._lists else f.kind for f in self.fields]
        self._kinds = np.array(kinds, np.int64)
        self._on_text = np.array([f.on_text for f in self.fields], np.int64)
        self._seeds = np.array([f.seed for f in self.fields], np.uint64)
        self._no_starts = np.empty(0, np.int64)
        self._last: tuple[str | None, NDArray[np.uint64]] = (None, np.empty(0, np.uint64))

    def follow(self, other: Vectoriser) -> None:
        """Take up all that another vectoriser of this spec has learned and counted."""
        self.quantiles.restore(other.quantiles.state())
        if self.counters is not None and other.counters is not None:
            self.counters.restore(other.counters.state())

    # --- one event -----------------------------------------------------------------------

    def hash_event(self, event: Mapping[Any, Any], *, learn: bool = False) -> Hashed:
        """Token hashes of one event.

        Parameters
        ----------
        event
            Column name to value; extra columns are ignored, absent ones are missing.
        learn
            Whether fields that are learning their quantiles note this event, after it is
            hashed.

        Raises
        ------
        RowError
            If a value is not what its field declares.
        """
        hashed = self._hash_simple(event) if self._simple else None
        if hashed is None:
            hashed = self._hash_careful(event)
        if learn and self.quantiles.learning:
            self.quantiles.note_event(event)
        return hashed if self.counters is None else _append(hashed, self._counted(event))

    def _counted(self, event: Mapping[Any, Any]) -> NDArray[np.uint64]:
        """Tokens of an event's counters."""
        assert self.counters is not None
        values = self.counters.served_in_event(event)
        if values is None:
            return self.counters.missing
        return self.counters.tokens(values).reshape(-1)

    def _one(self, tokens: NDArray[np.uint64]) -> Hashed:
        return Hashed(tokens, self._no_starts, 1, len(self.fields))

    def _hash_simple(self, event: Mapping[Any, Any]) -> Hashed | None:
        """All fields but times and lists in one call of the kernel, if each is a scalar."""
        try:
            text = _JOIN.join(self._values(event))
        except (KeyError, TypeError):
            values = [event.get(column) for column in self._text_columns]
            if not _SCALARS.issuperset(map(type, values)):
                return None
            text = _JOIN.join(map(as_text, values))
        tokens = self._text_tokens(text)
        if tokens is None:
            return None
        if self._times:
            tokens = tokens.copy()
            for field in self._times:
                tokens[field.number] = self._time_token(field, event.get(field.column))
        return self._with_lists(tokens, event) if self._lists else self._one(tokens)

    def _with_lists(self, tokens: NDArray[np.uint64], event: Mapping[Any, Any]) -> Hashed:
        """Put the members of lists in their places among the tokens of the other fields."""
        parts, last, starts = [], 0, np.arange(len(tokens) + 1)
        for field in self._lists:
            members = field.list_tokens(event.get(field.column))
            parts += [tokens[last : field.number], np.array(members, np.uint64)]
            starts[field.number + 1 :] += len(members) - 1
            last = field.number + 1
        return Hashed(np.concatenate([*parts, tokens[last:]]), starts, 1, len(self.fields))

    def _text_tokens(self, text: str) -> NDArray[np.uint64] | None:
        if text == self._last[0]:  # an event is predicted, then learned
            return self._last[1]
        tokens = np.empty(len(self.fields), np.uint64)
        odd = hash_event_texts(
            np.frombuffer(text.encode("utf-8", "replace"), np.uint8), self._kinds,
            self._on_text, self._seeds, self.quantiles.edges, self.quantiles.spans, tokens,
        )  # fmt: skip
        if odd:
            return None
        if not self.quantiles.learning:
            self._last = (text, tokens)
        return tokens

    def _hash_careful(self, event: Mapping[Any, Any]) -> Hashed:
        """Field by field, in Python: lists, times, floats, and whatever is odd."""
        parts = [self._field_tokens(field, event.get(field.column)) for field in self.fields]
        if not self._lists:
            return self._one(np.array([part[0] for part in parts], np.uint64))
        starts = np.zeros(len(parts) + 1, np.int64)
        np.cumsum([len(part) for part in parts], out=starts[1:])
        tokens = np.array([token for part in parts for token in part], np.uint64)
        return Hashed(tokens, starts, 1, len(self.fields))

    def _field_tokens(self, field: FieldPlan, value: Any) -> list[np.uint64]:
        if field.transform == "categories":
            return field.list_tokens(value)
        if field.is_time:
            return [self._time_token(field, value)]
        edges, spans = self.quantiles.edges, self.quantiles.spans
        token = field.scalar_token(value, edges, spans[field.number], spans[field.number + 1])
        return [token]

    def _time_token(self, field: FieldPlan, value: Any) -> np.uint64:
        try:
            ms = time_ms(value, field.time_format)
        except (ValueError, OverflowError) as error:
            raise RowError(f"field {field.name!r}: {error}") from None
        return field.missing if ms == NO_TIME else field.time_tokens[field.time_code(ms)]

    # --- many events ---------------------------------------------------------------------

    def hash_batch(
        self,
        batch: pa.RecordBatch,
        *,
        learn: bool = False,
        count: Callable[[NDArray[np.bool_]], NDArray[np.float64]] | None = None,
    ) -> tuple[Hashed, Faults]:
        """Token hashes of a batch of events; rows at fault are left out of them.

        Parameters
        ----------
        batch
            Columns by name; an absent one is missing in every row.
        learn
            As for :meth:`hash_event`: each row is hashed by what the rows before it taught.
        count
            Given which rows are good, gives the values of all rows' counters; asked only if
            the batch does not carry them.

        Returns
        -------
        hashed
            Of the good rows, in order.
        faults
            Which rows are at fault and in which field.
        """
        hasher = ColumnHasher(batch, self.quantiles)
        parts = [hasher.hash(field) for field in self.fields]
        faults = Faults(hasher.fault)
        good = hasher.fault == 0
        if learn and self.quantiles.learning:
            hasher.learn_quantiles(self.fields, parts, good)
        if self.counters is not None:
            values = self.counters.served_in_batch(batch)
            if values is None and count is not None:
                values = count(good)
            parts += _counter_parts(self.counters, values, batch.num_rows)
        return assemble(parts, good if faults else None, batch.num_rows), faults

    def hash_frame(self, frame: pd.DataFrame, *, learn: bool = False) -> Hashed:
        """Token hashes of a pandas frame.

        Raises
        ------
        RowError
            If a value is not what its field declares, naming the row and the field.
        """
        served = self.counters.value_names if self.counters is not None else ()
        wanted = (*self.columns, *(COLUMN_PREFIX + name for name in served))
        from features.frames import frame_columns  # with pandas, which serving does without

        columns = frame_columns(frame, wanted, {field.column: field for field in self._lists})
        hashed, faults = self.hash_batch(columns)
        if faults:
            row = int(np.flatnonzero(faults.field)[0])
            raise RowError(f"row {row}: {self.describe_fault(columns, row, faults)}")
        if learn and self.quantiles.learning:  # only now: a frame that is refused teaches nothing
            hashed, _ = self.hash_batch(columns, learn=True)
        return hashed

    def describe_fault(self, batch: pa.RecordBatch, row: int, faults: Faults) -> str:
        """Say for people what is wrong with a row at fault."""
        field = self.fields[faults.field[row] - 1]
        value = batch.column(field.column)[row].as_py()
        if isinstance(value, (*ARRAY_TYPES, dict)):
            kind = "an object" if isinstance(value, dict) else "a list"
            return f"field {field.name!r}: {str(value)[:60]} is {kind}, not a single value"
        value = as_text(value)
        due = f"a time ({field.time_format})" if field.is_time else "a number"
        return f"field {field.name!r}: {value[:60]!r} is not {due}, as {field.transform} wants"


def _append(hashed: Hashed, tokens: NDArray[np.uint64]) -> Hashed:
    """Put tokens, one a field, behind those of an event."""
    starts = hashed.starts
    if len(starts):
        starts = np.append(starts, starts[-1] + 1 + np.arange(len(tokens)))
    both = np.concatenate([hashed.tokens, tokens])
    return Hashed(both, starts, 1, hashed.fields + len(tokens))


def _counter_parts(counters: Counters, values: NDArray[np.float64] | None, rows: int) -> list[Part]:
    if values is None:
        return [Part(np.full(rows, token)) for token in counters.missing]
    return [Part(column) for column in counters.tokens(values).T]
