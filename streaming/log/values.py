"""Many values of one partition as columns: what a learner reads, without an object a record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["ValueRun", "Values"]

I64 = NDArray[np.int64]


class ValueRun(NamedTuple):
    """Values of records of one partition that follow each other, each as it stands.

    Parameters
    ----------
    topic, partition
        Of all of them.
    offsets
        Rising.
    values
        As many.
    """

    topic: str
    partition: int
    offsets: Sequence[int]
    values: Sequence[bytes]


class Values(NamedTuple):
    r"""Values of n records of one partition, in order.

    Parameters
    ----------
    topic, partition
        Of all of them.
    offsets
        int64 (n,), rising.
    data
        The values, a newline between each and the next.
    ends
        int64 (n,): where in the data each ends.

    Examples
    --------
    >>> values = Values.of("clicks", 0, [7, 9], [b"a", b"bc"])
    >>> values.data, values.ends.tolist(), values.last
    (b'a\nbc', [1, 4], b'bc')
    """

    topic: str
    partition: int
    offsets: I64
    data: bytes
    ends: I64

    @classmethod
    def of(
        cls, topic: str, partition: int, offsets: Sequence[int], values: Sequence[bytes]
    ) -> Values:
        """Join the values of some records."""
        count = len(offsets)
        sizes = np.fromiter(map(len, values), np.int64, count)
        ends = np.cumsum(sizes) + np.arange(count)
        return cls(topic, partition, np.array(offsets, np.int64), b"\n".join(values), ends)

    @property
    def last(self) -> bytes:
        """The last value; there must be one."""
        start = int(self.ends[-2]) + 1 if len(self.ends) > 1 else 0
        return self.data[start:]

    @property
    def next_offset(self) -> int:
        """Where to read on; there must be a record."""
        return int(self.offsets[-1]) + 1
