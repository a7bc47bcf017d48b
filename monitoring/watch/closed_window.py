"""A window that will not change any more, as it is kept: its figures, and its drift."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitoring.watch.drift import Drift
from monitoring.watch.figures import SliceFigures, SliceTable
from monitoring.watch.window import Window

__all__ = ["COARSE", "ClosedWindow", "Delays", "closed_window", "delays_of"]  # fmt: skip


_PER_OCTAVE = 4
COARSE = 256
"""Bins of the prediction's histogram that is kept, over the logit from -16 to 16."""


class Delays(msgspec.Struct, frozen=True):
    """Quantiles in seconds, each within 9 % (bins of a quarter octave); ``None`` without a click.

    Parameters
    ----------
    count
        Clicks whose delay is known.
    """

    count: int = 0
    p50: float | None = None
    p90: float | None = None
    p99: float | None = None


class ClosedWindow(msgspec.Struct, frozen=True):
    """All that is kept of a window.

    Parameters
    ----------
    start_ms, end_ms
        Its stretch of event time.
    final
        False for a window that is still open: late clicks may change it.
    overall
        Its figures.
    sums
        Its sums, see :data:`monitoring.watch.figures.SUMS`: those of several windows can be
        added and read by :func:`monitoring.watch.figures.figures_of`.
    reliability
        Clicks, others and sum of p of :data:`COARSE` bins; only bins that hold something, by
        number.
    click_delay_s
        Quantiles of the time from impression to click.
    slices
        By field, see :class:`monitoring.watch.figures.SliceTable`.
    drift
        By field, against the reference; ``(prediction)`` is that of the prediction.
    """

    start_ms: int
    end_ms: int
    final: bool
    overall: SliceFigures
    sums: list[float]
    reliability: dict[int, tuple[float, float, float]]
    click_delay_s: Delays
    slices: dict[str, SliceTable]
    drift: dict[str, Drift] = {}


def closed_window(
    window: Window, drift: dict[str, Drift] | None = None, *, final: bool = True
) -> ClosedWindow:
    """Read all that is kept of a window."""
    coarse = window.histogram.reshape(COARSE, -1, 3).sum(axis=1)
    used = np.flatnonzero(coarse[:, :2].sum(axis=1)).tolist()
    return ClosedWindow(
        start_ms=window.start_ms,
        end_ms=window.end_ms,
        final=final,
        overall=window.figures(),
        sums=window.sums.tolist(),
        reliability={bin: _triple(coarse[bin].tolist()) for bin in used},
        click_delay_s=delays_of(window.delays),
        slices={field: window.table(field) for field in window.values},
        drift=drift or {},
    )


def delays_of(histogram: NDArray[np.int64]) -> Delays:
    """Read the quantiles of delays; bin b holds those of 2**(b/4) ms and above."""
    count = int(histogram.sum())
    if not count:
        return Delays()
    upto = np.cumsum(histogram)
    bins = (int(np.searchsorted(upto, count * share)) for share in (0.5, 0.9, 0.99))
    return Delays(count, *(float(2.0 ** ((at + 0.5) / _PER_OCTAVE) / 1000) for at in bins))


def _triple(values: list[Any]) -> tuple[float, float, float]:
    return values[0], values[1], values[2]
