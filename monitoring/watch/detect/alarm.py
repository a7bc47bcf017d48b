"""Alarms: the record of a shift, as it is sent, kept and reported."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

import msgspec

__all__ = [
    "Alarm", "Severity", "What", "alarm_link", "current_first", "newest_alarms",
    "ratio_interval", "severity_of", "slice_name",
]  # fmt: skip

What = Literal["calibration", "click_rate", "missing", "click_delay", "new_value"]
Severity = Literal["critical", "warning", "info"]

_LIMITS = (0.1, 0.01)
_MISSING_LIMITS = (0.5, 0.05)  # of impressions: a field is one of many


def slice_name(field: str, value: str, between: str = " ") -> str:
    """Field and value; a value that begins with its field's name says both.

    Examples
    --------
    >>> slice_name("campaign", "c7"), slice_name("campaign", "campaign-001")
    ('campaign c7', 'campaign-001')
    >>> slice_name("site", ""), slice_name("ad", "adidas", "="), slice_name("", "")
    ('site (empty)', 'ad=adidas', 'everywhere')
    """
    if not field:
        return "everywhere"
    rest = value[len(field) :]
    if value[: len(field)].casefold() == field.casefold() and rest and not rest[0].isalpha():
        return value
    return f"{field}{between}{value or '(empty)'}"


class Alarm(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="alarm"):
    """One shift: raised once, told again when it closes. As JSON it is a record of ``alarms``.

    Parameters
    ----------
    v, number
        Version of the record's form; which telling of a monitor it is, from 0.
    opening
        Number of its first telling: the alarm is called by it in links and commands.
    id
        The same in both tellings; names the kind, the slice and the start.
    status
        ``open`` or ``closed``.
    what
        ``calibration``: clicks do not come as predicted; ``click_rate``: they do not come as the
        model predicted before it followed them; ``missing``: a field's values are missing more
        often than before; ``click_delay``: clicks come sooner or later than before;
        ``new_value``: a value never seen before has a good share of the rows, which is no fault.
    field, value
        The slice; both empty: everywhere. For ``missing`` only the field.
    since_ms, since_low_ms, since_high_ms
        Event time of the first row of the shift: best estimate, and its 99 % credible interval.
    detected_ms, detected_event
        Event time of the row at which the alarm was raised, and its number in the stream.
    closed_ms
        Event time at which the shift was seen to be over.
    size, size_low, size_high
        With its 95 % interval: for ``calibration`` the calibration ratio since the start (above
        1: over-predicts); for ``click_rate`` the clicks over those predicted at first (below 1:
        fewer); for ``missing`` the share of rows without the field, for ``new_value`` of those
        with the value; for ``click_delay`` the
        median delay over what it was. It is of the data that raised the alarm, so it leans away
        from 1 a little. ``None``: not known, as a ratio without a single click is not.
    events, clicks, expected_clicks
        Rows of the slice since the start, their clicks, and the sum of their probabilities.
    clicks_over_promised
        Predicted clicks less those that came, since the start; below 0: under-promised.
    money_over_promised
        The same in units of the bids, if any are logged: a click is taken to be worth its bid.
    share
        How much of the stream it is about since its start: clicks over-promised (or under), or
        money if that is more, of all that were promised; for ``missing`` impressions without the
        field, for ``new_value`` those with it. ``None``: not known.
    severity
        By the share, see :func:`severity_of`.
    cause, cause_field
        Why, in words, as far as what is logged shows it, or that no cause was found; and the field
        that it is about, if it is about one.
    action
        What to do.
    follows
        Id of the oldest alarm that was open already: this may be its consequence.
    """

    v: int = 1
    number: int = 0
    opening: int = 0
    id: str = ""
    status: Literal["open", "closed"] = "open"
    what: What = "calibration"
    field: str = ""
    value: str = ""
    since_ms: int
    since_low_ms: int | None = None
    since_high_ms: int | None = None
    detected_ms: int
    detected_event: int = 0
    closed_ms: int | None = None
    size: float | None = None
    size_low: float | None = None
    size_high: float | None = None
    events: int = 0
    clicks: float = 0.0
    expected_clicks: float = 0.0
    clicks_over_promised: float | None = None
    money_over_promised: float | None = None
    share: float | None = None
    severity: Severity = "warning"
    cause: str = ""
    cause_field: str = ""
    action: str = ""
    follows: str = ""

    @property
    def where(self) -> str:
        """The slice in words: ``campaign c7``, the field that is missing, or ``everywhere``."""
        return self.field if self.what == "missing" else slice_name(self.field, self.value)


def severity_of(what: What, share: float | None) -> Severity:
    """How urgent an alarm is, by its share of the stream; one of unknown cost is a warning.

    A new value is for information: it is no fault.

    Examples
    --------
    >>> severity_of("calibration", 0.12), severity_of("missing", 0.12)
    ('critical', 'warning')
    """
    if what == "new_value":
        return "info"
    if share is None:
        return "warning"
    critical, warning = _MISSING_LIMITS if what == "missing" else _LIMITS
    return "critical" if share >= critical else "warning" if share >= warning else "info"


def alarm_link(alarm: Alarm, public_url: str = "") -> str:
    """Where the report tells an alarm; without the server's URL, its anchor alone.

    Examples
    --------
    >>> alarm_link(Alarm(opening=17, since_ms=5, detected_ms=9), "https://ads.example/")
    'https://ads.example/reports/latest#alarm-17'
    """
    page = f"{public_url.rstrip('/')}/reports/latest" if public_url else ""
    return f"{page}#alarm-{alarm.opening}"


def newest_alarms(alarms: Iterable[Alarm]) -> list[Alarm]:
    """The last telling of each alarm, by the first one's place.

    Examples
    --------
    >>> told = Alarm(id="a1", since_ms=5, detected_ms=9)
    >>> [alarm] = newest_alarms([told, msgspec.structs.replace(told, status="closed")])
    >>> alarm.status
    'closed'
    """
    return list({alarm.id: alarm for alarm in alarms}.values())


def current_first(alarms: Iterable[Alarm]) -> list[Alarm]:
    """Those that go on, the most severe first, then the others; each the latest start first."""
    ranks = get_args(Severity)

    def rank(alarm: Alarm) -> tuple[int, int]:
        going_on = alarm.closed_ms is None
        return ranks.index(alarm.severity) if going_on else len(ranks), -alarm.since_ms

    return sorted(alarms, key=rank)


def ratio_interval(expected: float, clicks: float) -> tuple[float, float, float]:
    """Calibration ratio, expected over observed clicks, with its 95 % interval.

    Clicks are Poisson; their limits are Wilson and Hilferty's, within 1 % from 3 clicks on.

    Examples
    --------
    >>> [round(limit, 2) for limit in ratio_interval(120.0, 100.0)]
    [1.2, 0.99, 1.47]
    """
    at_least, at_most = _poisson_limits(clicks)
    ratio = expected / clicks if clicks else float("inf")
    return ratio, expected / at_most, expected / at_least if at_least else float("inf")


def _poisson_limits(count: float) -> tuple[float, float]:
    z, more = 1.959964, count + 1.0
    upper = more * (1.0 - 1.0 / (9.0 * more) + z / (3.0 * more**0.5)) ** 3
    if count <= 0.0:
        return 0.0, upper
    lower = count * max(0.0, 1.0 - 1.0 / (9.0 * count) - z / (3.0 * count**0.5)) ** 3
    return float(lower), float(upper)
