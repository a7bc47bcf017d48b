"""The settings that all processes of one stream share: topics, join windows, how often to save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from features.errors import ClicktideError
from streaming.joiner.settings import JoinerSettings
from streaming.log import TopicSettings
from streaming.settings_file import File, given_settings, load_settings

__all__ = [
    "CLICKS",
    "DEAD_LETTERS",
    "EARLY_EXAMPLES",
    "EXAMPLES",
    "IMPRESSIONS",
    "CountSettings",
    "StreamSettings",
    "TrainSettings",
    "load_stream_settings",
]

IMPRESSIONS, CLICKS = "impressions", "clicks"
EXAMPLES, EARLY_EXAMPLES, DEAD_LETTERS = "examples", "early_examples", "dead_letters"


class CountSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the counters are kept in the feature store.

    Parameters
    ----------
    store_timeout_s
        How long the store may take to answer. Longer: rides out pauses; a dead store is noticed
        later.
    """

    store_timeout_s: float = 5.0

    def __post_init__(self) -> None:
        _check_above_zero(self, "count", "store_timeout_s")


class TrainSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often the trainer saves its model, and publishes its weights.

    Parameters
    ----------
    snapshot_every_s
        Wall-clock seconds between the trainer's snapshots. Shorter: less to learn again after a
        crash, more writing.
    publish_every_s
        Seconds between two messages of a trainer that publishes its weights. Shorter: fresher
        replicas, more writing.
    publish_full_every_s
        Seconds between two full ones. Shorter: a replica that starts, or that missed a message, is
        up again sooner, at the cost of writing the whole model.
    publish_precision
        ``half``: weights of crosses are rounded to 6 bytes for 16, which moves a probability by
        .0001 at most; ``exact``: replicas are the trainer's model bit for bit.
    """

    snapshot_every_s: float = 30.0
    publish_every_s: float = 0.5
    publish_full_every_s: float = 60.0
    publish_precision: Literal["half", "exact"] = "half"

    def __post_init__(self) -> None:
        _check_above_zero(
            self, "train", "snapshot_every_s", "publish_every_s", "publish_full_every_s"
        )


def _check_above_zero(settings: msgspec.Struct, section: str, *names: str) -> None:
    for name in names:
        if not getattr(settings, name) > 0:
            raise ClicktideError(f"{section}.{name}: Fix: give a number above 0")


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
    join, count, train
        Settings of these processes, each in a table of its own.
    log, spec, redis
        URL of the event log, name or file of the feature spec, URL of the feature store; empty:
        those of the stream's folder.
    """

    partitions: int = 1
    retention_h: float = 168.0
    examples_per_record: int = 100
    batch: int = 2_000
    join: JoinerSettings = JoinerSettings()
    count: CountSettings = CountSettings()
    train: TrainSettings = TrainSettings()
    log: str = ""
    spec: str = ""
    redis: str = ""

    def __post_init__(self) -> None:
        for name in ("partitions", "examples_per_record", "batch"):
            if getattr(self, name) < 1:
                raise ClicktideError(f"stream.{name}: Fix: give at least 1")
        _check_above_zero(self, "stream", "retention_h")

    @property
    def learned_topic(self) -> str:
        """The topic that the trainer learns."""
        return EARLY_EXAMPLES if self.join.has_early_labels else EXAMPLES

    def topics(self) -> list[TopicSettings]:
        """Every topic of a stream."""
        retention = int(self.retention_h * 3_600_000)
        names = (IMPRESSIONS, CLICKS, EXAMPLES, EARLY_EXAMPLES, DEAD_LETTERS)
        return [TopicSettings(name, self.partitions, retention) for name in names]


def load_stream_settings(
    file: File | None = None,
    changes: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> StreamSettings:
    """Read the tables ``[stream]``, ``[join]``, ``[count]`` and ``[train]``.

    Parameters
    ----------
    file, changes, environ
        As for :func:`streaming.settings_file.load_settings`.

    Examples
    --------
    >>> load_stream_settings(None, ["join.join_window_s=60"]).join.join_window_s
    60.0
    """
    own = given_settings("stream", file, changes, environ)
    for section in ("join", "count", "train"):
        if any(key.split(".")[0] == section for key in own):
            raise ClicktideError(
                f"[stream.{section}]. Fix: settings of {section} stand in [{section}]"
            )
    return msgspec.structs.replace(
        load_settings(StreamSettings, "stream", file, changes, environ),
        join=load_settings(JoinerSettings, "join", file, changes, environ),
        count=load_settings(CountSettings, "count", file, changes, environ),
        train=load_settings(TrainSettings, "train", file, changes, environ),
    )
