"""The slices of one field in one window, as columns."""

from __future__ import annotations

import msgspec
import numpy as np

from monitoring.windows.figures import Ranking, SliceFigures, figures_of

__all__ = ["SliceTable"]


class SliceTable(msgspec.Struct, frozen=True):
    """What a window knows of the values of one field, the most frequent first.

    Parameters
    ----------
    values
        The values; all without a place of their own are ``(other)``.
    sums
        Of each the eight sums of :data:`monitoring.windows.kernels.SUMS`; those of several
        windows can be added.
    rankings
        Of each AUC, its bound, ECE, its bound.
    """

    values: list[str]
    sums: list[list[float]]
    rankings: list[Ranking]

    def figures(self, value: str) -> SliceFigures:
        """Figures of one value; all zero if it was not seen."""
        if value not in self.values:
            return SliceFigures(0, 0)
        at = self.values.index(value)
        return figures_of(np.array(self.sums[at]), self.rankings[at])

    def all_figures(self) -> dict[str, SliceFigures]:
        """Figures of every value."""
        rows = zip(self.values, self.sums, self.rankings, strict=True)
        return {value: figures_of(np.array(sums), ranking) for value, sums, ranking in rows}
