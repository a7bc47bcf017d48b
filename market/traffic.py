"""When impressions happen: a daily curve, inverted so that event n's time needs no history."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["DAY_MS", "START_MS", "event_times", "hour_of_day"]

START_MS = 1_736_121_600_000
"""Time of event 0: Monday 6 January 2025, 00:00 UTC, in ms since 1970."""

DAY_MS = 86_400_000
_HOUR_MS = 3_600_000
_PEAK_HOUR = 20.0
_SWING = 0.6
_STEPS = 4096


def _daily_quantiles() -> npt.NDArray[np.float64]:
    """Time of day (fraction) by which a share i/_STEPS of the day's impressions has happened."""
    time = np.linspace(0.0, 1.0, 20 * _STEPS + 1)
    angle = 2.0 * np.pi * (time - _PEAK_HOUR / 24.0)
    share = time + _SWING / (2.0 * np.pi) * (np.sin(angle) - np.sin(angle[0]))
    return np.interp(np.linspace(0.0, 1.0, _STEPS + 1), share, time)


_QUANTILES = _daily_quantiles()
_SLOPES = np.append(np.diff(_QUANTILES), 0.0)


def event_times(
    positions: npt.NDArray[np.float64], impressions_per_s: float
) -> npt.NDArray[np.int64]:
    """Time of each event, from its place in the stream.

    The rate over a day is ``1 + 0.6 cos(2 pi (hour - 20) / 24)`` times the mean rate.

    Parameters
    ----------
    positions
        How many events (a real number) come before this one; not falling.
    impressions_per_s
        Mean rate over a day.

    Returns
    -------
    int64 array, ms since 1970, not falling.

    Examples
    --------
    >>> import numpy as np
    >>> event_times(np.array([0.0, 345_600.0]), impressions_per_s=4.0) - START_MS
    array([       0, 86400000])
    """
    days = positions / (impressions_per_s * 86_400.0)
    whole = np.floor(days)
    steps = (days - whole) * _STEPS
    step = steps.astype(np.int64)
    fraction = _QUANTILES[step] + (steps - step) * _SLOPES[step]
    since_start: npt.NDArray[np.int64] = ((whole + fraction) * DAY_MS).astype(np.int64)
    return START_MS + since_start


def hour_of_day(timestamps: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Hour 0..23 in UTC of times in ms since 1970."""
    return timestamps // _HOUR_MS % 24
