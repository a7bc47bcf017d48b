"""Health of the labels, told by the log."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from streaming.status import JoinerState

__all__ = ["LabelHealth", "label_health"]


class LabelHealth(msgspec.Struct, frozen=True):
    """Shares of what the joiner has committed, since the stream began or between two moments.

    Parameters
    ----------
    impressions, clicks
        Records read.
    join_rate
        Clicks that labelled an example, late ones included, over all clicks that were read and
        are not copies.
    late_share
        Late clicks among those that labelled an example.
    orphan_share
        Clicks whose impression did not come, of all clicks.
    duplicate_clicks, duplicate_impressions
        Share of copies.
    rejected_share
        Impressions rejected for any other reason.
    click_rate
        Clicks that were on time, over examples.
    """

    impressions: int
    clicks: int
    join_rate: float | None = None
    late_share: float | None = None
    orphan_share: float | None = None
    duplicate_clicks: float | None = None
    duplicate_impressions: float | None = None
    rejected_share: float | None = None
    click_rate: float | None = None


def label_health(now: JoinerState, before: JoinerState | None = None) -> LabelHealth:
    """Read the health of labels off the joiner's counts.

    Parameters
    ----------
    now
        Counts up to now.
    before
        Counts at an earlier moment: the health of what came since.

    Examples
    --------
    >>> state = JoinerState(100, 10, 98, 7, 1, 1, {"impressions": {"duplicate_impression": 1},
    ...                     "clicks": {"orphan_click": 2}}, 0, False)
    >>> health = label_health(state)
    >>> health.join_rate, health.orphan_share, health.late_share
    (0.8, 0.2, 0.125)
    """
    one = _counts(now)
    if before is not None:
        earlier = _counts(before)
        one = {name: value - earlier.get(name, 0) for name, value in one.items()}
    clicks, impressions = one["clicks"], one["impressions"]
    copies, shown_twice = one.get("duplicate_click", 0), one.get("duplicate_impression", 0)
    joined = one["examples_clicked"] + one["corrections"]
    return LabelHealth(
        impressions=impressions,
        clicks=clicks,
        join_rate=_share(joined, clicks - copies),
        late_share=_share(one["corrections"], joined),
        orphan_share=_share(one.get("orphan_click", 0), clicks),
        duplicate_clicks=_share(copies, clicks),
        duplicate_impressions=_share(shown_twice, impressions),
        rejected_share=_share(one["rejected"] - shown_twice, impressions),
        click_rate=_share(one["examples_clicked"], one["examples"]),
    )


def _counts(state: JoinerState) -> dict[str, int]:
    rejected = state.rejected
    return {
        "impressions": state.impressions,
        "clicks": state.clicks,
        "examples": state.examples,
        "examples_clicked": state.examples_clicked,
        "corrections": state.corrections,
        "rejected": _total(rejected.get("impressions", {})),
        **rejected.get("clicks", {}),
        **rejected.get("impressions", {}),
    }


def _total(reasons: Mapping[str, int]) -> int:
    return sum(reasons.values())


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole > 0 else None
