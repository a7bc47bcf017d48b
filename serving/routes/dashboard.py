"""``/dashboard``: the stream as it runs, by server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from serving.dashboard_look import Snapshot
from serving.metrics import CONTENT_TYPE_LATEST
from serving.problem import Problem
from serving.state import ServingState
from serving.stream_metrics import stream_metrics
from serving.watching import Feed, Watching

__all__ = ["routes"]

_FOLDER = Path(__file__).parent.parent / "pages"
_FILES = {
    "/dashboard": ("dashboard.html", "text/html"),
    "/dashboard.css": ("dashboard.css", "text/css"),
    "/dashboard.js": ("dashboard.js", "text/javascript"),
}
_SAFE = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
_RETRY_MS = 300
_SHARE = 0.7


def routes(state: ServingState) -> APIRouter:
    """Give the routes; none where the process does not know of a stream."""
    router = APIRouter(include_in_schema=False, default_response_class=Response)
    watching = state.reports
    if not isinstance(watching, Watching):
        return router
    feed = Feed(watching.looker)
    for path, (name, kind) in _FILES.items():
        router.add_api_route(path, _file(name, kind), methods=["GET"])

    @router.get("/dashboard/events")
    async def events() -> Response:
        """A stream of looks, ended before the time limit of a request: browsers come again."""
        if feed.full:
            detail = f"{feed.most} watch already. Fix: close a dashboard, or come back"
            raise Problem(503, detail, headers={"Retry-After": str(state.settings.retry_after_s)})
        seconds = _SHARE * state.settings.request_timeout_s
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", **_SAFE}
        return StreamingResponse(
            _sent(feed, seconds), media_type="text/event-stream", headers=headers
        )

    @router.get("/metrics/stream")
    async def metrics() -> Response:
        """Figures of the stream for Prometheus."""
        news = await feed.once()
        try:
            look = msgspec.json.decode(news, type=Snapshot)
        except msgspec.DecodeError:  # it could not be looked at, and says why
            look = None
        return Response(stream_metrics(look), media_type=CONTENT_TYPE_LATEST)

    return router


async def _sent(feed: Feed, seconds: float) -> AsyncIterator[bytes]:
    """Looks as server-sent events; a comment keeps the line open where there is none."""
    yield b"retry: %d\n\n" % _RETRY_MS
    async for news in feed.watch(seconds):
        yield b"data: %b\n\n" % news if news else b": nothing new\n\n"


def _file(name: str, kind: str) -> Callable[[], Any]:
    content = (_FOLDER / name).read_bytes()

    async def file() -> Response:
        return Response(content, media_type=kind, headers=_SAFE)

    return file
