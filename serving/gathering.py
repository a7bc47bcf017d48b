"""Requests that the event loop has at one time are answered together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

__all__ = ["Gatherer"]

A = TypeVar("A")
R = TypeVar("R")


class Gatherer(Generic[A, R]):
    """Gathers what is asked in one turn of the event loop, and asks for it at once.

    A round trip to the store and a walk through the weights cost little more for ten events than
    for one; nobody waits for it, for only those are gathered that are there already.

    Parameters
    ----------
    answer_all
        Gives an answer to each, in order; an exception is the answer of that one.

    Examples
    --------
    >>> async def two():
    ...     double = Gatherer(lambda asked: [2 * one for one in asked])
    ...     return await asyncio.gather(double.ask(1), double.ask(2))
    >>> asyncio.run(two())
    [2, 4]
    """

    def __init__(self, answer_all: Callable[[list[A]], Sequence[R | Exception]]) -> None:
        self._answer_all = answer_all
        self._waiting: list[tuple[A, asyncio.Future[R]]] = []

    async def ask(self, asked: A) -> R:
        """Ask, and get the answer."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._flush)
        self._waiting.append((asked, future))
        return await future

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        answers: Sequence[R | Exception]
        try:
            answers = self._answer_all([asked for asked, _ in waiting])
        except Exception as error:
            answers = [error] * len(waiting)
        for (_, future), answer in zip(waiting, answers, strict=True):
            if future.done():  # its client may have gone
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
