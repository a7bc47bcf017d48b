"""What counters and their features are called."""

from __future__ import annotations

from collections.abc import Iterator

from features.spec import CounterSpec

__all__ = [
    "COLUMN_PREFIX",
    "OVERALL",
    "counter_name",
    "feature_names",
    "half_life_ms",
    "half_life_text",
    "key_parts",
    "value_names",
]

OVERALL = "overall"
"""The counter of all events: its running click rate is the prior of the others."""
COLUMN_PREFIX = "counter:"
"""Before a value's name: the column or key of an event that carries the value as served."""

HOUR_MS = 3_600_000


def key_parts(key: str | tuple[str, ...]) -> tuple[str, ...]:
    """Give the names that make up a key."""
    return (key,) if isinstance(key, str) else key


def counter_name(key: str | tuple[str, ...]) -> str:
    """Name the counter of a key.

    Examples
    --------
    >>> counter_name("ad"), counter_name(("user", "ad"))
    ('ad', 'user+ad')
    """
    return "+".join(key_parts(key))


def half_life_ms(hours: float) -> int:
    """Give a half-life in whole milliseconds."""
    return round(hours * HOUR_MS)


def half_life_text(hours: float) -> str:
    """Write a half-life as feature names have it.

    Examples
    --------
    >>> half_life_text(24.0), half_life_text(0.5)
    ('24h', '0.5h')
    """
    return f"{half_life_ms(hours) / HOUR_MS:.15g}h"


def value_names(counters: CounterSpec) -> list[str]:
    """Name the values of a table in order: key by key, half-life by half-life, views and clicks.

    The overall counter is last; it is there only if no prior rate is declared.

    Examples
    --------
    >>> value_names(CounterSpec(keys=("ad",), half_lives_h=(24,), prior_rate=0.1))
    ['ad_views_24h', 'ad_clicks_24h']
    """
    names = [counter_name(key) for key in counters.keys]
    if counters.prior_rate is None:
        names.append(OVERALL)
    return [
        f"{name}_{what}_{half_life_text(hours)}"
        for name in names
        for hours in counters.half_lives_h
        for what in ("views", "clicks")
    ]


def feature_names(counters: CounterSpec) -> Iterator[str]:
    """Name everything that a table's counters tell of an event, click rates included."""
    for name in value_names(counters):
        yield name
        if "_views_" in name:
            yield "_ctr_".join(name.rsplit("_views_", 1))
