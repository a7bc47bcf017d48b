"""The page at ``/``, and ``/docs``: what this is and how to ask it; nothing from elsewhere."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup, escape

from serving.bodies import EXAMPLE
from serving.dashboard_feed import Watching
from serving.server_state import ServingState

__all__ = ["SAFE_HEADERS", "TEMPLATES", "routes", "static_file"]

_NAMES = re.compile("`+([^`]+)`+")
PAGES = Path(__file__).parent.parent / "pages"
_STATIC = {"/style.css": "text/css", "/page.js": "text/javascript", "/icon.svg": "image/svg+xml"}
SAFE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


def routes(state: ServingState) -> APIRouter:
    """Give the routes."""
    router = APIRouter(include_in_schema=False, default_response_class=Response)

    @router.get("/")
    async def page(request: Request) -> Response:
        """What this is."""
        asked = {"fields": _example(state)}
        url = f"{str(request.base_url).rstrip('/')}/v1/predict"
        return _html(
            "index.html", spec=state.spec.name, asked=asked, example=json.dumps(asked, indent=2),
            url=url, watched=isinstance(state.reports, Watching),
        )  # fmt: skip

    for path, kind in _STATIC.items():
        router.add_api_route(path, static_file(path[1:], kind), methods=["GET"])
    if state.settings.docs:

        @router.get("/docs")
        async def docs(request: Request) -> Response:
            """Every request and reply, with examples."""
            return _html("docs.html", api=request.app.openapi())

    return router


def static_file(name: str, kind: str) -> Callable[[], Any]:
    """Give the endpoint of a file among the pages."""
    content = (PAGES / name).read_bytes()

    async def file() -> Response:
        return Response(content, media_type=kind, headers=SAFE_HEADERS)

    return file


def _html(page: str, **parts: Any) -> Response:
    text = TEMPLATES.get_template(page).render(parts)
    return Response(text, media_type="text/html", headers=SAFE_HEADERS)


def _example(state: ServingState) -> dict[str, Any]:
    """Fields that this spec has."""
    known = state.scorer.known
    fields = {name: value for name, value in EXAMPLE.items() if name in known}
    return fields or dict.fromkeys(sorted(known)[:5], "...")


def _curl(url: str, body: Any) -> str:
    return f"curl {url} -d {shlex.quote(json.dumps(body))}"


def _code(text: object) -> Markup:
    """A text with its `names` set apart."""
    return Markup(_NAMES.sub(r"<code>\1</code>", str(escape(text))))


def _type(kind: dict[str, Any]) -> str:
    """The type of a property, in words."""
    if "$ref" in kind:
        return str(kind["$ref"]).rsplit("/", 1)[1]
    if "anyOf" in kind:
        return " or ".join(map(_type, kind["anyOf"]))
    name = str(kind.get("type", "any"))
    if name == "array" and kind.get("items"):
        return f"list of {_type(kind['items'])}"
    if name == "object" and isinstance(kind.get("additionalProperties"), dict):
        return f"{name} of {_type(kind['additionalProperties'])}"
    return name


TEMPLATES = Environment(loader=FileSystemLoader(PAGES), autoescape=True)
"""The pages that are filled in."""
TEMPLATES.filters |= {"code": _code, "type": _type}
TEMPLATES.globals["curl"] = _curl
