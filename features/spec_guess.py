"""A first feature spec for a log nobody has described yet, to be read and edited."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from features.errors import SpecError
from features.spec_guess_column import Column

__all__ = ["guess_spec"]

_LABELS = (
    *("click", "clicked", "is_click", "is_clicked", "clicks", "label"),
    *("is_attributed", "attributed", "converted", "is_converted", "conversion", "is_conversion"),
    *("target", "outcome", "response", "y"),
)
_IDS = ("event_id", "impression_id", "imp_id", "request_id", "auction_id", "bid_id", "uuid", "id")
_TIMES = ("timestamp", "event_time", "impression_time", "time", "ts", "datetime", "date", "hour")
_TIME_WORD = re.compile(r"(?:^|_)(?:timestamp|time|datetime|date|ts|hour|at)(?:_|$)")
_AFTERWARDS = re.compile(
    r"p_true|p_click|propensity.*|p_?ctr.*|predict.*|attributed.*|attribution.*|conver(?:ted|sion).*"
    r"|click(?:ed)?_(?:time|timestamp|ts|at)"
)
_ID_WORD = re.compile(r"(?:^|_)(?:id|ids|code|zip|zipcode|type|key|hash|no|nr|cat\d*)$")
_FEW_VALUES = 12
_MOST_CROSSED = 60
_SEPARATORS = {"csv": ",", "tsv": "\t"}
_COMMENTS = {
    "category": "categories: each different value is a feature (also ids written as numbers)",
    "log_squared": "counts, in buckets of floor(ln(v)**2) + 3; move ids to the categories",
    "categories": "lists: each member is a feature",
}


@dataclass(frozen=True)
class _Roles:
    """The columns that are no fields, and why."""

    label: Column
    timestamp: Column | None
    event_id: Column | None
    left_out: dict[str, str]


def guess_spec(
    name: str,
    columns: Sequence[str],
    rows: Sequence[Mapping[str, object]],
    *,
    format: str,
    separator: str,
    header: bool,
) -> str:
    """Write a first spec from the first rows of a log.

    Parameters
    ----------
    name
        What to call the spec.
    columns, rows
        Column names in the order of the log, and its first rows, some hundreds or more.
    format, separator, header
        As found, for the keys of the same name in ``[source]``.

    Returns
    -------
    str
        TOML with comments, which :func:`features.spec_file.parse_spec` accepts.

    Raises
    ------
    SpecError
        No rows, a column named twice, nothing like a label, or nothing left to learn from.

    Examples
    --------
    >>> rows = [{"click": 0, "ad": "a"}, {"click": 1, "ad": "b"}]
    >>> text = guess_spec("mine", ["click", "ad"], rows, format="csv", separator=",", header=True)
    >>> 'label = "click"' in text
    True
    """
    _check_input(columns, rows)
    looks = [Column(column, [row.get(column) for row in rows]) for column in columns]
    roles = _find_roles(looks)
    fields = _find_fields(looks, roles)
    return "\n".join(
        [
            *_head(name, len(rows)),
            *_source(roles, columns, format=format, separator=separator, header=header),
            *_left_out(roles.left_out),
            *_fields(fields),
            *_time_fields(roles.timestamp, {look.name for look in fields}),
            *_crosses(len(fields) + (2 if roles.timestamp else 0)),
        ]
    )


def _check_input(columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    if not rows:
        raise SpecError("the log has no rows to look at", fix="name a log with some events")
    for i, column in enumerate(columns):
        if column in columns[:i]:
            raise SpecError(
                f"two columns are named {column!r}",
                fix="rename one, or say header = false and name all in `columns`",
            )


# Which column is what


def _find_roles(looks: Sequence[Column]) -> _Roles:
    named = [look for look in looks if look.name]
    label = _find_label(named)
    others = [look for look in named if look is not label]
    timestamp = _find_timestamp(others)
    others = [look for look in others if look is not timestamp]
    event_id = next((look for look in _by_name(others, _IDS) if look.is_unique), None)
    reasons = {
        look.name: _why_not(look, label) if look.name else "it has no name"
        for look in looks
        if look not in (label, timestamp, event_id)
    }
    return _Roles(label, timestamp, event_id, {name: why for name, why in reasons.items() if why})


def _find_fields(looks: Sequence[Column], roles: _Roles) -> list[Column]:
    taken = {roles.label, roles.timestamp, roles.event_id}
    fields = [look for look in looks if look not in taken and look.name not in roles.left_out]
    if not fields and roles.timestamp is None:
        raise SpecError(
            "no column is left to learn from",
            fix="write the spec by hand; docs/spec.md has an example",
        )
    return fields


def _by_name(looks: Sequence[Column], names: Sequence[str]) -> Iterator[Column]:
    for name in names:
        yield from (look for look in looks if look.plain_name == name)


def _find_label(looks: Sequence[Column]) -> Column:
    binary = [look for look in looks if look.is_binary]
    both = [look for look in binary if look.distinct == 2]
    found = next(iter([*_by_name(binary, _LABELS), *both, *binary]), None)
    if found is None:
        raise SpecError(
            "no column looks like a label: none holds only 0 and 1, or true and false",
            field="source.label",
            fix="write the click as 0 or 1 in every row",
        )
    return found


def _find_timestamp(looks: Sequence[Column]) -> Column | None:
    times = [look for look in looks if _is_time(look)]
    return next(iter([*_by_name(times, _TIMES), *times]), None)


def _is_time(look: Column) -> bool:
    named = look.timestamp_format and _TIME_WORD.search(look.plain_name)
    return bool(named) or look.timestamp_format == "iso"


def _why_not(look: Column, label: Column) -> str:
    """Return why a column is no field, or empty."""
    if _AFTERWARDS.fullmatch(look.plain_name):
        return "by its name, it is not known before the click, or is a prediction of it"
    if look.is_binary and look.plain_name in _LABELS:
        return "it looks like another label"
    if len(look.values) >= 10 and len(set(label.flags)) == 2 and look.flags == label.flags:
        return "it is there, or not 0, exactly where the label is 1: it tells the answer"
    if look.is_table:
        return "its values have keys of their own; write each as a column"
    if _is_time(look):
        return "another time; hour_of_day or day_of_week can read it"
    if look.is_row_number:
        return "it rises from row to row, like a row number"
    fraction = look.numbers is not None and not look.is_integer
    if not look.is_list and not fraction and look.is_nearly_unique:
        return "nearly every row has another value; add it if it names users, say, who come back"
    return ""


def _transform(look: Column) -> str:
    if look.is_list:
        return "categories"
    if look.numbers is None or _ID_WORD.search(look.plain_name):
        return "category"
    if not look.is_integer:
        return "quantile" if look.distinct >= 3 else "category"
    starts_low = min(look.numbers) <= 2  # counts do; ids written as numbers seldom
    return "log_squared" if look.distinct > _FEW_VALUES and starts_low else "category"


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


def _head(name: str, rows: int) -> list[str]:
    return [
        f"# A first spec, guessed from {rows} rows. Read it and change it; then try",
        "#   clicktide spec check FILE",
        "#   clicktide replay LOG --spec FILE",
        "# docs/spec.md explains every key.",
        "",
        f"name = {_quote(name)}",
        "",
    ]


def _source(
    roles: _Roles, columns: Sequence[str], *, format: str, separator: str, header: bool
) -> Iterator[str]:
    yield "[source]"
    yield f"format = {_quote(format)}"
    if format not in ("jsonl", "parquet"):
        if separator and separator != _SEPARATORS.get(format):
            yield f"separator = {_quote(separator)}"
        if not header:
            yield "header = false"
            yield f"columns = {_list(map(_quote, columns))}"
    share = sum(roles.label.flags) / len(roles.label.values)
    check = "" if roles.label.plain_name in _LABELS else "; a guess by its values: check it"
    yield f"label = {_quote(roles.label.name)}  # {share:.2%} of these rows are clicks{check}"
    if roles.timestamp:
        yield f"timestamp = {_quote(roles.timestamp.name)}"
        yield f"timestamp_format = {_quote(roles.timestamp.timestamp_format)}"
    if roles.event_id:
        yield f"event_id = {_quote(roles.event_id.name)}  # another value in each row"
    yield ""


def _left_out(reasons: Mapping[str, str]) -> Iterator[str]:
    if reasons:
        yield "# Left out of the fields:"
        yield from (f"# - {_quote(name)}: {why}" for name, why in reasons.items())
        yield ""


def _fields(looks: Sequence[Column]) -> Iterator[str]:
    for transform, comment in _COMMENTS.items():
        names = [_quote(look.name) for look in looks if _transform(look) == transform]
        if names:
            yield f"# {comment}"
            yield from _table(f"names = {_list(names)}", transform, *_text_key(transform))
    for look in looks:
        if _transform(look) == "quantile":
            yield "# a number, in buckets that held about as many of these rows each"
            edges = f"edges = {_list(map(repr, look.quantile_edges()))}"
            name = f"names = [{_quote(look.name)}]"
            yield from _table(name, "quantile", edges, *_text_key("quantile"))


def _text_key(transform: str) -> list[str]:
    """Keep the rows with ``NULL`` and the like further down in the log."""
    if transform not in ("log_squared", "quantile"):
        return []
    return ['text = "category"  # what is not a number is a category; "reject" skips its row']


def _time_fields(timestamp: Column | None, taken: set[str]) -> Iterator[str]:
    if timestamp is None:
        return
    for transform in ("hour_of_day", "day_of_week"):
        name = transform
        while name in taken:
            name = f"{timestamp.plain_name}_{name}"
        column = f"column = {_quote(timestamp.name)}"
        yield from _table(f"names = [{_quote(name)}]", transform, column)


def _table(names: str, transform: str, *more: str) -> list[str]:
    return ["[[fields]]", names, f"transform = {_quote(transform)}", *more, ""]


def _crosses(fields: int) -> list[str]:
    pairs = fields * (fields - 1) // 2
    if fields <= _MOST_CROSSED:
        return ["[crosses]", f"all_pairs = true  # {pairs} crosses of two fields", ""]
    return [
        "[crosses]",
        f"all_pairs = false  # all would be {pairs} crosses: slow; name a few in `named`",
        "",
    ]
