"""Event times of any log: the form is told from the first values, then read in bulk."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.errors import SourceError
from features.time_forms import AmbiguousTimeError, time_form
from features.times import times_ms
from features.values import as_text, text_column

__all__ = ["TimeReader"]

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
            self._form = self._told(text_column(column))
        return times_ms(column, self._form or "iso")

    def fix(self, value: str) -> str:
        """What to do about a value that is not a time."""
        if not value or value == "None":
            return "every row needs a time"
        return f"times are read as {self._form!r} here; {_HOW}"

    def _told(self, words: pa.Array) -> str:
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
