"""What a client of the API may be told instead of an answer."""

from __future__ import annotations

import httpx
import msgspec

from features.errors import ClicktideError
from serving.problem import ProblemBody

__all__ = ["ApiError", "NoAnswerError", "error_of"]


class ApiError(ClicktideError):
    """The server refused.

    Parameters
    ----------
    status
        HTTP status.
    title, detail
        What is wrong, and what to do.
    field
        Where in the request.
    request_id
        As in the server's log.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str = "",
        field: str | None = None,
        request_id: str | None = None,
    ) -> None:
        self.status, self.title, self.detail = status, title, detail
        self.field, self.request_id = field, request_id
        where = f" at {field}" if field else ""
        super().__init__(f"{status} {title}{where}{f': {detail}' if detail else ''}")


class NoAnswerError(ClicktideError):
    """No answer came: the server is down, cannot be reached, or is too slow."""


def error_of(failed: httpx.Response | httpx.TransportError) -> ClicktideError:
    """The error for a refusal, or for no answer."""
    if isinstance(failed, httpx.TransportError):
        what = f"{type(failed).__name__} {failed}".strip()
        return NoAnswerError(f"no answer: {what}. Fix: is `clicktide serve` running there?")
    try:
        said = msgspec.json.decode(failed.content, type=ProblemBody)
    except msgspec.DecodeError:  # of something in between, such as a proxy
        return ApiError(failed.status_code, failed.reason_phrase)
    return ApiError(said.status, said.title, said.detail, said.field, said.request_id)
