"""Impressions of a replay, as the serving API answers for them: the whole loop on an old log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import httpx
import msgspec

from features.errors import ClicktideError
from streaming.publish import Lockstep
from streaming.status import Look

__all__ = ["Through"]

_AT_ONCE = 500
_encode = msgspec.json.Encoder().encode


class _Impression(msgspec.Struct):
    fields: msgspec.Raw
    timestamp: int
    impression_id: str


class _Prediction(msgspec.Struct):
    probability: float
    counters: dict[str, float] | None = None
    fallbacks: tuple[str, ...] = ()


class _Reply(msgspec.Struct):
    model_version: str
    predictions: list[_Prediction]


_impression = msgspec.json.Decoder(_Impression)
_event = msgspec.json.Decoder(dict[str, msgspec.Raw])
_reply = msgspec.json.Decoder(_Reply)


class Through:
    """Asks ``/v1/predict`` for the impressions that are to be published.

    An impression that gets no answer is published without a prediction, as an ad server would
    show an ad all the same; in lockstep the API is asked again, until it answers with the feature
    store's counters.

    Parameters
    ----------
    client
        Of the API; its ``base_url`` is where that is.
    say
        Takes a line for people, once when answers stop and once when they come again.
    lockstep
        Waits for a whole answer; ``None``: the API is asked once.

    Attributes
    ----------
    served, unserved
        Impressions with a prediction, and without.
    """

    def __init__(
        self,
        client: httpx.Client,
        say: Callable[[str], None],
        lockstep: Lockstep | None = None,
    ) -> None:
        self._client, self._say, self._lockstep = client, say, lockstep
        self.served = self.unserved = 0
        self._silent = False

    def __call__(self, impressions: Sequence[bytes]) -> list[bytes]:
        """Give impressions, as JSON, their predictions."""
        out: list[bytes] = []
        for at in range(0, len(impressions), _AT_ONCE):
            part = impressions[at : at + _AT_ONCE]
            reply = (
                self._ask(part) if self._lockstep is None else self._insist(part, self._lockstep)
            )
            self.served += len(part) if reply else 0
            self.unserved += 0 if reply else len(part)
            if reply is None:
                out += part
            else:
                out += map(_with(reply.model_version), part, reply.predictions)
        return out

    def _insist(self, part: Sequence[bytes], lockstep: Lockstep) -> _Reply | None:
        """Ask until the answer is whole: simulated time stands still meanwhile."""
        reply: _Reply | None = None

        def lacks(_: Look) -> str | None:
            nonlocal reply
            reply = self._ask(part)
            if reply is None:
                return f"serve: {self._client.base_url} does not answer"
            return "serve has no counters from its feature store" if _lacks_store(reply) else None

        lockstep.until(lacks)
        return reply

    def _ask(self, part: Sequence[bytes]) -> _Reply | None:
        body = _encode({"impressions": [_impression.decode(one) for one in part]})
        headers = {"Content-Type": "application/json"}
        try:
            answer = self._client.post("/v1/predict", content=body, headers=headers)
        except httpx.HTTPError as error:
            self._nothing(str(error) or type(error).__name__)
            return None
        if answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
            raise ClicktideError(
                f"{self._client.base_url}: refuses these impressions: {answer.text[:300]}. "
                "Fix: serve the spec that the log is of"
            )
        if answer.status_code != httpx.codes.OK:
            self._nothing(f"{answer.status_code} {answer.text[:200]}")
            return None
        if self._silent:
            self._say("predictions come again")
            self._silent = False
        return _reply.decode(answer.content)

    def _nothing(self, why: str) -> None:
        if not self._silent:
            now = "published without predictions" if self._lockstep is None else "waiting"
            self._say(f"{now} until {self._client.base_url} answers: {why}")
            self._silent = True


def _lacks_store(reply: _Reply) -> bool:
    return any(it.startswith("store:") for one in reply.predictions for it in one.fallbacks)


def _with(version: str) -> Callable[[bytes, _Prediction], bytes]:
    def served(impression: bytes, prediction: _Prediction) -> bytes:
        event: dict[str, Any] = dict(_event.decode(impression))
        event |= {"probability": prediction.probability, "model_version": version}
        if prediction.counters:
            event["counters"] = prediction.counters
        return _encode(event)

    return served
