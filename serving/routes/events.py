"""``POST /v1/impressions`` and ``/v1/clicks``: events into the log, answered when durable."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import Raw

from features.events import Click, EventError, Impression, decode_event
from serving.bodies import EXAMPLE, ClickEvents, EventsAccepted, ImpressionEvents
from serving.event_writer import EventsRefusedError, EventWriter, QueueFullError
from serving.problem import Problem, check_count, decode
from serving.server_state import ServingState
from streaming.time_text import span

__all__ = ["check_time", "refused", "routes"]

JSON = "application/json"
_SHARE = 0.8  # of a request's time, for the log: then there is still time to say so

_NO_LOG = "this server has no event log. Fix: start it with --log"


_impressions = msgspec.json.Decoder(ImpressionEvents)
_clicks = msgspec.json.Decoder(ClickEvents)
_parts = msgspec.json.Decoder(dict[str, Raw])
_lists = msgspec.json.Decoder(list[dict[str, Raw]])
_encode = msgspec.json.Encoder().encode
_NULL = Raw(b"null")
_ASKED = {
    "one": {"impression_id": "imp-1", "fields": EXAMPLE},
    "several": {
        "impressions": [
            {"impression_id": "imp-2", "fields": EXAMPLE},
            {"impression_id": "imp-3", "fields": EXAMPLE, "probability": 0.031, "propensity": 0.9},
        ]
    },
}
_CLICKED = {
    "one": {"impression_id": "imp-1"},
    "several": {
        "clicks": [{"impression_id": "imp-2"}, {"impression_id": "imp-3", "kind": "dismiss"}]
    },
}
_REFUSALS = (400, 408, 413, 415, 422, 429, 500, 503)


def routes(state: ServingState) -> APIRouter:
    """Give the routes."""
    router = APIRouter(tags=["events"])
    describe = state.operations.describe

    @router.post(
        "/v1/impressions",
        summary="Ads that were shown",
        openapi_extra=describe(
            body=ImpressionEvents, reply=EventsAccepted, examples=_ASKED, refusals=_REFUSALS
        ),
    )
    async def impressions(request: Request) -> Response:
        """One impression, or many (`impressions`), into the event log: all of them or none.

        Answered when they are durable. If the answer is 503 or 429, or none comes, send the same
        again: an id counts once.
        """
        raw = await request.body()
        decode(_impressions, raw)
        return await _write(state, _events(state, raw, "impressions", "impression"))

    @router.post(
        "/v1/clicks",
        summary="Clicks on them, and dismissals",
        openapi_extra=describe(
            body=ClickEvents, reply=EventsAccepted, examples=_CLICKED, refusals=_REFUSALS
        ),
    )
    async def clicks(request: Request) -> Response:
        """One click, or many (`clicks`), into the event log: all of them or none.

        Answered when they are durable. If the answer is 503 or 429, or none comes, send the same
        again: a second click on an impression counts as one.
        """
        raw = await request.body()
        decode(_clicks, raw)
        return await _write(state, _events(state, raw, "clicks", "click"))

    return router


async def _write(state: ServingState, events: list[Any]) -> Response:
    writer: EventWriter | None = state.writer
    if writer is None:
        raise Problem(503, _NO_LOG, title="No event log", headers={"Retry-After": "60"})
    try:
        done = await writer.write(events, _SHARE * state.settings.request_timeout_s)
    except EventsRefusedError as error:
        raise refused(error) from None
    ids = [event.impression_id for event in events]
    reply = EventsAccepted(done.written, done.duplicates, ids, writer.note(events))
    return Response(_encode(reply), media_type=JSON)


def check_time(state: ServingState, at_ms: int, field: str) -> None:
    """Refuse an event dated further ahead of this server's clock than the stream trusts.

    Raises
    ------
    Problem
        With the field.
    """
    writer: EventWriter | None = state.writer
    ahead_ms = at_ms - state.now_ms()
    if writer is not None and ahead_ms > writer.max_ahead_ms:
        raise Problem(
            422,
            f"{at_ms} is {span(ahead_ms / 1000)} ahead of this server's clock. Fix: set the "
            "sender's clock, or leave the timestamp out: it is now",
            field,
        )


def refused(error: EventsRefusedError) -> Problem:
    """What to answer when the writer does not take events."""
    full = isinstance(error, QueueFullError)
    return Problem(
        429 if full else 503,
        str(error),
        title="Too many events" if full else "Event log unavailable",
        headers={"Retry-After": f"{max(1, round(error.retry_after_s))}"},
    )


def _events(state: ServingState, raw: bytes, many: str, kind: str) -> list[Any]:
    """Events of a body that is known to be well formed, unknown fields included."""
    whole = _parts.decode(raw)
    if whole.get(many, _NULL) == _NULL:
        whole.pop(many, None)
        return [_event(state, whole, kind, state.now_ms(), "")]
    if len(whole) > 1:
        raise Problem(422, f"give `{many}`, or one {kind}, not both", many)
    parts = _lists.decode(whole[many])
    check_count(len(parts), state.settings.max_candidates, many)
    now = state.now_ms()
    return [_event(state, part, kind, now, f"{many}[{i}].") for i, part in enumerate(parts)]


def _event(
    state: ServingState, parts: dict[str, Raw], kind: str, now_ms: int, place: str
) -> Impression | Click:
    """One event, by the schema of the log."""
    _default(parts, "v", lambda: 1)
    _default(parts, "type", lambda: kind)
    _default(parts, "timestamp", lambda: now_ms)
    if kind == "impression":
        _default(parts, "impression_id", lambda: uuid.uuid4().hex)
    try:
        event = decode_event(_encode(parts))
    except EventError as error:
        field = place + _FIELD_OF.get(error.reason, "")
        raise Problem(422, error.detail, field.rstrip(".") or None) from None
    assert isinstance(event, Impression | Click)
    check_time(state, event.timestamp, f"{place}timestamp")
    return event


_FIELD_OF = {"missing_field": "impression_id", "id_length": "impression_id"}


def _default(parts: dict[str, Raw], name: str, value: Callable[[], Any]) -> None:
    if parts.get(name, _NULL) == _NULL:
        parts[name] = Raw(_encode(value()))
