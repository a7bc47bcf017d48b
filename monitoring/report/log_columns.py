"""The columns of a log: which is what, their values in bulk, and how to mend a bad one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.errors import ClicktideError, SourceError, SpecError
from features.labels import guess_label_values
from features.spec import SourceSpec
from features.spec_guess_column import Column
from features.spec_guess_roles import find_roles
from features.times import AmbiguousTimeError, time_form, times_ms
from features.values import as_text, text_column, to_number
from streaming.sources import sample_log

__all__ = ["LogColumns", "TimeReader", "numbers", "prediction_fix", "predictions", "with_defaults"]

F64 = NDArray[np.float64]


def numbers(column: pa.Array, *, empty_is_bad: bool = True) -> tuple[F64, NDArray[np.bool_]]:
    """Float64 of a column, NaN where there is none; and where a value is not a number.

    Parameters
    ----------
    column
        Numbers or texts.
    empty_is_bad
        Whether a missing value is one that is not a number.

    Examples
    --------
    >>> values, bad = numbers(pa.array(["0.5", "", "x"]), empty_is_bad=False)
    >>> values.tolist(), bad.tolist()
    ([0.5, nan, nan], [False, False, True])
    """
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)):
        column = text_column(column)
        column = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    try:
        filled = pc.fill_null(column.cast(pa.float64()), float("nan"))
    except pa.ArrowInvalid:
        return _one_by_one(column, empty_is_bad)
    values = np.asarray(filled.to_numpy(zero_copy_only=False), np.float64)
    return values, np.isnan(values) if empty_is_bad else np.zeros(len(values), np.bool_)


def _one_by_one(words: pa.Array, empty_is_bad: bool) -> tuple[F64, NDArray[np.bool_]]:
    """Slower: some value is empty, has a space around it, or is no number."""
    texts = [as_text(word).strip() for word in words.to_pylist()]
    numbers = [to_number(text) if text else None for text in texts]
    values = np.array([np.nan if number is None else number for number in numbers], np.float64)
    bad = np.isnan(values)
    if not empty_is_bad:
        bad &= np.array([bool(text) for text in texts], np.bool_)
    return values, bad


_ROUNDING = 1e-6
"""How far beyond 0 or 1 a probability may be: sums and float32 round by less."""


def predictions(column: pa.Array) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Probabilities, rounding clipped; and where a value is none.

    Examples
    --------
    >>> p, bad = predictions(pa.array(["1.0000001", "-1e-9", "1.5", "", "0.5"]))
    >>> p.tolist(), bad.tolist()
    ([1.0, 0.0, 1.5, nan, 0.5], [False, False, True, True, False])
    """
    p, bad = numbers(column)
    with np.errstate(invalid="ignore"):
        near = (p >= -_ROUNDING) & (p <= 1.0 + _ROUNDING)
    return np.where(near, np.clip(p, 0.0, 1.0), p), bad | ~near


def prediction_fix(value: str, others: NDArray[np.float64]) -> str:
    """What to do about a value that is no probability.

    Parameters
    ----------
    value
        As it stands in the log.
    others
        The column's numbers thereabouts: percentages and log-odds are told by all of them.

    Examples
    --------
    >>> prediction_fix("1.5", np.array([0.2, 1.5, 2.5, 37.0]))
    'a prediction is a probability from 0 to 1; these look like percentages: divide them by 100'
    >>> prediction_fix("1.0002", np.array([0.2, 1.0002]))
    'a prediction is a probability from 0 to 1; this one is a little above 1: clip it'
    """
    due = "a prediction is a probability from 0 to 1"
    known = others[np.isfinite(others)]
    try:
        number = float(value.strip().removesuffix("%"))
    except ValueError:
        return f"{due}; name the right column with --prediction"
    if value.strip().endswith("%"):
        return f"{due}; divide percentages by 100"
    if math.isnan(number):
        return f"{due}; leave out rows that were not predicted"
    if math.isinf(number):
        return f"{due}; it overflowed"
    low, high = float(known.min(initial=0.0)), float(known.max(initial=0.0))
    if (number > 1.0 and high <= 1.1) or (number < 0.0 and low >= -0.1):
        return f"{due}; this one is a little {'above 1' if number > 1 else 'below 0'}: clip it"
    if low < -0.1 and low >= -50.0 and high <= 50.0:
        return f"{due}; these look like log-odds: turn each x into 1 / (1 + exp(-x))"
    if low >= -0.1 and high <= 100.1:
        return f"{due}; these look like percentages: divide them by 100"
    return f"{due}; name the right column with --prediction"


_LOOKED_AT = 200
_HOW = (
    "say how they are written with --time-format: iso, s, ms, us, ns, excel or a pattern "
    "such as '%y%m%d%H'"
)


class TimeReader:
    """Reads a column of times, batch by batch.

    Parameters
    ----------
    form
        As for :func:`features.times.time_ms`; empty: told from the first values.
    name
        Of the column, for messages.

    Examples
    --------
    >>> times, bad = TimeReader()(pa.array(["1413849600", "1413849601.5"]))
    >>> times.tolist(), bad.tolist()
    ([1413849600000, 1413849601500], [False, False])
    >>> TimeReader()(pa.array(["14102100"]))[0].tolist()
    [1413849600000]
    """

    def __init__(self, form: str = "", name: str = "time") -> None:
        self._form, self._name = form, name

    def __call__(self, column: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Times in ms, and where a value is none.

        Raises
        ------
        SourceError
            The form of the first values cannot be told.
        """
        if not self._form and not pa.types.is_temporal(column.type):
            self._form = self._time_format_of(text_column(column))
        return times_ms(column, self._form or "iso")

    def fix(self, value: str) -> str:
        """What to do about a value that is not a time."""
        if not value or value == "None":
            return "every row needs a time"
        return f"times are read as {self._form!r} here; {_HOW}"

    def _time_format_of(self, words: pa.Array) -> str:
        texts = [text for text in map(as_text, words.unique().to_pylist()) if text.strip()]
        texts = texts[:: len(texts) // _LOOKED_AT + 1]
        if not texts:
            return ""
        shown = ", ".join(repr(text[:40]) for text in texts[:3])
        try:
            form = time_form(texts, share=0.5)
        except AmbiguousTimeError as error:
            raise SourceError(f"column {self._name!r}: {shown}: {error}. Fix: {_HOW}") from error
        if not form:
            raise SourceError(
                f"column {self._name!r}: {shown}: no times of the years 1985 to 2100 in a form "
                f"that is known. Fix: {_HOW}"
            )
        return form


class LogColumns(msgspec.Struct, frozen=True):
    """Names of columns; an empty name: the log has none.

    Parameters
    ----------
    label, prediction
        Whether it was clicked (0/1, true/false), and its predicted probability (0 to 1).
    time
        When the ad was shown; without one, windows are of rows.
    time_format
        As in a spec; empty: told from the first values.
    slices
        Columns to slice by.
    bid
        What a click is worth.
    version
        Which model version predicted.
    label_values
        What each value of the label means, as in a spec; empty: told from the first values.
    conversions
        Whether it converted, or when (empty: it did not): predictions are of that. With a label
        too, they are of a click's conversion, and rows that were not clicked are left out.
    conversion_window_ms
        How long after its time a row's conversion counts; 0: always.

    Examples
    --------
    >>> LogColumns("click", "p", slices=("site",)).wanted
    ('click', 'p', 'site')
    """

    label: str
    prediction: str
    time: str = ""
    time_format: str = ""
    slices: tuple[str, ...] = ()
    bid: str = ""
    version: str = ""
    label_values: dict[str, int] = msgspec.field(default_factory=dict)
    conversions: str = ""
    conversion_window_ms: int = 0

    @property
    def wanted(self) -> tuple[str, ...]:
        """Every column named, once."""
        names = (
            self.label, self.conversions, self.prediction, self.time, self.bid, self.version,
            *self.slices,
        )  # fmt: skip
        return tuple(dict.fromkeys(name for name in names if name))


PREDICTED = "probability"
_PREDICTIONS = (
    PREDICTED, "predicted_probability", "prediction", "predicted", "pctr", "p_ctr", "predicted_ctr",
    "p_click", "click_probability", "pred", "y_pred", "y_prob", "y_score", "score", "p", "prob",
)  # fmt: skip
_SAMPLE = 10_000


def with_defaults(log: str, named: LogColumns, source: SourceSpec | None) -> LogColumns:
    """Fill in the columns that are not named: by the spec, else as the log's own names say.

    Parameters
    ----------
    log
        Path of a file or folder.
    named
        What the user named.
    source
        Of the spec that the log was scored by, if there is one.

    Raises
    ------
    ClicktideError
        The prediction or the label cannot be told.
    """
    rows = sample_log(log, _SAMPLE).rows
    looks = [Column(name, rows.column(name).combine_chunks()) for name in rows.column_names]
    prediction = named.prediction or _prediction(log, looks)
    columns = msgspec.structs.replace(named, prediction=prediction)
    if source is not None:
        columns = _of_source(columns, source, rows.column_names)
    apart = columns.prediction, columns.bid, columns.conversions
    own = [look for look in looks if look.name not in apart]
    label = (
        named.label if columns.conversions else columns.label or _scored_label(prediction, looks)
    )
    try:
        roles = find_roles(own, label)
    except SpecError as error:
        if not label and not columns.conversions:
            raise ClicktideError(f"{log}: {error.message}. Fix: --label COLUMN") from None
        return msgspec.structs.replace(columns, label=label)
    time = columns.time
    if roles.timestamp and (columns.conversions or not named.label):
        time = time or roles.timestamp.name
    if not columns.conversions:
        label = roles.label.column.name
    return msgspec.structs.replace(columns, label=label, time=time)


def _prediction(log: str, looks: Sequence[Column]) -> str:
    by_name = {look.plain_name: look.name for look in reversed(looks)}
    name = next((by_name[name] for name in _PREDICTIONS if name in by_name), "")
    if not name:
        shown = ", ".join(repr(look.name) for look in looks[:20])
        raise ClicktideError(
            f"{log}: no column is called as predictions are; it has {shown}. "
            "Fix: --prediction COLUMN"
        )
    return name


def _of_source(columns: LogColumns, source: SourceSpec, there: Sequence[str]) -> LogColumns:
    time = columns.time or (source.timestamp if source.timestamp in there else "")
    return msgspec.structs.replace(
        columns,
        label=columns.label or source.label,
        time=time,
        time_format=columns.time_format or (source.timestamp_format if time else ""),
        label_values=columns.label_values or source.label_values,
    )


def _scored_label(prediction: str, looks: Sequence[Column]) -> str:
    """The label of a file that ``clicktide predict`` wrote: it stands behind the probability."""
    names = [look.name for look in looks]
    at = names.index(prediction) + 1 if prediction in names else len(names)
    if prediction != PREDICTED or at >= len(names):
        return ""
    values = guess_label_values(pa.array(looks[at].texts).to_pylist())
    return names[at] if values == {} else ""
