"""A worker whose connections outlive it: what it tells the keeper, and what it takes over."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from uvicorn.server import Server

from serving.keeper import ALONE, CLOSED, GIVEN, HELLO, LEAVING, MESSAGE, OPENED, TAKE, hear
from serving.lingering import LingeringProtocol
from serving.open_requests import SLOT_BYTES, SLOTS, Slot, Slots

__all__ = ["KEEPER", "KeptProtocol", "KeptServer"]

KEEPER = "CLICKTIDE_KEEPER"
"""Environment variable with the path of the keeper's socket."""
_RETRY_S, _REPLY_S = 0.05, 1.0


class Taken(NamedTuple):
    """What another worker left to do on a connection; nothing, on a new one."""

    request: bytes = b""
    offer: int = 0
    read: int = 0
    written: int = 0
    again: bool = False


class _Keeping:
    """A worker's end of its talk with the keeper; none of it waits."""

    def __init__(self, path: str, adopt: Callable[[socket.socket, Taken], None]) -> None:
        self._loop, self._adopt = asyncio.get_running_loop(), adopt
        memory = os.memfd_create("clicktide-open-requests")
        os.truncate(memory, SLOTS * SLOT_BYTES)
        self._slots, self._free = Slots(memory), [*range(SLOTS)]
        self._unsaid: deque[int] = deque()
        self._others: asyncio.Future[bool] = self._loop.create_future()
        self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.connect(path)
        self._channel.setblocking(False)
        socket.send_fds(self._channel, [MESSAGE.pack(HELLO, 0, 0)], [memory])
        os.close(memory)
        self._loop.add_reader(self._channel, self._told)

    def hold(self, connection: int, taken: Taken) -> Slot | None:
        """Have a connection kept; ``None`` if that cannot be."""
        slot = None
        if self._free:
            slot = self._slots[self._free[-1]]
            slot.begin(taken.read, taken.written, taken.again)
            said = MESSAGE.pack(OPENED, slot.number, taken.offer)
            try:
                socket.send_fds(self._channel, [said], [connection])
                self._free.pop()
            except OSError:  # gone, or too busy: it works without
                slot = None
        if slot is None and taken.offer:
            with suppress(OSError):
                self._channel.send(MESSAGE.pack(ALONE, 0, taken.offer))
        return slot

    def release(self, slot: Slot) -> None:
        """Say that a connection is closed: it ends when the keeper has let go of it too."""
        self._unsaid.append(slot.number)
        self._say_closed()

    def give(self, slot: Slot) -> bool:
        """Give a connection away that is read no more; whether that could be said."""
        try:
            self._channel.send(MESSAGE.pack(GIVEN, slot.number, 0))
        except OSError:
            return False
        return True

    async def leave(self) -> bool:
        """Say that no more connections are taken; whether there are others to give them to."""
        try:
            self._channel.send(MESSAGE.pack(LEAVING, 0, 0))
            return await asyncio.wait_for(self._others, _REPLY_S)
        except (OSError, TimeoutError):
            return False

    def _say_closed(self) -> None:
        while self._unsaid:
            try:
                self._channel.send(MESSAGE.pack(CLOSED, self._unsaid[0], 0))
            except BlockingIOError:
                self._loop.call_later(_RETRY_S, self._say_closed)
                return
            except OSError:  # no keeper any more
                self._unsaid.clear()
                return
            self._free.append(self._unsaid.popleft())

    def _told(self) -> None:
        message, files = hear(self._channel, TAKE.size + SLOT_BYTES)
        if not message:
            self._loop.remove_reader(self._channel)
            return
        taken = Taken(message[TAKE.size :], *TAKE.unpack_from(message))
        if not taken.offer and not self._others.done():
            self._others.set_result(taken.again)
        for file in files:
            self._adopt(socket.socket(fileno=file), taken)


class _Counted:
    """A transport that counts what it is given to send, and sends short answers in one piece.

    uvicorn writes headers and body one after the other; a worker that is killed between the two
    would leave an answer that nobody can go on with, and each is a call of the system.
    """

    def __init__(self, transport: asyncio.Transport, protocol: KeptProtocol, written: int) -> None:
        self._transport, self._protocol, self.written = transport, protocol, written
        self._write = transport.write
        self._begun: object = None  # the request whose headers were written
        self._held = b""

    def write(self, data: bytes) -> None:
        """Send it, or hold it until the rest comes."""
        cycle = self._protocol.cycle
        if self._held:
            data, self._held = self._held + data, b""
        elif cycle is not None and cycle is not self._begun and cycle.response_started:
            self._begun = cycle
            if cycle.expected_content_length:
                self._held = data
                return
        self.written += len(data)
        if cycle is self._begun:
            self._protocol.answering(self.written)
        self._write(data)

    def flush(self) -> None:
        """Send headers that no body follows, as in the answer to HEAD."""
        if self._held:
            self.write(b"")

    def close(self) -> None:
        """Send all, and close."""
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class KeptProtocol(LingeringProtocol):
    """uvicorn's HTTP protocol, on connections that outlive the worker."""

    keeping: _Keeping | None = None  # of the process
    giving = False  # of the process too: whether another worker takes what is idle here
    taken = Taken()
    _slot: Slot | None = None
    _counted: _Counted

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, or go on where another worker ended."""
        self._counted = _Counted(transport, self, self.taken.written)
        super().connection_made(self._counted)  # type: ignore[arg-type]
        if self.keeping is not None:
            connection = transport.get_extra_info("socket").fileno()
            self._slot = self.keeping.hold(connection, self.taken)
        if self.taken.request:
            self.data_received(self.taken.request)
        elif self.ending:
            self._linger()

    def data_received(self, data: bytes) -> None:
        """Note a request down before it is answered."""
        if self._slot is not None:
            self._slot.received(data)
        super().data_received(data)

    def answering(self, written: int) -> None:
        """Note down, before it is sent, that this is all of the answer, if it is."""
        cycle = self.cycle
        whole = cycle.chunked_encoding is False and not cycle.expected_content_length
        if self._slot is not None and whole and not (cycle.more_body or self.pipeline):
            self._slot.answered(written)

    def on_response_complete(self) -> None:
        """An answer is on its way."""
        self._counted.flush()
        if self._slot is not None and not self.pipeline:
            if self.cycle.more_body:  # answered before it was read: the rest still comes
                self._slot.spoil()
            else:
                self._slot.answered(self._counted.written)
        super().on_response_complete()

    def _linger(self) -> None:
        """End an idle connection: by giving it away, or as ever."""
        if self._slot is None or self.keeping is None or not self.giving:
            super()._linger()
            return
        self.transport.pause_reading()  # from here on it is another's
        if self.keeping.give(self._slot):
            self._slot = None
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let it end."""
        super().connection_lost(exc)
        if self._slot is not None and self.keeping is not None:
            self.keeping.release(self._slot)
            self._slot = None


class KeptServer(Server):
    """uvicorn's server in a worker, which the keeper knows."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve, and to take over from the dead."""
        await super().startup(sockets)
        if self.started and (path := os.environ.get(KEEPER)):
            KeptProtocol.keeping = _Keeping(path, self._adopt)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take over nothing any more, and end."""
        if KeptProtocol.keeping is not None:
            KeptProtocol.giving = await KeptProtocol.keeping.leave()
        await super().shutdown(sockets)

    def _adopt(self, tcp: socket.socket, taken: Taken) -> None:
        def protocol() -> KeptProtocol:
            made = KeptProtocol(self.config, self.server_state, self.lifespan.state)
            made.taken = taken
            return made

        loop = asyncio.get_running_loop()
        task = loop.create_task(loop.connect_accepted_socket(protocol, tcp))
        self.server_state.tasks.add(task)  # type: ignore[arg-type]
        task.add_done_callback(self._adopted)

    def _adopted(self, task: asyncio.Task[Any]) -> None:
        self.server_state.tasks.discard(task)
        if not task.cancelled():
            task.exception()  # its client is gone meanwhile
