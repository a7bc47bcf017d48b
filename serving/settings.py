"""The settings of serving: limits, budgets, and what a request may ask for."""

from __future__ import annotations

from typing import Literal

import msgspec

from features.errors import ClicktideError

__all__ = ["ServeSettings"]

_ABOVE_ZERO = (
    "max_candidates", "max_body_bytes", "max_concurrent", "request_timeout_s", "store_budget_ms",
    "workers",
)  # fmt: skip


class ServeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one serving process allows, and how long it waits.

    Parameters
    ----------
    host, port
        Where it listens. Loopback by default: whoever can reach it can ask it.
    workers
        Processes that share the port. More use more cores; each maps the same weights.
    max_candidates
        Most impressions or candidates in one request. More: longer waits for the others.
    max_body_bytes
        A larger body is refused, unread.
    unknown_fields
        What to do with a field that the spec does not know: ``ignore`` it and name it in the
        reply, or ``refuse`` the request.
    store_budget_ms
        Longest wait for the feature store in one request; then its values fall back. Shorter:
        answers in time while the store is slow; longer: fewer fallbacks.
    parents
        For a counter that is not known: whose click rate stands in for it, nearest first.
    max_concurrent
        Requests under way in one worker; more are refused with 503 before they queue.
    retry_after_s
        When those refused may come back.
    request_timeout_s
        A request that takes longer is given up: 503; so is a body that does not arrive: 408.
    cors_origins
        Web pages of these origins may call; none by default.
    tls_cert, tls_key
        PEM files; with both, it speaks HTTPS.
    tls_client_ca
        PEM file of an authority: only clients with a certificate of its may connect.
    tokens
        TOML file of the tokens that requests need, and of what each allows.
    insecure
        Listen to other machines although requests need neither token nor certificate.
    explore
        Exploration of a ranking that does not ask for one.
    epsilon
        Share of slots filled at random under ``epsilon``. Higher learns of new ads faster, and
        costs more clicks.
    access_log
        Which requests are told on standard error: ``errors`` (4xx and 5xx), ``all``, ``none``.
    docs
        Whether ``/docs`` and ``/openapi.json`` are served.
    policy
        With nothing pinned, serve the ``live`` weights or the ``champion`` version.
    live
        File of the weights as they are learned; empty: that in the stream's folder.
    model
        Folder of a saved model to serve instead, which learns no more.
    follow
        Follow the weights that a trainer elsewhere publishes in the log.
    repair
        Whether predictions of slices that the monitor found to be off are multiplied by what it
        found, until the model has learned it.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    max_candidates: int = 1000
    max_body_bytes: int = 4 << 20
    unknown_fields: Literal["ignore", "refuse"] = "ignore"
    store_budget_ms: float = 10.0
    parents: tuple[str, ...] = ("ad>campaign>advertiser",)
    max_concurrent: int = 256
    retry_after_s: int = 1
    request_timeout_s: float = 10.0
    cors_origins: tuple[str, ...] = ()
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_client_ca: str | None = None
    tokens: str = ""
    insecure: bool = False
    explore: Literal["none", "epsilon", "thompson"] = "none"
    epsilon: float = 0.05
    access_log: Literal["errors", "all", "none"] = "errors"
    docs: bool = True
    policy: Literal["live", "champion"] = "live"
    live: str = ""
    model: str = ""
    follow: bool = False
    repair: bool = True

    def __post_init__(self) -> None:
        for name in _ABOVE_ZERO:
            if not getattr(self, name) > 0:
                raise ClicktideError(f"serve.{name}: Fix: give a number above 0")
        if not 0 <= self.port < 65_536:
            raise ClicktideError(f"serve.port: {self.port}. Fix: 0 to 65535")
        if not 0.0 <= self.epsilon <= 1.0:
            raise ClicktideError(f"serve.epsilon: {self.epsilon}. Fix: 0 to 1")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ClicktideError("serve.tls_cert: Fix: give tls_cert and tls_key, or neither")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ClicktideError("serve.tls_client_ca: Fix: give tls_cert and tls_key, too")
        if self.model and self.follow:
            raise ClicktideError(
                "serve.follow: another model than serve.model. Fix: give one of them"
            )
