"""Reading a request's body, and what is wrong with it, as RFC 9457 has it (``problem+json``)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta
from starlette.responses import Response

__all__ = ["Count", "Problem", "ProblemBody", "Value", "check_count", "decode"]

MEDIA_TYPE = "application/problem+json"
Scalar = str | int | float | bool | None
Value = str | int | float | bool | None | list[Scalar]
"""Of a field of an impression."""
Count = Annotated[float, Meta(ge=0)]
"""Of a counter."""


class ProblemBody(msgspec.Struct, omit_defaults=True):
    """The body of every refusal.

    Parameters
    ----------
    title
        What kind of refusal.
    status
        The HTTP status.
    detail
        What was found, and what to do.
    field
        Where in the request, such as ``impressions[3].fields.ad``.
    request_id
        As in the logs.
    """

    title: str
    status: int
    detail: str
    field: str | None = None
    request_id: str | None = None


class Problem(Exception):
    """A request that is refused.

    Parameters
    ----------
    status
        The HTTP status.
    detail
        What was found, and what to do; no value of a personal field.
    field
        Where in the request.
    title
        What kind of refusal; the status's own name by default.
    headers
        More headers, such as ``Retry-After``.

    Examples
    --------
    >>> Problem(404, "no such page. Fix: see /docs").response().body
    b'{"title":"Not Found","status":404,"detail":"no such page. Fix: see /docs"}'
    """

    def __init__(
        self,
        status: int,
        detail: str,
        field: str | None = None,
        *,
        title: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.field = status, detail, field
        self.title = title or HTTPStatus(status).phrase
        self.headers = dict(headers or {})

    def response(self, request_id: str | None = None) -> Response:
        """What to answer."""
        body = ProblemBody(self.title, self.status, self.detail, self.field, request_id)
        return Response(
            msgspec.json.encode(body), self.status, headers=self.headers, media_type=MEDIA_TYPE
        )


def check_count(count: int, most: int, field: str) -> None:
    """Refuse a request with none, or too many, of something.

    Raises
    ------
    Problem
        With the field.
    """
    if not 1 <= count <= most:
        detail = f"{count} {field}. Fix: give 1 to {most} at a time"
        raise Problem(422, detail, field, title="Too many" if count else "")


T = TypeVar("T")
_any = msgspec.json.Decoder()
_STEP = re.compile(r"\.([A-Za-z_]\w*)|\[(\d+|\.\.\.)\]")
_UNKNOWN = re.compile(r"unknown field `([^`]{1,100})`")
_VALUES: dict[str, Any] = {"fields": Value, "context": Value, "counters": Count}


def decode(decoder: msgspec.json.Decoder[T], raw: bytes) -> T:
    """Read a body.

    Raises
    ------
    Problem
        It is not JSON, nests too deeply, or breaks the schema: with the place at fault.

    Examples
    --------
    >>> decode(msgspec.json.Decoder(dict[str, dict[str, int]]), b'{"fields": 7}')
    Traceback (most recent call last):
    serving.problem.Problem: Expected `object`, got `int`
    """
    try:
        if not raw.isascii():
            raw.decode()  # what the decoder passes over must be UTF-8 too
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `")
        raise Problem(422, message, _place_with_keys(raw, place.rstrip("`"), message)) from None
    except RecursionError:
        raise Problem(400, "JSON nested too deeply. Fix: fields are plain values") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, f"the body is not JSON: {error}", _no_number(raw)) from None


def _place_with_keys(raw: bytes, place: str, message: str) -> str | None:
    """The place at fault with the names of keys, which msgspec leaves out."""
    try:
        at: Any = _any.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        at = None
    kind, out = "", ""
    for name, index in _STEP.findall(place):
        key = _key_at_fault(at, kind) if index == "..." else name or int(index)
        if key is None:
            break
        out += f"[{key}]" if isinstance(key, int) else f".{key}"
        at, kind = _inside(at, key), name
    unknown = _UNKNOWN.search(message)
    out += f".{unknown[1]}" if unknown else ""
    return out.lstrip(".") or None


def _no_number(raw: bytes) -> str | None:
    """Where NaN or Infinity stands, if that is what makes it no JSON."""
    try:
        return _first_odd(json.loads(raw))
    except (ValueError, RecursionError):
        return None


def _first_odd(at: Any, place: str = "") -> str | None:
    """The first place with a number that is none."""
    if isinstance(at, float) and not math.isfinite(at):
        return place
    pairs: Any = ()
    if isinstance(at, dict):
        pairs = ((f"{place}.{key}".lstrip("."), value) for key, value in at.items())
    elif isinstance(at, list):
        pairs = ((f"{place}[{i}]", value) for i, value in enumerate(at))
    found = (_first_odd(value, where) for where, value in pairs)
    return next((where for where in found if where is not None), None)


def _inside(at: Any, key: str | int) -> Any:
    try:
        return at[key]
    except (KeyError, IndexError, TypeError):
        return None


def _key_at_fault(at: Any, kind: str) -> str | None:
    """The first key whose value is not of the type that is due there."""
    for key, value in at.items() if isinstance(at, dict) else ():
        try:
            msgspec.convert(value, _VALUES.get(kind, Any))
        except msgspec.ValidationError:
            return str(key)[:100]
    return None
