"""The commands ``clicktide alarms``: what is open, who is on it, and what is silenced."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from clicktide.options import DirOption, JsonOption, LogOption, print_json
from clicktide.stream_folder import StreamFolder
from clicktide.stream_opening import open_existing, open_stream
from features.errors import ClicktideError
from monitoring.watch.alarm_actions import (
    ActionReader,
    AlarmAction,
    active_silences,
    append_action,
    status_of,
)
from monitoring.watch.detect.alarm import Alarm, alarm_link
from monitoring.watch.formatting import capital, cost_of, day_and_time, headline_of
from monitoring.watch.monitor_files import read_monitor
from streaming.time_text import now_ms, stamp

__all__ = ["app"]

app = typer.Typer(add_completion=False, rich_markup_mode="rich")
ByOption = Annotated[str, typer.Option("--by", help="Who you are, for others to read")]
WhereOption = Annotated[
    str,
    typer.Option(
        "--where",
        metavar="FIELD[=VALUE]",
        help="The slice: campaign=c1; a field alone: all its values, and that it goes missing; "
        "everywhere: alarms about everything",
    ),
]
_SPAN = re.compile(r"(\d+(?:\.\d+)?) ?(min|m|h|d)")
_UNITS_MS = {"min": 60_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LONGEST_MS = 30 * _UNITS_MS["d"]
"""What is silenced for longer is forgotten."""


@app.callback(invoke_without_command=True)
def alarms(
    context: typer.Context,
    folder: DirOption = None,
    log: LogOption = None,
    history: Annotated[
        bool,
        typer.Option("--history", help="What was done about alarms, and why; rollbacks too"),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the alarms of a stream: those that go on, then those that are over.

    clicktide alarms

    clicktide alarms ack 17 --by ann --note "looking at the sender"

    clicktide alarms silence --where campaign=c1 --for 2h --by ann --why "a test of prices"

    clicktide alarms --history
    """
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return
    stream = _stream(folder, log)
    actions, now = _actions(stream), now_ms()
    found = [] if history else read_monitor(stream.monitor, most_windows=1).newest_alarms()
    if as_json:
        print_json({"actions": actions} if history else _listed(stream, found, actions, now))
    elif history:
        _print_history(actions)
    else:
        _print(found, actions, now)


@app.command()
def ack(
    number: Annotated[int, typer.Argument(metavar="N", min=0, help="Number of the alarm")],
    by: ByOption,
    note: Annotated[str, typer.Option("--note", help="Kept with it, for others to read")] = "",
    folder: DirOption = None,
    log: LogOption = None,
) -> None:
    """Say that you are on an alarm: it is no news in the report's headline any more.

    clicktide alarms ack 17 --by ann --note "looking at the sender"
    """
    stream = _stream(folder, log)
    known = read_monitor(stream.monitor, most_windows=1).newest_alarms()
    alarm = next((alarm for alarm in known if alarm.opening == number), None)
    if alarm is None:
        raise ClicktideError(
            f"{stream.monitor}: no alarm {number}. Fix: clicktide alarms lists them"
        )
    action = AlarmAction(
        what="acknowledge", at_ms=now_ms(), by=_named(by), why=note, alarm=alarm.id, number=number
    )
    _append(stream, action)


@app.command()
def silence(
    where: WhereOption,
    length: Annotated[str, typer.Option("--for", metavar="TIME", help="30min, 2h, 1d...")],
    by: ByOption,
    why: Annotated[str, typer.Option("--why", help="Kept with it, for others to read")],
    folder: DirOption = None,
    log: LogOption = None,
) -> None:
    """Keep alarms about a slice from the web hook for a while; log and report still have them.

    One that still goes on at the end of the silence is sent then, unless it is acknowledged.

    clicktide alarms silence --where campaign=c1 --for 2h --by ann --why "a test of prices"
    """
    now, (field, value) = now_ms(), _slice(where)
    action = AlarmAction(
        what="silence", at_ms=now, by=_named(by), why=why, field=field, value=value,
        until_ms=now + _length_ms(length),
    )  # fmt: skip
    _append(_stream(folder, log), action)


@app.command()
def unsilence(
    where: WhereOption,
    by: ByOption,
    why: Annotated[str, typer.Option("--why", help="Kept with it, for others to read")] = "",
    folder: DirOption = None,
    log: LogOption = None,
) -> None:
    """End a silence before its time.

    clicktide alarms unsilence --where campaign=c1 --by ann
    """
    stream, now, (field, value) = _stream(folder, log), now_ms(), _slice(where)
    silenced = [(one.field, one.value) for one in active_silences(_actions(stream), now)]
    if (field, value) not in silenced:
        raise ClicktideError(f"--where {where}: not silenced. Fix: clicktide alarms --history")
    done = AlarmAction(
        what="unsilence", at_ms=now, by=_named(by), why=why, field=field, value=value
    )
    _append(stream, done)


def _refuse_options(context: typer.Context) -> None:
    """Refuse options before a command, which would not hear of them."""
    sources = map(context.get_parameter_source, context.params)
    if any(source is not None and source.name == "COMMANDLINE" for source in sources):
        command = context.invoked_subcommand
        raise ClicktideError(f"clicktide alarms: Fix: put the options after {command}")


def _stream(folder: Path | None, log: str | None) -> StreamFolder:
    return open_stream(folder, log=log, needs_spec=False, begin=False)


def _actions(stream: StreamFolder) -> list[AlarmAction]:
    with open_existing(stream.log) as log:
        reader = ActionReader(log)
        reader.read()
    return reader.actions


def _append(stream: StreamFolder, action: AlarmAction) -> None:
    with open_existing(stream.log) as log:
        append_action(log, action)
    typer.echo(f"{action.by}: {action.text}")


def _named(by: str) -> str:
    if not by.strip():
        raise ClicktideError("--by: empty. Fix: say who you are")
    return by.strip()


def _slice(where: str) -> tuple[str, str | None]:
    """Field and value.

    Examples
    --------
    >>> _slice("campaign=c1"), _slice("ad="), _slice("ad"), _slice("everywhere")
    (('campaign', 'c1'), ('ad', ''), ('ad', None), ('', None))
    """
    field, given, value = where.partition("=")
    if not field:
        raise ClicktideError(f"--where {where!r}. Fix: give FIELD=VALUE, FIELD or everywhere")
    return ("" if where == "everywhere" else field), (value if given else None)


def _length_ms(text: str) -> int:
    """A length of time.

    Examples
    --------
    >>> _length_ms("90min"), _length_ms("1.5h")
    (5400000, 5400000)
    """
    match = _SPAN.fullmatch(text.strip())
    length = round(float(match[1]) * _UNITS_MS[match[2]]) if match else 0
    if not 0 < length <= _LONGEST_MS:
        raise ClicktideError(f"--for {text!r}. Fix: a time such as 30min, 2h or 1d, up to 30d")
    return length


def _listed(
    stream: StreamFolder, alarms: Sequence[Alarm], actions: Sequence[AlarmAction], now: int
) -> dict[str, object]:
    url = stream.monitor_settings().public_url
    told = [
        {"alarm": alarm, "status": status_of(alarm, actions, now), "link": alarm_link(alarm, url)}
        for alarm in alarms
    ]
    return {"alarms": told, "silences": active_silences(actions, now)}


def _print(alarms: Sequence[Alarm], actions: Sequence[AlarmAction], now: int) -> None:
    for one in active_silences(actions, now):
        typer.echo(
            f"Silenced: {one.about} until {stamp(one.until_ms or 0)} UTC, {one.by}: {one.why}"
        )
    if not alarms:
        typer.echo("No alarms.")
        return
    table = Table("#", "severity", "what", "since (UTC)", "cost", "status")
    for alarm in alarms:
        table.add_row(
            str(alarm.opening), alarm.severity, capital(headline_of(alarm)),
            day_and_time(alarm.since_ms), cost_of(alarm) or "–", status_of(alarm, actions, now),
        )  # fmt: skip
    Console(markup=False).print(table)


def _print_history(actions: Sequence[AlarmAction]) -> None:
    table = Table("when (UTC)", "who", "what", "why")
    for action in reversed(actions):
        table.add_row(stamp(action.at_ms), action.by, action.text, action.why)
    Console(markup=False).print(table)
