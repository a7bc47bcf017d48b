"""Challengers: other specs, or River's classifiers, that learn the same joined stream in shadow.

A challenger is a monitor of its own predictions. It sees all examples, predicts each before it
learns it, and serves nobody; so its figures and the champion's are of the same rows, which those of
a share of the traffic are not.
"""

from __future__ import annotations

import importlib
import inspect
import math
import re
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import base

from features.errors import ClicktideError
from features.spec import Spec
from features.vectoriser import Vectoriser
from monitoring.watch.predictor import LearnerPredictor, Predictor
from monitoring.watch.process import Monitor
from monitoring.watch.settings import MonitorSettings, WindowSettings
from monitoring.watch.window import ClosedWindow
from streaming.examples import examples_source
from streaming.file_lock import hold_folder
from streaming.log import EventLog
from streaming.prepare import Preparer, Ready
from streaming.settings import EXAMPLES, StreamSettings

__all__ = ["Challenge", "RiverPredictor", "river_classifier"]

_VALUES = 32
"""Values of a field with figures of their own."""


class Challenge(Monitor):
    """Learns in shadow until asked to stop, and leaves its windows in a folder like a monitor's.

    Parameters
    ----------
    log
        Whose examples topic exists.
    spec
        That it learns by, or whose fields a classifier of River gets.
    folder
        Where its state is kept, and its windows. A learner of ours goes on from there; with one of
        River's the folder is begun anew.
    classifier
        Of River, see :func:`monitoring.registry.challenge.river_classifier`; ``None``: a
        learner of ours.
    window_s
        Seconds of event time in a window; 0: as the monitor chooses them.
    from_end
        Begin with what comes now, not with the oldest example.
    publish
        Takes windows that have closed since the last time, in a thread; may be slow, and may fail.
    stream, lateness_s, every_s
        Settings of the stream; event time that a window waits for late clicks, as the monitor's;
        wall-clock seconds between saves.
    ways
        ``now``, ``report`` and ``pause``, as of :class:`monitoring.watch.process.Monitor`.
    """

    kind = "challenge"

    def __init__(
        self,
        log: EventLog,
        spec: Spec,
        folder: Path,
        *,
        classifier: Any = None,
        window_s: float = 0.0,
        from_end: bool = False,
        publish: Callable[[list[ClosedWindow]], None] | None = None,
        stream: StreamSettings = StreamSettings(),  # noqa: B008 - frozen
        lateness_s: float = WindowSettings().lateness_s,
        every_s: float = 30.0,
        **ways: Any,
    ) -> None:
        self._publish, self._waiting = publish, list[ClosedWindow]()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="publish")
        self._publishing: Future[None] | None = None

        def predictor(number: int) -> Predictor:
            if classifier is None:
                return LearnerPredictor(spec, folder, number)
            return RiverPredictor(spec, classifier)

        if classifier is not None:
            with hold_folder(folder, "monitor"):  # refused while another works there
                shutil.rmtree(folder / "windows", ignore_errors=True)
                for name in ("state", "now.json", "alarms.jsonl"):
                    (folder / name).unlink(missing_ok=True)
        lateness_s = min(lateness_s, 100 * window_s) if window_s else lateness_s
        windows = WindowSettings(window_s=window_s, lateness_s=lateness_s, values_per_field=_VALUES)
        settings = MonitorSettings(windows=windows, save_every_s=every_s)
        super().__init__(log, spec, stream, settings, folder, predictor=predictor, **ways)
        if from_end and not self.resumed:
            self.reader.offsets = self.ask(lambda: log.end_offsets(EXAMPLES))

    def _closed(self, window: ClosedWindow) -> None:
        super()._closed(window)
        self._waiting.append(window)

    def save(self) -> bool:
        """Save everything, then hand closed windows on; whether it was saved."""
        saved = super().save()
        busy = self._publishing is not None and not self._publishing.done()
        if self._publish is not None and not busy and self._waiting:
            windows, self._waiting = self._waiting, []
            self._publishing = self._pool.submit(self._guarded, windows)
        return saved

    def _guarded(self, windows: list[ClosedWindow]) -> None:
        assert self._publish is not None
        try:
            self._publish(windows)
        except ClicktideError as error:
            self.report(f"{self.name}: windows not in MLflow: {error}")

    def close(self) -> None:
        """Let go of the folder, once the last windows are published."""
        self._pool.shutdown()
        if self._publish is not None and self._waiting:
            self._guarded(self._waiting)
        super().close()


F64 = NDArray[np.float64]
_LEAST = 1e-7
_MASK = np.uint64((1 << 20) - 1)  # so many features, so that memory stays bounded
_NAME = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*\.[A-Z][A-Za-z0-9]*")


def river_classifier(name: str, settings: Mapping[str, float | int | bool | str] = {}) -> Any:
    """A classifier of River by its name under ``river``, and nothing else by any other.

    Parameters
    ----------
    name
        Such as ``linear_model.AdPredictor``.
    settings
        Its parameters.

    Raises
    ------
    ClicktideError
        River has no such classifier, or it does not take these settings.

    Examples
    --------
    >>> river_classifier("linear_model.AdPredictor", {"beta": 0.05})
    AdPredictor (
      beta=0.05
      prior_probability=0.5
      epsilon=0.05
    )
    """
    kind = _class(name)
    if not (inspect.isclass(kind) and issubclass(kind, base.Classifier)):
        raise ClicktideError(
            f"river.{name}: not a classifier of River. Fix: a name such as "
            "linear_model.AdPredictor or linear_model.LogisticRegression"
        )
    try:
        return kind(**settings)
    except (TypeError, ValueError) as error:
        raise ClicktideError(
            f"river.{name}: {error}. Fix: its settings are {inspect.signature(kind)}"
        ) from error


def _class(name: str) -> Any:
    if not _NAME.fullmatch(name):
        return None
    module, _, kind = name.rpartition(".")
    try:
        return getattr(importlib.import_module(f"river.{module}"), kind, None)
    except ImportError:
        return None


class RiverPredictor(Predictor):
    """Predicts and learns with a River classifier, event by event, at River's own speed.

    Its state is Python objects, which are not saved, for they would have to be pickled: started
    again, it begins the log anew. A late click is learned as one more positive.

    Parameters
    ----------
    spec
        Whose fields it gets, without crosses; each value is a feature of value 1.
    classifier
        As :func:`river_classifier` makes it.
    """

    def __init__(self, spec: Spec, classifier: Any) -> None:
        super().__init__(Preparer(Vectoriser(spec), examples_source(spec)))
        self.classifier = classifier

    def _learn(self, ready: Ready) -> F64:
        out, kinds = np.full(len(ready.rows), np.nan), ready.corrections
        for at, x in enumerate(self._features(ready)):
            if kinds is not None and kinds[at] == 2:  # an amendment that changes no label
                continue
            weight = {} if ready.importance is None else {"w": float(ready.importance[at])}
            y, chances = bool(ready.labels[at]), self.classifier.predict_proba_one(x)
            p = float(chances.get(True, 0.0 if chances else 0.5))
            out[at] = min(max(p, _LEAST), 1.0 - _LEAST) if math.isfinite(p) else 0.5
            try:
                self.classifier.learn_one(x, y, **weight)
            except TypeError:  # it knows no weights
                self.classifier.learn_one(x, y)
        return out

    def _features(self, ready: Ready) -> list[dict[int, float]]:
        hashed = ready.hashed
        tokens = (hashed.tokens & _MASK).tolist()
        if len(hashed.starts):
            cuts = hashed.starts[:: hashed.fields].tolist()
        else:
            cuts = list(range(0, len(tokens) + 1, hashed.fields))
        return [dict.fromkeys(tokens[start:stop], 1.0) for start, stop in pairwise(cuts)]
