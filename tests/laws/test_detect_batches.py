"""Laws of the detectors: the cuts between batches, and restarts, change nothing."""

from itertools import pairwise

import numpy as np
from detected import scored_of
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.watch.detect.detector import SequentialDetector
from monitoring.watch.settings import DetectSettings

ROWS = 70_000  # one clearing of rare values lies within
SETTINGS = DetectSettings(warmup_clicks=300, history_rows=30_000, max_values=300)


def stream():
    rng = np.random.default_rng(1)
    codes = {"ad": np.minimum(rng.zipf(1.3, ROWS), 5_000), "site": rng.integers(20, size=ROWS)}
    p = np.full(ROWS, 0.05)
    odds = np.where((np.arange(ROWS) > 30_000) & (codes["site"] == 3), 6.0, 1.0)
    y = (rng.random(ROWS) < np.minimum(p * odds, 1.0)).astype(float)
    delay = np.where(y > 0, rng.lognormal(9.0, 1.0, ROWS), np.nan)
    more = {"click_delay_ms": delay, "correction": rng.random(ROWS) < 0.001}
    return scored_of(y, p, codes, time_ms=np.arange(ROWS) * 1000, **more)


STREAM = stream()


def run(cuts, restart=False):
    detector, alarms = SequentialDetector(SETTINGS), []
    places = [0, *sorted(set(cuts)), ROWS]
    for start, stop in pairwise(places):
        alarms += detector.update(STREAM.take(np.arange(start, stop)))
        if restart:
            state, detector = detector.state(), SequentialDetector(SETTINGS)
            detector.restore(state)
    return alarms, detector.state()


WHOLE = run([])


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, np.ndarray):
        return bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))
    return bool(a == b)


def rows_of(tests, used):
    """Room for slots that were never given is not state."""
    kept = ("slices", "sums", "open_of", "apart", "book")
    return {k: v[:used] if k in kept else v for k, v in tests.items()}


def in_use(state, used):
    return state | {part: rows_of(state[part], used) for part in ("tests", "rates")}


@settings(max_examples=8)
@given(st.lists(st.integers(1, ROWS - 1), max_size=12), st.booleans())
def test_cuts_and_restarts_change_no_alarm_and_no_bit_of_the_state(cuts, restart):
    alarms, state = run(cuts, restart)
    assert alarms == WHOLE[0]
    used = 2 * max(len(words) for words in state["values"]["words"])
    assert same(in_use(state, used), in_use(WHOLE[1], used))


def test_the_stream_of_this_law_raises_an_alarm():
    assert [alarm.where for alarm in WHOLE[0] if alarm.status == "open"][:1] == ["site-3"]
