"""Which column of a log is what."""

from __future__ import annotations

import msgspec

__all__ = ["LogColumns"]


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
