"""A window that will not change any more, as it is kept: figures, without the histograms."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from monitoring.windows.drift import Drift
from monitoring.windows.figures import SliceFigures
from monitoring.windows.table import SliceTable
from monitoring.windows.window import Window

__all__ = ["COARSE", "ClosedWindow", "closed_window"]

COARSE = 256
"""Bins of the prediction's histogram that is kept, over the logit from -16 to 16."""


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
        Its sums, see :data:`monitoring.windows.kernels.SUMS`: those of several windows can be
        added and read by :func:`monitoring.windows.figures_of`.
    reliability
        Clicks, others and sum of p of :data:`COARSE` bins; only bins that hold something, by
        number.
    slices
        By field, see :class:`monitoring.windows.SliceTable`.
    drift
        By field, against the reference; ``(prediction)`` is that of the prediction.
    """

    start_ms: int
    end_ms: int
    final: bool
    overall: SliceFigures
    sums: list[float]
    reliability: dict[int, tuple[float, float, float]]
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
        slices={field: window.table(field) for field in window.values},
        drift=drift or {},
    )


def _triple(values: list[Any]) -> tuple[float, float, float]:
    return values[0], values[1], values[2]
