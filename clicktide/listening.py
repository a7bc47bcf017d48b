"""The socket that predictions are asked at."""

from __future__ import annotations

import socket

from features.errors import ClicktideError

__all__ = ["listen", "taken_over"]

_BACKLOG = 2048
"""So many connections wait while nobody accepts them; the system may have a lower bound."""


def listen(host: str, port: int, fix: str) -> socket.socket:
    """Listen at an address.

    Parameters
    ----------
    host, port
        The address; port 0 takes a free one.
    fix
        What the user is to do if it cannot be had.

    Raises
    ------
    ClicktideError
        Another program has it, or it is none of this machine's.

    Examples
    --------
    >>> with listen("127.0.0.1", 0, "another --port") as one:
    ...     one.getsockname()[0]
    '127.0.0.1'
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        raise ClicktideError(f"{host} port {port} cannot be had ({error}). Fix: {fix}") from error


def taken_over(number: int) -> socket.socket:
    """Take a listening socket that whoever started us has opened.

    Parameters
    ----------
    number
        Its file descriptor here.

    Raises
    ------
    ClicktideError
        There is no such thing.
    """
    try:
        return socket.socket(fileno=number)
    except (OSError, ValueError) as error:
        raise ClicktideError(
            f"--fd {number}: no socket ({error}). Fix: have the program that starts this one open "
            "it and pass it on"
        ) from error
