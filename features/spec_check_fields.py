"""Checks of a spec's source and fields; see :mod:`features.spec_check`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain

from features.spec import TIME_TRANSFORMS, TIME_WORDS, FieldSpec, Spec
from features.spec_lines import KeyPath
from features.spec_problem import Problem, suggest

__all__ = ["field_problems", "repeats"]

MAX_BUCKETS = 10_000
MAX_LEARN_FROM = 1_000_000
NUMBER_TRANSFORMS = ("log_squared", "log2", "quantile")

_USED_BY = {
    "text": NUMBER_TRANSFORMS,
    "edges": ("quantile",),
    "buckets": ("quantile",),
    "learn_from": ("quantile",),
    "separator": ("categories",),
    "timestamp_format": TIME_TRANSFORMS,
}
"""Keys of a field that only some transforms read."""


def field_problems(spec: Spec) -> Iterator[Problem]:
    """Yield what is wrong with the source and the fields, the first to be told first."""
    return chain(
        _label_problems(spec),
        _name_problems(spec),
        _label_leaks(spec),
        _transform_problems(spec),
        _format_problems(spec),
        _column_problems(spec),
    )


def repeats(words: Sequence[str]) -> Iterator[int]:
    """Yield the positions of words that stand earlier too."""
    seen: set[str] = set()
    for i, word in enumerate(words):
        if word in seen:
            yield i
        seen.add(word)


def _label_problems(spec: Spec) -> Iterator[Problem]:
    if not spec.source.label:
        yield Problem(
            ("source", "label"), "the label column has no name", "name the column with the click"
        )
    values, views = spec.source.label_values, spec.source.views
    if values and set(values.values()) != {0, 1}:
        yield Problem(
            ("source", "label_values"),
            "all values of the label mean the same",
            'name values that mean 0 and values that mean 1, such as { "-1" = 0, "1" = 1 }',
        )
    if values and views:
        yield Problem(
            ("source", "label_values"),
            "with `views` the label is a number of clicks, which has no other meaning",
            "remove label_values, or views",
        )
    if views and spec.counters:
        yield Problem(
            ("source", "views"),
            "counters count impressions one by one, and a row of this log stands for many",
            "leave the counters out",
        )


def _name_problems(spec: Spec) -> Iterator[Problem]:
    if not spec.fields:
        yield Problem(
            ("fields",), "there are no fields to learn from", "add a [[fields]] table with `names`"
        )
    for i, field in enumerate(spec.fields):
        if not field.names:
            yield Problem(("fields", i, "names"), "no field is named", 'names = ["a_column", ...]')
        for j, name in enumerate(field.names):
            if not name:
                yield Problem(("fields", i, "names", j), "a field has no name", "name it")
    places: list[KeyPath] = [
        ("fields", i, "names", j)
        for i, field in enumerate(spec.fields)
        for j in range(len(field.names))
    ]
    names = spec.field_names
    for k in repeats(names):
        yield Problem(
            places[k],
            f"two fields are named `{names[k]}`",
            "remove one, or rename it and give its column as `column`",
        )


def _label_leaks(spec: Spec) -> Iterator[Problem]:
    label = spec.source.label
    for path, column in _field_columns(spec):
        if column == label:
            yield Problem(
                path,
                f"the label `{label}` is also a field: the model would be told the answer",
                "take it out of the fields",
            )
    for key in ("views", "timestamp", "event_id", "weight", "click_delay"):
        if getattr(spec.source, key) == label:
            yield Problem(
                ("source", key),
                f"the label `{label}` cannot also be the {key}",
                f"name another column, or leave {key} out",
            )


def _transform_problems(spec: Spec) -> Iterator[Problem]:
    for i, field in enumerate(spec.fields):
        if field.column and len(field.names) > 1:
            yield Problem(
                ("fields", i, "column"),
                f"one column `{field.column}` is given for {len(field.names)} fields",
                "give each of them a [[fields]] table of its own",
            )
    for i, field in enumerate(spec.fields):
        default = FieldSpec(names=field.names)
        for key, transforms in _USED_BY.items():
            if field.transform not in transforms and getattr(field, key) != getattr(default, key):
                yield Problem(
                    ("fields", i, key),
                    f"`{key}` means nothing with transform {field.transform!r}",
                    f"remove it, or use transform {' or '.join(map(repr, transforms))}",
                )
    for i, field in enumerate(spec.fields):
        if not field.separator:
            yield Problem(
                ("fields", i, "separator"),
                "nothing stands between the members of a list",
                'one or more characters, such as " " or "|"',
            )
    for i, field in enumerate(spec.fields):
        if field.transform == "quantile":
            yield from _quantile_problems(("fields", i), field)


def _quantile_problems(at: KeyPath, field: FieldSpec) -> Iterator[Problem]:
    one_of = "give `edges`, or `buckets` to learn them from the first values"
    if field.edges:
        if field.buckets:
            yield Problem((*at, "buckets"), "both `edges` and `buckets` are given", one_of)
        yield from _edge_problems((*at, "edges"), field.edges)
        return
    if not field.buckets:
        missing = "quantile needs `edges` or `buckets`, and has neither"
        yield Problem((*at, "transform"), missing, one_of)
    if not 2 <= field.buckets <= MAX_BUCKETS:
        message = f"{field.buckets} is not a number of buckets"
        yield Problem((*at, "buckets"), message, f"2 to {MAX_BUCKETS}")
    if not 1 <= field.learn_from <= MAX_LEARN_FROM:
        message = f"buckets cannot be learned from {field.learn_from} values"
        yield Problem((*at, "learn_from"), message, f"1 to {MAX_LEARN_FROM}")


def _edge_problems(at: KeyPath, edges: Sequence[float]) -> Iterator[Problem]:
    for j, edge in enumerate(edges):
        if not math.isfinite(edge):
            yield Problem((*at, j), f"{edge} is not a finite number", "remove it")
        elif j and not edges[j - 1] < edge:
            message = f"edges must rise, but {edge} follows {edges[j - 1]}"
            yield Problem((*at, j), message, "sort the edges and keep each once")
    if len(edges) >= MAX_BUCKETS:
        message = f"{len(edges)} edges make too many buckets"
        yield Problem(at, message, f"at most {MAX_BUCKETS - 1} edges")


def _format_problems(spec: Spec) -> Iterator[Problem]:
    formats: list[tuple[KeyPath, str]] = [
        (("fields", i, "timestamp_format"), field.timestamp_format)
        for i, field in enumerate(spec.fields)
        if field.timestamp_format
    ]
    for path, pattern in [(("source", "timestamp_format"), spec.source.timestamp_format), *formats]:
        if pattern not in TIME_WORDS and not _is_strptime(pattern):
            yield Problem(
                path,
                f"{pattern!r} is not a timestamp format",
                f'{", ".join(TIME_WORDS)} or a strptime pattern such as "%y%m%d%H"',
            )
    source, separator = spec.source, spec.source.separator
    if source.format in ("jsonl", "parquet"):
        return
    if separator and (len(separator.encode()) != 1 or separator in '"\r\n'):
        yield Problem(
            ("source", "separator"),
            f"{separator!r} is not one ASCII character that can stand between columns",
            'one character such as "," or "\\t"; leave it out for the usual one',
        )
    if not source.header and not source.columns:
        yield Problem(
            ("source", "header"),
            "the log has no header line, and `columns` is not given",
            'columns = ["first", "second", ...], all of them in the order of the log',
        )
    if source.header and source.columns:
        yield Problem(
            ("source", "columns"),
            "`columns` is given, and so is a header line",
            "header = false if the log has no header line; else leave `columns` out",
        )


def _is_strptime(pattern: str) -> bool:
    moment = datetime(2014, 10, 21, 13, 5, 9)
    try:
        datetime.strptime(moment.strftime(pattern), pattern)
    except ValueError:
        return False
    return "%" in pattern


def _column_problems(spec: Spec) -> Iterator[Problem]:
    columns = spec.source.columns
    for i in repeats(columns):
        yield Problem(
            ("source", "columns", i),
            f"the column `{columns[i]}` is named twice",
            "give each column a name of its own",
        )
    keys = ("label", "views", "timestamp", "event_id", "weight", "click_delay")
    roles = [(("source", key), getattr(spec.source, key)) for key in keys]
    for path, column in chain(roles, _field_columns(spec)):
        if column and columns and column not in columns:
            yield Problem(path, f"`{column}` is not in source.columns", suggest(column, columns))


def _field_columns(spec: Spec) -> Iterator[tuple[KeyPath, str]]:
    for i, field in enumerate(spec.fields):
        for j, name in enumerate(field.names):
            if field.column:
                yield ("fields", i, "column"), field.column
            else:
                yield ("fields", i, "names", j), name
