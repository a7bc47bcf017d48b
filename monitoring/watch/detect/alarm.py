"""Alarms: the record, and how a shift that was found becomes one that says what it costs."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from monitoring.watch.detect import state as kernels
from monitoring.watch.detect.explanation import Named, View, cause_of
from monitoring.watch.slices import slice_name
from streaming.event_time import time_text

__all__ = ["Alarm", "Shift", "closed", "raised", "ratio_interval"]

What = Literal["calibration", "click_rate", "missing", "click_delay"]


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """One shift: raised once, told again when it closes.

    Parameters
    ----------
    id
        The same in both tellings; names the kind, the slice and the start.
    status
        ``open`` or ``closed``.
    what
        ``calibration``: clicks do not come as predicted; ``click_rate``: they do not come as the
        model predicted before it followed them; ``missing``: a field's values are missing more
        often than before; ``click_delay``: clicks come sooner or later than before.
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
        fewer); for ``missing`` the share of rows without the field; for ``click_delay`` the
        median delay over what it was. It is of the data that raised the alarm, so it leans away
        from 1 a little.
    events, clicks, expected_clicks
        Rows of the slice since the start, their clicks, and the sum of their probabilities.
    clicks_over_promised
        Predicted clicks less those that came, since the start; below 0: under-promised.
    money_over_promised
        The same in units of the bids, if any are logged.
    cause, cause_field
        What moved, in words; and the field whose mix of values moved most, if one did.
    action
        What to do.
    follows
        Id of the oldest alarm that was open already: this may be its consequence.
    """

    id: str
    status: Literal["open", "closed"]
    what: What
    field: str
    value: str
    since_ms: int
    since_low_ms: int
    since_high_ms: int
    detected_ms: int
    detected_event: int
    closed_ms: int | None = None
    size: float
    size_low: float
    size_high: float
    events: int
    clicks: float
    expected_clicks: float
    clicks_over_promised: float
    money_over_promised: float | None = None
    cause: str = ""
    cause_field: str = ""
    action: str = ""
    follows: str = ""

    @property
    def where(self) -> str:
        """The slice as text, such as ``campaign=c7`` or ``everywhere``."""
        if not self.field:
            return "everywhere"
        return f"{self.field}={self.value}" if self.value else self.field


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


_WHAT: dict[int, What] = {
    kernels.OVERALL: "calibration",
    kernels.SLICE: "calibration",
    kernels.MOVED: "click_rate",
    kernels.MISSING: "missing",
    kernels.DELAY: "click_delay",
}


class Shift(NamedTuple):
    """Sums of an open alarm, in the order of the kernels' ``closing``."""

    odds: float
    evidence: float
    expected: float
    clicks: float
    money: float


def raised(found: Named, view: View, number: int, follows: str) -> Alarm:
    """An alarm just raised."""
    rows, first = view.rows, len(view.rows.p) - view.seen
    what, (field, value) = _WHAT[found.kind], _slice(found, view)
    p, y = rows.p[found.rows], rows.y[found.rows]
    clicks = float(y.sum())
    expected = clicks if found.kind == kernels.DELAY else float(p.sum())  # rows are clicks there
    size = _size(found, view)
    since, low, high = (int(rows.time[n + first]) for n in (found.first, found.low, found.high))
    cause, cause_field = cause_of(found, view)
    return Alarm(
        id=f"{number:04d}-{what}-{field or 'everywhere'}-{_stamp(since)}",
        status="open",
        what=what,
        field=field,
        value=value,
        since_ms=since,
        since_low_ms=low,
        since_high_ms=high,
        detected_ms=int(rows.time[-1]),
        detected_event=view.seen - 1,
        size=size[0],
        size_low=size[1],
        size_high=size[2],
        events=len(found.rows),
        clicks=clicks,
        expected_clicks=expected,
        clicks_over_promised=expected - clicks,
        money_over_promised=_money(found, view),
        cause=cause,
        cause_field=cause_field,
        action=_action(what, field, value, expected - clicks),
        follows=follows,
    )


def closed(alarm: Alarm, view: View, shift: Shift | None) -> Alarm:
    """The same alarm, told again at its end, with the cost of all of it."""
    ended = msgspec.structs.replace(
        alarm, status="closed", closed_ms=int(view.rows.time[-1]), action="none: it is over"
    )
    if shift is None:
        return ended
    return msgspec.structs.replace(
        ended,
        clicks=shift.clicks,
        expected_clicks=shift.expected,
        clicks_over_promised=shift.expected - shift.clicks,
        money_over_promised=None if np.isnan(shift.money) else shift.money,
    )


def _stamp(time_ms: int) -> str:
    return time_text(time_ms, "{0:%Y%m%dT%H%M%SZ}")


def _slice(found: Named, view: View) -> tuple[str, str]:
    if found.kind in (kernels.OVERALL, kernels.DELAY):
        return "", ""
    if found.kind == kernels.MISSING:
        return view.values.fields[found.which], ""
    field, value = view.values.named(found.which)
    return view.values.fields[field], value


def _size(found: Named, view: View) -> tuple[float, float, float]:
    rows = view.rows
    if found.kind == kernels.MISSING:
        gone = rows.slots[found.rows, found.which] == rows.absent[found.which]
        return _share_interval(float(gone.mean()), len(gone))
    if found.kind == kernels.DELAY:
        return _delay_ratio(found, view)
    clicks = float(rows.y[found.rows].sum())
    if found.kind == kernels.MOVED:
        size = clicks / float(found.expected.sum())
        off = 1.96 * (1.0 / max(clicks, 0.5) + 1.0 / max(found.rests_on, 0.5)) ** 0.5
        return size, size * math.exp(-off), max(size, 1e-9) * math.exp(off)
    return ratio_interval(float(rows.p[found.rows].sum()), clicks)


def _share_interval(share: float, n: int) -> tuple[float, float, float]:
    """Wilson's interval."""
    z2 = 1.96**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = 1.96 / (1 + z2 / n) * (share * (1 - share) / n + z2 / (4 * n * n)) ** 0.5
    return share, max(0.0, middle - half), min(1.0, middle + half)


def _delay_ratio(found: Named, view: View) -> tuple[float, float, float]:
    """Quantile of the delays since, over the usual one, with its order-statistic interval."""
    share, usual, _ = view.state.quantile[found.which]
    delays = np.sort(view.rows.delay[found.rows]) / np.exp(usual)
    n = len(delays)
    half = 1.96 * (n * share * (1 - share)) ** 0.5
    at = [n * share, n * share - half, n * share + half]
    values = [float(delays[min(max(int(i), 0), n - 1)]) for i in at]
    return values[0], values[1], values[2]


def _money(found: Named, view: View) -> float | None:
    bid = view.rows.bid[found.rows]
    known = ~np.isnan(bid)
    if not known.any():
        return None
    promised = view.rows.p[found.rows] - view.rows.y[found.rows]
    return float((bid * promised)[known].sum())


def _action(what: What, field: str, value: str, over: float) -> str:
    where = slice_name(field, value, "=") if field else "the whole stream"
    if what == "missing":
        return f"ask the sender of the impressions for {field}; until then predictions lack it"
    if what == "click_delay":
        return "check the path of the clicks; a longer join window may be due"
    if what == "click_rate":
        return f"look at what changed in {where}; the model is following by itself"
    if over < 0.0 and field:
        return f"look at the clicks of {where}: bots, or an offer that took; if bots, leave it out"
    if not field:
        return "compare with the last good model version; roll back if it was calibrated"
    return f"hold bids on {where}, or roll back, until its calibration ratio is back near 1"
