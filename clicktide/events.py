"""The command ``clicktide events``: what stands in the event log."""

from __future__ import annotations

import base64
import sys
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from clicktide.options import DirOption, LogOption, print_json
from clicktide.stream_opening import open_existing, open_stream
from features.errors import ClicktideError
from streaming.log import EventLog, Record, TopicPartition
from streaming.signals import Stopped, stop_request

__all__ = ["events"]

_BATCH = 1_000
_WAIT_S = 0.2


TopicArgument = Annotated[
    str,
    typer.Argument(
        help="impressions, clicks, early_examples, examples or dead_letters; without one, all "
        "are listed"
    ),
]
BeginOption = Annotated[
    str,
    typer.Option(
        "--from",
        metavar="OFFSET|start|end",
        help="Where to begin in every partition; end, with --follow, shows only what is new",
    ),
]
FollowOption = Annotated[
    bool, typer.Option("--follow", help="At the end, wait for more, until Ctrl-C")
]
MostOption = Annotated[int | None, typer.Option("--max", min=1, help="Stop after so many lines")]
JsonLinesOption = Annotated[
    bool,
    typer.Option(
        "--json-lines",
        help="Exactly as it stands in the log, for programs: dead letters keep their base64, "
        "the list of topics is one JSON object a line",
    ),
]


def events(
    topic: TopicArgument = "",
    folder: DirOption = None,
    log: LogOption = None,
    begin: BeginOption = "start",
    follow: FollowOption = False,
    most: MostOption = None,
    json_lines: JsonLinesOption = False,
) -> None:
    """Print a topic of the event log as JSON Lines, or list the topics.

    clicktide events
    clicktide events clicks --from end --follow
    clicktide events dead_letters --max 5
    clicktide events examples --json-lines > examples.jsonl

    Of dead letters, the rejected bytes are shown as text where they are text.
    """
    url = log or open_stream(folder, needs_spec=False, begin=False).log
    with open_existing(url) as opened:
        if not topic:
            _list(opened, json_lines)
            return
        starts = _starts(opened, topic, begin)
        try:
            with stop_request() as request:
                lines = _lines(_records(opened, topic, starts, follow, request.check), json_lines)
                _print(lines, most, at_once=follow or sys.stdout.isatty())
        except Stopped:
            if not follow:
                raise typer.Exit(130) from None


def _list(log: EventLog, json_lines: bool) -> None:
    table = Table("topic", "partitions", "records", "offsets")
    for column in table.columns[1:3]:
        column.justify = "right"
    for topic, partitions in sorted(log.topics().items()):
        spans = list(zip(log.start_offsets(topic), log.end_offsets(topic), strict=True))
        records = sum(end - start for start, end in spans)
        if json_lines:
            line = {"topic": topic, "partitions": partitions, "records": records, "offsets": spans}
            print_json(line)
        shown = ", ".join(f"{start:,} to {end:,}" for start, end in spans)
        table.add_row(topic, f"{partitions:,}", f"{records:,}", shown)
    if not json_lines:
        Console().print(table)


def _starts(log: EventLog, topic: str, begin: str) -> list[int]:
    """Offset to begin at, by partition."""
    if begin == "start":
        return log.start_offsets(topic)
    ends = log.end_offsets(topic)
    if begin == "end":
        return ends
    if not begin.isdecimal():
        raise ClicktideError(f"--from {begin}: Fix: start, end, or an offset such as 100")
    return [int(begin)] * len(ends)


def _records(
    log: EventLog, topic: str, offsets: list[int], follow: bool, check: Callable[[], None]
) -> Iterator[Record]:
    """Records of all partitions, each in order; up to the end as it is now, or for ever."""
    ends = None if follow else log.end_offsets(topic)
    while True:
        found = False
        for partition, offset in enumerate(offsets):
            check()
            records = log.read(TopicPartition(topic, partition), offset, _BATCH)
            if ends is not None:
                records = [record for record in records if record.offset < ends[partition]]
            yield from records
            if records:
                found, offsets[partition] = True, records[-1].offset + 1
        if not found and not follow:
            return
        if not found:
            time.sleep(_WAIT_S)


def _lines(records: Iterator[Record], exact: bool) -> Iterator[bytes]:
    """A line for each event: a record may hold many, each on its own line."""
    for record in records:
        for line in record.value.split(b"\n"):
            if line:
                yield line if exact else _readable(line)


def _readable(line: bytes) -> bytes:
    """Show dead letters' bytes as text; and what is not JSON as a JSON text."""
    if line.startswith(b"{") and b'"dead_letter"' not in line[:200]:
        return line
    try:
        event: Any = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.json.encode({"not_json": line.decode("utf-8", "replace")})
    if isinstance(event, dict) and event.get("type") == "dead_letter":
        event["raw"] = _raw(event.get("raw"))
    return msgspec.json.encode(event)


def _raw(text: object) -> object:
    """What a dead letter was: its JSON, its text, or, where it is neither, base64 as it was."""
    if not isinstance(text, str):
        return text
    try:
        found = base64.b64decode(text, validate=True).decode("utf-8")
    except ValueError:
        return text
    try:
        return msgspec.json.decode(found)
    except msgspec.DecodeError:
        return found


def _print(lines: Iterator[bytes], most: int | None, *, at_once: bool) -> None:
    out = sys.stdout.buffer
    for number, line in enumerate(lines, 1):
        out.write(line + b"\n")
        if at_once:
            out.flush()
        if number == most:
            break
    out.flush()
