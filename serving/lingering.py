"""How connections end when a worker is asked to stop, so that no request is lost by it.

uvicorn closes idle connections at once: a request that is on its way there then gets no answer.
Here such a connection stays for a moment. A request that comes is answered with ``Connection:
close``, so that the client opens another one, to a worker that stays.
"""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["LINGER_S", "LingeringProtocol"]

LINGER_S = 1.0
"""How long an idle connection stays open. Longer: fewer clients meet one that closes, slower stop."""

_CLOSE = (b"connection", b"close")


class LingeringProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with a gentle end."""

    ending = False

    def on_headers_complete(self) -> None:
        """Begin a request; the last one here, if the worker is stopping."""
        if self.ending:
            self.headers.append(_CLOSE)  # uvicorn then says so in the reply, and closes after it
        super().on_headers_complete()

    def shutdown(self) -> None:
        """Take one more request at most."""
        self.ending = True
        if self.cycle is None or self.cycle.response_complete:
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                LINGER_S, self.timeout_keep_alive_handler
            )
            return
        self.cycle.keep_alive = False
        self.cycle.scope["headers"].append(_CLOSE)  # type: ignore[attr-defined]
