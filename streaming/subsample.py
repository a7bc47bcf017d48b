"""Leaving out some of the events that were not clicked, corrected exactly.

Clicks are rare, so most of the time goes into learning what was not clicked. A stated share of
those is kept, chosen by the event's id (the same in every run), each with importance 1 / share:
every expectation over the choice is that of all events (He et al., ADKDD 2014; McMahan et al., KDD
2013, section 4.5), and so probabilities, statistics and figures need no correction afterwards.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.errors import ClicktideError
from features.spec import FieldSpec, SourceSpec, Spec
from features.vectoriser import Vectoriser

__all__ = ["Subsample"]


class Subsample:
    """Which events are kept, and what each then counts for.

    Parameters
    ----------
    share
        Of the events that were not clicked, above 0, up to 1.
    source
        Whose ``event_id`` chooses.

    Raises
    ------
    ClicktideError
        The share is none, or the source has no id.

    Examples
    --------
    >>> rows = pa.RecordBatch.from_pydict({"id": [str(n) for n in range(1000)]})
    >>> tenth = Subsample(0.1, SourceSpec(label="click", event_id="id"))
    >>> weight = tenth.weights(rows, np.zeros(1000))
    >>> sorted(set(weight.tolist())), bool(60 < (weight > 0).sum() < 140)
    ([0.0, 10.0], True)
    >>> float(tenth.weights(rows, np.ones(1000)).min())
    1.0
    """

    def __init__(self, share: float, source: SourceSpec) -> None:
        if not 0.0 < share <= 1.0:
            raise ClicktideError(
                f"{share} is no share of events. Fix: above 0, up to 1, such as 0.1"
            )
        if not source.event_id:
            raise ClicktideError(
                "which events are left out goes by their ids, and the spec names no column of "
                'them. Fix: set event_id = "COLUMN" in [source]'
            )
        self.share, self.column = share, source.event_id
        ids = (FieldSpec(names=(self.column,)),)
        self._hash = Vectoriser(Spec(name="", source=SourceSpec(label=""), fields=ids)).hash_batch
        self._below = int(share * 2**63)

    def weights(self, rows: pa.RecordBatch, labels: NDArray[np.float64]) -> NDArray[np.float64]:
        """What each row counts for, float64 (rows,): 1, 1 / share, or 0 where it is left out."""
        hashed, _ = self._hash(rows.select([self.column]))
        kept = (hashed.tokens >> np.uint64(1)) < np.uint64(self._below)
        return np.where(labels == 1.0, 1.0, kept / self.share)
