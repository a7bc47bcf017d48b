"""A client of the API: typed replies, retries that cannot do anything twice.

:class:`Client` waits, :class:`AsyncClient` is awaited; they have the same methods. A request
that is refused for the moment (429, 503) or gets no answer is sent again, no sooner than the
server asks. Every event has its id before it is first sent, so a copy of it counts once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Literal, Self, TypeVar

import httpx

from serving import client_calls as calls
from serving.bodies import Contributions, EventsAccepted, Model, Prediction, Predictions
from serving.client_calls import ApiError, Call, Json, NoAnswerError, RetryWaits, error_of
from serving.rank_bodies import Rankings

__all__ = ["ApiError", "AsyncClient", "Client", "NoAnswerError"]

T = TypeVar("T")


class Client:
    """Asks a server, and waits for the answer.

    Parameters
    ----------
    url
        Such as ``http://127.0.0.1:8000``.
    timeout_s
        For each try.
    retries
        How often a request is sent again. 0: never.
    token
        Bearer token, where the server asks for one.
    transport
        Instead of the network, such as ``httpx.MockTransport``.

    Examples
    --------
    >>> answer = httpx.Response(200, json={"written": 1, "duplicates": 0, "impression_ids": ["i"]})
    >>> with Client("http://x", transport=httpx.MockTransport(lambda request: answer)) as client:
    ...     client.click("i").written
    1
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        timeout_s: float = 10.0,
        retries: int = 3,
        *,
        token: str = "",
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url, self.retries = url, retries
        self._http = httpx.Client(
            base_url=url, timeout=timeout_s, transport=transport, headers=calls.headers(token)
        )

    def predict(self, fields: Json, **more: Any) -> Prediction:
        """Predict one impression.

        Parameters
        ----------
        fields
            Raw fields by name.
        more
            ``timestamp``, ``counters``.
        """
        return self.predict_many([{"fields": fields, **more}]).predictions[0]

    def predict_many(self, impressions: Sequence[Json]) -> Predictions:
        """Predict impressions, each with ``fields`` and, if wanted, ``impression_id`` and so on."""
        return self._send(calls.predict(impressions))

    def rank(
        self,
        candidates: Sequence[Json],
        *,
        context: Json | None = None,
        explore: str | Json | None = None,
        slots: int | None = None,
        seed: int | None = None,
        log: bool | str = False,
    ) -> Rankings:
        """Order candidates by expected value.

        Parameters
        ----------
        candidates
            Each with ``fields`` and, if wanted, ``bid`` and ``id``.
        context
            Fields that all of them share.
        explore, slots, seed
            As ``/docs`` says.
        log
            Whether those shown are logged as impressions; a text: under this id.
        """
        options = {"context": context, "explore": explore, "slots": slots, "seed": seed}
        return self._send(calls.rank(candidates, log, options))

    def explain(self, fields: Json, **more: Any) -> Contributions:
        """Take the prediction of one impression apart; arguments as for :meth:`predict`."""
        return self._send(calls.explain({"fields": fields, **more}))

    def model(self) -> Model:
        """Say which model answers, what it was learned from, and how new it is."""
        return self._send(calls.model())

    def ready(self) -> bool:
        """Whether the server can predict now; also False if it does not answer. Asks once."""
        try:
            return self._http.get(calls.READY).status_code == 200
        except httpx.TransportError:
            return False

    def impression(self, fields: Json, **more: Any) -> str:
        """Log that an ad was shown; its id, which a click needs."""
        return self.impressions([{"fields": fields, **more}]).impression_ids[0]

    def impressions(self, impressions: Sequence[Json]) -> EventsAccepted:
        """Log impressions, all or none."""
        return self._send(calls.impressions(impressions))

    def click(
        self, impression_id: str, kind: Literal["click", "dismiss"] = "click"
    ) -> EventsAccepted:
        """Log a click on an impression, or that it was hidden."""
        return self.clicks([{"impression_id": impression_id, "kind": kind}])

    def clicks(self, clicks: Sequence[Json]) -> EventsAccepted:
        """Log clicks, all or none."""
        return self._send(calls.clicks(clicks))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _send(self, call: Call[T]) -> T:
        patience = RetryWaits(self.retries)
        while True:
            failed: httpx.Response | httpx.TransportError
            try:
                failed = self._http.request(call.method, call.path, content=call.body)
                if failed.status_code == 200:
                    return call.reply(failed)
            except httpx.TransportError as error:
                failed = error
            wait = patience.after(failed)
            if wait is None:
                raise error_of(failed)
            time.sleep(wait)


class AsyncClient:
    """Asks a server without blocking; as :class:`Client`, each method awaited.

    Parameters
    ----------
    url, timeout_s, retries, token, transport
        As for :class:`Client`.

    Examples
    --------
    >>> answer = httpx.Response(503, headers={"Retry-After": "0"})
    >>> async def ask():
    ...     transport = httpx.MockTransport(lambda request: answer)
    ...     async with AsyncClient("http://x", retries=1, transport=transport) as client:
    ...         await client.predict({"ad": "a"})
    >>> asyncio.run(ask())
    Traceback (most recent call last):
    serving.client_calls.ApiError: 503 Service Unavailable
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        timeout_s: float = 10.0,
        retries: int = 3,
        *,
        token: str = "",
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.retries = retries
        self._http = httpx.AsyncClient(
            base_url=url, timeout=timeout_s, transport=transport, headers=calls.headers(token)
        )

    async def predict(self, fields: Json, **more: Any) -> Prediction:
        """See :meth:`Client.predict`."""
        return (await self.predict_many([{"fields": fields, **more}])).predictions[0]

    async def predict_many(self, impressions: Sequence[Json]) -> Predictions:
        """See :meth:`Client.predict_many`."""
        return await self._send(calls.predict(impressions))

    async def rank(
        self,
        candidates: Sequence[Json],
        *,
        context: Json | None = None,
        explore: str | Json | None = None,
        slots: int | None = None,
        seed: int | None = None,
        log: bool | str = False,
    ) -> Rankings:
        """See :meth:`Client.rank`."""
        options = {"context": context, "explore": explore, "slots": slots, "seed": seed}
        return await self._send(calls.rank(candidates, log, options))

    async def explain(self, fields: Json, **more: Any) -> Contributions:
        """See :meth:`Client.explain`."""
        return await self._send(calls.explain({"fields": fields, **more}))

    async def model(self) -> Model:
        """See :meth:`Client.model`."""
        return await self._send(calls.model())

    async def ready(self) -> bool:
        """See :meth:`Client.ready`."""
        try:
            return (await self._http.get(calls.READY)).status_code == 200
        except httpx.TransportError:
            return False

    async def impression(self, fields: Json, **more: Any) -> str:
        """See :meth:`Client.impression`."""
        return (await self.impressions([{"fields": fields, **more}])).impression_ids[0]

    async def impressions(self, impressions: Sequence[Json]) -> EventsAccepted:
        """See :meth:`Client.impressions`."""
        return await self._send(calls.impressions(impressions))

    async def click(
        self, impression_id: str, kind: Literal["click", "dismiss"] = "click"
    ) -> EventsAccepted:
        """See :meth:`Client.click`."""
        return await self.clicks([{"impression_id": impression_id, "kind": kind}])

    async def clicks(self, clicks: Sequence[Json]) -> EventsAccepted:
        """See :meth:`Client.clicks`."""
        return await self._send(calls.clicks(clicks))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def _send(self, call: Call[T]) -> T:
        patience = RetryWaits(self.retries)
        while True:
            failed: httpx.Response | httpx.TransportError
            try:
                failed = await self._http.request(call.method, call.path, content=call.body)
                if failed.status_code == 200:
                    return call.reply(failed)
            except httpx.TransportError as error:
                failed = error
            wait = patience.after(failed)
            if wait is None:
                raise error_of(failed)
            await asyncio.sleep(wait)
