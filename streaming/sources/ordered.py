"""A map over an iterator in threads, its results in order, with little in flight."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

__all__ = ["ordered_map"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_CLOSE_WAIT_S = 2.0  # a read of an idle pipe cannot be interrupted; its thread is a daemon


def ordered_map(
    function: Callable[[_Item], _Result],
    items: Generator[_Item],
    *,
    workers: int,
    in_flight: int,
) -> Generator[_Result]:
    """Yield ``function(item)`` of every item, in order.

    A reader thread draws the items; ``workers`` threads call the function; at most ``in_flight``
    items are drawn and not yet done with by the caller. An error of either is raised in its turn.
    Closing the generator closes ``items`` and ends the threads.

    Examples
    --------
    >>> words = (word for word in ("a", "bc"))
    >>> list(ordered_map(len, words, workers=2, in_flight=2))
    [1, 2]
    """
    slots = threading.Semaphore(in_flight)
    stop = threading.Event()
    results: SimpleQueue[Future[_Result] | None] = SimpleQueue()
    with ThreadPoolExecutor(workers, thread_name_prefix="parse") as pool:

        def submit(item: _Item) -> Future[_Result]:
            return pool.submit(function, item)

        reader = threading.Thread(
            target=_feed, args=(items, submit, results, slots, stop), name="read", daemon=True
        )
        reader.start()
        try:
            while (future := results.get()) is not None:
                yield future.result()
                slots.release()
        finally:
            stop.set()
            slots.release()
            reader.join(_CLOSE_WAIT_S)


def _feed(
    items: Generator[_Item],
    submit: Callable[[_Item], Future[_Result]],
    results: SimpleQueue[Future[_Result] | None],
    slots: threading.Semaphore,
    stop: threading.Event,
) -> None:
    try:
        slots.acquire()
        for item in items:
            if stop.is_set():
                break
            results.put(submit(item))
            slots.acquire()
            if stop.is_set():
                break
        items.close()
    except BaseException as error:  # handed to the caller, who raises it
        failed: Future[_Result] = Future()
        failed.set_exception(error)
        results.put(failed)
    finally:
        results.put(None)
