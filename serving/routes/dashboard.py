"""``/dashboard``, the stream as it runs, and ``/reports/``, now and as they were saved."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from features.errors import ClicktideError
from features.whole_file import file_stamp
from monitoring.report import ReportData, render
from monitoring.report.build import report_of
from monitoring.report.slice_grid import read_challengers
from monitoring.report.stream import stream_counts
from monitoring.watch.monitor_files import read_monitor
from serving.dashboard_feed import StreamFeed, Watching
from serving.metrics import CONTENT_TYPE_LATEST, stream_metrics
from serving.problem import Problem
from serving.routes.page import SAFE_HEADERS, TEMPLATES, static_file
from serving.server_state import ServingState
from serving.stream_snapshot import StreamSnapshot

__all__ = ["LatestReport", "routes"]

_FILES = {
    "/dashboard": ("dashboard.html", "text/html"),
    "/dashboard.css": ("dashboard.css", "text/css"),
    "/dashboard.js": ("dashboard.js", "text/javascript"),
}
_RETRY_MS = 300
_SHARE = 0.7


def routes(state: ServingState) -> APIRouter:
    """Give the routes; none where the process does not know of a stream."""
    router = APIRouter(include_in_schema=False, default_response_class=Response)
    watching = state.reports
    if not isinstance(watching, Watching):
        return router
    feed = StreamFeed(watching.looker)
    for path, (name, kind) in _FILES.items():
        router.add_api_route(path, static_file(name, kind), methods=["GET"])

    @router.get("/dashboard/events")
    async def events() -> Response:
        """A stream of looks, ended before the time limit of a request: browsers come again."""
        if feed.full:
            detail = f"{feed.most} watch already. Fix: close a dashboard, or come back"
            raise Problem(503, detail, headers={"Retry-After": str(state.settings.retry_after_s)})
        seconds = _SHARE * state.settings.request_timeout_s
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", **SAFE_HEADERS}
        return StreamingResponse(
            _sent(feed, seconds), media_type="text/event-stream", headers=headers
        )

    @router.get("/metrics/stream")
    async def metrics() -> Response:
        """Figures of the stream for Prometheus."""
        news = await feed.once()
        try:
            look = msgspec.json.decode(news, type=StreamSnapshot)
        except msgspec.DecodeError:  # it could not be looked at, and says why
            look = None
        return Response(stream_metrics(look), media_type=CONTENT_TYPE_LATEST)

    _add_reports(router, state, watching)
    return router


async def _sent(feed: StreamFeed, seconds: float) -> AsyncIterator[bytes]:
    """Looks as server-sent events; a comment keeps the line open where there is none."""
    yield b"retry: %d\n\n" % _RETRY_MS
    async for news in feed.watch(seconds):
        yield b"data: %b\n\n" % news if news else b": nothing new\n\n"


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}\.(html|json)")
_KINDS = {"html": "text/html; charset=utf-8", "json": "application/json"}
_ANEW_MS = 60_000  # a report says how old it is
_REPORT_HEADERS = {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY"}


class LatestReport:
    """The report of the stream, made anew when its monitor has saved, and as it ages.

    Parameters
    ----------
    watching
        Where the monitor's folder is.
    now_ms
        The wall clock.
    """

    def __init__(self, watching: Watching, now_ms: Any) -> None:
        self._watching, self._now_ms = watching, now_ms
        self._made: tuple[tuple[tuple[int, int], int], bytes, bytes] | None = None
        self._lock = asyncio.Lock()

    async def get(self, kind: str) -> bytes:
        """The page (``html``) or its data (``json``); made in a thread, by one request for all.

        Raises
        ------
        Problem
            There is nothing to report on.
        """
        async with self._lock:
            saved = file_stamp(self._watching.monitor / "now.json")
            if saved is None:
                detail = "no monitor has saved yet. Fix: run clicktide monitor beside the stream"
                raise Problem(404, detail, title="No report")
            written = saved, self._now_ms() // _ANEW_MS
            if self._made is None or self._made[0] != written:
                self._made = written, *await asyncio.to_thread(self._make)
        return self._made[1] if kind == "html" else self._made[2]

    def _make(self) -> tuple[bytes, bytes]:
        try:
            folder = self._watching.monitor
            gathered = stream_counts(
                read_monitor(folder),
                self._watching.stream,
                challengers=read_challengers(folder.parent / "challengers"),
            )
        except ClicktideError as error:
            raise Problem(404, str(error), title="No report") from error
        data: ReportData = report_of(gathered, self._now_ms())
        return render(data).encode(), msgspec.json.encode(data)


def _add_reports(router: APIRouter, state: ServingState, watching: Watching) -> None:
    latest = LatestReport(watching, state.now_ms)
    page, nothing = map(TEMPLATES.get_template, ("reports.html", "no_report.html"))

    @router.get("/reports/")
    async def listing(request: Request) -> Response:
        """What reports there are."""
        saved = await asyncio.to_thread(_saved, watching.reports)
        text = page.render(saved=saved, live=(watching.monitor / "now.json").exists())
        return Response(text, media_type="text/html", headers={**_REPORT_HEADERS, **SAFE_HEADERS})

    @router.get("/reports/{name}")
    async def report(name: str) -> Response:
        """One report: ``latest``, or one that was saved."""
        stem, _, kind = name.partition(".")
        if stem == "latest" and kind in ("", "html", "json"):
            kind = kind or "html"
            try:
                body = await latest.get(kind)
            except Problem as problem:
                if kind == "json":
                    raise
                body = nothing.render(why=problem.detail).encode()
        else:
            body, kind = await asyncio.to_thread(_read, watching.reports, name)
        return Response(
            body, media_type=_KINDS[kind], headers={**_REPORT_HEADERS, "Cache-Control": "no-cache"}
        )


def _saved(folder: Path) -> list[tuple[str, str]]:
    """Names of saved reports and when they were written, the newest first."""
    found = []
    for path in folder.glob("*.html"):
        if _NAME.fullmatch(path.name):
            found.append((path.stat().st_mtime, path.name))
    return [
        (name, datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC"))
        for at, name in sorted(found, reverse=True)[:200]
    ]


def _read(folder: Path, name: str) -> tuple[bytes, str]:
    """A saved report; names cannot leave the folder."""
    match = _NAME.fullmatch(name)
    try:
        if match is None:
            raise FileNotFoundError(name)
        return (folder / name).read_bytes(), match[1]
    except OSError as error:
        raise Problem(404, "no such report. Fix: /reports/ lists them") from error
