"""The gate: whether a candidate may become the champion, and when an alarm sends it back.

A candidate is judged on examples that came *after* it was saved: neither it nor the champion has
learned them, so both are progressive figures, and on the same rows. That delays the verdict by
as long as the examples take to come; figures on rows already learned would flatter the candidate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from learning.metrics import Figures
from monitoring.registry.settings import GateSettings
from monitoring.registry.versions import Version, champion_of, rollback_target

__all__ = ["GateVerdict", "alarm_target", "judge"]


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """What the gate says.

    Parameters
    ----------
    state
        ``passed``, ``refused``, ``pending`` (too little to judge by), or ``held`` (the labels it
        would be judged by look wrong).
    reasons
        Why, for people.
    """

    state: str
    reasons: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether it becomes the champion."""
        return self.state == "passed"


def judge(
    candidate: Figures,
    champion: Figures | None,
    settings: GateSettings,
    usual_rate: float | None = None,
) -> GateVerdict:
    """Judge a candidate.

    Parameters
    ----------
    candidate, champion
        Figures of both on the same examples, none of which either has learned; ``None``: there is
        no champion yet.
    settings
        The bounds.
    usual_rate
        Click rate of what the champion learned.

    Examples
    --------
    >>> import numpy as np
    >>> from learning.metrics import Tally
    >>> y = (np.arange(4000) % 10 == 0).astype(float)
    >>> good, bad = Tally(), Tally()
    >>> good.add(np.full(4000, -2.2), y), bad.add(np.full(4000, 0.0), y)
    (None, None)
    >>> judge(good.figures(), bad.figures(), GateSettings()).state
    'passed'
    >>> print(judge(bad.figures(), good.figures(), GateSettings()).reasons[0])
    calibration ratio 5.0000 (4.5585 to 5.4895), allowed 0.9091 to 1.1000, champion 0.9975
    """
    if candidate.events < settings.min_examples or candidate.clicks < settings.min_clicks:
        return GateVerdict("pending", (_too_few(candidate, settings),))
    if not _is_near(candidate.base_rate or 0.0, usual_rate, settings.max_rate_change):
        text = f"click rate {candidate.base_rate:.4f}, of the champion {usual_rate:.4f}"
        return GateVerdict("held", (f"{text}: are the labels right?",))
    wrong = [*_calibration(candidate, champion, settings), *_entropy(candidate, champion, settings)]
    if wrong:
        return GateVerdict("refused", tuple(wrong))
    return GateVerdict("passed", (_good(candidate, champion),))


def _too_few(figures: Figures, settings: GateSettings) -> str:
    return (
        f"{figures.events:,} examples with {figures.clicks:,.0f} clicks since, "
        f"needed {settings.min_examples:,} with {settings.min_clicks:,}"
    )


def _is_near(rate: float, usual: float | None, most: float) -> bool:
    return not usual or usual / most <= rate <= usual * most


def _calibration(mine: Figures, champion: Figures | None, settings: GateSettings) -> list[str]:
    ratio, low, high = mine.calibration_ratio, mine.calibration_low, mine.calibration_high
    most = 1.0 + settings.max_calibration_error
    inside = low is not None and low <= most and (high is None or high >= 1.0 / most)
    other = None if champion is None else champion.calibration_ratio
    if inside or (ratio and other and abs(math.log(ratio)) <= abs(math.log(other))):
        return []
    return [
        f"calibration ratio {_decimals(ratio)} ({_decimals(low)} to {_decimals(high)}), "
        f"allowed {1 / most:.4f} to {most:.4f}{_beside(other)}"
    ]


def _entropy(mine: Figures, champion: Figures | None, settings: GateSettings) -> list[str]:
    entropy = mine.normalised_entropy
    other = None if champion is None else champion.normalised_entropy
    most = settings.max_first_ne if other is None else other * (1.0 + settings.max_ne_increase)
    if entropy is not None and entropy <= most:
        return []
    return [f"normalised entropy {_decimals(entropy)}, allowed {most:.4f}{_beside(other)}"]


def _good(mine: Figures, champion: Figures | None) -> str:
    of = _beside(None if champion is None else champion.normalised_entropy)
    return (
        f"on {mine.events:,} examples: calibration ratio {_decimals(mine.calibration_ratio)}, "
        f"normalised entropy {_decimals(mine.normalised_entropy)}{of}"
    )


def _beside(value: float | None) -> str:
    return "" if value is None else f", champion {value:.4f}"


def _decimals(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"


def alarm_target(
    since_ms: int, versions: Sequence[Version], settings: GateSettings
) -> Version | None:
    """The version that a drift alarm rolls back to; ``None``: it does not.

    Parameters
    ----------
    since_ms
        Event time at which the drift began, as the alarm says.
    versions
        All there are.
    settings
        ``roll_back_on_alarm`` allows it; off by default, since a model that goes on learning
        usually mends itself.

    Examples
    --------
    >>> old = Version(number=1, created_ms=0, event_time=10, champion_at_ms=1)
    >>> new = Version(number=2, created_ms=0, event_time=30, champion_at_ms=2,
    ...               aliases=("champion",))
    >>> alarm_target(20, [old, new], GateSettings(roll_back_on_alarm=True)).number
    1
    >>> alarm_target(20, [old, new], GateSettings()) is None
    True
    """
    if not settings.roll_back_on_alarm:
        return None
    champion = champion_of(versions)
    if champion is None or champion.event_time < since_ms:
        return None  # it has learned nothing of the drift
    return rollback_target(versions, since_ms)
