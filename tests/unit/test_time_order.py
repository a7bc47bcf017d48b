"""Logs whose times go back: told at replay, refused before the joiner would reject them."""

import numpy as np
import pytest

from streaming.time_order import TimeOrder

MINUTE = 60_000
HOUR = 60 * MINUTE
RISING = np.arange(1000) * MINUTE
SHARDS = np.concatenate([RISING, RISING])
FAST = RISING.copy()
FAST[7] += 10**12
JITTER = RISING - (np.arange(1000) % 7) * MINUTE

# Times of a log, and which share of its rows comes more than an hour too late.
LOGS = {
    "rising": (RISING, 0.0, 0.0),
    "newest first": (RISING[::-1], 0.9, 1.0),
    "one clock far ahead": (FAST, 0.0, 0.0),
    "servers apart by minutes": (JITTER, 0.0, 0.0),
    "two files of the same hours": (SHARDS, 0.4, 0.5),
    "no rows": (RISING[:0], 0.0, 0.0),
}


@pytest.mark.parametrize("batch", [1, 10, 5000])
@pytest.mark.parametrize(("times", "least", "most"), LOGS.values(), ids=LOGS)
def test_the_share_of_late_rows(times, least, most, batch):
    order = TimeOrder(HOUR)
    for start in range(0, len(times), batch):
        order.add(times[start : start + batch])
    assert least * len(times) <= order.late <= most * len(times)
    assert order.rows == len(times)
