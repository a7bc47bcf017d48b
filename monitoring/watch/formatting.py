"""Numbers, times and alarms in words that people read."""

from __future__ import annotations

from typing import Literal, NamedTuple

from monitoring.watch.detect.alarm import Alarm
from monitoring.watch.detect.alarm import slice_name as place
from streaming.time_text import span, stamp, time_text

__all__ = [
    "WORDS", "Words", "by", "capital", "clicks", "cost_of", "cost_text", "count", "day_and_time",
    "decimals", "headline_of", "interval", "money", "percent", "place", "ratio", "side_of",
    "sign_of", "size_text", "span", "stamp", "when",
]  # fmt: skip


class Words(NamedTuple):
    """What is predicted, and of what, in words; the verb last."""

    click: str
    clicked: str
    impression: str
    to_click: str

    @property
    def clicks(self) -> str:
        """Several of them."""
        return f"{self.click}s"

    @property
    def impressions(self) -> str:
        """Several of them."""
        return f"{self.impression}s"


WORDS = {
    "click": Words("click", "clicked", "impression", "click"),
    "conversion": Words("conversion", "converted", "row", "convert"),
}
"""By outcome; the figures of a report keep their names."""
_CLICKS = WORDS["click"]


def count(value: float | None) -> str:
    """A count.

    Examples
    --------
    >>> count(1234567), count(None)
    ('1,234,567', '–')
    """
    return "–" if value is None else f"{value:,.0f}"


def capital(text: str) -> str:
    """A sentence's first letter; not of a name, which stays as it is written.

    Examples
    --------
    >>> capital("about 6 Oct")
    'About 6 Oct'
    """
    return f"{text[0].upper()}{text[1:]}"


def ratio(value: float | None) -> str:
    """A calibration ratio, or another figure near 1.

    Examples
    --------
    >>> ratio(1.2345), ratio(12.3), ratio(None)
    ('1.23', '12.3', '–')
    """
    if value is None:
        return "–"
    return f"{value:.2f}" if value < 10 else f"{value:.3g}"


def decimals(value: float | None, digits: int = 5) -> str:
    """A figure with so many digits after the point.

    Examples
    --------
    >>> decimals(0.123456), decimals(0.123456, 4), decimals(None)
    ('0.12346', '0.1235', '–')
    """
    return "–" if value is None else f"{value:.{digits}f}"


def interval(low: float | None, high: float | None) -> str:
    """Bounds of an interval; an open one shows the sign of infinity.

    Examples
    --------
    >>> interval(0.9, None)
    '0.90 to ∞'
    """
    if low is None and high is None:
        return "–"
    return f"{ratio(low or 0.0)} to {'∞' if high is None else ratio(high)}"


def percent(value: float | None) -> str:
    """A share.

    Examples
    --------
    >>> percent(0.0213), percent(0.5), percent(0.00012)
    ('2.1 %', '50 %', '0.012 %')
    """
    if value is None:
        return "–"
    of_100 = 100 * value
    if abs(of_100) >= 10 or of_100 == 0:
        return f"{of_100:.0f} %"
    return f"{of_100:.2g} %" if abs(of_100) < 1 else f"{of_100:.1f} %"


def clicks(value: float) -> str:
    """A number of clicks, whole from 10 on.

    Examples
    --------
    >>> clicks(1234.4), clicks(3.21)
    ('1,234', '3.2')
    """
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.1f}"


def money(value: float) -> str:
    """An amount in the currency of the bids."""
    return f"{value:,.2f}" if abs(value) < 1000 else f"{value:,.0f}"


def day_and_time(ms: int) -> str:
    """A time for people: no seconds.

    Examples
    --------
    >>> day_and_time(1_413_849_600_000)
    '21 Oct 2014, 00:00'
    """
    return time_text(ms, "{0.day} {0:%b %Y, %H:%M}")


def when(at: int, axis: str) -> str:
    """Where on the axis of a report."""
    return f"row {at:,}" if axis == "row" else f"{day_and_time(at)} UTC"


Side = Literal["over", "under", "mixed"]


def side_of(alarm: Alarm) -> Side:
    """Whether more clicks are promised than come, fewer, or it is about neither."""
    size = alarm.size_low if alarm.size is None else alarm.size
    if size is None or alarm.what not in ("calibration", "click_rate"):
        return "mixed"
    more = size > 1 if alarm.what == "calibration" else size < 1
    return "over" if more else "under"


def sign_of(alarm: Alarm) -> str:
    """The sign that goes with the colour."""
    return {"over": "▲", "under": "▼", "mixed": "◆"}[side_of(alarm)]


def size_text(alarm: Alarm, words: Words = _CLICKS) -> str:
    """How large it is.

    Examples
    --------
    >>> size_text(Alarm(what="missing", since_ms=0, detected_ms=0, size=0.31, size_low=0.3,
    ...                 size_high=0.33))
    'missing in 31 % of impressions (30 % to 33 %)'
    """
    if alarm.size is None and alarm.size_low is None:
        return "size not known"
    if alarm.what in ("missing", "new_value"):
        bounds = f"{percent(alarm.size_low)} to {percent(alarm.size_high)}"
        missing = "missing in " if alarm.what == "missing" else ""
        return f"{missing}{percent(alarm.size)} of {words.impressions} ({bounds})"
    text = {
        "click_rate": f"{words.clicks} over those predicted at first",
        "click_delay": f"median {words.click} delay over what it was",
    }.get(alarm.what, "calibration ratio")
    return f"{text} {ratio(alarm.size)} ({interval(alarm.size_low, alarm.size_high)})"


def cost_text(over: float | None, money_over: float | None, words: Words, of: str = "") -> str:
    """What was promised too much, or too little, in sentences of a report; ``of`` which slice.

    Examples
    --------
    >>> cost_text(-12.0, 3.5, WORDS["click"])
    '12 clicks came unpromised: 3.50 was over-bid, if a click is worth its bid.'
    """
    if over is None:
        return "Not known."
    kind = "were promised that did not come" if over >= 0 else "came unpromised"
    text = f"{clicks(abs(over))} {words.clicks} {kind}{f' ({of})' if of else ''}"
    if money_over is None:
        return f"{text}. In money: no bids are logged."
    worth = "was over-bid" if money_over >= 0 else "was under-bid"
    return f"{text}: {money(abs(money_over))} {worth}, if a {words.click} is worth its bid."


def cost_of(alarm: Alarm, words: Words = _CLICKS) -> str:
    """What an alarm has cost; empty: nothing that can be told.

    Examples
    --------
    >>> cost_of(Alarm(since_ms=0, detected_ms=0, clicks_over_promised=1240.2, share=0.12))
    '1,240 clicks promised that did not come (12 % of the stream when it was raised)'
    """
    clicks_off, money_off = alarm.clicks_over_promised, alarm.money_over_promised
    if clicks_off is None or alarm.what in ("missing", "click_delay", "new_value"):
        return ""
    kind = "promised that did not come" if clicks_off >= 0 else "came unpromised"
    text = f"{clicks(abs(clicks_off))} {words.clicks} {kind}"
    if money_off is not None:
        side = "over" if money_off >= 0 else "under"
        text += f", {money(abs(money_off))} {side}-bid if a {words.click} is worth its bid"
    if alarm.share is None:
        return text
    return f"{text} ({percent(alarm.share)} of the stream when it was raised)"


def headline_of(alarm: Alarm, words: Words = _CLICKS) -> str:
    """What has happened, in a few words, without when.

    Examples
    --------
    >>> headline_of(Alarm(what="click_rate", since_ms=0, detected_ms=0, field="ad", value="x",
    ...                   size=0.5))
    'the click rate of ad x fell by 50 %, and the model follows'
    """
    size = alarm.size or 1.0
    if alarm.what == "missing":
        share = f"{percent(alarm.size)} of {words.impressions}"
        return f"the field {alarm.field} is missing in {share}"
    if alarm.what == "new_value":
        return f"{alarm.where} is new: {percent(alarm.size)} of {words.impressions}"
    inside = f" in {alarm.where}" if alarm.field else ""
    if alarm.what == "click_delay":
        much = f"{size:.1f} times as late" if size > 1 else f"{1 / size:.1f} times as soon"
        return f"{words.clicks} come {much}{inside}"
    if alarm.what == "click_rate":
        moved = "fell" if size < 1 else "rose"
        of = f" of {alarm.where}" if alarm.field else ""
        return f"the {words.click} rate{of} {moved}{by(size)}, and the model follows"
    return f"it {side_of(alarm)}-predicts{by(size)}{inside}"


def by(ratio: float | None) -> str:
    """How far from 1, for a headline."""
    if ratio is None or ratio <= 0:
        return ""
    return f" by {percent(abs(ratio - 1))}" if ratio < 2 else f" {ratio:.1f}-fold"
