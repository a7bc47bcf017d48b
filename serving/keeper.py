"""Keeps the connections of workers open beyond their death, and gives them to those that live.

The process above the workers holds each of their connections too, so that a connection does not end
with the worker that answers on it. It takes no part in answering.
"""

from __future__ import annotations

import fcntl
import os
import resource
import selectors
import socket
import struct
import termios
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from serving.open_requests import SLOT_BYTES, Slots

__all__ = [
    "ALONE",
    "CLOSED",
    "GIVEN",
    "HELLO",
    "LEAVING",
    "MESSAGE",
    "OPENED",
    "TAKE",
    "Keeper",
    "hear",
    "went",
]

MESSAGE = struct.Struct("<III")
"""From a worker: what happened, the connection's slot, and the offer it is of, if it is of one."""
HELLO, OPENED, CLOSED, GIVEN, LEAVING, ALONE = range(6)
TAKE = struct.Struct("<IQQ?")
"""To a worker, before a request: number of the offer, bytes read and written before the
request, and whether it was open on another that died. Offer 0, to one that leaves: whether any
stay."""
_RETRY_S = 0.1
_ACKED, _TCP_INFO_BYTES = 120, 136  # where tcp_info (linux/tcp.h) has bytes_acked, bytes_received


def went(connection: int) -> tuple[int, int]:
    """Bytes that were read from a connection, and given to the system to be sent on it.

    Parameters
    ----------
    connection
        File descriptor of a TCP socket.

    Raises
    ------
    OSError
        If it is none, or its other end is gone.
    """
    with socket.socket(fileno=os.dup(connection)) as tcp:
        before = _counted(tcp)
        while True:  # the client goes on meanwhile: until nothing moved between two looks
            unread, unsent = (_queued(tcp, what) for what in (termios.FIONREAD, termios.TIOCOUTQ))
            after = _counted(tcp)
            if after == before:
                return after[1] - unread, after[0] + unsent
            before = after


def _counted(tcp: socket.socket) -> tuple[int, int]:
    """Bytes the other end has acknowledged, and bytes that came from it."""
    info = tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    acked, received = struct.unpack_from("=QQ", info, _ACKED)
    return acked, received


def _queued(tcp: socket.socket, what: int) -> int:
    number: int = struct.unpack("i", fcntl.ioctl(tcp, what, b"\0" * 4))[0]
    return number


class _Left(NamedTuple):
    """What a dead worker left to do on a connection."""

    read: int
    written: int
    request: bytes


@dataclass(slots=True)
class _Worker:
    channel: socket.socket
    slots: Slots | None = None
    held: dict[int, int] = field(default_factory=dict)  # slot to file descriptor
    offered: dict[int, tuple[_Left, int]] = field(default_factory=dict)  # until it says it has them
    leaving: bool = False

    def accepts(self, offer: int) -> None:
        if offer in self.offered:
            os.close(self.offered.pop(offer)[1])

    def close(self, number: int) -> None:
        if (kept := self.held.pop(number, None)) is not None:
            os.close(kept)


class Keeper:
    """Holds the connections of all workers, in a thread of the process above them.

    Parameters
    ----------
    path
        Unix socket to listen on, in a folder of ours alone.
    say
        Told, in a line, what became of a dead worker's connections.
    """

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self._say = say
        self._workers: list[_Worker] = []
        self._homeless: list[tuple[_Left, int]] = []  # with the connections
        self._offers = 0
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(path))
        self._listener.listen()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, self._meet)
        self._stop, self._stopped = socket.socketpair()
        self._selector.register(self._stopped, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def __enter__(self) -> Keeper:
        _allow_many_files()
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.send(b"!")
        self._thread.join()
        for it in (self._stop, self._stopped):
            it.close()

    def _run(self) -> None:
        try:
            while self._tend():
                pass
        except Exception as error:
            self._say(f"connections are kept no longer, and end with their worker: {error!r}")
        finally:
            self._let_go()

    def _tend(self) -> bool:
        for key, _ in self._selector.select(_RETRY_S if self._homeless else None):
            if key.data is None:
                return False
            key.data()
        self._rehouse()
        return True

    def _let_go(self) -> None:
        """Close all: where nobody answers on it any more, a connection that is held would hang."""
        for worker in self._workers:
            self._homeless += worker.offered.values()
            for number in [*worker.held]:
                worker.close(number)
            worker.channel.close()
        for _, connection in self._homeless:
            os.close(connection)
        self._listener.close()
        self._selector.close()

    def _meet(self) -> None:
        channel, _ = self._listener.accept()
        channel.setblocking(False)
        worker = _Worker(channel)
        self._selector.register(channel, selectors.EVENT_READ, lambda: self._hear(worker))

    def _hear(self, worker: _Worker) -> None:
        message, files = hear(worker.channel, MESSAGE.size)
        if not message:
            self._bury(worker)
            return
        what, number, offer = MESSAGE.unpack(message)
        worker.accepts(offer)
        if what == HELLO:
            worker.slots = Slots(files.pop())
            self._workers.append(worker)
        elif what == OPENED and files:
            worker.close(number)
            worker.held[number] = files.pop()
        elif what == CLOSED:
            worker.close(number)
        elif what == GIVEN and worker.slots is not None and number in worker.held:
            self._take_back(worker.slots, {number: worker.held.pop(number)})
        elif what == LEAVING:
            worker.leaving = True
            with suppress(OSError):
                worker.channel.send(TAKE.pack(0, 0, 0, bool(self._homes())))
        for file in files:
            os.close(file)

    def _bury(self, worker: _Worker) -> None:
        self._selector.unregister(worker.channel)
        worker.channel.close()
        if worker in self._workers:
            self._workers.remove(worker)
        self._homeless += worker.offered.values()
        if worker.held and worker.slots is not None:
            lost = self._take_back(worker.slots, worker.held)
            self._say(
                f"a worker is gone; {len(worker.held) - lost} of its connections go on with another"
                + (f", {lost} end with it" if lost else "")
            )

    def _take_back(self, slots: Slots, held: dict[int, int]) -> int:
        """Take connections of a worker; the number of those that nobody can go on with."""
        lost = 0
        for number, connection in held.items():
            left = _what_is_left(slots, number, connection)
            if left is None:
                os.close(connection)
                lost += 1
            else:
                self._homeless.append((left, connection))
        return lost

    def _rehouse(self) -> None:
        """Give connections of the dead to the living, each in turn; or keep them until one is."""
        homes = self._homes()
        if not (homes and self._homeless):
            return
        homeless, self._homeless = self._homeless, []
        for turn, (left, connection) in enumerate(homeless):
            first = turn % len(homes)
            if not any(self._offer(it, left, connection) for it in homes[first:] + homes[:first]):
                self._homeless.append((left, connection))

    def _homes(self) -> list[_Worker]:
        return [worker for worker in self._workers if not worker.leaving]

    def _offer(self, worker: _Worker, left: _Left, connection: int) -> bool:
        self._offers += 1
        said = TAKE.pack(self._offers, left.read, left.written, bool(left.request)) + left.request
        try:
            socket.send_fds(worker.channel, [said], [connection])
        except OSError:  # it is dying, or does not listen
            return False
        worker.offered[self._offers] = left, connection  # it may be dying all the same
        return True


def hear(channel: socket.socket, most: int) -> tuple[bytes, list[int]]:
    """Read a message that is there, and the file that may come with it; empty if nobody is left."""
    try:
        message, files, _, _ = socket.recv_fds(channel, most, 1)
    except ConnectionError:
        return b"", []
    return message, files


def _what_is_left(slots: Slots, number: int, connection: int) -> _Left | None:
    """Say what is to do on a connection, if anybody can go on with it."""
    try:
        read, written = went(connection)
    except OSError:
        return None
    request = slots[number].unanswered(read, written)
    if request is None:
        return None
    return _Left(read - len(request), written, request)


def _allow_many_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


assert TAKE.size + SLOT_BYTES < 128 * 1024, "a message has to fit into a socket's buffer"
