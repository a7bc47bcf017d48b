"""A process that serves: the real adapters wired together."""

from __future__ import annotations

import gc
import logging
import os
import secrets
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
from fastapi import FastAPI

from clicktide.process_log import begin_log
from clicktide.process_resources import collect_seldom
from clicktide.stream_folder import StreamFolder, log_file
from clicktide.stream_opening import open_existing
from features.spec import HashSpec, Spec
from learning.click_learner import ClickLearner
from monitoring.registry.follow import ChampionSource
from serving.access import ENVIRONMENT, Access
from serving.app import build_app
from serving.dashboard_feed import Watching
from serving.event_batch import EventBatch, shared_fields
from serving.event_writer import EventWriter
from serving.log_followers import RepairSource, ReplicaWeights
from serving.metrics import Metrics
from serving.rank_bodies import Explore
from serving.ranking import rank
from serving.request_features import FeatureSource
from serving.scorer import Scorer
from serving.server_state import ServingState
from serving.settings import ServeSettings
from serving.stream_snapshot import StreamLooker
from serving.weights import FixedWeights, LiveWeights, PinnedWeights, PolicyWeights, WeightsSource
from streaming.log import EventLog, LogUnavailableError, open_log
from streaming.settings import StreamSettings
from streaming.time_text import now_ms

__all__ = ["make_app", "open_writer", "state_of", "warm_up"]

_LOGGER = logging.getLogger("clicktide")


def make_app(stream: StreamFolder, settings: ServeSettings, shared: StreamSettings) -> FastAPI:
    """Make the application of one worker."""
    app = build_app(state_of(stream, settings, shared, begin_log("serve")))
    collect_seldom()  # requests leave few cycles, but a large one makes thousands of objects
    gc.collect()
    gc.freeze()
    return app


def state_of(
    stream: StreamFolder,
    settings: ServeSettings,
    shared: StreamSettings,
    say: Callable[[str], None] = _LOGGER.info,
) -> ServingState:
    """Wire the real adapters together."""
    spec = stream.load_spec()
    weights = _weights(stream, settings, spec)
    store = stream.store_url()
    features = FeatureSource(spec, store, settings.store_budget_ms, parents=settings.parents)
    warm_up(spec, features)
    writer = open_writer(stream.log, shared)
    repairs = RepairSource(lambda: open_existing(stream.log), now_ms) if settings.repair else None
    state = ServingState(
        settings=settings,
        spec=spec,
        weights=weights,
        features=features,
        scorer=Scorer(weights, features, spec, now_ms, repairs.current if repairs else None),
        metrics=Metrics(),
        now_ms=now_ms,
        say=say,
        reports=_watching(stream),
        writer=writer,
        access=Access(os.environ.get(ENVIRONMENT, ""), settings.tokens, 1 / settings.workers, say),
        closing=[weights.close, features.close, writer.close],
    )
    if repairs is not None:
        state.closing.append(repairs.close)
    return state


def _weights(stream: StreamFolder, settings: ServeSettings, spec: Spec) -> WeightsSource:
    """Give the source that the settings name; else what the registry says, else live weights."""
    if settings.model:
        return PinnedWeights(settings.model, spec)
    live: WeightsSource
    if settings.follow:
        live = ReplicaWeights(lambda: open_log(stream.log), spec)
    else:
        live = LiveWeights(settings.live or stream.live, spec, backup=stream.model)
    champion = ChampionSource(stream.served, spec, settings.policy)
    champion.start()
    return PolicyWeights(champion, live)


def _watching(stream: StreamFolder) -> Watching:
    """What dashboard and reports show; the log is opened when somebody looks, never made."""
    monitor, log = stream.monitor, stream.log
    return Watching(
        lambda: StreamLooker(open_existing(log), monitor, now_ms),
        monitor,
        stream.path / "reports",
        f"the stream in {stream.path}",
    )


_COUNTS = (1, 40)
"""EventBatch one by one, and as columns."""


class _Small:
    """Weights of a learner that has learned nothing."""

    problem: str | None = None

    def __init__(self, learner: ClickLearner) -> None:
        self.weights = FixedWeights(learner, "warm-up", 0)

    def current(self) -> FixedWeights:
        """These weights."""
        return self.weights

    def close(self) -> None:
        """Nothing is held."""


def warm_up(spec: Spec, features: FeatureSource | None = None) -> None:
    """Score some events with small tables of a spec, and ask the store once.

    Parameters
    ----------
    spec
        Which kernels are needed.
    features
        The store's reader.
    """
    small = msgspec.structs.replace(spec, hash=HashSpec(bits=4, cross_bits=4))
    learner = ClickLearner(small)
    assert learner.vectoriser is not None
    times = {f.column for f in learner.vectoriser.fields if f.is_time}
    names = [name for name in learner.vectoriser.columns if name not in times]
    lists = {f.column for f in learner.vectoriser.fields if f.transform == "categories"}
    learner.learn_one({}, True)
    none = FeatureSource(small, None)
    scorer = Scorer(_Small(learner), none, small, lambda: 0)
    for value in (None, 1, "1"):
        fields = {name: [value, "a"] if name in lists else value for name in names}
        for count in _COUNTS:
            scorer.score(EventBatch(shared_fields({}, [fields] * count), [0] * count))
            shared = shared_fields(fields, [{names[0]: value}] * count)
            scorer.score(EventBatch(shared, [0] * count))
    few, rng = np.ones(3), np.random.default_rng(0)
    for explore in (Explore("none"), Explore("epsilon"), Explore("thompson")):
        rank(few / 2, few, few, few, explore, rng, 2)
    plain = {name: "1" for name in names if name not in lists}
    for source in [none] if features is None else [none, features]:
        for count in _COUNTS:
            source.fetch_all([([plain], 0)] * count)


def open_writer(url: str, settings: StreamSettings) -> EventWriter:
    """A writer of the log that a URL names, under a name of its own.

    Parameters
    ----------
    url, settings
        As for :func:`streaming.log.open_log` and :class:`EventWriter`.

    Examples
    --------
    >>> writer = open_writer(":memory:", StreamSettings())
    >>> writer.close()
    """
    name, path = f"api-{secrets.token_hex(6)}", log_file(url)
    if path is None:
        return EventWriter(lambda: open_log(url), settings, name)
    seen = False

    def opened() -> EventLog:
        """Make the file the first time; later it must be there, for others still read that one."""
        nonlocal seen
        if seen and not path.exists():
            raise LogUnavailableError(
                f"{path} was removed. Fix: put it back; or restart the stream, to begin a new log"
            )
        log = open_log(url)
        seen = True
        return log

    return EventWriter(opened, settings, name, identity=lambda: _inode(path))


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
