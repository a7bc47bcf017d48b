"""Times of the log in words: any int64 is some text, for logs hold wrong clocks and marks."""

import pytest

from clicktide import models
from monitoring.report.slices import period_name
from monitoring.report.svg import time_ticks
from monitoring.watch.alarm_delivery import alarm_line
from monitoring.watch.detect import open_alarms as wording
from monitoring.watch.detect.alarm import Alarm
from monitoring.watch.formatting import day_and_time
from streaming.time_text import stamp

SIZES = {"size": 1.5, "size_low": 1.3, "size_high": 1.8}
WRITERS = {
    "status, evaluate, publish": stamp,
    "models": models._time,
    "report": day_and_time,
    "report's periods": lambda ms: period_name(ms, 1, "time"),
    "long periods": lambda ms: period_name(ms, 86_400_000, "time"),
    "charts": lambda ms: time_ticks(ms, ms + 60_000, "time", 5)[0][1],
    "alarm ids": wording._stamp,
    "alarms": lambda ms: alarm_line(Alarm(since_ms=ms, detected_ms=ms, **SIZES)),
}


@pytest.mark.parametrize("ms", [-(2**63), -(2**62), 253_402_300_800_000, 2**62, 2**63 - 1])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_time_that_no_calendar_has_is_told_as_its_number(writer, ms):
    assert str(ms)[:8] in WRITERS[writer](ms)


@pytest.mark.parametrize("writer", sorted(set(WRITERS) - {"models"}))  # there, 0 is none
def test_the_first_time_of_the_calendar_is_a_time(writer):
    assert " ms" not in WRITERS[writer](0)
