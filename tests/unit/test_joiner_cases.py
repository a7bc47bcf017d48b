"""The joiner's decisions as a table: each case after one sentence naming its boundary."""

import json

import msgspec
import pytest
from joiner_runs import START, resumed

from features.errors import ClicktideError
from features.events import decode_event
from streaming.joiner import (
    CLICKS,
    IMPRESSIONS,
    DeadLetter,
    EmitExample,
    Idle,
    Joiner,
    JoinerSettings,
    Overfull,
    Pause,
    Record,
    Resumed,
    Stalled,
    Unpause,
)

SETTINGS = JoinerSettings(
    join_window_s=10, late_window_s=20, out_of_order_s=2, max_ahead_s=100, far_future_s=1000
)


class Driver:
    """Gives events to a joiner, checks it after each, and notes in short what comes out."""

    def __init__(self, settings=SETTINGS):
        self.joiner = Joiner(settings)
        self.offsets = {IMPRESSIONS: 0, CLICKS: 0}
        self.out = []

    def send(self, kind, id="", at=0, **more):
        topic = IMPRESSIONS if kind in ("imp", "beat-imp") else CLICKS
        body = {"v": 1, "timestamp": START + round(at * 1000), **more}
        if kind.startswith("beat"):
            body |= {"type": "heartbeat"}
        elif kind == "imp":
            body |= {"type": "impression", "impression_id": id}
        else:
            body |= {"type": "click", "impression_id": id, "kind": kind}
        self.raw(topic, json.dumps(body).encode())

    def raw(self, topic, value):
        self.out += self.joiner.step(Record(topic, 0, self.offsets[topic], value))
        self.offsets[topic] += 1
        self.joiner.validate()

    def play(self, events):
        """Events in words: kind, id and seconds; ``close 12`` takes both watermarks there."""
        for words in events.split(", "):
            kind, *id, at = words.split()
            if kind == "close":
                self.send("beat-imp", at=float(at) + 2)
                self.send("beat-clk", at=float(at) + 2)
            else:
                self.send(kind, *id, at=float(at))

    def idle(self, topic=CLICKS):
        self.out += self.joiner.step(Idle(topic, 0))
        self.joiner.validate()

    def told(self):
        return [self._short(it) for it in self.out if isinstance(it, EmitExample | DeadLetter)]

    def only(self, *kinds):
        return [it for it in self.out if isinstance(it, kinds)]

    @staticmethod
    def _short(it):
        if isinstance(it, DeadLetter):
            return f"{it.reason}:{it.topic}:{it.offset}"
        example = decode_event(it.value)
        marks = "+dismissed" * (example.dismiss_timestamp is not None)
        marks += "+correction" * example.correction
        return f"{it.impression_id}={it.label}{marks}"


BEGUN = "beat-imp 0, beat-clk 0, beat-imp 0, beat-clk 0"


def started():
    """A driver whose two topics have a time: a lone first event waits for a second."""
    driver = Driver()
    driver.play(BEGUN)
    return driver


def told(events):
    driver = started()
    driver.play(events)
    return ", ".join(driver.told())


def impressions(name, count, begin, gap):
    return ", ".join(f"imp {name}{n} {begin + gap * n}" for n in range(count))


PRESENT = impressions("b", 5, 2, 0.1)  # one less than tell that another clock is wrong
SIX = impressions("b", 6, 2, 0.1)
# What is sent, and what comes out.
CASES = [
    # An impression without click is a negative when its window has closed.
    ("imp a 1, close 11.001", "a=0"),
    # At the very end of the window it is still pending: a click of that moment counts.
    ("imp a 1, close 11", ""),
    # A click at the last millisecond of the window is on time.
    ("imp a 1, click a 11, close 11.001", "a=1"),
    # One millisecond later it is late: the example is a negative, the correction follows it.
    ("imp a 1, click a 11.001, close 11.002", "a=0, a=1+correction"),
    # A late click that is read after its example has gone makes a correction, once time is past it.
    ("imp a 1, close 12, click a 15, close 16", "a=0, a=1+correction"),
    # A click within the window that is read beyond the out-of-order bound is late too.
    ("imp a 1, beat-clk 13.001, click a 5, close 12", "a=0, a=1+correction"),
    # Just within the bound it is on time.
    ("imp a 1, beat-clk 13, click a 5, close 12", "a=1"),
    # At the last millisecond of the late window a click still corrects.
    ("imp a 1, click a 31, close 32", "a=0, a=1+correction"),
    # After it, it is an orphan, once impressions have passed it by a window.
    ("imp a 1, click a 31.001, close 41.002", "a=0, orphan_click:clicks:2"),
    # A click that is read before its impression waits for it.
    ("click a 3, imp a 1, close 12", "a=1"),
    # A click dated before its impression by no more than the bound joins it.
    ("imp a 3, click a 1, close 14", "a=1"),
    # Dated earlier still, it cannot be its click.
    ("click a 0.999, imp a 3, close 14", "orphan_click:clicks:2, a=0"),
    # A click without impression waits for a window of the impressions' time, to the end of it.
    ("click x 1, close 11", ""),
    # Then it is counted as an orphan.
    ("click x 1, close 11.001", "orphan_click:clicks:2"),
    # A copy of an impression is dropped, whatever it says.
    ("imp a 1, imp a 1, close 12", "duplicate_impression:impressions:3, a=0"),
    # A copy that comes after the window closed is dropped too, its id being forgotten or not.
    ("imp a 1, close 50, imp a 1", "a=0, too_late:impressions:4"),
    # A second click on an impression is dropped; the first one's time stays.
    ("imp a 1, click a 2, click a 3, close 12", "duplicate_click:clicks:3, a=1"),
    # A dismissal is a negative with a mark.
    ("imp a 1, dismiss a 2, close 12", "a=0+dismissed"),
    # Clicked and dismissed is clicked, in either order.
    ("imp a 1, dismiss a 2, click a 3, close 12", "a=1+dismissed"),
    # A late dismissal corrects a negative to a strong one.
    ("imp a 1, close 12, dismiss a 15, close 16", "a=0, a=0+dismissed+correction"),
    # An impression that comes out of order within its window is joined like any other.
    ("beat-imp 13, imp a 1, close 12", "a=0"),
    # Behind that, its window is over before it comes.
    ("beat-imp 13.001, imp a 1", "too_late:impressions:3"),
    # A click behind all its windows is too late whatever its impression.
    ("beat-clk 35.001, click a 1", "too_late:clicks:3"),
    # Examples come out by event time, not in the order in which they came.
    ("imp b 2, imp a 1, close 13", "a=0, b=0"),
    # One event beyond the far-future bound is rejected by the next six, and has not moved time.
    (f"imp a 1, imp z 1102, {SIX}, beat-clk 90", "far_future:impressions:3"),
    # Five do not tell: theirs may be the wrong clocks, behind a silence.
    (f"imp a 1, imp z 1102, {PRESENT}, beat-clk 90", ""),
    # A heartbeat does.
    ("imp z 1102, beat-imp 2", "far_future:impressions:2"),
    # Its copy does not bear it out.
    (f"imp z 1102, imp z 1102, {SIX}", "far_future:impressions:2, far_future:impressions:3"),
    # Two different events of one burst do not bear each other out.
    (f"imp y 5000, imp z 5001, {SIX}", "far_future:impressions:2, far_future:impressions:3"),
    # They do with their publisher's word: a quiet spell has passed, and costs nothing.
    ("imp a 1, beat-clk 99, imp y 5000, beat-imp 5001", "a=0"),
    # So do many events.
    (f"imp a 1, beat-clk 99, {impressions('y', 128, 5000, 0.1)}", "a=0"),
    # So do a few, if time goes on between them: a stream with little traffic.
    (f"imp a 1, beat-clk 99, {impressions('y', 6, 5000, 101)}", "a=0"),
]


@pytest.mark.parametrize(("events", "expected"), CASES, ids=lambda text: text[:60])
def test_case(events, expected):
    assert told(events) == expected


def test_a_broken_message_goes_to_the_dead_letters_with_its_origin_and_bytes():
    driver = started()
    driver.raw(CLICKS, b"{oops")
    letter = driver.out[-1]
    assert isinstance(letter, DeadLetter)
    assert (letter.reason, letter.topic, letter.partition, letter.offset, letter.raw) == (
        "broken_json",
        CLICKS,
        0,
        2,
        b"{oops",
    )


def test_an_event_in_the_other_topic_is_a_dead_letter():
    driver = started()
    body = {"v": 1, "type": "click", "impression_id": "a", "timestamp": START}
    driver.raw(IMPRESSIONS, json.dumps(body).encode())
    assert driver.told() == ["wrong_topic:impressions:2"]


def test_without_clicks_nothing_comes_out_until_the_caller_says_that_clicks_are_idle():
    driver = started()
    driver.play("imp a 1, imp b 30")
    assert driver.told() == []
    driver.idle()
    assert driver.told() == ["a=0"]


def test_without_impressions_clicks_keep_time_going_once_they_are_idle():
    driver = started()
    driver.play("imp a 1, click a 2, click x 30")
    assert driver.told() == []
    driver.idle(IMPRESSIONS)
    assert driver.told() == ["a=1"]


def test_a_click_that_comes_after_its_topic_was_idle_is_on_time_within_the_bound():
    driver = started()
    driver.play("imp a 1, imp b 12")
    driver.idle()
    driver.play("click a 11, imp c 60")
    driver.idle()
    assert driver.told() == ["a=1", "b=0"]


STALL = JoinerSettings(
    join_window_s=60,
    late_window_s=0,
    out_of_order_s=0,
    click_delay_s=10,
    max_ahead_s=100,
    label_after_s=0,
)


def stalled_driver():
    """Two impressions a second at 50 % for a minute with clicks, then a minute without."""
    driver = Driver(STALL)
    for half in range(240):
        driver.send("imp", f"i{half}", half / 2, probability=0.5)
        if half < 120 and half % 2:
            driver.send("click", f"i{half}", half / 2)
        driver.idle()
    return driver


def test_when_clicks_stop_labels_are_held_back_and_it_says_so_once():
    driver = stalled_driver()
    said = driver.only(Stalled)
    assert len(said) == 1
    assert said[0].since == START + 59_500
    assert 13.8 <= said[0].expected_clicks < 15
    labelled = {it.impression_id for it in driver.out if isinstance(it, EmitExample)}
    assert not labelled & {f"i{half}" for half in range(120, 240)}


def test_when_clicks_return_labels_are_complete():
    driver = stalled_driver()
    for half in range(121, 240, 2):  # the clicks that were stuck
        driver.send("click", f"i{half}", half / 2)
    driver.play("close 398, close 398")
    assert len(driver.only(Resumed)) == 1
    labels = {it.impression_id: it.label for it in driver.out if isinstance(it, EmitExample)}
    assert labels == {f"i{half}": half % 2 for half in range(240)}


EARLY = msgspec.structs.replace(SETTINGS, label_after_s=3, label_out_of_order_s=1)


@pytest.mark.parametrize(
    ("events", "early"),
    [
        ("imp a 1", ["a=0"]),
        ("imp a 1, click a 4", ["a=1"]),
        ("imp a 1, click a 4.001", ["a=0", "a=1+correction"]),
        # by its time it was there; but the clicks had gone on for more than a second
        ("imp a 1, beat-clk 5.5, click a 4", ["a=0", "a=1+correction"]),
        ("imp a 1, click a 12", ["a=0", "a=1+correction"]),
        ("imp a 1, click a 31.001", ["a=0"]),  # later than all windows
        ("imp a 1, dismiss a 2", ["a=0"]),
        # in time for the join window, if not for the label: it comes out at once
        ("beat-imp 11, imp a 1, click a 2", ["a=1"]),
    ],
)
def test_early_labels(events, early):
    driver = Driver(EARLY)
    driver.play(f"{BEGUN}, {events}, close 60")
    outs = driver.only(EmitExample)
    assert [driver._short(it) for it in outs if it.early] == early
    if float(events.split()[-1]) <= 11:  # the example of the join window is none the worse for it
        assert [it.label for it in outs if not it.early] == [int("1" in early[-1])]


def test_an_early_label_leaves_at_its_time_and_not_before():
    driver = Driver(EARLY)
    driver.play(f"{BEGUN}, imp a 1, beat-imp 5, beat-clk 5")  # 1 + 3 is not yet behind 5 - 1
    assert not driver.told()
    driver.play("beat-imp 5.001, beat-clk 5.001")
    assert driver.told() == ["a=0"]


def test_early_labels_are_held_back_when_clicks_stop():
    """From 14 expected clicks on: nothing shown after the last click is labelled."""
    settings = msgspec.structs.replace(STALL, label_after_s=30, label_out_of_order_s=0)
    driver = Driver(settings)
    for fifth in range(1_200):  # five impressions a second at 50 %, with clicks for two minutes
        driver.send("imp", f"i{fifth}", fifth / 5, probability=0.5)
        if fifth < 600 and fifth % 2:
            driver.send("click", f"i{fifth}", fifth / 5)
        driver.idle()
    labelled = {it.impression_id for it in driver.only(EmitExample) if it.early}
    assert len(driver.only(Stalled)) == 1
    assert 445 < len(labelled) <= 600
    assert labelled <= {f"i{fifth}" for fifth in range(600)}


def test_few_expected_clicks_do_not_make_a_stall():
    driver = Driver(STALL)
    for second in range(200):
        driver.send("imp", f"i{second}", second, probability=0.1)
        driver.idle()
    assert driver.only(Stalled) == []
    assert len(driver.told()) == 139


def test_at_the_bound_it_asks_to_stop_reading_and_then_to_go_on():
    settings = JoinerSettings(join_window_s=10, late_window_s=0, out_of_order_s=0, max_pending=20)
    driver = Driver(settings)
    for second in range(22):
        driver.send("imp", f"i{second}", second)
    driver.idle(IMPRESSIONS)  # so few events begin a topic's time only if no more have come
    assert driver.only(Pause, Unpause) == [Pause(IMPRESSIONS, 0)]
    assert driver.only(Overfull) == []
    for second in range(0, 22, 7):
        driver.send("click", f"i{second}", second)
    driver.idle()
    assert driver.only(Pause, Unpause, Overfull)[1:] == [Unpause(IMPRESSIONS, 0)]


def test_a_bound_below_a_window_of_traffic_is_told_rather_than_waited_for():
    settings = JoinerSettings(join_window_s=60, late_window_s=0, out_of_order_s=0, max_pending=20)
    driver = Driver(settings)
    for second in range(22):
        driver.send("imp", f"i{second}", second)
        driver.send("click", f"i{second}", second + 0.5)
    driver.idle()
    driver.idle(IMPRESSIONS)
    assert len(driver.only(Overfull)) == 1


def test_metadata_stays_below_4_kib_with_idle_spells_between_all_clicks():
    driver = started()
    longest = 0
    for second in range(3000):
        driver.send("imp", f"i{second}", second)
        driver.idle()
        driver.send("click", f"i{second - 3}", second)
        longest = max(longest, *(len(c.metadata) for c in driver.joiner.commits()))
    assert longest < 4096


def test_metadata_of_other_windows_is_refused():
    driver = started()
    committed = {(c.topic, c.partition): c.metadata for c in driver.joiner.commits()}
    with pytest.raises(ClicktideError, match="new consumer group"):
        resumed(JoinerSettings(), committed)


@pytest.mark.parametrize("text", ["", "{}", "null", '{"format": 1}'])
def test_metadata_of_another_program_is_refused(text):
    with pytest.raises(ClicktideError, match="metadata"):
        resumed(SETTINGS, {(CLICKS, 0): text})


def test_an_offset_that_does_not_rise_is_refused():
    joiner = Joiner(SETTINGS)
    joiner.step(Record(CLICKS, 0, 5, b"x"))
    with pytest.raises(ValueError, match="offset 5"):
        joiner.step(Record(CLICKS, 0, 5, b"x"))


@pytest.mark.parametrize(
    "wrong", [{"join_window_s": -1}, {"stall_false_alarm": 0}, {"max_pending": 0}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ClicktideError, match=next(iter(wrong))):
        JoinerSettings(**wrong)
