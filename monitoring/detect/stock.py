"""River's ADWIN and Page-Hinkley on the log loss: well-known second opinions, for information.

They take one number at a time and have no stated false-alarm rate on such data, so they raise no
alarm of their own; they see the mean log loss of blocks of rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from river import drift

__all__ = ["StockDetectors", "StockSign"]

F64 = NDArray[np.float64]
_KEPT = 4096  # blocks after which they start anew, so that their state is those blocks


class StockSign(msgspec.Struct, frozen=True):
    """A detector saw the log loss drift.

    Parameters
    ----------
    detector
        ``adwin`` or ``page_hinkley``.
    time_ms
        Event time of the last row of the block.
    log_loss
        Of that block.
    """

    detector: str
    time_ms: int
    log_loss: float


class StockDetectors:
    """ADWIN and Page-Hinkley on the mean log loss of blocks of rows.

    Parameters
    ----------
    block_rows
        Rows of a block; smaller: sooner, and slower.
    delta
        ADWIN's significance; higher: more signs.
    threshold
        Page-Hinkley's; higher: fewer signs.

    Examples
    --------
    >>> stock = StockDetectors(block_rows=100)
    >>> y = np.zeros(40_000)
    >>> p = np.where(np.arange(40_000) < 20_000, 0.1, 0.6)
    >>> signs = stock.update(np.arange(40_000), p, y)
    >>> sorted({sign.detector for sign in signs}), signs[0].time_ms > 20_000
    (['adwin', 'page_hinkley'], True)
    """

    def __init__(
        self, block_rows: int = 1_000, delta: float = 0.002, threshold: float = 0.5
    ) -> None:
        self.block_rows, self.delta, self.threshold = block_rows, delta, threshold
        self._blocks: list[float] = []
        self._sum, self._rows = 0.0, 0
        self._build()

    def _build(self) -> None:
        self._detectors = {
            "adwin": drift.ADWIN(delta=self.delta),  # type: ignore[no-untyped-call]
            "page_hinkley": drift.PageHinkley(delta=0.002, threshold=self.threshold),
        }

    def update(self, time_ms: NDArray[np.int64], p: F64, y: F64) -> list[StockSign]:
        """Signs that these rows give."""
        q = np.clip(p, 1e-12, 1.0 - 1e-12)
        loss = -np.where(y > 0.0, np.log(q), np.log1p(-q))
        signs: list[StockSign] = []
        start = 0
        while start < len(loss):
            stop = min(len(loss), start + self.block_rows - self._rows)
            # One after the other, whatever the batches: a pairwise sum would depend on them.
            self._sum = float(np.cumsum(np.append(self._sum, loss[start:stop]))[-1])
            self._rows += stop - start
            if self._rows == self.block_rows:
                signs += self._block(self._sum / self._rows, int(time_ms[stop - 1]))
                self._sum, self._rows = 0.0, 0
            start = stop
        return signs

    def _block(self, mean: float, time: int) -> list[StockSign]:
        if len(self._blocks) == _KEPT:
            self._blocks.clear()
            self._build()
        self._blocks.append(mean)
        return [StockSign(name, time, mean) for name in self._feed(mean)]

    def _feed(self, mean: float) -> list[str]:
        for detector in self._detectors.values():
            detector.update(mean)
        return [name for name, detector in self._detectors.items() if detector.drift_detected]

    def state(self) -> dict[str, Any]:
        """Everything: the blocks that the detectors have seen."""
        return {"blocks": list(self._blocks), "sum": self._sum, "rows": self._rows}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what :meth:`state` gave, by showing the detectors the same blocks."""
        self._build()
        self._blocks = [float(block) for block in state["blocks"]]
        self._sum, self._rows = float(state["sum"]), int(state["rows"])
        for block in self._blocks:
            self._feed(block)
