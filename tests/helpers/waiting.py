"""Waiting for a condition, however slow the machine is; calls side by side, and such as fail."""

import threading
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


def in_threads(*calls):
    """Run them side by side, each in a thread, to their ends."""
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def failing(call, *errors):
    """The call, which raises these errors first."""
    left = list(errors)

    def called(*given):
        if left:
            raise left.pop(0)
        return call(*given)

    return called
