"""Who may call: bearer tokens with scopes, from the environment or a file that is read again.

Tokens are compared by their SHA-256 in constant time; none is kept as it was given, logged, or
told in an error. RFC 6750 has the header and the answers.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import time
import tomllib
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from hashlib import sha256
from typing import Literal

import msgspec

from features.errors import ClicktideError
from serving.problem import Problem

__all__ = [
    "ANYBODY", "CALLER", "ENVIRONMENT", "FREE", "Access", "Caller", "Token", "read_tokens",
    "scope_of",
]  # fmt: skip

ScopeName = Literal["predict", "events", "admin"]
ENVIRONMENT = "CLICKTIDE_TOKENS"
"""Variable with the text of a file of tokens."""
FREE = frozenset({"/healthz", "/readyz"})
"""Answered to anybody: whoever starts and stops processes asks them, without a token."""
_SCOPES: dict[str, ScopeName] = {
    "/v1/predict": "predict",
    "/v1/rank": "predict",
    "/v1/explain": "predict",
    "/v1/model": "predict",
    "/v1/impressions": "events",
    "/v1/clicks": "events",
}
_PAGES = frozenset({"/", "/docs", "/openapi.json", "/style.css", "/page.js", "/icon.svg"})
"""They tell nothing of the data: any token will do."""
_SHORTEST = 16
_LOOK_AGAIN_S = 1.0


class Token(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token, and what it allows.

    Parameters
    ----------
    scopes
        ``predict``: predictions, rankings, explanations; ``events``: impressions and clicks into
        the log; ``admin``: all else, such as metrics, dashboard and reports.
    token, sha256
        The secret, of at least 16 characters; or the SHA-256 of it, in hexadecimal.
    max_per_s
        Most requests a second, over all workers; 0: any number.
    """

    scopes: tuple[ScopeName, ...]
    token: str = ""
    sha256: str = ""
    max_per_s: float = 0.0

    def __post_init__(self) -> None:
        if bool(self.token) == bool(self.sha256):
            raise ValueError("give token, or sha256")
        if self.token and len(self.token) < _SHORTEST:
            raise ValueError(f"a token needs {_SHORTEST} characters or more")
        if self.sha256 and len(self.digest) != sha256().digest_size:
            raise ValueError("sha256 has 64 hexadecimal digits")
        if self.max_per_s < 0:
            raise ValueError("max_per_s is 0 or more")

    @property
    def digest(self) -> bytes:
        """SHA-256 of the secret."""
        return sha256(self.token.encode()).digest() if self.token else bytes.fromhex(self.sha256)


class Caller(msgspec.Struct, frozen=True):
    """Who sent a request: the token's name and scopes."""

    name: str
    scopes: tuple[ScopeName, ...]

    def must_have(self, scope: ScopeName, what: str) -> None:
        """Refuse what needs another scope.

        Raises
        ------
        Problem
            403, with the scope.
        """
        if scope not in self.scopes:
            detail = f"{what} needs a token with the scope {scope}. Fix: ask whoever runs this"
            header = f'Bearer error="insufficient_scope", scope="{scope}"'
            raise Problem(403, detail, headers={"WWW-Authenticate": header})


ANYBODY = Caller("", ("predict", "events", "admin"))
"""Where no token is asked for."""
CALLER: ContextVar[Caller] = ContextVar("caller", default=ANYBODY)
"""Who sent the request that is being answered."""


def scope_of(path: str) -> ScopeName | None:
    """Which scope a path needs; ``None``: any token. What is not known needs ``admin``.

    Examples
    --------
    >>> scope_of("/v1/clicks"), scope_of("/metrics"), scope_of("/")
    ('events', 'admin', None)
    """
    return None if path in _PAGES else _SCOPES.get(path, "admin")


def read_tokens(text: str, origin: str) -> dict[str, Token]:
    r"""Read TOML with a table for each token, by name.

    Parameters
    ----------
    text
        The TOML.
    origin
        Where it comes from, for errors; these never tell a value.

    Raises
    ------
    ClicktideError
        It is not TOML, or a table is wrong.

    Examples
    --------
    >>> read_tokens('[ads]\nscopes = ["predict"]\ntoken = "0123456789abcdef"', "x")["ads"].scopes
    ('predict',)
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = str(error).rpartition("(")[2].rstrip(")")
        raise ClicktideError(f"{origin}: not TOML ({place}). Fix: see docs/access.md") from None
    tokens = {}
    for name, table in tables.items():
        try:
            tokens[name] = msgspec.convert(table, Token)
        except msgspec.ValidationError as error:
            raise ClicktideError(f"{origin}: [{name}]: {error}. Fix: see docs/access.md") from None
    return tokens


class _Allowance:
    """A token's requests of one second, which come back as time goes on."""

    def __init__(self, per_s: float, now: float) -> None:
        self.per_s, self.most = per_s, max(per_s, 1.0)
        self.left, self.at = self.most, now

    def take(self, now: float) -> float:
        """Take one; 0.0, or the seconds until there is one."""
        self.left = min(self.most, self.left + (now - self.at) * self.per_s)
        self.at = now
        if self.left < 1.0:
            return (1.0 - self.left) / self.per_s
        self.left -= 1.0
        return 0.0


class Access:
    r"""Knows the tokens, and lets requests through.

    Parameters
    ----------
    text
        Tokens as TOML: what the environment has.
    path
        File with more of them, read again when it changes; empty: none. A fault in it is told to
        ``say``, and the tokens of before stay.
    share
        This process's share of each token's ``max_per_s``.
    say
        Takes a line for the operator.
    clock
        Seconds.

    Attributes
    ----------
    closed
        Whether requests need a token: some were given when this was made.

    Raises
    ------
    ClicktideError
        From the constructor: tokens that cannot be read.

    Examples
    --------
    >>> access = Access('[ads]\nscopes = ["predict"]\ntoken = "0123456789abcdef"')
    >>> access.admit("/v1/predict", b"Bearer 0123456789abcdef").name
    'ads'
    >>> access.admit("/v1/clicks", b"Bearer 0123456789abcdef")
    Traceback (most recent call last):
    serving.problem.Problem: /v1/clicks needs a token with the scope events. Fix: ask whoever ...
    """

    def __init__(
        self,
        text: str = "",
        path: str = "",
        share: float = 1.0,
        say: Callable[[str], None] = lambda line: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._share, self._say, self._clock = path, share, say, clock
        self._given = read_tokens(text, ENVIRONMENT)
        self._looked, self._stamp = clock(), _stamp(path)
        self._take(_read_file(path))
        self.closed = bool(path or self._given)

    def _take(self, tokens: Mapping[str, Token]) -> None:
        now, tokens = self._clock(), self._given | dict(tokens)
        self._callers = [(one.digest, Caller(name, one.scopes)) for name, one in tokens.items()]
        self._allowances = {
            name: _Allowance(one.max_per_s * self._share, now)
            for name, one in tokens.items()
            if one.max_per_s
        }

    def admit(self, path: str, authorization: bytes | None) -> Caller:
        """Say who sent a request.

        Parameters
        ----------
        path
            What is asked for.
        authorization
            The header: ``Bearer TOKEN``; or ``Basic``, as browsers send it, with the token as
            password.

        Raises
        ------
        Problem
            401: no token, or a wrong one; 403: one that does not allow this; 429: too many.
        """
        if not self.closed or path in FREE:
            return ANYBODY
        self._look_again()
        caller = self._caller(_secret(authorization))
        if caller is None:
            detail = "no token, or a wrong one. Fix: send the header Authorization: Bearer TOKEN"
            offers = 'Bearer realm="clicktide", Basic realm="clicktide", charset="UTF-8"'
            raise Problem(401, detail, headers={"WWW-Authenticate": offers, "Connection": "close"})
        scope = scope_of(path)
        if scope is not None:
            caller.must_have(scope, path)
        self._count(caller)
        return caller

    def _caller(self, secret: bytes) -> Caller | None:
        """Compare with every token, so that the time tells nothing."""
        digest, match = sha256(secret).digest(), None
        for other, caller in self._callers:
            if hmac.compare_digest(digest, other):
                match = caller
        return match

    def _count(self, caller: Caller) -> None:
        allowance = self._allowances.get(caller.name)
        wait = allowance.take(self._clock()) if allowance is not None else 0.0
        if wait > 0.0:
            detail = f"more requests a second than the token {caller.name} may send. Fix: ask later"
            raise Problem(429, detail, headers={"Retry-After": str(int(wait) + 1)})

    def _look_again(self) -> None:
        """Read the file again where it has changed."""
        now = self._clock()
        if not self._path or now - self._looked < _LOOK_AGAIN_S:
            return
        self._looked, stamp = now, _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._take(_read_file(self._path))
        except ClicktideError as error:
            self._say(f"{error}; until then, the tokens of before hold")
        else:
            self._say(f"{self._path}: read again: {len(self._callers)} tokens")


def _secret(authorization: bytes | None) -> bytes:
    kind, _, value = (authorization or b"").partition(b" ")
    if kind.lower() == b"bearer":
        return value.strip()
    if kind.lower() == b"basic":
        try:
            return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
        except binascii.Error:
            return b""
    return b""


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        about = os.stat(path)
    except OSError:
        return None
    return about.st_mtime_ns, about.st_size, about.st_ino


def _read_file(path: str) -> dict[str, Token]:
    if not path:
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            return read_tokens(file.read(), path)
    except (OSError, UnicodeDecodeError) as error:
        raise ClicktideError(f"{path}: {error}. Fix: see docs/access.md") from error
