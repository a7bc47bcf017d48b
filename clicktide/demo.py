"""The command ``clicktide demo``: the whole loop once, on a simulated market that goes wrong."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from clicktide.publish import Publication, publish
from clicktide.spawn import own_command
from features.errors import ClicktideError
from features.spec_file import load_spec
from streaming.log import open_log
from streaming.status import Look, look_at

__all__ = ["demo"]

_MARK = "demo"  # a folder that has it was made here, and may be removed
_READY_S, _DRAIN_S, _STOP_S = 180.0, 300.0, 60.0
# Some hours of a busy market: what is served follows what was clicked by minutes, not by hours.
_PACE, _SPEED = "impressions_per_s=8&max_click_delay_ms=300000", "300"
_SPEC, _GROUPS = "market", ("join", "train", "monitor")


def demo(
    folder: Annotated[
        Path, typer.Option("--dir", help="All that is made goes here; an earlier demo is removed")
    ] = Path("run/demo"),
    events: Annotated[
        int, typer.Option("--events", min=40_000, help="Impressions of the simulated market")
    ] = 150_000,
    factor: Annotated[
        float,
        typer.Option("--factor", min=0.05, max=20, help="One campaign's click odds change so much"),
    ] = 5.0,
    port: Annotated[
        int, typer.Option("--port", help="Serve predictions here; 0: any free port")
    ] = 0,
) -> None:
    """Show the whole loop at work, then its drift report: half a minute or so.

    A simulated market asks the API for every ad's click probability, shows
    it, and sends impressions and clicks into the log; they are joined,
    counted, learned and served again. After two thirds one campaign's
    clicks change. The monitor finds that; the report says where, since when and
    what it cost.

    clicktide demo

    clicktide demo --events 500000 --factor 0.3
    """
    from clicktide.report_out import write_report
    from clicktide.report_stream import report_stream

    console = Console(stderr=True, highlight=False)
    _make_room(folder)
    port = port or _free_port()
    url = f"http://127.0.0.1:{port}"
    log = str(folder / "log.db")
    with _stream(folder, port) as alive:
        console.print(f"[bold]1[/] a stream runs in {folder}, serving at {url}")
        _wait_ready(url, alive)
        change = events * 2 // 3
        source = f"sim:campaign?events={events}&change_at={change}&factor={factor:g}&{_PACE}"
        market = Publication(
            source, load_spec(_SPEC), log, settings=folder / "stream.toml", resume=True
        )
        history = events * 2 // 5
        console.print(f"[bold]2[/] {source}: its first {history:,} impressions are learned")
        publish(replace(market, events=history, no_end=True))
        _learned(log, history // 4, alive)
        console.print("[bold]3[/] the others: each is predicted by the API, then shown")
        publish(replace(market, through=url, speed=_SPEED))
        console.print("[bold]4[/] joining, learning and watching what is left")
        _drain(log, alive)
        console.print("[bold]5[/] the report")
        data = report_stream(folder, time.time_ns() // 1_000_000)
        write_report(data, folder / "report.html")
    verdict = data.verdict
    for line in (verdict.headline, verdict.since, verdict.where, verdict.cost, verdict.action):
        if line:
            console.print(f"  {line}", markup=False, soft_wrap=True)
    typer.echo(f"{folder / 'report.html'}")
    console.print(f"Go on with it: clicktide up --dir {folder}   Your own log: clicktide --help")


def _make_room(folder: Path) -> None:
    """Remove an earlier demo; nothing else."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / _MARK).exists():
            raise ClicktideError(
                f"{folder}: holds something that is no earlier demo. Fix: --dir of a new folder"
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).write_text("made by clicktide demo, which may remove this folder\n")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _stream(folder: Path, port: int) -> Iterator[Callable[[], None]]:
    """``clicktide up`` in its own process; what is given raises if it has ended."""
    said = folder / "up.log"
    command = own_command("up", "--dir", str(folder), "--spec", _SPEC, "--port", str(port))
    command += ["--set", "snapshot_every_s=5"]
    # A short stream: its monitor must not wait for as many clicks as that of a long one.
    for change in ("predict=served", "save_every_s=5", "detect.warmup_clicks=1000"):
        command += ["--set", f"monitor.{change}"]
    with said.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)

    def alive() -> None:
        if process.poll() is not None:
            last = "\n".join(said.read_text(errors="replace").splitlines()[-8:])
            raise ClicktideError(f"clicktide up ended early; it said:\n{last}\nFix: see {said}")

    try:
        yield alive
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_ready(url: str, alive: Callable[[], None]) -> None:
    """Until the first weights are served: on a new machine kernels are compiled first."""
    import httpx

    def ready() -> bool:
        try:
            return httpx.get(f"{url}/readyz", timeout=2.0).is_success
        except httpx.HTTPError:
            return False

    _until(ready, _READY_S, alive, f"{url} is not ready")


def _learned(log: str, least: int, alive: Callable[[], None]) -> None:
    """Until so many examples are learned; the last ones wait for their clicks."""
    with open_log(log) as opened:

        def done() -> bool:
            trainer = look_at(opened, time.time_ns() // 1_000_000).trainer
            return trainer is not None and trainer.learned >= least

        _until(done, _DRAIN_S, alive, "the trainer does not learn")


def _drain(log: str, alive: Callable[[], None]) -> None:
    """Until everything that was published is joined, learned and watched."""
    with open_log(log) as opened:

        def done() -> bool:
            look = look_at(opened, time.time_ns() // 1_000_000)
            return _joined(look) and all(look.groups.get(g) and not look.lag(g) for g in _GROUPS)

        _until(done, _DRAIN_S, alive, "the stream does not come to its end")


def _joined(look: Look) -> bool:
    return look.joiner is not None and look.joiner.pending == 0 and look.trainer is not None


def _until(done: Callable[[], bool], most_s: float, alive: Callable[[], None], what: str) -> None:
    give_up = time.monotonic() + most_s
    while not done():
        alive()
        if time.monotonic() > give_up:
            raise ClicktideError(
                f"{what} after {most_s:.0f} s. Fix: see up.log in the demo's folder"
            )
        time.sleep(0.2)
