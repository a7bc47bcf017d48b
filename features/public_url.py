"""URLs as they may be shown and kept: without passwords, users and tokens."""

from __future__ import annotations

import re

__all__ = ["public_text", "public_url"]

_SECRET_NAME = re.compile(r"pass|pwd|secret|token|auth|user|credential|key|sasl", re.IGNORECASE)
_FILE_NAME = re.compile(r"file|path|certfile|keyfile", re.IGNORECASE)
_PLACES = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(:\d*)?")
_PAIR = re.compile(r"([\w.-]+)=(.*)", re.DOTALL)
_URL_IN_TEXT = re.compile(r"\b[a-zA-Z][\w+.-]*://[^\s'\"<>`]+")


def public_url(url: str) -> str:
    """A URL without what is secret in it.

    The user part goes, and the value of every setting whose name sounds like a secret. Passwords
    with ``/``, ``?`` or ``@`` in them, which a URL must not have unquoted, go too: where it cannot
    be told what is what, only the scheme is shown.

    Examples
    --------
    >>> public_url("rediss://me:s3/c@ret@host:6379/0?db=1&password=p@ss")
    'rediss://host:6379/0?db=1&password=***'
    >>> public_url("redis://:s3?cret@host"), public_url("unix:///run/valkey/socket")
    ('redis://***', 'unix:///run/valkey/socket')
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    head, mark, query = rest.partition("?")
    if not head.startswith("/"):  # else a file's, which has no user
        head = head.rpartition("@")[2]
    host, slash, path = head.partition("/")
    pairs = [_PAIR.fullmatch(pair) for pair in query.split("&")] if mark else []
    told = all(_PLACES.fullmatch(place) for place in host.split(","))
    if not told or ("@" in query and not all(pairs)):
        return f"{scheme}://***"
    shown = [_shown(pair) for pair in pairs if pair is not None]
    return f"{scheme}://{host}{slash}{path}" + (f"?{'&'.join(shown)}" if shown else "")


def _shown(pair: re.Match[str]) -> str:
    name, value = pair.groups()
    secret = _SECRET_NAME.search(name) and not _FILE_NAME.search(name)
    return f"{name}=***" if secret else f"{name}={value}"


def public_text(text: str) -> str:
    """A message of somebody else's, with every URL in it as it may be shown.

    Examples
    --------
    >>> public_text("no answer from http://me:pw@mlflow:5000/api (refused)")
    'no answer from http://mlflow:5000/api (refused)'
    """
    return _URL_IN_TEXT.sub(lambda found: public_url(found[0]), text)
