"""The command ``clicktide demo``: the whole loop once, on a simulated market that goes wrong."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Annotated

import httpx
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from clicktide.child_processes import Spawned, clicktide_command, lock_folder
from clicktide.demo_story import DemoOutcome, Story, outcome_of
from clicktide.kernels import compile_once
from clicktide.options import JsonOption, print_json
from clicktide.publication import PATIENCE_S, Publication, publish_source
from clicktide.run_summary import number
from clicktide.supervisor import Child
from clicktide.valkey import free_port
from features.errors import ClicktideError
from features.spec_file import load_spec
from monitoring.report import ReportData
from streaming.file_lock import lock_file
from streaming.log import EventLog, open_log
from streaming.publish import Lockstep, Patience
from streaming.signals import Stopped, stop_request
from streaming.status import Look, look_at
from streaming.time_text import now_ms

__all__ = ["demo", "demo_folder"]

_INCOMPLETE = 1
_START_PATIENCE_S = 1_800.0  # on a new machine kernels are compiled first, and nothing tells of it
_EVERY_S = 10.0  # between two lines where there is no terminal
_SLICE_S = 24.0  # of event time: a label is half a minute old when it can be learned
_MARK = "demo"  # a folder that has it was made here, and may be removed
_STOP_S = 60.0
_SPEC = "market"
# A short stream of quick clicks: labels, and the monitor, must not wait as in a long one.
_OPTIONS = (
    *("--set", "join.join_window_s=90"),
    "--no-register",  # MLflow takes as long to start as the rest
    *("--set", "monitor.predict=served"),
    # Repairs follow the monitor as soon as it is: at another event in each run of the demo.
    *("--set", "monitor.repair.on=false"),
    *("--set", "monitor.save_every_s=2"),
    *("--set", "monitor.detect.warmup_clicks=500"),
    # One chance alarm in 300 demos: the fault is loud enough for that, and whoever sees only one
    # demo should see no other.
    *("--set", "monitor.detect.false_alarm_clicks=1000000"),
)


def demo(
    folder: Annotated[
        Path, typer.Option("--dir", help="All that is made goes here; an earlier demo is removed")
    ] = Path("run/demo"),
    events: Annotated[
        int, typer.Option("--events", min=40_000, help="Impressions of the simulated market")
    ] = 100_000,
    factor: Annotated[
        float,
        typer.Option("--factor", min=0.05, max=20, help="One campaign's click odds change so much"),
    ] = 5.0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed, another market")] = 0,
    port: Annotated[
        int, typer.Option("--port", help="Serve predictions here; 0: any free port")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Show the whole loop at work, then its drift report: a minute or so.

    A simulated market asks the API for every ad's click probability, shows
    it, and sends impressions and clicks into the log; they are joined,
    counted, learned and served again. At two thirds one campaign's
    clicks change. The monitor finds that; the report says where, since when and
    what it cost. Simulated time waits for the stream's processes, so the outcome
    is the same on a slow machine and on a fast one.

    clicktide demo

    clicktide demo --events 500000 --factor 0.3
    """
    console = Console(stderr=True, highlight=False)
    try:
        done = _run(folder, Story(events, factor, seed), port, console)
    except Stopped:
        console.print("stopped; the same command begins anew")
        raise typer.Exit(130) from None
    if as_json:
        print_json(done)
    else:
        _show(done, Console(highlight=False))
    if done.problem is not None:
        console.print(f"[bold red]error:[/] {escape(done.problem)}", soft_wrap=True)
        raise typer.Exit(_INCOMPLETE)


def _run(folder: Path, story: Story, port: int, console: Console) -> DemoOutcome:
    """Run the demo; give what was found.

    Raises
    ------
    Stopped
        The user asked for it.
    ClicktideError
        The folder is somebody's.
    """
    begun, problem = time.monotonic(), None
    with (
        demo_folder(folder),
        stop_request() as request,
        _Progress(console, story.events) as line,
    ):
        compile_once(line.stage)
        line.stage("starting the stream")
        injected = story.injected()
        with DemoStream(folder, port) as stream, open_log(stream.log) as log:
            try:
                _DemoRun(story, stream, log, line, request.check).play()
            except ClicktideError as error:  # the report tells of what there is
                problem = str(error)
            line.stage("stopping the stream")
        line.stage("writing the report")
        page, data = _report(folder)
    return outcome_of(
        data, injected, folder, report=page, problem=problem,
        seconds=round(time.monotonic() - begun, 1),
    )  # fmt: skip


def _report(folder: Path) -> tuple[str | None, ReportData | None]:
    """Write the page; give its name, and what it says."""
    from clicktide.report import report_stream
    from monitoring.report.page import write_report

    page = folder / "report.html"
    try:
        data = report_stream(folder, now_ms())
    except ClicktideError:  # the monitor has seen nothing
        return None, None
    write_report(data, page)
    return str(page), data


@dataclass(frozen=True)
class _DemoRun:
    """The story, played on a running stream."""

    story: Story
    stream: DemoStream
    log: EventLog
    line: _Progress
    stop: Callable[[], None]

    def play(self) -> None:
        """Publish the market's past, then ask for a prediction of each impression to come."""
        self._lockstep((), _START_PATIENCE_S).until(lambda _: self.stream.lacks())
        story, stream = self.story, self.stream
        market = Publication(
            story.source, load_spec(stream.spec), stream.log, settings=stream.settings, resume=True
        )
        self.line.stage("learning the past")
        self._publish(replace(market, events=story.history, no_end=True), 0)
        self.line.stage("serving")
        lockstep = self._lockstep(("join", "count", "train"), PATIENCE_S)
        live = replace(market, through=stream.url, lockstep=lockstep)
        self._publish(live, story.history)
        self.line.stage("watching the rest")
        self._lockstep(("join", "count", "train", "monitor"), PATIENCE_S).wait()

    def _publish(self, market: Publication, before: int) -> None:
        done = publish_source(
            market,
            on_commit=lambda impressions: self.line.update(before + impressions),
            check=self._check,
            say=lambda line: None,
        )
        if done.error is not None:
            raise done.error

    def _lockstep(self, groups: tuple[str, ...], patience_s: float) -> Lockstep:
        return Lockstep(
            self._look,
            _SLICE_S,
            Patience(patience_s, time.monotonic),
            sleep=time.sleep,
            check=self._check,
            groups=groups,
        )

    def _look(self) -> Look:
        look = look_at(self.log, now_ms(), newest=False)
        self.line.update(look=look)
        return look

    def _check(self) -> None:
        self.stop()
        self.stream.check_alive()


class _Progress:
    """How far the demo is, on one line of a terminal; elsewhere a line now and then.

    Parameters
    ----------
    console
        Where to show it.
    total
        Impressions of the whole demo.
    """

    def __init__(self, console: Console, total: int) -> None:
        self._console, self._total, self._status = console, total, console.status("")
        self._stage, self._begun, self._done, self._done_before = "", time.monotonic(), 0, 0
        self._shown_at = -_EVERY_S
        self._look: Look | None = None

    def stage(self, name: str) -> None:
        """Begin a stage."""
        self._stage, self._begun, self._done_before = name, time.monotonic(), self._done
        self._shown_at = -_EVERY_S
        self.update()

    def update(self, done: int | None = None, look: Look | None = None) -> None:
        """Take what is new: impressions published so far, and how the stream stands."""
        self._done = self._done if done is None else done
        self._look = look or self._look
        if self._console.is_terminal:
            self._status.update(escape(self.text()[: self._console.width - 4]))
        elif time.monotonic() - self._shown_at >= _EVERY_S:
            self._shown_at = time.monotonic()
            self._console.print(self.text(), markup=False, highlight=False, soft_wrap=True)

    def text(self) -> str:
        """The line."""
        parts = [self._stage]
        if self._done:
            seconds = time.monotonic() - self._begun
            parts.append(f"{self._done:,} of {self._total:,}")
            if self._done > self._done_before and seconds > 1:
                parts.append(f"{(self._done - self._done_before) / seconds:,.0f}/s")
        trainer = self._look.trainer if self._look else None
        if trainer is not None and trainer.log_loss is not None:
            parts.append(f"log loss {number(trainer.log_loss)}")
            parts.append(f"calibration {number(trainer.calibration, 3)}")
        return "  ".join(parts)

    def __enter__(self) -> _Progress:
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._status.stop()


def _show(done: DemoOutcome, console: Console) -> None:
    table = Table.grid(padding=(0, 2))
    for name, text in done.lines():
        table.add_row(f"[bold]{name}[/]", escape(text))
    console.print(table)


# The stream: a running `clicktide up`, and the folder that is its own


class DemoStream:
    """A running ``clicktide up``, stopped at the end.

    Parameters
    ----------
    folder
        Of the stream.
    port
        Where it serves; 0: any free port.
    """

    spec = _SPEC

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.log, self.settings = str(folder / "log.db"), folder / "clicktide.toml"
        port = port or free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = clicktide_command(
            "up", "--dir", str(folder), "--spec", _SPEC, "--port", str(port)
        )
        command += _OPTIONS
        logs = folder / "logs"
        logs.mkdir()
        child = Child("up", command, {"CLICKTIDE_NICE": "0"})  # the market waits for the trainer
        self._up = Spawned(child, logs, lambda name, line: None)

    def check_alive(self) -> None:
        """Raise if it has ended."""
        if self._up.poll() is not None:
            self._up.kill()
            raise ClicktideError(
                f"clicktide up ended early: {self._up.last_line()}. "
                f"Fix: see {self.folder / 'logs' / 'up.log'}"
            )

    def lacks(self) -> str | None:
        """What is still waited for before it serves predictions; ``None``: nothing."""
        try:
            answer = httpx.get(f"{self.url}/readyz", timeout=5.0)
        except httpx.HTTPError:
            return f"serve does not answer at {self.url}"
        return None if answer.is_success else f"serve has no weights yet ({answer.status_code})"

    def __enter__(self) -> DemoStream:
        return self

    def __exit__(self, *error: object) -> None:
        """Stop all of its processes; none is left."""
        self._up.terminate()
        try:
            end = time.monotonic() + _STOP_S
            while self._up.poll() is None and time.monotonic() < end:
                time.sleep(0.05)
        finally:
            self._up.kill()


@contextmanager
def demo_folder(folder: Path) -> Iterator[None]:
    """Remove an earlier demo, and nothing else; hold the folder for this one.

    Raises
    ------
    ClicktideError
        The folder is somebody's, or a demo or a stream runs in it.
    """
    mark = folder / _MARK
    if folder.exists() and any(folder.iterdir()):
        if not mark.exists():
            raise ClicktideError(
                f"{folder}: holds something that is no earlier demo. Fix: --dir of a new folder"
            )
        with _lock(mark), lock_folder(folder):  # no stream runs in what goes now
            shutil.rmtree(folder)
    with _lock(mark) as file:
        file.write("made by clicktide demo, which may remove this folder\n")
        file.flush()
        yield


def _lock(mark: Path) -> IO[str]:
    conflict = f"{mark.parent}: another demo runs here. Fix: wait for it, or --dir of a new folder"
    return lock_file(mark, lambda: conflict)
