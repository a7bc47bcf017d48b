"""The feature spec: what a log looks like and what is learned from it, as frozen records.

Read with :func:`features.spec_file.load_spec`; nothing about one data set is in code.
"""

from __future__ import annotations

from itertools import combinations, product
from typing import Literal

import msgspec

__all__ = [
    "BUCKET_BYTES",
    "TIME_TRANSFORMS",
    "TIME_WORDS",
    "CounterSpec",
    "CrossSpec",
    "FieldSpec",
    "HashSpec",
    "LearnerSpec",
    "Rates",
    "SourceSpec",
    "Spec",
]

TIME_WORDS = ("iso", "s", "ms", "us", "ns", "excel")
"""Forms of times that go by a word; others are strptime patterns."""

TIME_TRANSFORMS = ("hour_of_day", "day_of_week")
"""Those of a time."""

Transform = Literal[
    "category", "categories", "log_squared", "log2", "quantile", "hour_of_day", "day_of_week"
]


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Immutable, strict: an unknown key is an error."""


class SourceSpec(_Record, frozen=True):
    """Where a log's columns come from.

    Parameters
    ----------
    label
        Column with the click: 0/1, true/false, or what ``label_values`` says.
    label_values
        What each value of the label means, 0 or 1; ``*`` is any other value.
    views
        Column with the number of impressions a row stands for; ``label`` is then the number of
        clicks among them.
    format
        ``csv``, ``tsv``, ``jsonl``, ``parquet``, ``vw``, ``libsvm`` or ``libffm``; ``auto`` goes
        by the file's name, else by its first bytes.
    separator
        One character between columns; empty: a comma for CSV, a tab for TSV; a space: any run of
        blanks.
    header
        Whether the first line holds the column names (CSV and TSV).
    columns
        The column names, when there is no header line.
    timestamp
        Column with the event time, if there is one.
    timestamp_format
        ``iso`` (RFC 3339; no zone means UTC), ``s``, ``ms``, ``us`` or ``ns`` since 1970,
        ``excel`` (days since 1900), or a strptime pattern such as ``%y%m%d%H``.
    event_id
        Column that names the event, copied to predictions.
    weight
        Column with the importance weight of the event; absent: 1.
    truth
        Column with the true click probability, where a log knows it (a simulated one): scored
        against, never learned.
    click_delay
        Column with the time from impression to click in milliseconds, read by counters only;
        absent: a click counts from its impression's own time.
    """

    label: str
    label_values: dict[str, Literal[0, 1]] = msgspec.field(default_factory=dict)
    views: str = ""
    format: Literal["auto", "csv", "tsv", "jsonl", "parquet", "vw", "libsvm", "libffm"] = "auto"
    separator: str = ""
    header: bool = True
    columns: tuple[str, ...] = ()
    timestamp: str = ""
    timestamp_format: str = "iso"
    event_id: str = ""
    weight: str = ""
    truth: str = ""
    click_delay: str = ""


class FieldSpec(_Record, frozen=True):
    """Fields of one kind: a column each, one transform for all.

    Parameters
    ----------
    names
        Field names; each reads the column of its own name unless ``column`` is given.
    transform
        ``category`` (the value's text), ``categories`` (a list: each member a token),
        ``log_squared`` (a count: itself up to 2, then floor(ln(v)**2) + 3), ``log2`` (a count:
        itself up to 1, then floor(log2(v)) + 1), ``quantile`` (a number, by ``edges`` or
        learned ones), ``hour_of_day`` and ``day_of_week`` (of a time, in UTC).
    column
        The column to read, for a single name.
    group
        A name by which ``crosses.groups`` can take all these fields.
    text
        What a value that is not a number means where a number is declared: ``reject`` the
        row, take it as ``missing``, or as a ``category`` of its own.
    edges
        ``quantile``: the inner bucket edges, rising; bucket i holds edges[i-1] <= v < edges[i].
    buckets, learn_from
        ``quantile`` without edges: learn ``buckets`` equal-mass buckets from the field's first
        ``learn_from`` values; until then all its values share one token.
    separator
        ``categories``: what stands between members where the list is one text.
    timestamp_format
        ``hour_of_day``, ``day_of_week``: as ``source.timestamp_format``; empty: that one.
    """

    names: tuple[str, ...]
    transform: Transform = "category"
    column: str = ""
    group: str = ""
    text: Literal["reject", "missing", "category"] = "reject"
    edges: tuple[float, ...] = ()
    buckets: int = 0
    learn_from: int = 1000
    separator: str = " "
    timestamp_format: str = ""


class CrossSpec(_Record, frozen=True):
    """Which fields are crossed.

    Parameters
    ----------
    all_pairs
        Every field with every other.
    named
        Pairs and triples of field names.
    groups
        Pairs of group names: each field of the first with each of the second (a group with
        itself: each pair within it).
    """

    all_pairs: bool = False
    named: tuple[tuple[str, ...], ...] = ()
    groups: tuple[tuple[str, str], ...] = ()


class CounterSpec(_Record, frozen=True):
    """Fading views, clicks and click rates of the values of some fields.

    Parameters
    ----------
    keys
        Whose views and clicks are counted: a field or column name, or a pair of them.
    half_lives_h
        Hours after which a view weighs half; short ones follow changes, long ones know more.
    prior_views
        Views of the prior rate that each click rate is smoothed with; higher trusts few
        views less.
    prior_rate
        That rate; ``None``: the click rate of all events, fading in the same way.
    """

    keys: tuple[str | tuple[str, ...], ...]
    half_lives_h: tuple[float, ...]
    prior_views: float = 20.0
    prior_rate: float | None = None


class HashSpec(_Record, frozen=True):
    """Sizes of the weight tables, the hash seed, and what may have a bucket.

    A table is too small when the figures of a run get better with one bit more.

    Parameters
    ----------
    bits, cross_bits
        The fields' and the crosses' table have 2**bits buckets.
    seed
        Of the hash.
    admit_after
        Times that each of its values must have been seen before a cross is learned; 0: none.
    evict_after
        A bucket that no event needs for so many events (up to twice) is emptied; 0: never.
    """

    bits: int = 20
    cross_bits: int = 22
    seed: int = 0
    admit_after: int = 0
    evict_after: int = 0


class Rates(_Record, frozen=True):
    """FTRL-Proximal settings of one group of features (McMahan et al. 2013, Algorithm 1).

    Parameters
    ----------
    alpha
        Learning rate; higher follows the stream faster and forgets noise slower.
    beta
        Smooths the first steps; higher makes a new feature's first steps smaller.
    l1
        Keeps a weight at exactly 0 until |z| exceeds it; higher means sparser.
    l2
        Shrinks weights, most for features rarely seen.
    """

    alpha: float = 0.1
    beta: float = 1.0
    l1: float = 0.0
    l2: float = 1.0


class LearnerSpec(_Record, frozen=True):
    """How to learn.

    Parameters
    ----------
    kind
        ``stack``: logistic regressions, statistics of values and crosses, and a net over them
        (docs/learner.md); nothing to set. ``single``: one plain FTRL-Proximal, whose weights are
        exactly zero where little speaks for them, with the rates ``fields`` and ``crosses``.
    """

    kind: Literal["stack", "single"] = "stack"
    fields: Rates = Rates()
    crosses: Rates = Rates()


BUCKET_BYTES = {"stack": (32, 16), "single": (16, 16)}
"""What a bucket of the fields' and of the crosses' table takes, by kind of learner."""


class Spec(_Record, frozen=True):
    """A whole feature spec."""

    name: str
    source: SourceSpec
    fields: tuple[FieldSpec, ...]
    description: str = ""
    crosses: CrossSpec = CrossSpec()
    counters: tuple[CounterSpec, ...] = ()
    hash: HashSpec = HashSpec()
    learner: LearnerSpec = LearnerSpec()

    @property
    def field_names(self) -> list[str]:
        """Names of all fields, in order; a field's number is its place here."""
        return [name for fields in self.fields for name in fields.names]

    def crossed_fields(self) -> list[tuple[int, ...]]:
        """Field numbers of every cross, each once: pairs, and triples.

        The members of a cross stand in the order of their names, so that neither the order of
        the spec's fields nor of a cross changes its bucket.

        Examples
        --------
        >>> fields, pairs = (FieldSpec(names=("site", "ad")),), CrossSpec(all_pairs=True)
        >>> Spec("a", SourceSpec(label="y"), fields, crosses=pairs).crossed_fields()
        [(1, 0)]
        """
        names, groups = self.field_names, dict[str, list[str]]()
        for fields in self.fields:
            groups.setdefault(fields.group, []).extend(fields.names)
        crosses: list[tuple[str, ...]] = [*combinations(names, 2)] if self.crosses.all_pairs else []
        for left, right in self.crosses.groups:
            crosses += [(a, b) for a, b in product(groups[left], groups[right]) if a != b]
        crosses += self.crosses.named
        number = {name: i for i, name in enumerate(names)}
        distinct = dict.fromkeys(tuple(sorted(cross)) for cross in crosses)
        return [tuple(number[name] for name in cross) for cross in distinct]
