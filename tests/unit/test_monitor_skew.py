"""Skew: counters as served against the same ones recomputed."""

import numpy as np
import pytest
from example_log import example_line
from small_spec import spec_of

from features.spec import CounterSpec
from monitoring.watch.examples import ExampleFeed
from monitoring.watch.settings import MonitorSettings
from streaming.log import Record

START = 1_736_121_600_000
ALL = MonitorSettings(skew_one_in=1)
SPEC = spec_of(
    "ad", time="t", counters=(CounterSpec(keys=("ad",), half_lives_h=(1.0,), prior_rate=0.1),)
)


def records(count, served):
    """Examples a minute apart, of one ad; ``served(i)`` says its counters."""
    for i in range(count):
        shown = {"probability": 0.1}
        if (counters := served(i)) is not None:
            shown["counters"] = counters
        line = example_line(f"i{i}", START + 60_000 * i, {"ad": "a"}, shown=shown)
        yield Record("examples", 0, i, 0, None, line)


def views(i):
    """Views of the hour before, each half as much after an hour."""
    return float(sum(0.5 ** (n / 60) for n in range(1, i + 1)))


def skew(served, count=60, tmp_path=None):
    feed = ExampleFeed(SPEC, ALL, tmp_path)
    for record in records(count, served):
        feed.read([record])
    return feed.skew.figures()


def test_counters_served_right_are_no_skew(tmp_path):
    found = skew(lambda i: {"ad_views_1h": views(i), "ad_clicks_1h": 0.0}, tmp_path=tmp_path)
    assert (found.compared, found.skew_rate, found.by_counter) == (60, 0.0, {})


def test_counters_that_stand_still_show_by_name(tmp_path):
    found = skew(lambda i: {"ad_views_1h": min(views(i), 5.0), "ad_clicks_1h": 0.0})
    assert found.compared == 60
    assert found.skew_rate == pytest.approx(53 / 60, abs=0.03)
    assert list(found.by_counter) == ["ad_views_1h"]


def test_in_mid_stream_nothing_is_compared_before_five_half_lives():
    found = skew(lambda i: None if i < 10 else {"ad_views_1h": 1e6}, count=400)
    assert (found.compared, found.skew_rate) == (400 - 10 - 300, 1.0)


def test_without_counters_nothing_is_compared_and_a_state_goes_on(tmp_path):
    assert skew(lambda i: None).compared == 0
    whole, cut = (ExampleFeed(SPEC, ALL, tmp_path) for _ in range(2))
    right = list(records(40, lambda i: {"ad_views_1h": views(i)}))
    for record in right:
        whole.read([record])
    for record in right[:20]:
        cut.read([record])
    again = ExampleFeed(SPEC, ALL, tmp_path)
    again.restore(cut.state())
    for record in right[20:]:
        again.read([record])
    assert again.skew.figures() == whole.skew.figures()
    assert np.array_equal(again.skew.state()["off"], whole.skew.state()["off"])


def test_a_sample_says_what_all_say_whatever_the_batches(tmp_path):
    stands_still = list(records(1000, lambda i: {"ad_views_1h": 9.0, "ad_clicks_1h": 0.0}))
    found = []
    for one_in, size in ((1, 1000), (4, 1000), (4, 7)):
        feed = ExampleFeed(SPEC, MonitorSettings(skew_one_in=one_in), tmp_path)
        for at in range(0, 1000, size):
            feed.read(stands_still[at : at + size])
        found.append(feed.skew.figures())
    whole, sample, cut = found
    assert sample == cut and 200 < sample.compared < 300 and whole.compared == 1000
    assert sample.skew_rate == pytest.approx(whole.skew_rate, abs=0.03)
