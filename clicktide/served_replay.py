"""Impressions of a replay, as the serving API answers for them: the whole loop on an old log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from features.errors import ClicktideError
from serving.bodies import Prediction, Predictions
from serving.client import ApiError, Client, NoAnswerError
from streaming.publish import Lockstep
from streaming.status import Look

__all__ = ["Through"]

_AT_ONCE = 500
_encode = msgspec.json.Encoder().encode


_ASKED = ("impression_id", "timestamp", "fields")
_event = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Through:
    """Asks ``/v1/predict`` for the impressions that are to be published.

    An impression that gets no answer is published without a prediction, as an ad server would
    show an ad all the same; in lockstep the API is asked again, until it answers with the feature
    store's counters.

    Parameters
    ----------
    client
        Of the API; it asks once.
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
        client: Client,
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

    def _insist(self, part: Sequence[bytes], lockstep: Lockstep) -> Predictions | None:
        """Ask until the answer is whole: simulated time stands still meanwhile."""
        reply: Predictions | None = None

        def lacks(_: Look) -> str | None:
            nonlocal reply
            reply = self._ask(part)
            if reply is None:
                return f"serve: {self._client.url} does not answer"
            return "serve has no counters from its feature store" if _lacks_store(reply) else None

        lockstep.until(lacks)
        return reply

    def _ask(self, part: Sequence[bytes]) -> Predictions | None:
        try:
            events = map(_event.decode, part)
            asked = [{key: event[key] for key in _ASKED} for event in events]
            reply = self._client.predict_many(asked)
        except (ApiError, NoAnswerError) as error:
            if isinstance(error, ApiError) and error.status == 422:
                raise ClicktideError(
                    f"{self._client.url}: refuses these impressions: {error}. "
                    "Fix: serve the spec that the log is of"
                ) from None
            self._nothing(str(error))
            return None
        if self._silent:
            self._say("predictions come again")
            self._silent = False
        return reply

    def _nothing(self, why: str) -> None:
        """Say once that answers have stopped."""
        if not self._silent:
            now = "published without predictions" if self._lockstep is None else "waiting"
            self._say(f"{now} until {self._client.url} answers: {why}")
            self._silent = True


def _lacks_store(reply: Predictions) -> bool:
    return any(it.startswith("store:") for one in reply.predictions for it in one.fallbacks)


def _with(version: str) -> Callable[[bytes, Prediction], bytes]:
    def served(impression: bytes, prediction: Prediction) -> bytes:
        event: dict[str, Any] = dict(_event.decode(impression))
        event |= {"probability": prediction.probability, "model_version": version}
        if prediction.counters:
            event["counters"] = prediction.counters
        return _encode(event)

    return served
