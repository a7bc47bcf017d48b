"""What can go wrong with an event log; each error says whether to stop, retry or go on."""

from __future__ import annotations

from features.errors import ClicktideError

__all__ = [
    "AbortedError",
    "FencedError",
    "LogError",
    "LogSettingsError",
    "LogUnavailableError",
    "OffsetError",
    "RebalancedError",
    "TopicError",
]


class LogError(ClicktideError):
    """Base of the errors of an event log."""


class LogSettingsError(LogError):
    """The URL or the settings of a log cannot be used."""


class LogUnavailableError(LogError):
    """The log did not answer within the bound, retries included.

    The outcome of a transaction that was being committed is unknown: start again from the
    committed positions, which tell.
    """


class TopicError(LogError):
    """A topic or partition does not exist, or exists with another number of partitions."""


class OffsetError(LogError):
    """An offset is not in the log: retention removed it, or it lies past the end."""


class FencedError(LogError):
    """Another process has taken over this transactional id: stop, nothing was written."""


class RebalancedError(LogError):
    """The group has moved on: nothing was written; poll again and go on from what is assigned."""


class AbortedError(LogError):
    """The transaction was given up and left nothing: go on from the committed positions."""
