"""The application: all routes, behind the limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.access import FREE, scope_of
from serving.middleware import BUG, FastPath, RequestLimits
from serving.problem import Problem
from serving.routes import dashboard, events, health, model, page, predict, rank
from serving.schema import Operations
from serving.server_state import ServingState

__all__ = ["build_app"]

_ABOUT = """Click probabilities from a model that keeps learning while the ads run.

Every refusal is `application/problem+json` and names the field at fault. Every reply bears an
`X-Request-ID`, which the log has too.
"""
_ROUTES = (
    predict.routes, rank.routes, events.routes, model.routes,
    health.routes, page.routes, dashboard.routes,
)  # fmt: skip


def build_app(state: ServingState) -> FastAPI:
    """Make the application.

    Parameters
    ----------
    state
        What it works with; closed when the application shuts down.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        state.close()

    app = _Application(
        state,
        title="Clicktide",
        version="1",
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json" if state.settings.docs else None,
        lifespan=lifespan,
        exception_handlers={Problem: _problem, HTTPException: _http_error, Exception: _bug},
    )
    for routes in _ROUTES:
        app.include_router(routes(state))
    app.openapi = lambda: _openapi(app, state)  # type: ignore[method-assign]
    if state.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(state.settings.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Content-Type", "Authorization", "X-Request-ID"],
            expose_headers=["X-Request-ID", "Retry-After"],
        )
    return app


class _Application(FastAPI):
    """FastAPI behind the limits and the quick way, which it would else stand in front of."""

    def __init__(self, state: ServingState, **options: Any) -> None:
        super().__init__(**options)
        inner: ASGIApp = super().__call__
        if not state.settings.cors_origins:  # those are for all routes alike
            inner = FastPath(inner, state.fast)
        self._outer = RequestLimits(inner, state)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        await self._outer(scope, receive, send)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response(request.scope.get("request_id"))


async def _bug(request: Request, error: Exception) -> Response:
    """What the client is told; the error itself goes on, to be logged."""
    return BUG.response(request.scope.get("request_id"))


async def _http_error(request: Request, error: Exception) -> Response:
    """Wrong path or method, as a problem."""
    assert isinstance(error, HTTPException)
    details = {
        404: "no such path. Fix: /docs lists them",
        405: "not by this method. Fix: see /docs",
    }
    detail = details.get(error.status_code, str(error.detail))
    return Problem(error.status_code, detail, headers=error.headers).response(
        request.scope.get("request_id")
    )


def _openapi(app: FastAPI, state: ServingState) -> dict[str, Any]:
    """The description, made once."""
    if app.openapi_schema is None:
        described: dict[str, Any] = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        parts = described.setdefault("components", {}).setdefault("schemas", {})
        parts |= state.operations.components()
        if state.access.closed:
            _describe_access(described)
        app.openapi_schema = described
    return app.openapi_schema


def _describe_access(described: dict[str, Any]) -> None:
    """Say of each operation which token it needs, and how it is refused without."""
    bearer = {"type": "http", "scheme": "bearer"}
    described["components"]["securitySchemes"] = {"token": bearer}
    refusals = Operations().describe(refusals=(401, 403, 429))["responses"]
    for path, operations in described["paths"].items():
        scope = scope_of(path)
        for operation in operations.values() if path not in FREE else ():
            operation["security"] = [{"token": [scope] if scope else []}]
            operation["responses"] |= refusals
