"""What went wrong with a request, as RFC 9457 has it: ``application/problem+json``."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from starlette.responses import Response

__all__ = ["Problem", "ProblemBody", "problem_response"]

MEDIA_TYPE = "application/problem+json"


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
        return problem_response(body, self.headers)


def problem_response(body: ProblemBody, headers: Mapping[str, str] | None = None) -> Response:
    """Write a problem as a response."""
    return Response(
        msgspec.json.encode(body),
        status_code=body.status,
        headers=None if headers is None else dict(headers),
        media_type=MEDIA_TYPE,
    )
