"""Calls to the store: many in one round trip, scripts by their digest, errors in our words."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any

import redis
from redis.exceptions import NoScriptError

from features.counters.redis_clients import ClusterClient, StoreClient
from features.counters.store_errors import STORE_FAULTS, store_error

__all__ = ["APPLY", "RESUME", "Call", "RedisLink", "Script"]

Call = tuple[Any, ...]


class Script:
    """A Lua script, sent by its digest, and in full to a server that does not know it."""

    def __init__(self, file: str) -> None:
        self.text = (files("features.counters") / file).read_bytes()
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest()


APPLY, RESUME = Script("apply.lua"), Script("resume.lua")


class RedisLink:
    """A client, and the ways in which the counters use it.

    Parameters
    ----------
    client
        Without ``decode_responses``.
    where
        What messages call it.
    """

    def __init__(self, client: StoreClient, where: str) -> None:
        if not isinstance(client, ClusterClient) and client.get_encoder().decode_responses:
            raise ValueError("decode_responses is on. Fix: make the client without it")
        self._client: Any = client
        self._cluster = not isinstance(client, redis.Redis)
        self.where = where

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _scripts(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        answers = self._pipeline([("EVALSHA", script.sha, 1, *call) for call in calls])
        unknown = [i for i, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        again = self._pipeline([("EVAL", script.text, 1, *calls[i]) for i in unknown])
        for i, answer in zip(unknown, again, strict=True):
            answers[i] = answer
        return self._raised(answers)

    def _send(self, calls: Iterable[Call]) -> list[Any]:
        return self._raised(self._pipeline(list(calls)))

    def _pipeline(self, calls: Sequence[Call]) -> list[Any]:
        """One round trip; an error of a single call comes as its answer."""
        if not calls:
            return []
        try:
            pipe = self._client.pipeline(transaction=False)
            for call in calls:
                pipe.execute_command(*call)
            return list(pipe.execute(raise_on_error=False))
        except STORE_FAULTS as error:
            raise store_error(error, self.where) from error

    def _raised(self, answers: list[Any]) -> list[Any]:
        for answer in answers:
            if isinstance(answer, Exception):
                raise store_error(answer, self.where) from answer
        return answers
