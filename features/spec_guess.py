"""A first feature spec for a log nobody has described yet, to be read and edited."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pyarrow as pa

from features.errors import SpecError
from features.spec_guess_column import Column, Field, describe_field, information
from features.spec_guess_roles import Roles, find_roles

__all__ = ["guess_spec"]

_MOST_CROSSED = 40
_CROSSED_OF_MANY = 30
_MANY_VALUES = 1 << 17  # more in the sample want larger tables
_COUNTED_KEYS = 6
_LEAST_COUNTED = 5  # values of a key that is worth counting
_COMMENTS = {
    "category": "categories: each different value is a feature (also ids written as numbers)",
    "log_squared": "counts, in buckets of floor(ln(v)**2) + 3; move ids to the categories",
    "categories": "lists: each member is a feature",
}


def guess_spec(
    name: str,
    rows: pa.Table,
    *,
    source: Mapping[str, object] | None = None,
    left_out: Mapping[str, str] | None = None,
    label: str = "",
    label_values: Mapping[str, int] | None = None,
) -> str:
    """Write a first spec from a sample of a log.

    Parameters
    ----------
    name
        What to call the spec.
    rows
        Rows from all over the log, some hundreds or more, in its order; columns as the readers
        give them.
    source
        Keys of ``[source]`` without which the log cannot be read.
    left_out
        Columns that the readers cannot use, and why.
    label, label_values
        The label and what its values mean, where somebody said so.

    Returns
    -------
    str
        TOML with comments, which :func:`features.spec_file.parse_spec` accepts.

    Raises
    ------
    SpecError
        No rows, nothing or several columns like a label, or nothing left to learn from.

    Examples
    --------
    >>> import pyarrow as pa
    >>> text = guess_spec("mine", pa.table({"click": ["0", "1"] * 9, "ad": ["a", "b", "c"] * 6}))
    >>> 'label = "click"' in text
    True
    """
    if not rows.num_rows:
        raise SpecError("the log has no rows to look at", fix="name a log with some events")
    source = source or {}
    names = [each for each in rows.column_names if each and each not in source.values()]
    looks = [Column(each, _one(rows.column(each))) for each in names]
    roles = find_roles(looks, label, label_values)
    reasons = {**(left_out or {}), **roles.left_out}
    fields = [describe_field(look) for look in _fields_of(looks, roles, reasons)]
    crossed = _crossed(fields, roles)
    return "\n".join(
        [
            *_head(name, rows.num_rows),
            *_source(roles, source),
            *_left_out(reasons),
            *_fields(fields, crossed),
            *_time_fields(roles.timestamp, {field.column.name for field in fields}),
            *_counters(fields, roles),
            *_crosses(len(fields) + (2 if roles.timestamp else 0), crossed),
            *_hash(fields),
        ]
    )


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _fields_of(looks: Sequence[Column], roles: Roles, left_out: Mapping[str, str]) -> list[Column]:
    taken = {roles.label.column, roles.label.views, roles.timestamp, roles.event_id}
    fields = [look for look in looks if look not in taken and look.name not in roles.left_out]
    if not fields and roles.timestamp is None:
        reasons = "; ".join(f"{name!r}: {why}" for name, why in list(left_out.items())[:5])
        raise SpecError(
            f"no column is left to learn from{f' ({reasons})' if reasons else ''}",
            fix="write the spec by hand; docs/spec.md has an example",
        )
    return fields


def _crossed(fields: Sequence[Field], roles: Roles) -> set[str]:
    """Of very many fields, those that tell most; empty: all are crossed."""
    if len(fields) + (2 if roles.timestamp else 0) <= _MOST_CROSSED:
        return set()
    clicked = roles.label.clicked
    bits = {field.column.name: information(field.column, clicked) for field in fields}
    return set(sorted(bits, key=lambda name: -bits[name])[:_CROSSED_OF_MANY])


# The text


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _list(items: Iterable[str]) -> str:
    # A stand-in for the spaces within an item keeps it on one line.
    line = ", ".join(item.replace(" ", "\0") for item in items)
    if len(line) >= 80:
        line = textwrap.fill(
            line,
            width=90,
            initial_indent="\n  ",
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        line += ",\n"
    return f"[{line}]".replace("\0", " ")


def _value(value: object) -> str:
    """A value of ``[source]`` as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    return _quote(value) if isinstance(value, str) else _list(map(_quote, value))  # type: ignore[call-overload]


def _head(name: str, rows: int) -> list[str]:
    return [
        f"# A first spec, guessed from {rows:,} rows of the log. Read it and change it; then try",
        "#   clicktide spec check FILE",
        "#   clicktide replay LOG --spec FILE",
        "# docs/spec.md explains every key.",
        "",
        f"name = {_quote(name)}",
        "",
    ]


def _source(roles: Roles, source: Mapping[str, object]) -> Iterator[str]:
    label = roles.label
    yield "[source]"
    yield from (f"{key} = {_value(value)}" for key, value in source.items())
    check = "" if label.is_named else "; a guess by its values: check it"
    rate = f"{label.click_rate:.2%} of these {'views' if label.views else 'rows'} are clicks"
    yield f"label = {_quote(label.column.name)}  # {rate}{check}"
    if label.values:
        pairs = (f"{_quote(word)} = {value}" for word, value in label.values.items())
        yield f"label_values = {{ {', '.join(pairs)} }}  # 1 is a click"
    if label.views is not None:
        yield f"views = {_quote(label.views.name)}  # a row stands for so many impressions"
    if roles.timestamp:
        yield f"timestamp = {_quote(roles.timestamp.name)}"
        yield f"timestamp_format = {_quote(roles.timestamp.time_form)}"
    if roles.event_id:
        yield f"event_id = {_quote(roles.event_id.name)}  # another value in each row"
    yield ""


def _left_out(reasons: Mapping[str, str]) -> Iterator[str]:
    if reasons:
        yield "# Left out of the fields:"
        yield from (f"# - {_quote(name)}: {why}" for name, why in reasons.items())
        yield ""


def _fields(fields: Sequence[Field], crossed: set[str]) -> Iterator[str]:
    """Tables of the fields that share transform, separator and group; numbers each alone."""
    tables: dict[tuple[str, str, str], list[str]] = {}
    for field in fields:
        group = "crossed" if field.column.name in crossed else ""
        if field.transform != "quantile":
            key = (field.transform, field.separator, group)
            tables.setdefault(key, []).append(_quote(field.column.name))
    for (transform, separator, group), names in sorted(tables.items()):
        yield f"# {_COMMENTS[transform]}"
        yield from _table(_list(names), transform, separator, group)
    for field in fields:
        if field.transform == "quantile":
            group = "crossed" if field.column.name in crossed else ""
            yield "# a number, in buckets that held about as many of these rows each"
            edges = f"edges = {_list(map(repr, field.column.quantile_edges()))}"
            yield from _table(f"[{_quote(field.column.name)}]", "quantile", "", group, edges)


def _table(
    names: str, transform: str, separator: str = "", group: str = "", *more: str
) -> Iterator[str]:
    yield "[[fields]]"
    yield f"names = {names}"
    yield f"transform = {_quote(transform)}"
    if separator:
        yield f"separator = {_quote(separator)}"
    if group:
        yield f"group = {_quote(group)}"
    yield from more
    if transform in ("log_squared", "quantile"):  # keep the rows with NULL further down in the log
        yield 'text = "category"  # what is not a number is a category; "reject" skips its row'
    yield ""


def _time_fields(timestamp: Column | None, taken: set[str]) -> Iterator[str]:
    if timestamp is None:
        return
    for transform in ("hour_of_day", "day_of_week"):
        name = transform
        while name in taken:
            name = f"{timestamp.plain_name}_{name}"
        column = f"column = {_quote(timestamp.name)}"
        yield from _table(f"[{_quote(name)}]", transform, "", "", column)


def _counters(fields: Sequence[Field], roles: Roles) -> Iterator[str]:
    """Propose counters of the categories that tell most, where there is time for them to fade."""
    if roles.timestamp is None or roles.label.views is not None:
        return
    clicked = roles.label.clicked
    keys = [
        field.column
        for field in fields
        if field.transform == "category"
        and _LEAST_COUNTED <= field.column.distinct <= field.column.rows / 10
    ]
    if not keys:
        return
    keys = sorted(keys, key=lambda key: -information(key, clicked))[:_COUNTED_KEYS]
    days = roles.timestamp.span_ms / 86_400_000
    hours = 48 if days > 5 else 24 if days > 1 else max(1, round(days * 6))
    yield "# Click rates by value, fading with time, often tell more: try them without the #."
    yield "# [[counters]]"
    yield f"# keys = [{', '.join(_quote(key.name) for key in keys)}]"
    yield f"# half_lives_h = [{hours}]"
    yield ""


def _crosses(fields: int, crossed: set[str]) -> list[str]:
    pairs = fields * (fields - 1) // 2
    if not pairs:
        return []
    if not crossed:
        return ["[crosses]", f"all_pairs = true  # pairs of fields: {pairs}", ""]
    some = len(crossed) * (len(crossed) - 1) // 2
    return [
        f"# all {pairs} pairs would be slow: {some} of the {len(crossed)} fields that tell most",
        "[crosses]",
        'groups = [["crossed", "crossed"]]',
        "",
    ]


def _hash(fields: Sequence[Field]) -> list[str]:
    values = sum(field.column.distinct for field in fields)
    if values < _MANY_VALUES:
        return []
    return [
        f"[hash]  # these rows alone have {values:,} different values",
        "bits = 22",
        "cross_bits = 23",
        "",
    ]
