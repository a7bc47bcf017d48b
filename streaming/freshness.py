"""How fresh a stream is: what is learned, watched and served, against what is labelled and now.

One set of facts and one judgement of them for ``status``, the dashboard, the report and metrics.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from streaming.joiner.settings import JoinerSettings
from streaming.status import Look
from streaming.time_text import span, stamp

__all__ = ["Freshness", "Reader", "ages", "clock_note", "event_note", "freshness", "stale"]

_BEHIND_S = 300.0
_SILENT_S = 120.0  # the trainer commits every 2 s, the monitor every few
_REPLAY_S = 30 * 86_400.0
"""Events older than this when they come are of a log that is replayed: they have no age."""


class Reader(msgspec.Struct, frozen=True):
    """How far the trainer, or the monitor, is.

    Parameters
    ----------
    lag
        Records of examples that it has not read.
    to_ms
        Newest event time that it has read.
    at_ms
        Wall clock when it said so.
    behind_s
        Event time by which that is behind the newest example; 0 where nothing is left to read.
    """

    lag: int
    to_ms: float | None = None
    at_ms: float | None = None
    behind_s: float | None = None


class Freshness(msgspec.Struct, frozen=True):
    """Facts about the age of things, and the room for new ones; ``None``: not known.

    Parameters
    ----------
    at_ms
        Wall clock when the facts were taken.
    clock_ms
        Event time that the stream's impressions have come to.
    trainer, monitor
        Absent where none has run.
    weights_s
        Event time by which the weights behind the newest predictions were older than they had to
        be: than the newest labels of that moment.
    joined_s
        Event time to the example's arrival in the log.
    watched_s
        Its arrival to when the monitor read it.
    served_version
        Model version of the newest impression that names one.
    occupancy
        How full the learner's tables are, by name, at its last save.
    """

    at_ms: int = 0
    clock_ms: int | None = None
    trainer: Reader | None = None
    monitor: Reader | None = None
    weights_s: float | None = None
    joined_s: float | None = None
    watched_s: float | None = None
    served_version: str | None = None
    occupancy: dict[str, float] = {}


def freshness(look: Look) -> Freshness:
    """Take the facts from one look at the log.

    Examples
    --------
    >>> from streaming.status import TrainerState
    >>> trainer = TrainerState(learned=5, event_time=1_000, at=9_000)
    >>> freshness(Look(10_000, {}, {}, None, trainer, 4_000)).trainer
    Reader(lag=0, to_ms=1000, at_ms=9000, behind_s=0.0)
    """
    trainer, monitor, joiner = look.trainer, look.monitor, look.joiner
    return Freshness(
        at_ms=look.at_ms,
        clock_ms=None if joiner is None else joiner.clock_ms,
        trainer=None if trainer is None else reader(look, "train", trainer.event_time, trainer.at),
        monitor=None
        if monitor is None
        else reader(look, "monitor", monitor.event_time, monitor.at),
        weights_s=None if monitor is None else monitor.weights_s,
        occupancy={} if trainer is None else trainer.occupancy,
    )


def reader(
    look: Look, group: str, to_ms: float | None, at_ms: float | None, lag: int | None = None
) -> Reader:
    """One reader of the examples; ``lag`` where the caller knows better than its commits."""
    lag = look.lag(group) if lag is None else lag
    newest = _newest_example(look, look.reads(group))
    behind = None if to_ms is None or newest is None else max(0.0, (newest - to_ms) / 1000)
    return Reader(lag, to_ms, at_ms, behind if lag else 0.0)


def _newest_example(look: Look, topic: str) -> float | None:
    """Event time of the newest example in a topic, nearly."""
    labelled = None if look.joiner is None else look.joiner.newest_ms.get(topic)
    known = [time for time in (labelled, look.newest_impression_ms) if time is not None]
    return min(known, default=None)


def stale(f: Freshness, now_ms: int) -> tuple[str, ...]:
    """What must be said before anything else: that nobody watches, or how old the weights are.

    Examples
    --------
    >>> now = 1_736_121_600_000
    >>> stale(Freshness(now, monitor=Reader(0, now, now, 0.0)), now)
    ()
    >>> stale(Freshness(now, trainer=Reader(9, now - 9e6, now, 1500.0)), now)
    ('Weights are 25 min old: the trainer is that far behind the newest example.',)
    """
    return tuple(
        sentence for sentence in (_unwatched(f, now_ms), _old_weights(f, now_ms)) if sentence
    )


def _unwatched(f: Freshness, now_ms: int) -> str:
    if (monitor := f.monitor) is None:
        return ""
    unknown_s = (now_ms - f.at_ms) / 1000  # since the facts were taken
    if monitor.at_ms is not None and _stands(monitor, now_ms, unknown_s):
        return f"Not watched since {stamp(monitor.at_ms)} UTC: the monitor has stopped."
    if monitor.to_ms is not None and (monitor.behind_s or 0.0) > _BEHIND_S:
        return (
            f"Not watched since {stamp(monitor.to_ms)} UTC (event time): the monitor is "
            f"{span(monitor.behind_s)} behind the newest example."
        )
    return ""


def _old_weights(f: Freshness, now_ms: int) -> str:
    trainer, weights_s = f.trainer, f.weights_s or 0.0
    if trainer is not None:
        behind_s = trainer.behind_s or 0.0
        if trainer.at_ms is not None and _stands(trainer, now_ms, 0.0):
            silent_s = (now_ms - trainer.at_ms) / 1000
            return (
                f"Weights are {span(max(behind_s, silent_s))} old: the trainer has not learned "
                f"since {stamp(trainer.at_ms)} UTC, {trainer.lag:,} records wait."
            )
        if behind_s > _BEHIND_S:
            return (
                f"Weights are {span(behind_s)} old: the trainer is that far behind the newest "
                "example."
            )
    if weights_s > _BEHIND_S:
        return f"Weights are {span(weights_s)} old: so old were those of the newest predictions."
    return ""


def _stands(reader: Reader, now_ms: int, unknown_s: float) -> bool:
    if reader.at_ms is None or now_ms - reader.at_ms <= 1000 * _SILENT_S:
        return False
    return reader.lag > 0 or unknown_s > _SILENT_S


def clock_note(f: Freshness, now_ms: int) -> str:
    """Whether the stream's clock is ahead of the wall clock, or far behind it; empty: neither.

    Examples
    --------
    >>> clock_note(Freshness(0, clock_ms=1_736_128_800_000), 1_736_121_600_000)[:57]
    "The stream's clock is 2 h ahead of the wall clock: events"
    >>> clock_note(Freshness(0, clock_ms=1_736_121_600_000), 1_736_121_600_000)
    ''
    """
    if f.clock_ms is None:
        return ""
    ahead_s = (f.clock_ms - now_ms) / 1000
    if ahead_s > _SILENT_S:
        return (
            f"The stream's clock is {span(ahead_s)} ahead of the wall clock: events dated now may "
            "be too late for it. Fix: publish histories with --shift ends-now"
        )
    if ahead_s < -3600:
        return (
            f"The stream's clock is {span(-ahead_s)} behind the wall clock: a history is "
            f"published, or nothing has come since {stamp(f.clock_ms)} UTC"
        )
    return ""


def event_note(
    clock_ms: int | None, times: Sequence[int], join: JoinerSettings, *, clicks: bool
) -> str | None:
    """What is to be expected of events that were just accepted; ``None``: that they count.

    Parameters
    ----------
    clock_ms
        The stream's clock, event time.
    times
        Of the events, ms.
    join
        Windows of the stream.
    clicks
        Whether they are clicks.

    Examples
    --------
    >>> join, clock = JoinerSettings(), 1_736_121_600_000
    >>> event_note(clock, [clock + 5_000], join, clicks=False)
    >>> event_note(clock, [clock - 700_000], join, clicks=False)[:56]
    "too_late: the stream's clock is 11 min 40 s ahead of thi"
    """
    if clock_ms is None or not times:
        return None
    windows_s = join.join_window_s + join.out_of_order_s
    windows_s += (join.late_window_s + join.out_of_order_s) if clicks else 0.0
    behind_s = (clock_ms - min(times)) / 1000
    if behind_s > windows_s:
        return (
            f"too_late: the stream's clock is {span(behind_s)} ahead of this: it will be rejected. "
            "Fix: publish histories with --shift ends-now, or into another log"
        )
    ahead_s = (max(times) - clock_ms) / 1000
    if ahead_s > join.far_future_s:
        return (
            f"far_future: the stream's clock is {span(ahead_s)} behind this: while a history is "
            "published it will be rejected; after a silence it counts as soon as more follows"
        )
    return None


def ages(f: Freshness) -> dict[str, float]:
    """Ages in seconds, by what they are of; without those of a history's events."""
    trainer, monitor = f.trainer, f.monitor
    learned = since = behind = None
    if trainer is not None and trainer.at_ms is not None:
        since = (f.at_ms - trainer.at_ms) / 1000
        if trainer.to_ms:
            learned, behind = (trainer.at_ms - trainer.to_ms) / 1000, trainer.behind_s
    known = {
        "event to joined example": f.joined_s,
        "example to monitor": f.watched_s,
        "event to learned": learned,
        "trainer behind the newest example": behind,
        "monitor behind the newest example": None if monitor is None else monitor.behind_s,
        "weights of the newest predictions": f.weights_s,
        "since the last commit of the trainer": since,
    }
    return {of: age for of, age in known.items() if age is not None and 0 <= age < _REPLAY_S}
