"""The demo's story: a market in which one campaign's click odds change, and what is found of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from market import parse_sim
from monitoring.report import ReportData
from monitoring.watch import formatting
from monitoring.watch.detect.alarm import Alarm
from monitoring.watch.formatting import headline_of

__all__ = ["DemoOutcome", "Injected", "Story", "outcome_of"]

# A busy market, all of it in one hour of the day: an hour that is new to the model is a change too.
# Of few advertisers: where one has hardly any other campaign, the two cannot be told apart.
_MARKET = "impressions_per_s=40&max_click_delay_ms=60000&advertisers=12"


class Injected(msgspec.Struct, frozen=True):
    """The fault.

    Parameters
    ----------
    campaign
        Whose click odds change.
    factor
        What they are multiplied by.
    at_ms
        Event time of its first impression with the new odds.
    """

    campaign: str
    factor: float
    at_ms: int


@dataclass(frozen=True)
class Story:
    """What is simulated.

    Parameters
    ----------
    events
        Impressions; the first four tenths are history, the change comes at 65 in 100.
    factor
        One campaign's click odds are multiplied by this.
    seed
        Of the market and of all that happens in it.
    """

    events: int
    factor: float
    seed: int

    @property
    def history(self) -> int:
        """Impressions that are learned before any is predicted."""
        return self.events * 4 // 10

    @property
    def change(self) -> int:
        """Number of the first event with other odds."""
        return self.events * 13 // 20

    @property
    def source(self) -> str:
        """Name of the stream, as ``clicktide replay`` takes it."""
        fault = f"change_at={self.change}&factor={self.factor:g}"
        return f"sim:campaign?events={self.events}&seed={self.seed}&{fault}&{_MARKET}"

    def injected(self) -> Injected:
        """Look up in the simulation what changes, and when.

        Examples
        --------
        >>> Story(events=40_000, factor=5.0, seed=0).injected().campaign
        'campaign-001'
        """
        simulation = parse_sim(self.source)
        scenario: Any = simulation.scenario
        number = scenario.campaign(simulation.build_market())
        for batch in simulation.batches(start=self.change, columns=("timestamp", "campaign")):
            shown = batch.column("campaign")
            at = shown.indices.index(number).as_py()
            if at >= 0:
                name = shown.dictionary[number].as_py()
                return Injected(name, self.factor, batch.column("timestamp")[at].as_py())
        return Injected("no impression of the campaign", self.factor, 0)


class DemoOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How the demo ended: what ``--json`` prints.

    Parameters
    ----------
    folder, report
        Where the stream is, and its report; ``None``: there was nothing to report.
    injected
        The fault.
    headline
        Of the report.
    alarm
        The alarm about the campaign, if it was raised.
    others
        What else is said to be wrong, in formatting.
    seconds
        How long all of it took.
    problem
        Why it ended before its end.
    """

    folder: str
    injected: Injected
    seconds: float
    report: str | None = None
    headline: str = ""
    alarm: Alarm | None = None
    others: list[str] = []
    problem: str | None = None

    def lines(self) -> list[tuple[str, str]]:
        """The closing summary, at most ten lines: a name and a text each.

        Examples
        --------
        >>> fault = Injected("campaign-001", 5.0, 1_736_121_600_000)
        >>> for name, text in DemoOutcome(folder="demo", injected=fault, seconds=48.2).lines()[:2]:
        ...     print(name, text)
        injected campaign-001: click odds x 5 from 2025-01-06 00:00:00 UTC
        found nothing in that campaign
        """
        fault, alarm = self.injected, self.alarm
        odds = f"click odds x {fault.factor:g} from {formatting.stamp(fault.at_ms)} UTC"
        lines = [("injected", f"{fault.campaign}: {odds}")]
        if alarm is None:
            lines.append(("found", "nothing in that campaign"))
        else:
            late = formatting.span((alarm.detected_ms - fault.at_ms) / 1000)
            lines += [("found", _size(alarm)), ("since", _since(alarm, fault.at_ms))]
            lines += [("seen", f"{late} after it began"), ("price", _price(alarm))]
        if self.others:
            lines.append(("besides", "; ".join(self.others)))
        if self.report is not None:
            lines.append(("report", f"{self.report}   (all in {self.seconds:.0f} s)"))
        lines.append(("next", f"clicktide up --dir {self.folder}   (go on with this stream)"))
        return [*lines, ("", "clicktide --help   (your own log)")]


def outcome_of(
    data: ReportData | None, injected: Injected, folder: Path, **more: Any
) -> DemoOutcome:
    """Compare a report with what was injected."""
    if data is None:
        return DemoOutcome(folder=str(folder), injected=injected, **more)
    slice_ = ("campaign", injected.campaign)
    of_it = [alarm for alarm in data.alarms if (alarm.field, alarm.value) == slice_]
    alarm = min(of_it, key=lambda alarm: alarm.detected_ms, default=None)
    others = [headline_of(other) for other in data.alarms if other is not alarm]
    return DemoOutcome(
        folder=str(folder), injected=injected, headline=data.verdict.headline, alarm=alarm,
        others=others, **more,
    )  # fmt: skip


def _size(alarm: Alarm) -> str:
    """The campaign, the direction, and how much.

    Examples
    --------
    >>> _size(Alarm(since_ms=0, detected_ms=0, field="campaign", value="c1", size=.4,
    ...             size_low=.32, size_high=.5))
    "c1's clicks rose to 2.5 times those predicted (2.0 to 3.1)"
    """
    size, low, high = ((v or None) for v in (alarm.size, alarm.size_low, alarm.size_high))
    if alarm.what == "calibration":  # a ratio of predicted over observed
        size, low, high = (v and 1 / v for v in (size, high, low))
    moved = "rose" if size is not None and size > 1 else "fell"
    than = "those predicted" if alarm.what == "calibration" else "those of before"
    bounds = f"{low or 0:.1f} to {'?' if high is None else f'{high:.1f}'}"
    times = "to none of" if size is None else f"to {size:.1f} times"
    return f"{alarm.value}'s clicks {moved} {times} {than} ({bounds})"


def _since(alarm: Alarm, true_ms: int) -> str:
    since = alarm.since_ms
    low, high = alarm.since_low_ms or since, alarm.since_high_ms or since
    at, first, last = (formatting.stamp(ms)[-8:] for ms in (since, low, high))
    holds = "holds" if low <= true_ms <= high else "misses"
    return f"{at} ({first} to {last} {holds} the true start)"


def _price(alarm: Alarm) -> str:
    cost = alarm.clicks_over_promised
    if cost is None:
        return "not known"
    what = "promised did not come" if cost >= 0 else "came unpromised"
    return f"{formatting.clicks(abs(cost))} clicks {what}"
