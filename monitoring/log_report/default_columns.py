"""Which columns of a log the report is of, where nobody names them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pyarrow as pa

from features.errors import ClicktideError, SpecError
from features.labels import guess_label_values
from features.spec import SourceSpec
from features.spec_guess_column import Column
from features.spec_guess_roles import find_roles
from monitoring.log_report.columns import LogColumns
from streaming.sources import sample_log

__all__ = ["with_defaults"]

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
