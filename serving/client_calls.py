"""What the clients send, how patient they are, and the errors that they raise."""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import httpx
import msgspec

from features.errors import ClicktideError
from serving.bodies import Contributions, EventsAccepted, Model, Predictions
from serving.problem import ProblemBody
from serving.rank_bodies import Rankings
from streaming.time_text import now_ms

__all__ = [
    "READY",
    "ApiError",
    "Call",
    "Json",
    "NoAnswerError",
    "RetryWaits",
    "clicks",
    "error_of",
    "explain",
    "headers",
    "impressions",
    "model",
    "predict",
    "rank",
]

T = TypeVar("T")
Json = Mapping[str, Any]
READY = "/readyz"
_AGAIN = (429, 503)
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 10.0
_encode = msgspec.json.Encoder().encode


def headers(token: str) -> dict[str, str]:
    """Headers of every request.

    Examples
    --------
    >>> headers("secret")["Authorization"]
    'Bearer secret'
    """
    json = {"Content-Type": "application/json"}
    return {**json, "Authorization": f"Bearer {token}"} if token else json


class Call(msgspec.Struct, Generic[T]):
    """A request, and of what type its reply is."""

    path: str
    body: bytes | None
    kind: type[T]

    @property
    def method(self) -> str:
        """Of HTTP: what has no body is asked for."""
        return "GET" if self.body is None else "POST"

    def reply(self, response: httpx.Response) -> T:
        """Read the reply."""
        try:
            return msgspec.json.decode(response.content, type=self.kind, strict=False)
        except msgspec.DecodeError as error:
            raise ApiError(200, "not a reply of Clicktide", str(error)) from error


def predict(impressions: Sequence[Json]) -> Call[Predictions]:
    """Predictions of impressions."""
    return Call("/v1/predict", _encode({"impressions": impressions}), Predictions)


def explain(impression: Json) -> Call[Contributions]:
    """A prediction taken apart."""
    return Call("/v1/explain", _encode(impression), Contributions)


def model() -> Call[Model]:
    """The model that answers."""
    return Call("/v1/model", None, Model)


def rank(candidates: Sequence[Json], log: bool | str, options: Json) -> Call[Rankings]:
    """A ranking; with an id of its own if it is logged."""
    if log is not False:  # the id is known before it is sent, so that it can be sent again
        options = {**options, "log": {"impression_id": _id() if log is True else log}}
    given = {name: value for name, value in options.items() if value is not None}
    return Call("/v1/rank", _encode({"candidates": candidates, **given}), Rankings)


def impressions(impressions: Sequence[Json]) -> Call[EventsAccepted]:
    """Impressions, each with an id and a time."""
    events = [{"impression_id": _id(), "timestamp": now_ms(), **one} for one in impressions]
    return Call("/v1/impressions", _encode({"impressions": events}), EventsAccepted)


def clicks(clicks: Sequence[Json]) -> Call[EventsAccepted]:
    """Clicks, each with a time."""
    events = [{"timestamp": now_ms(), **one} for one in clicks]
    return Call("/v1/clicks", _encode({"clicks": events}), EventsAccepted)


def _id() -> str:
    return uuid.uuid4().hex


class RetryWaits:
    """How long to wait before a request is sent again."""

    def __init__(self, retries: int) -> None:
        self.left, self.wait_s = retries, _FIRST_WAIT_S

    def after(self, failed: httpx.Response | httpx.TransportError) -> float | None:
        """Seconds to wait; None: this is the end of it."""
        if isinstance(failed, httpx.Response) and failed.status_code not in _AGAIN:
            return None
        if self.left <= 0:
            return None
        self.left -= 1
        wait, self.wait_s = self.wait_s * random.uniform(0.5, 1.0), 2 * self.wait_s
        return min(max(wait, _retry_after_s(failed)), _LONGEST_WAIT_S)


def _retry_after_s(failed: httpx.Response | httpx.TransportError) -> float:
    """Seconds that a server asks to be left alone."""
    if not isinstance(failed, httpx.Response):
        return 0.0
    seconds = failed.headers.get("Retry-After", "")
    return float(seconds) if seconds.isdigit() else 0.0


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
        problem = msgspec.json.decode(failed.content, type=ProblemBody)
    except msgspec.DecodeError:  # of something in between, such as a proxy
        return ApiError(failed.status_code, failed.reason_phrase)
    return ApiError(
        problem.status, problem.title, problem.detail, problem.field, problem.request_id
    )
