"""Challengers: other specs, or River's classifiers, that learn the same joined stream in shadow.

A challenger is a monitor of its own predictions. It sees all examples, predicts each before it
learns it, and serves nobody; so its figures and the champion's are of the same rows, which those of
a share of the traffic are not.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from features.errors import ClicktideError
from features.spec import Spec
from monitoring.registry.river_predictor import RiverPredictor
from monitoring.watch.closed_window import ClosedWindow
from monitoring.watch.predictor import LearnerPredictor, Predictor
from monitoring.watch.process import Monitor
from monitoring.watch.settings import MonitorSettings, WindowSettings
from streaming.log import EventLog
from streaming.settings import EXAMPLES, StreamSettings

__all__ = ["Challenge"]

_VALUES = 32
"""Values of a field with figures of their own."""
_LATENESS_S = WindowSettings().lateness_s


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
        Of River, see :func:`monitoring.registry.river_predictor.river_classifier`; ``None``: a
        learner of ours.
    window_s
        Seconds of event time in a window; 0: as the monitor chooses them.
    from_end
        Begin with what comes now, not with the oldest example.
    publish
        Takes windows that have closed since the last time, in a thread; may be slow, and may fail.
    stream, every_s
        Settings of the stream; wall-clock seconds between saves.
    ways
        ``now``, ``report`` and ``pause``, as of :class:`monitoring.watch.process.Monitor`.
    """

    name = "challenge"

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
            shutil.rmtree(folder, ignore_errors=True)
        lateness_s = min(_LATENESS_S, 100 * window_s) if window_s else _LATENESS_S
        windows = WindowSettings(window_s=window_s, lateness_s=lateness_s, values_per_field=_VALUES)
        settings = MonitorSettings(windows=windows, save_every_s=every_s)
        super().__init__(log, spec, stream, settings, folder, predictor=predictor, **ways)
        if from_end and not self.resumed:
            self.reader.offsets = log.end_offsets(EXAMPLES)

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
