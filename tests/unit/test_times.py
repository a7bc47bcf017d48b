"""Times are read in the form they are written in, and the form is told by plausible range."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clicktide import models
from features.errors import SourceError
from features.times import NO_TIME, AmbiguousTimeError, time_form, time_ms, times_ms
from monitoring.report.log_columns import TimeReader
from monitoring.report.slices import period_name
from monitoring.report.svg import time_ticks
from monitoring.watch.alarm_delivery import alarm_line
from monitoring.watch.detect import open_alarms as wording
from monitoring.watch.detect.alarm import Alarm
from monitoring.watch.formatting import day_and_time
from streaming.prepare import TimeOrder
from streaming.time_text import stamp

MARCH = 1_709_251_200_000  # 2024-03-01 00:00:00 UTC
NOON = MARCH + 43_200_000


@pytest.mark.parametrize(
    ("text", "form", "ms"),
    [
        ("2024-03-01", "iso", MARCH),
        ("2024-03-01 12:00:00", "iso", NOON),
        ("2024-03-01T13:00:00+01:00", "iso", NOON),
        ("2024-03-01 12:00:00.000 UTC", "iso", NOON),  # BigQuery
        ("20240301T120000Z", "iso", NOON),
        ("1709294400", "s", NOON),
        ("1709294400.25", "s", NOON + 250),
        ("1.7092944e9", "s", NOON),
        ("1709294400000", "ms", NOON),
        ("1709294400000000", "us", NOON),
        ("1709294400000000001", "ns", NOON),
        ("45352", "excel", MARCH),
        ("45352.5", "excel", NOON),
        ("24030112", "%y%m%d%H", NOON),  # Avazu
        ("20240301", "%Y%m%d", MARCH),
        ("2024030112", "%Y%m%d%H", NOON),
        ("202403011200", "%Y%m%d%H%M", NOON),
        ("20240301120000", "%Y%m%d%H%M%S", NOON),
        ("2024/03/01 12:00:00", "%Y/%m/%d %H:%M:%S", NOON),
        ("01.03.2024", "%d.%m.%Y", MARCH),
        ("13/03/2024", "%d/%m/%Y", MARCH + 12 * 86_400_000),
        ("3/13/2024 12:00 PM", "%m/%d/%Y %I:%M %p", NOON + 12 * 86_400_000),
        ("01/Mar/2024:13:00:00 +0100", "%d/%b/%Y:%H:%M:%S %z", NOON),
        ("Fri, 01 Mar 2024 12:00:00 +0000", "%a, %d %b %Y %H:%M:%S %z", NOON),
    ],
)
def test_the_form_of_a_time_is_told_for_specs_and_for_reports(text, form, ms):
    assert time_form([text]) == form
    assert time_ms(text, form) == ms
    times, bad = TimeReader()(pa.array([text, text]))
    assert (times.tolist(), bad.tolist()) == ([ms, ms], [False, False])


@pytest.mark.parametrize(
    "texts",
    [
        ["7", "8"],
        ["1970"],
        ["x"],
        ["2024-13-01"],
        ["24030124"],
        ["17092944000000000000"],
        ["nan"],
        ["14102100", "1413849600"],
    ],
)
def test_what_is_no_plausible_time_has_no_form(texts):
    assert time_form(texts) == ""
    with pytest.raises(SourceError, match=f"column 'hour': '{texts[0]}'.*Fix: .*--time-format"):
        TimeReader("", "hour")(pa.array([text for text in texts for _ in (1, 2)] + ["?", "!"]))


def test_dates_whose_day_may_be_a_month_are_asked_about():
    dates = ["01/03/2024", "02/03/2024"]
    with pytest.raises(AmbiguousTimeError):
        time_form(dates)
    with pytest.raises(SourceError, match=r"'01/03/2024', '02/03/2024': day and month"):
        TimeReader("", "t")(pa.array(dates))
    assert time_form([*dates, "13/03/2024"]) == "%d/%m/%Y"


NUMBER = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(str),
    st.integers(1_300_000_000, 1_800_000_000).map(str),
    st.floats(1e8, 1e18).map(repr),
    st.sampled_from(["", "nan", "-1", "1e3", "0x1F", " 5", "45352.5", "2e400", "1_0"]),
)
ISO = st.one_of(
    st.datetimes().map(str),
    st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat()),
    st.sampled_from(["2024-03-01 12:00:60", "2024-03-01 12:00:00Z", "2024-02-30 00:00:00", ""]),
)


@settings(deadline=None)
@given(
    st.sampled_from(["iso", "s", "ms", "us", "ns", "excel"]).flatmap(
        lambda form: st.tuples(
            st.just(form), st.lists(ISO if form == "iso" else NUMBER, min_size=1, max_size=3)
        )
    )
)
def test_a_column_of_times_is_read_as_each_of_its_values(drawn):
    form, texts = drawn
    times, bad = times_ms(pa.array(texts), form)
    for i, text in enumerate(texts):
        try:
            assert (times[i], bad[i]) == (time_ms(text, form), False)
        except ValueError:
            assert (times[i], bad[i]) == (NO_TIME, True)


# --- Logs whose times go back: told at replay, refused before the joiner would reject them.

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


# --- Times of the log in words: any int64 is some text, for logs hold wrong clocks and marks.

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
