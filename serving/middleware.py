"""ASGI layers: limits on size, number and time, request ids, the access log, the fast path."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from itertools import count
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.access import ANYBODY, CALLER, FREE, scope_of
from serving.problem import Problem
from serving.server_state import Handler, ServingState

__all__ = ["BUG", "FastPath", "RequestLimits", "endpoint"]

BUG = Problem(500, "a bug; the log has it under this request id")
"""The answer when the program is at fault."""

_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_WATCHED = FREE | {"/metrics"}
"""Answered however many requests are under way: whoever watches must see that."""


class RequestLimits:
    """ASGI: refuses what is too large, too much or too slow; everything else goes through.

    Parameters
    ----------
    app
        What answers.
    state
        Its settings hold the limits.
    """

    def __init__(self, app: ASGIApp, state: ServingState) -> None:
        self.app, self.state = app, state
        self.under_way = 0
        self._prefix = os.urandom(4).hex()
        self._numbers = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        call = _Call(self.state, scope, send, f"{self._prefix}-{next(self._numbers):x}")
        problem = self._not_allowed(scope, call) or self._too_much(scope, call)
        if problem is not None:
            await self._refuse(problem, call, scope, receive)
            return
        self.under_way += 1
        try:
            await self._answer(call, scope, _bounded(call, receive, self.state))
        finally:
            self.under_way -= 1
            call.done()

    async def _refuse(self, problem: Problem, call: _Call, scope: Scope, receive: Receive) -> None:
        await problem.response(call.id)(scope, receive, call.send)
        call.done()

    def _not_allowed(self, scope: Scope, call: _Call) -> Problem | None:
        if not self.state.access.closed:
            return None
        if scope["method"] == "OPTIONS" and self.state.settings.cors_origins:
            return None  # browsers ask without a token whether they may send one
        try:
            call.caller = self.state.access.admit(scope["path"], call.authorization)
        except Problem as problem:
            return problem
        CALLER.set(call.caller)
        return None

    def _too_much(self, scope: Scope, call: _Call) -> Problem | None:
        settings = self.state.settings
        if call.encoding not in (b"", b"identity"):
            detail = "a body with a Content-Encoding. Fix: send the JSON as it is"
            return Problem(415, detail, headers={"Connection": "close"})
        if call.length is not None and call.length > settings.max_body_bytes:
            return _too_large(settings.max_body_bytes)
        if self.under_way < settings.max_concurrent or scope["path"] in _WATCHED:
            return None
        self.state.metrics.refused()
        detail = f"{self.under_way} requests are under way. Fix: ask again in a moment"
        return Problem(503, detail, title="Busy", headers=_again(self.state))

    async def _answer(self, call: _Call, scope: Scope, receive: Receive) -> None:
        """Let the application answer; whatever happens, there is an answer."""
        seconds = self.state.settings.request_timeout_s
        task = asyncio.current_task()
        assert task is not None
        # a quarter of what asyncio.timeout costs
        bell = asyncio.get_running_loop().call_later(seconds, call.expire, task)
        try:
            await self.app(scope, receive, call.send)
            return
        except asyncio.CancelledError:
            if not call.expired or task.uncancel() > 0:
                raise  # by someone else
            problem = _too_slow(call.read, seconds, self.state)
        except Problem as refused:
            problem = refused
        except Exception as error:  # never a traceback for the client
            self.state.say(f"{call.id}: BUG in {call.route}: {type(error).__name__}: {error}")
            problem = BUG
        finally:
            bell.cancel()
        if not call.started:
            await problem.response(call.id)(scope, receive, call.send)


class _Call:
    """One request and its answer."""

    def __init__(self, state: ServingState, scope: Scope, send: Send, own: str) -> None:
        self.state, self.scope, self._send = state, scope, send
        self.begun, self.status, self.started, self.read = time.perf_counter(), 0, False, False
        self.expired = False
        self.length: int | None = None
        self.authorization: bytes | None = None
        self.caller, self.encoding = ANYBODY, b""
        self.id = own
        self._look(scope["headers"])
        self._header = (b"x-request-id", self.id.encode())

    def _look(self, headers: list[tuple[bytes, bytes]]) -> None:
        for name, value in headers:
            if name == b"content-length" and value.isdigit():
                self.length = int(value)
            elif name == b"authorization":
                self.authorization = value
            elif name == b"content-encoding":
                self.encoding = value.lower()
            elif name == b"x-request-id" and _ID.fullmatch(value):
                self.id = value.decode()
        self.scope["request_id"] = self.id

    def expire(self, task: asyncio.Task[Any]) -> None:
        """Its time is over."""
        self.expired = True
        task.cancel()

    @property
    def route(self) -> str:
        """The path's pattern; other paths have one name together, for clients choose them."""
        path = getattr(self.scope.get("route"), "path", None)
        return path if isinstance(path, str) else self.scope.get("fast_route", "other")

    async def send(self, message: Message) -> None:
        """Send on, with the request id."""
        if message["type"] == "http.response.start":
            self.started, self.status = True, message["status"]
            headers: list[Any] = message.setdefault("headers", [])
            headers.append(self._header)
        await self._send(message)

    def done(self) -> None:
        """Count it and, where wished, log it: never its query or body."""
        seconds = time.perf_counter() - self.begun
        self.state.metrics.request(self.route, self.status, seconds)
        log = self.state.settings.access_log
        if log == "all" or (log == "errors" and self.status >= 400):
            method = self.scope["method"]
            line = f"{method} {self.route} {self.status} {1000 * seconds:.1f} ms"
            self.state.say(f"{self.id}: {line}")
        if self.caller.name and scope_of(self.scope["path"]) == "admin":
            line = f"{self.caller.name} {self.scope['method']} {self.route} {self.status}"
            self.state.say(f"{self.id}: audit: {line}")


def _bounded(call: _Call, receive: Receive, state: ServingState) -> Receive:
    """``receive`` that notes the end of the body, and counts one of unknown length."""
    most, seen = state.settings.max_body_bytes, 0

    async def counted() -> MutableMapping[str, Any]:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > most:
            raise _too_large(most)
        call.read = not message.get("more_body", False)
        return message

    return counted


def _too_large(most: int) -> Problem:
    # the rest of the body is not read, so the connection is of no more use
    detail = f"the body has more than {most} bytes. Fix: send fewer at a time"
    return Problem(413, detail, headers={"Connection": "close"})


def _too_slow(read: bool, seconds: float, state: ServingState) -> Problem:
    if not read:
        detail = f"the body did not come within {seconds:g} s"
        return Problem(408, detail, headers={"Connection": "close"})
    return Problem(503, f"no answer within {seconds:g} s", headers=_again(state))


def _again(state: ServingState) -> dict[str, str]:
    return {"Retry-After": str(state.settings.retry_after_s)}


_JSON = (b"content-type", b"application/json")


class FastPath:
    """ASGI: finds these routes without a search, and answers without a Request or a Response.

    Parameters
    ----------
    app
        Has all routes, these among them: it answers what is not found here.
    handlers
        By path; all of them are POST.
    """

    def __init__(self, app: ASGIApp, handlers: dict[str, Handler]) -> None:
        self.app, self.handlers = app, handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        handler = self.handlers.get(scope["path"]) if scope["type"] == "http" else None
        if handler is None or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        scope["fast_route"] = scope["path"]
        try:
            body = await handler(await _body(receive))
        except Problem as problem:
            await problem.response(scope.get("request_id"))(scope, receive, send)
            return
        headers = [_JSON, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _body(receive: Receive) -> bytes:
    """The whole body; its limits are kept before it comes here."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem(400, "the connection ended before the body did")
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def endpoint(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """The same handler as FastAPI wants it, for its description."""

    async def answer(request: Request) -> Response:
        return Response(await handler(await request.body()), media_type="application/json")

    answer.__doc__, answer.__name__ = handler.__doc__, getattr(handler, "__name__", "answer")
    return answer
