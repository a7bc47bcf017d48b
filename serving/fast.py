"""The routes that are asked thousands of times a second: from the body's bytes to the reply's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.problem import Problem

__all__ = ["FastPath", "Handler", "endpoint"]

Handler = Callable[[bytes], Awaitable[bytes]]
"""The body in, the JSON of the reply out; or a Problem."""
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
