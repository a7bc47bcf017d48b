"""Which column of a log is its label, time and event id, and which must not be learned from."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from features.errors import SpecError
from features.labels import OTHER, clicks_of_views, guess_label_values, labels
from features.spec_guess_column import Column

__all__ = ["Label", "Roles", "find_roles"]

_CLICK = re.compile(
    r"(?:(?:is|has|was|user|ad|did|num|n)_?)?(?:clicks?|clicked|clk|clks)"
    r"(?:_(?:flag|label|yn|count|on_ad|event))?|(?:is_?)?(?:label|target)|y|outcome|response"
)
_LATER = re.compile(
    r"(?:is_?|has_?)?(?:attributed|convert(?:ed)?|conversions?|install(?:ed|s)?|sales?|sold"
    r"|purchased?|bought|ordered)(?:_(?:flag|label))?"
)
_VIEWS = ("views", "impressions", "imps", "impression", "shows", "exposures", "displays")
_IDS = (
    "event_id",
    "impression_id",
    "imp_id",
    "request_id",
    "auction_id",
    "bid_id",
    "uuid",
    "id",
    "tag",
)
_TIMES = ("timestamp", "event_time", "impression_time", "time", "ts", "datetime", "date", "hour")
_TIME_WORD = re.compile(
    r"(?:^|_)(?:timestamp|time|datetime|date|dt|ts|day|hour|at|epoch|when)(?:_|$)|time$|date$"
)
_AFTERWARDS = re.compile(
    r"p_true|p_click|propensity.*|p_?ctr.*|predict.*|attributed.*|attribution.*|conver(?:ted|sion).*"
    r"|click(?:ed)?_(?:time|timestamp|ts|at|delay|pos)|time_to_click|dwell.*|revenue"
    r"|(?:sales?|purchases?)(?:_(?:amount|value|price|time|at))?"
)
_BY_CHANCE = 1e-4
_FEW_CLICKS = 10


@dataclass(frozen=True)
class Label:
    """The label, and how its values are read."""

    column: Column
    values: Mapping[str, int] = field(default_factory=dict)
    views: Column | None = None
    is_named: bool = True

    @property
    def click_rate(self) -> float:
        """Share of the sampled impressions that were clicked."""
        if self.views is not None:
            clicks, views = clicks_of_views(self.column.values, self.views.values)
            return float(np.nansum(clicks) / max(np.nansum(views), 1.0))
        return float(np.nan_to_num(np.nanmean(self.clicked)))

    @property
    def clicked(self) -> NDArray[np.float64]:
        """For each row 1 or 0, or NaN where it has no label; with views, whether there was any."""
        if self.views is not None:
            clicks, _ = clicks_of_views(self.column.values, self.views.values)
            return np.where(np.isnan(clicks), np.nan, clicks > 0)
        return labels(self.column.values, self.values)


@dataclass(frozen=True)
class Roles:
    """The columns that are no fields, and why."""

    label: Label
    timestamp: Column | None
    event_id: Column | None
    left_out: dict[str, str]


def find_roles(
    looks: Sequence[Column], name: str = "", values: Mapping[str, int] | None = None
) -> Roles:
    """Tell what each column is.

    Parameters
    ----------
    looks
        All columns.
    name, values
        The label and what its values mean, where somebody said so.

    Raises
    ------
    SpecError
        No column, or more than one, looks like the label.
    """
    label = _label_named(looks, name, values) if name else _find_label(looks)
    taken: list[Column | None] = [label.column, label.views]
    others = [look for look in looks if look not in taken]
    timestamp = _first(others, _TIMES, _is_time)
    event_id = _first(
        [look for look in others if look is not timestamp], _IDS, lambda look: look.is_unique, ()
    )
    reasons = {
        look.name: why
        for look in others
        if look not in (timestamp, event_id) and (why := _why_not(look, label))
    }
    return Roles(label, timestamp, event_id, reasons)


def _first(
    looks: Sequence[Column],
    names: Sequence[str],
    suits: Callable[[Column], bool],
    more: Sequence[Column] | None = None,
) -> Column | None:
    """The first column that suits, in the order of names; else of ``more`` (all, by default)."""
    by_name = (look for name in names for look in looks if look.plain_name == name)
    rest = looks if more is None else more
    return next((look for look in (*by_name, *rest) if suits(look)), None)


# The label


def _find_label(looks: Sequence[Column]) -> Label:
    for pattern in (_CLICK, _LATER):
        named = [
            found
            for look in looks
            if pattern.fullmatch(look.plain_name) and (found := _as_label(look, looks))
        ]
        if named:
            return _only(named, [label for label in named if _is_before(label, named)])
    binary = [
        Label(look, values, is_named=False)
        for look in looks
        if not _AFTERWARDS.fullmatch(look.plain_name)
        and (values := _binary_values(look)) is not None
    ]
    if not binary:
        raise SpecError(
            "no column looks like a label: none holds only 0 and 1, true and false, -1 and 1, "
            "or yes and no",
            field="source.label",
            fix="name its column with --label NAME, and its values with --label-values "
            "VALUE=0,VALUE=1; or write the click as 0 or 1 in every row",
        )
    both = [label for label in binary if label.column.distinct == 2]
    if all(re.fullmatch(r"c\d+", look.name) for look in looks):  # no header: by custom
        both = [label for label in both if label.column is looks[0]] or both
    return _only(both or binary, both or binary)


def _only(labels: Sequence[Label], best: Sequence[Label]) -> Label:
    if len(best) == 1:
        return best[0]
    names = [label.column.name for label in labels]
    raise SpecError(
        f"{len(names)} columns may be the label: {', '.join(map(repr, names))}",
        field="source.label",
        fix=f"say which is the click: --label {names[0]}",
    )


def _is_before(label: Label, named: Sequence[Label]) -> bool:
    """Whether all others tell nothing but that, or happen only where it is a click."""
    own = label.clicked == 1
    others = [other.clicked == 1 for other in named if other is not label]
    return all((other <= own).all() and other.sum() < own.sum() for other in others)


def _as_label(look: Column, looks: Sequence[Column]) -> Label | None:
    """A column named like a label, if its values can be one."""
    if not look.is_full or look.is_list:
        return None
    values = guess_label_values(look.texts.to_pylist())
    if values is not None:
        return Label(look, values)
    if not re.search("cl(?:ic)?k", look.plain_name):
        return None
    if look.is_integer and look.numbers is not None and np.nanmin(look.numbers) >= 0:
        return _counted(look, looks)
    return None


def _counted(look: Column, looks: Sequence[Column]) -> Label:
    """A number of clicks: of the views beside it, or of one impression."""
    for views in looks:
        if views.plain_name in _VIEWS and not views.is_list:
            clicks, _ = clicks_of_views(look.values, views.values)
            if np.isfinite(clicks).all():
                return Label(look, views=views)
    return Label(look, {"0": 0, OTHER: 1})


def _binary_values(look: Column) -> dict[str, int] | None:
    """The label mapping of a column of any name."""
    if not look.is_full or look.is_list or look.present < look.rows:
        return None
    values = guess_label_values(look.texts.to_pylist())
    return None if values is not None and "2" in values else values


def _label_named(looks: Sequence[Column], name: str, values: Mapping[str, int] | None) -> Label:
    look = next((look for look in looks if look.name == name), None)
    if look is None:
        raise SpecError(
            f"no column is named {name!r} that could be a label",
            fix=f"--label with one of: {', '.join(look.name for look in looks)}",
        )
    if values:
        return Label(look, values)
    found = _as_label(look, looks)
    guessed = guess_label_values(look.texts.to_pylist())
    if found is None and guessed is None:
        shown = ", ".join(map(repr, look.texts.to_pylist()[:3]))
        raise SpecError(
            f"the values of {name!r} ({shown}{', ...' if look.distinct > 3 else ''}) do not say "
            "which of them is a click",
            fix="say it with --label-values, such as won=1,*=0",
        )
    return found or Label(look, guessed or {})


# What is no field


def _is_time(look: Column) -> bool:
    form = look.time_form
    return form not in ("", "?") and (form == "iso" or bool(_TIME_WORD.search(look.plain_name)))


def _why_not(look: Column, label: Label) -> str:
    """Return why a column is no field, or empty."""
    return next(_reasons(look, label), "")


def _reasons(look: Column, label: Label) -> Iterator[str]:
    if _AFTERWARDS.fullmatch(look.plain_name):
        yield "by its name, it is not known before the click, or is a prediction of it"
    is_named = any(pattern.fullmatch(look.plain_name) for pattern in (_CLICK, _LATER))
    if is_named and guess_label_values(look.texts.to_pylist()) is not None:
        yield "it looks like another label"
    if why := _tells_answer(look, label.clicked):
        yield f"{why}: it tells the answer"
    if look.time_form == "?":
        yield "its dates may have the day or the month first; write timestamp_format by hand"
    if _is_time(look):
        yield "another time; hour_of_day or day_of_week can read it"
    if look.is_row_number:
        yield "it rises from row to row, like a row number"
    fraction = look.numbers is not None and not look.is_integer
    if not look.is_list and not fraction and look.is_nearly_unique:
        yield "nearly every row has another value; add it if it names users, say, who come back"


def _tells_answer(look: Column, clicked: NDArray[np.float64]) -> str:
    """How a column gives the label away; empty: it does not, as far as these rows tell."""
    others, clicks = look.counts_by_label(clicked)
    all_others, all_clicks = int(others.sum()), int(clicks.sum())
    fewer, rows = min(all_others, all_clicks), all_others + all_clicks
    values = np.count_nonzero(others + clicks)
    if not fewer or rows < 10 or values < 2:
        return ""
    is_pure = not np.any((clicks > 0) & (others > 0))
    often = fewer >= _FEW_CLICKS and all_clicks >= 3 * np.count_nonzero(clicks)
    if is_pure and (look.distinct <= 2 or (often and values <= rows / 20)):
        return "each of its values stands beside one value of the label only"
    usual = np.flatnonzero(others)
    extra = all_clicks - int(clicks[usual[0]])
    if len(usual) == 1 and extra and extra * math.log(all_clicks / rows) < math.log(_BY_CHANCE):
        shown = [*look.texts.to_pylist(), ""][usual[0]][:20]
        return f"only clicks have anything but {shown!r}" if shown else "only clicks have one"
    return ""
