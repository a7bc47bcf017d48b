"""Alarms as the bodies that a web hook takes: JSON, Slack's blocks, PagerDuty's events."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from features.errors import ClicktideError
from monitoring.watch import formatting
from monitoring.watch.detect.alarm import Alarm, alarm_link
from monitoring.watch.settings import MonitorSettings
from streaming.time_text import time_text

__all__ = ["ROUTING_KEY", "Webhook", "open_webhook"]

ROUTING_KEY = "CLICKTIDE_PAGERDUTY_ROUTING_KEY"
_PAGERDUTY = "https://events.pagerduty.com/v2/enqueue"
_TRIES, _TIMEOUT_S = 3, 5.0
_AGAIN = (408, 425, 429)
"""Of the answers that say it is the sender's fault, those that may be another the next time."""
_MARKS = {"critical": "🔴", "warning": "🟠", "info": "🔵"}
# What the services take at most, in characters: Slack's header, a field of a section, the plain
# text; PagerDuty's key and summary.
_HEADER, _FIELD, _TEXT = 150, 2000, 3000
_KEY, _SUMMARY = 255, 1024
_ESCAPED = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def open_webhook(settings: MonitorSettings, pause: Callable[[float], None]) -> Webhook | None:
    """Give the web hook of the settings, if there is one.

    Raises
    ------
    ClicktideError
        PagerDuty's key is not in the environment.
    """
    url, key = settings.webhook, ""
    if settings.webhook_format == "pagerduty":
        url, key = url or _PAGERDUTY, os.environ.get(ROUTING_KEY, "")
        if not key:
            raise ClicktideError(
                "monitor.webhook_format: pagerduty needs its routing key. Fix: set "
                f"{ROUTING_KEY} in the environment of clicktide monitor"
            )
    return Webhook(url, settings, key, pause) if url else None


class Webhook:
    """Sends what becomes of alarms to a URL, three times at most.

    No error names the URL or the key: both are secret.
    """

    def __init__(
        self, url: str, settings: MonitorSettings, key: str, pause: Callable[[float], None]
    ) -> None:
        self._url, self._key, self._pause = url, key, pause
        self._format, self._public_url = settings.webhook_format, settings.public_url

    def alarm(self, alarm: Alarm) -> bytes:
        """The body that tells an alarm."""
        link = alarm_link(alarm, self._public_url)
        page = link if self._public_url else ""
        if self._format == "slack":
            return msgspec.json.encode(_slack(alarm, page))
        if self._format == "pagerduty":
            return msgspec.json.encode(_pagerduty(alarm, page) | {"routing_key": self._key})
        return msgspec.json.encode({**msgspec.to_builtins(alarm), "link": link})

    def acknowledgement(self, alarm: Alarm) -> bytes | None:
        """The body that tells that somebody is on it; ``None``: only PagerDuty has such a thing."""
        if self._format != "pagerduty":
            return None
        event = {"event_action": "acknowledge", "dedup_key": alarm.id[:_KEY]}
        return msgspec.json.encode(event | {"routing_key": self._key})

    def post(self, body: bytes) -> None:
        """Send a body.

        Raises
        ------
        ClicktideError
            It was not taken.
        """
        import httpx  # only where there is a web hook

        for attempt in range(1, _TRIES + 1):
            try:
                headers = {"content-type": "application/json"}
                answer = httpx.post(self._url, content=body, headers=headers, timeout=_TIMEOUT_S)
                if answer.is_success:
                    return
                problem = f"it answered {answer.status_code}"
                if answer.is_client_error and answer.status_code not in _AGAIN:
                    break
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__}: {error}".replace(self._url, "its URL")
            if attempt < _TRIES:
                self._pause(float(attempt))
        raise ClicktideError(problem)


def _facts(alarm: Alarm) -> dict[str, str]:
    """What whoever is called wants to know, in the order of the report."""
    facts = {
        "Where": alarm.where,
        "Since": time_text(alarm.since_ms, "{0:%Y-%m-%d %H:%M} UTC"),
        "How much": formatting.size_text(alarm),
        "Cost": formatting.cost_of(alarm),
        "Cause": alarm.cause,
        "What to do": alarm.action,
    }
    return {name: text for name, text in facts.items() if text}


def _slack(alarm: Alarm, page: str) -> Mapping[str, Any]:
    """A message of an incoming web hook; texts of the data become no markup."""
    mark = "✅" if alarm.status == "closed" else _MARKS[alarm.severity]
    state = "" if alarm.status == "open" else "ended: "
    title = f"{mark} {alarm.severity}: {state}{formatting.headline_of(alarm)}"
    fields = [
        {"type": "mrkdwn", "text": _cut(f"*{name}*\n{text.translate(_ESCAPED)}", _FIELD)}
        for name, text in _facts(alarm).items()
    ]
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": _cut(title, _HEADER)}},
        {"type": "section", "fields": fields},
    ]
    if page:
        link = f"<{page.translate(_ESCAPED)}|alarm {alarm.opening} in the report>"
        blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": link}]})
    return {"text": _cut(title.translate(_ESCAPED), _TEXT), "blocks": blocks}


def _pagerduty(alarm: Alarm, page: str) -> dict[str, Any]:
    """An event of the Events API v2; its severities are called as ours are."""
    event: dict[str, Any] = {
        "event_action": "trigger" if alarm.status == "open" else "resolve",
        "dedup_key": alarm.id[:_KEY],
        "client": "Clicktide",
        "payload": {
            "summary": _cut(formatting.capital(formatting.headline_of(alarm)), _SUMMARY),
            "source": "clicktide monitor",
            "severity": alarm.severity,
            "timestamp": time_text(alarm.detected_ms, "{0:%Y-%m-%dT%H:%M:%SZ}"),
            "component": alarm.where,
            "class": alarm.what,
            "custom_details": _facts(alarm),
        },
    }
    if page:
        event |= {"client_url": page, "links": [{"href": page, "text": "The alarm's report"}]}
    return event


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
