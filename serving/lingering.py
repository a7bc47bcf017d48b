"""How connections end when a worker is asked to stop, so that no request is lost by it.

uvicorn closes idle connections at once: a request that is on its way there then gets no answer.
Here such a connection stays for a moment. A request that comes is answered with ``Connection:
close``, so that the client opens another one, to a worker that stays.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import termios

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["LINGER_S", "LingeringProtocol"]

LINGER_S = 1.0
"""How long an idle connection stays open. Longer: fewer clients meet a closed one; slower stop."""


class LingeringProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with a gentle end."""

    ending = False  # of the class: of all connections of the process, those to come too
    one_each = False  # of the class too: whether connections are to end, but in their own time

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; one that was still accepted while the worker stops does not stay either."""
        super().connection_made(transport)
        if self.ending:
            self._linger()

    def on_headers_complete(self) -> None:
        """Begin a request; the last one here, if the worker is stopping."""
        super().on_headers_complete()
        if (self.ending or self.one_each) and self.cycle is not None:
            self.cycle.keep_alive = False  # uvicorn says so in the reply, and closes after it

    def shutdown(self) -> None:
        """Take one more request at most."""
        type(self).ending = True
        if self.cycle is None or self.cycle.response_complete:
            self._linger()
            return
        self.cycle.keep_alive = False

    def timeout_keep_alive_handler(self) -> None:
        """End a connection that was idle for long, unless bytes are there that nobody has read."""
        if self.transport.get_extra_info("sslcontext") or _hung_up(self.transport):
            super().timeout_keep_alive_handler()

    def _linger(self) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            LINGER_S, self.timeout_keep_alive_handler
        )


def _hung_up(transport: asyncio.Transport) -> bool:
    """Tell the client at once that no answer comes any more, unless bytes wait to be read.

    The transport is in no hurry with it, and many connections end at the same moment.
    """
    try:
        with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as tcp:
            if any(fcntl.ioctl(tcp, termios.FIONREAD, bytes(4))):
                return False
            tcp.shutdown(socket.SHUT_WR)
    except OSError:  # it has ended already
        pass
    return True
