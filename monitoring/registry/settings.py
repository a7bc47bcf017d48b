"""The registry's settings: how often a version, how many are kept, what the gate asks."""

from __future__ import annotations

import msgspec

from features.errors import ClicktideError

__all__ = ["GateSettings", "RegistrySettings"]


def _above(settings: msgspec.Struct, *names: str, least: float) -> None:
    for name in names:
        if not getattr(settings, name) > least:
            raise ClicktideError(f"registry.{name}: Fix: give more than {max(least, 0):g}")


class GateSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a candidate must show on examples that came after it was saved, to become champion.

    Parameters
    ----------
    min_examples, min_clicks
        Examples and clicks that must have come before it is judged. More: surer, and later.
    max_examples
        At most so many are scored. More: surer, and more work.
    max_calibration_error
        The 95 % interval of its calibration ratio must reach into 1/(1+e) .. 1+e, or it must be no
        worse than the champion's. Smaller: stricter.
    max_ne_increase
        Its normalised entropy may exceed the champion's on the same examples by this share.
    max_first_ne
        The first version, which has no champion to beat, must stay at or below this one.
    max_rate_change
        While the click rate is more than this many times above or below that in which the champion
        was learned, nothing is judged: such labels are more likely wrong than the champion is.
    roll_back_on_alarm
        Whether a drift alarm rolls back to the newest version from before the drift began.
    roll_back_on_harm
        Whether the champion is served in place of live weights that predict the newest labels
        worse than it does, or that learn from labels which are likely wrong, until a newer version
        has passed the gate.
    """

    min_examples: int = 2_000
    min_clicks: int = 20
    max_examples: int = 100_000
    max_calibration_error: float = 0.1
    max_ne_increase: float = 0.01
    max_first_ne: float = 1.05
    max_rate_change: float = 3.0
    roll_back_on_alarm: bool = False
    roll_back_on_harm: bool = True

    def __post_init__(self) -> None:
        _above(self, "min_examples", "max_calibration_error", "max_first_ne", least=0)
        _above(self, "max_rate_change", least=1)
        _above(self, "max_ne_increase", "min_clicks", least=-1e-12)
        if self.max_examples < self.min_examples:
            raise ClicktideError("registry.gate.max_examples: Fix: at least min_examples")


class RegistrySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How model versions are published and kept.

    Parameters
    ----------
    model
        Name of the registered model.
    version_every_s
        Wall-clock seconds between versions. Shorter: less is lost in a rollback, more is stored.
    metrics_every_s
        Seconds between points of the metric series. Shorter: finer curves, a larger database.
    poll_s
        Seconds between looks at the aliases, and at the trainer's folder.
    keep_versions
        Newest versions that are kept, whatever became of them.
    keep_champions
        Former champions that are kept: what a rollback can go back to.
    keep_points
        Points of each metric series that are kept (in a database file of our own).
    keep_queued
        Versions that wait on disk, newest first, while MLflow does not answer.
    gate
        What makes a candidate the champion.
    """

    model: str = "clicktide"
    version_every_s: float = 300.0
    metrics_every_s: float = 60.0
    poll_s: float = 1.0
    keep_versions: int = 12
    keep_champions: int = 3
    keep_points: int = 3_000
    keep_queued: int = 3
    gate: GateSettings = GateSettings()

    def __post_init__(self) -> None:
        _above(self, "version_every_s", "metrics_every_s", "poll_s", least=0)
        _above(self, "keep_versions", "keep_points", "keep_queued", "keep_champions", least=0)
        if not self.model or set(self.model) & set("/:@"):
            raise ClicktideError(f"registry.model: {self.model!r}. Fix: a name without / : @")
