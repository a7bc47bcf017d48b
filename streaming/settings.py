"""The settings that all processes of one stream share: topics, join windows, how often to save."""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec

from features.errors import ClicktideError
from streaming.joiner.settings import JoinerSettings
from streaming.log import TopicSettings
from streaming.settings_file import load_settings

__all__ = [
    "CLICKS",
    "DEAD_LETTERS",
    "EXAMPLES",
    "IMPRESSIONS",
    "StreamSettings",
    "load_stream_settings",
]

IMPRESSIONS, CLICKS = "impressions", "clicks"
EXAMPLES, DEAD_LETTERS = "examples", "dead_letters"
_OTHERS = ("log", "spec", "monitor", "serve", "register")
"""What a stream's file says beside these settings."""


class StreamSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the joiner, the counters, the trainer and publishers of one stream agree on.

    Parameters
    ----------
    partitions
        Of every topic, when it is created; fixed from then on. More let more joiners share the
        work; with one the model is the same bit for bit in every run.
    retention_h
        Hours that the log keeps a record; it must be well above the join windows.
    examples_per_record
        Most examples that travel in one record, one JSON object to a line. More: a faster joiner
        on Kafka.
    batch
        Records that a process reads, works on and commits at a time; behind a backlog, the joiner
        commits four times as many.
    snapshot_every_s
        Wall-clock seconds between the trainer's snapshots. Shorter: less to learn again after a
        crash, more writing.
    publish_every_s
        Seconds between two messages of a trainer that publishes its weights. Shorter: fresher
        replicas, more writing.
    publish_full_every_s
        Seconds between two full ones. Shorter: a replica that starts, or that missed a message, is
        up again sooner, at the cost of writing the whole model.
    join
        Windows and bounds of the joiner.
    """

    partitions: int = 1
    retention_h: float = 168.0
    examples_per_record: int = 100
    batch: int = 2_000
    snapshot_every_s: float = 30.0
    publish_every_s: float = 0.5
    publish_full_every_s: float = 60.0
    join: JoinerSettings = JoinerSettings()

    def __post_init__(self) -> None:
        for name in ("partitions", "examples_per_record", "batch"):
            if getattr(self, name) < 1:
                raise ClicktideError(f"stream settings, {name}: Fix: give at least 1")
        seconds = ("snapshot_every_s", "publish_every_s", "publish_full_every_s")
        for name in ("retention_h", *seconds):
            if not getattr(self, name) > 0:
                raise ClicktideError(f"stream settings, {name}: Fix: give a number above 0")

    def topics(self) -> list[TopicSettings]:
        """Every topic of a stream."""
        retention = int(self.retention_h * 3_600_000)
        names = (IMPRESSIONS, CLICKS, EXAMPLES, DEAD_LETTERS)
        return [TopicSettings(name, self.partitions, retention) for name in names]


def load_stream_settings(
    file: str | os.PathLike[str] | None = None, overrides: Sequence[str] = ()
) -> StreamSettings:
    """Read settings from a TOML file, if there is one, and ``key=value`` changes to it.

    Parameters
    ----------
    file
        TOML with the names of :class:`StreamSettings`; ``[join]`` holds the joiner's. The tables
        of other processes, ``log`` and ``spec`` may stand there, too.
    overrides
        Such as ``partitions=4`` or ``join.join_window_s=60``.

    Raises
    ------
    ClicktideError
        The file cannot be read, or a name or value in it is wrong.

    Examples
    --------
    >>> load_stream_settings(None, ["join.join_window_s=60"]).join.join_window_s
    60.0
    """
    return load_settings(
        StreamSettings, file, overrides, name="stream", example="partitions=4",
        page="docs/stream.md", sections=("join",), others=_OTHERS,
    )  # fmt: skip
