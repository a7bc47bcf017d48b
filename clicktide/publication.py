"""A source published into a stream's log: what is asked for, and how it goes."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clicktide.click_log import RejectSink, open_log
from features.errors import ClicktideError
from features.public_url import public_text
from features.spec import Spec
from market import PREFIX, parse_sim, stream_uri
from streaming.joiner import JoinerSettings
from streaming.log import EventLog
from streaming.log import open_log as open_event_log
from streaming.log.log_url import SqliteSettings, log_settings
from streaming.publish import (
    ClickDelay,
    Lockstep,
    Pacer,
    Patience,
    Publisher,
    PublishState,
    RowReader,
    longest_wait_ms,
    publish_group,
)
from streaming.settings import StreamSettings, load_stream_settings
from streaming.signals import Stopped
from streaming.status import look_at
from streaming.time_text import now_ms

if TYPE_CHECKING:
    from clicktide.served_replay import Through

__all__ = ["PATIENCE_S", "Publication", "Published", "publish_source"]

PATIENCE_S = 300.0
"""A stream's processes are given up when none of them has made any progress for so long."""
_SLICES_A_WINDOW = 5  # counters and labels of a join window change little in a fifth of it
_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_AGO = re.compile(r"(?P<ends>ends-)?now(-(?P<number>\d+(\.\d+)?)(?P<unit>[smhd]))?")


@dataclass
class Publication:
    """One call of the command: what it was asked."""

    source: str
    spec: Spec
    to: str
    speed: str | None = None
    shift: str | None = None
    id_prefix: str | None = None
    click_delay_s: float | None = None
    no_end: bool = False
    through: str | None = None
    settings: Path | None = None
    set_stream: list[str] | None = None
    events: int | None = None
    resume: bool = False
    rejects: Path | None = None
    strict: bool = False
    as_json: bool = False
    lockstep: Lockstep | None = None

    def reader(self, stream: StreamSettings) -> RowReader:
        """What makes events of rows."""
        mean_s = 20.0 if self.click_delay_s is None else self.click_delay_s
        shift, ago_ms, _ = _shift(self.shift)
        return RowReader(
            self.spec,
            self.source,
            delay=ClickDelay(mean_s, stream.join.join_window_s),
            prefix=self.id_prefix or "",
            shift_ms=shift,
            begin_ms=now_ms() - ago_ms,
        )

    def group(self) -> str:
        """Where the position is kept: one for each source, wherever it is called from."""
        if self.source.startswith(PREFIX):
            name = stream_uri(parse_sim(self.source))
        else:
            name = self.source if self.source == "-" else str(Path(self.source).resolve())
        return publish_group(name, self.id_prefix or "")


def _speed(text: str | None) -> float | None:
    """Read ``--speed``; None: as fast as possible.

    Examples
    --------
    >>> _speed("60"), _speed("max")
    (60.0, None)
    """
    if text is None or text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise ClicktideError(
            f"--speed {text}: neither a speed nor max. Fix: 1 is as it happened, 60 a minute in "
            "a second, max as fast as possible"
        )
    return speed


def _shift(text: str | None) -> tuple[int | None, int, bool]:
    """Read ``--shift`` as ms to add; None: so that the stream begins, or ends, so many ms ago.

    Examples
    --------
    >>> _shift("-3600000"), _shift(None), _shift("now-15h")
    ((-3600000, 0, False), (0, 0, False), (None, 54000000, False))
    >>> _shift("ends-now")
    (None, 0, True)
    """
    ago = _AGO.fullmatch(text or "")
    if ago is not None:
        number, unit = ago["number"], ago["unit"]
        return None, int(float(number) * _MS[unit]) if number else 0, bool(ago["ends"])
    try:
        return int(text or 0), 0, False
    except ValueError:
        raise ClicktideError(
            f"--shift {text}: neither now, nor now-15h, nor ends-now, nor whole ms. Fix: ends-now; "
            "a time ago such as now-30m, now-15h or now-2d; or such as 86400000 for a day later"
        ) from None


def _settle_end(asked: Publication, reader: RowReader, join: JoinerSettings) -> None:
    """Have the stream end as asked: all of it is read once before, for its last time."""
    shift, ago_ms, ends = _shift(asked.shift)
    if shift is not None or not ends:
        return
    if asked.source == "-":
        raise ClicktideError(
            "--shift ends-now: standard input cannot be read twice. Fix: publish from a file"
        )
    reader.shift_ms = 0
    last = _last_ms(asked, reader)
    after_ms = 0 if asked.no_end else longest_wait_ms(join)  # of the closing heartbeats
    reader.shift_ms = now_ms() - ago_ms - after_ms - last


def _last_ms(asked: Publication, reader: RowReader) -> int:
    """Time of the last event that will be published, clicks included; 0: there are none."""
    last, rows, left = 0, 0, asked.events
    with closing(open_log(asked.source, asked.spec, reader.columns, None)) as batches:
        for batch in batches:
            part = reader(batch, rows)
            shown, rows = part.shown[:left], rows + part.units
            last = max([last, *(max(one.time, one.click or 0) for one in shown)])
            left = None if left is None else left - len(shown)
            if left == 0:
                break
    return last


@dataclass(frozen=True)
class Published:
    """What a run published: the states before and after it, and what ended it early.

    Parameters
    ----------
    served
        Impressions with and without a prediction; ``None``: none was asked for.
    too_late
        Impressions that come so late that the joiner will reject them.
    error
        An error after some events, or :class:`Stopped`.
    """

    before: PublishState
    state: PublishState
    served: tuple[int, int] | None
    too_late: int
    error: ClicktideError | Stopped | None


def publish_source(
    asked: Publication,
    *,
    on_commit: Callable[[int], None],
    check: Callable[[], None],
    say: Callable[[str], None],
) -> Published:
    """Publish a source.

    Parameters
    ----------
    asked
        What, and where to.
    on_commit
        Told after every transaction how many impressions this run has published.
    check
        Called again and again, while waiting too; may raise :class:`Stopped`.
    say
        Takes lines for people.
    """
    pacer = Pacer(_speed(asked.speed), clock=time.monotonic, sleep=time.sleep)
    stream = load_stream_settings(asked.settings, asked.set_stream or [])
    reader = asked.reader(stream)
    with _event_log(asked.to, stream) as log:
        lockstep = asked.lockstep
        if lockstep is None and asked.through is not None and pacer.speed is None:
            lockstep = _lockstep(log, stream, check)
        with _through(asked, say, lockstep) as serve:
            publisher = Publisher(
                log, asked.group(), reader, stream, pacer=pacer, serve=serve, lockstep=lockstep
            )
            publisher.restore(resume=asked.resume)
            if not publisher.resumed:
                _settle_end(asked, reader, stream.join)
            before = publisher.state

            def committed() -> None:
                on_commit(publisher.state.impressions - before.impressions)
                check()

            error = _run(asked, publisher, committed, say)
        served = None if serve is None else (serve.served, serve.unserved)
        return Published(before, publisher.state, served, publisher.time_order.late, error)


def _lockstep(log: EventLog, stream: StreamSettings, check: Callable[[], None]) -> Lockstep:
    """As fast as the stream's processes can follow; those that never ran are not waited for."""
    return Lockstep(
        lambda: look_at(log, now_ms(), newest=False),
        min(stream.join.join_window_s / _SLICES_A_WINDOW, stream.join.first_label_s),
        Patience(PATIENCE_S, time.monotonic),
        sleep=time.sleep,
        check=check,
    )


@contextmanager
def _through(
    asked: Publication, say: Callable[[str], None], lockstep: Lockstep | None
) -> Iterator[Through | None]:
    """What asks the API for predictions, if one is named."""
    if (url := asked.through) is None:
        yield None
        return
    import httpx  # a tenth of a second that other commands need not spend

    from clicktide.served_replay import Through
    from serving.client import Client

    try:
        client = Client(url, retries=0, token=os.environ.get("CLICKTIDE_TOKEN", ""))
    except httpx.InvalidURL as error:
        message = public_text(f"{url}: {error}")
        raise ClicktideError(f"--through {message}. Fix: http://127.0.0.1:8000") from None
    with client:
        yield Through(client, say, lockstep)


@contextmanager
def _event_log(url: str, stream: StreamSettings) -> Iterator[EventLog]:
    settings = log_settings(url, os.environ)
    if isinstance(settings, SqliteSettings):
        Path(settings.path).parent.mkdir(parents=True, exist_ok=True)
    with open_event_log(url) as log:
        log.create_topics(stream.topics())
        yield log


def _run(
    asked: Publication,
    publisher: Publisher,
    on_commit: Callable[[], None],
    say: Callable[[str], None],
) -> ClicktideError | Stopped | None:
    """Publish; give what ended it after some events."""
    if publisher.state.ended:
        say(f"{asked.source} is published to its end; nothing is left to do.")
        return None
    before = publisher.state
    batches = open_log(asked.source, asked.spec, publisher.columns, publisher.start)
    with RejectSink(asked.rejects, strict=asked.strict, append=asked.resume) as sink:
        try:
            publisher.run(
                batches,
                events=asked.events,
                end=not asked.no_end,
                on_reject=sink,
                on_commit=on_commit,
            )
        except Stopped as stopped:
            return stopped
        except ClicktideError as error:
            if publisher.state == before:
                raise
            return error
    return None
