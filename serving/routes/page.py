"""The page at ``/``, and ``/docs``: what this is and how to ask it; nothing from elsewhere."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from fastapi import APIRouter, Request, Response

from serving.bodies import EXAMPLE
from serving.dashboard_feed import Watching
from serving.server_state import ServingState

__all__ = ["PAGES", "SAFE_HEADERS", "routes", "static_file"]

_NAMES = re.compile("`+([^`]+)`+")
PAGES = Path(__file__).parent.parent / "pages"
_STATIC = {"/style.css": "text/css", "/page.js": "text/javascript", "/icon.svg": "image/svg+xml"}
SAFE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
_MORE = {
    "/dashboard": "the stream as it runs",
    "/reports/": "drift and calibration, and what they cost",
}


def routes(state: ServingState) -> APIRouter:
    """Give the routes."""
    router = APIRouter(include_in_schema=False, default_response_class=Response)

    @router.get("/")
    async def page(request: Request) -> Response:
        """What this is."""
        return _html(_start(state, request))

    for path, kind in _STATIC.items():
        router.add_api_route(path, static_file(path[1:], kind), methods=["GET"])
    if state.settings.docs:

        @router.get("/docs")
        async def docs(request: Request) -> Response:
            """Every request and reply, with examples."""
            return _html(_docs(request.app.openapi()))

    return router


def static_file(name: str, kind: str) -> Callable[[], Any]:
    """Give the endpoint of a file among the pages."""
    content = (PAGES / name).read_bytes()

    async def file() -> Response:
        return Response(content, media_type=kind, headers=SAFE_HEADERS)

    return file


def _html(text: str) -> Response:
    return Response(text, media_type="text/html", headers=SAFE_HEADERS)


def _template(name: str) -> Template:
    return Template((PAGES / name).read_text(encoding="utf-8"))


# --- the start ------------------------------------------------------------------------------


def _start(state: ServingState, request: Request) -> str:
    fields = _example(state)
    base = str(request.base_url).rstrip("/")
    curl = f"curl {base}/v1/predict -d {shlex.quote(json.dumps({'fields': fields}))}"
    watched = isinstance(state.reports, Watching)
    more = [_link(path, says) for path, says in _MORE.items()] if watched else []
    return _template("index.html").substitute(
        spec=escape(state.spec.name),
        example=escape(json.dumps({"fields": fields}, indent=2)),
        curl=escape(curl),
        more="\n    ".join(more),
    )


def _link(path: str, says: str) -> str:
    name = path.strip("/").capitalize()
    return f'<li><a href="{path}">{name}</a> {escape(says)}</li>'


def _example(state: ServingState) -> dict[str, Any]:
    """Fields that this spec has."""
    known = state.scorer.known
    fields = {name: value for name, value in EXAMPLE.items() if name in known}
    return fields or dict.fromkeys(sorted(known)[:5], "...")


# --- the description ------------------------------------------------------------------------


def _docs(described: dict[str, Any]) -> str:
    """The OpenAPI description as a page."""
    shown = [
        _operation(path, method, operation, described["components"]["schemas"])
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]
    about = escape(described["info"]["description"].replace("\n", " ")).replace("`", "")
    return _template("docs.html").substitute(about=about, operations="\n".join(shown))


def _operation(path: str, method: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    parts = [f"<p>{_code(operation.get('description', ''))}</p>"]
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    for name, example in content.get("examples", {}).items():
        body = json.dumps(example["value"])
        curl = f"curl localhost:8000{path} -d {shlex.quote(body)}"
        parts.append(f"<h3>Example: {escape(name)}</h3><pre>{escape(curl)}</pre>")
    if content:
        parts.append(f"<h3>Body</h3>{_record(content['schema'], schemas)}")
    rows = "".join(
        f"<tr><td>{status}</td><td>{_code(reply['description'])}{_reply(reply, schemas)}</td></tr>"
        for status, reply in operation["responses"].items()
    )
    parts.append(f"<h3>Replies</h3><table>{rows}</table>")
    head = (
        f"<code><b>{method.upper()}</b>{escape(path)}</code> <p>{escape(operation['summary'])}</p>"
    )
    return f'<details class="op"><summary>{head}</summary>{"".join(parts)}</details>'


def _reply(response: dict[str, Any], schemas: dict[str, Any]) -> str:
    schema = response.get("content", {}).get("application/json", {}).get("schema")
    return _record(schema, schemas) if schema and "$ref" in schema else ""


def _record(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    """A record's fields, with what its docstring says at the head."""
    found = schemas[schema["$ref"].rsplit("/", 1)[1]]
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(_type(kind))}</td>"
        f"<td>{_code(kind.get('description', ''))}</td></tr>"
        for name, kind in found.get("properties", {}).items()
    )
    return f"<p>{_code(found.get('description', ''))}</p><table>{rows}</table>"


def _code(text: str) -> str:
    """A text with its `names` set apart."""
    return _NAMES.sub(r"<code>\1</code>", escape(text))


def _type(kind: dict[str, Any]) -> str:
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
