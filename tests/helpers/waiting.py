"""Waiting for a condition, however slow the machine is."""

import time

PAUSE_S = 0.02
POLLS = 30_000  # ten minutes on a quiet machine, longer on a busy one


def until(holds, why=lambda: "", progress=lambda: None, pause_s=PAUSE_S):
    """Wait until ``holds()`` is true, and give what it returned.

    It gives up after ``POLLS`` polls in a row in which ``progress()`` did not change: no clock
    decides, and a machine that has no time for the test takes none of its patience either.
    """
    last, left = progress(), POLLS
    while not (value := holds()):
        seen = progress()
        last, left = seen, POLLS if seen != last else left - 1
        assert left, f"waited in vain: {why()}"
        time.sleep(pause_s)
    return value
