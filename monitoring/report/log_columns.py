"""Which column of a log is what, named or found by the log's own names."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pyarrow as pa

from features.errors import ClicktideError, SpecError
from features.labels import guess_label_values
from features.spec import SourceSpec
from features.spec_guess_column import Column
from features.spec_guess_roles import find_roles
from streaming.sources import sample_log

__all__ = ["LogColumns", "with_defaults"]


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

    @property
    def wanted(self) -> tuple[str, ...]:
        """Every column named, once."""
        names = (self.label, self.prediction, self.time, self.bid, self.version, *self.slices)
        return tuple(dict.fromkeys(name for name in names if name))


PREDICTED = "probability"
_PREDICTIONS = (
    PREDICTED, "predicted_probability", "prediction", "predicted", "pctr", "p_ctr", "predicted_ctr",
    "p_click", "click_probability", "pred", "y_pred", "y_prob", "y_score", "score", "p", "prob",
)  # fmt: skip
_LOOKED_AT = 10_000


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
    rows = sample_log(log, _LOOKED_AT).rows
    looks = [Column(name, rows.column(name).combine_chunks()) for name in rows.column_names]
    prediction = named.prediction or _prediction(log, looks)
    columns = msgspec.structs.replace(named, prediction=prediction)
    if source is not None:
        columns = _of_source(columns, source, rows.column_names)
    own = [look for look in looks if look.name not in (columns.prediction, columns.bid)]
    label = columns.label or _scored_label(prediction, looks)
    try:
        roles = find_roles(own, label)
    except SpecError as error:
        if not label:
            raise ClicktideError(f"{log}: {error.message}. Fix: --label COLUMN") from None
        return msgspec.structs.replace(columns, label=label)
    time = columns.time or (roles.timestamp.name if roles.timestamp and not named.label else "")
    return msgspec.structs.replace(columns, label=roles.label.column.name, time=time)


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
