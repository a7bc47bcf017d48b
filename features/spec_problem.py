"""A problem found in a feature spec, how it is said, and what was probably meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from functools import reduce
from operator import getitem
from typing import Any, NamedTuple

from msgspec import inspect

from features.spec import Spec
from features.spec_lines import KeyPath

__all__ = ["Problem", "settable_keys", "suggest", "type_problem"]

_SCHEMA = inspect.type_info(Spec)
_TYPE_WORDS = {
    "object": "a table",
    "array": "a list",
    "str": "text in quotes",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
}


class Problem(NamedTuple):
    """What is wrong with one key, and what to write instead."""

    path: KeyPath
    message: str
    fix: str


def suggest(word: str, choices: Iterable[str]) -> str:
    """Return the fix for a name that is not one of ``choices``.

    Examples
    --------
    >>> suggest("lable", ["label", "weight"])
    'did you mean `label`?'
    >>> suggest("x", ["label", "weight"])
    'one of: label, weight'
    """
    known = sorted(set(choices))
    near = difflib.get_close_matches(word, known, n=3)
    if near:
        return f"did you mean {' or '.join(f'`{name}`' for name in near)}?"
    return f"one of: {', '.join(known)}" if known else "there is none to choose from"


def settable_keys() -> list[KeyPath]:
    """Return every key that stands in tables only, not in a list.

    Examples
    --------
    >>> ("hash", "bits") in settable_keys()
    True
    """
    return list(_dotted_keys(_struct(_SCHEMA)))


def _dotted_keys(node: inspect.StructType, above: tuple[str, ...] = ()) -> Iterator[KeyPath]:
    for key in node.fields:
        yield (*above, key.encode_name)
        if isinstance(key.type, inspect.StructType):
            yield from _dotted_keys(key.type, (*above, key.encode_name))


def type_problem(tree: Any, message: str) -> Problem:
    """Say in a spec writer's words what msgspec found."""
    place = re.search(r" - at `\$([^`]*)`$", message)
    what, path = (message[: place.start()], _read_path(place[1])) if place else (message, ())
    if found := re.fullmatch(r"Object contains unknown field `(.*)`", what, re.DOTALL):
        keys = [key.encode_name for key in _struct(_node_at(path)).fields]
        return Problem(
            (*path, found[1]), f"there is no key `{found[1]}` here", suggest(found[1], keys)
        )
    if found := re.fullmatch(r"Object missing required field `(.*)`", what):
        return Problem((*path, found[1]), f"`{found[1]}` is missing", f"add `{found[1]} = ...`")
    value: object = reduce(getitem, path, tree)
    node = _node_at(path)
    if isinstance(node, inspect.LiteralType):
        choices = [str(choice) for choice in node.values]
        return Problem(path, f"{_short(value)} cannot be used here", suggest(str(value), choices))
    wanted = re.search(r"Expected `(\w+)(?: \| null)?`(?: of length (\d+))?", what)
    if wanted is None:
        return Problem(path, what, "see docs/spec.md")
    words = _TYPE_WORDS.get(wanted[1], wanted[1]) + (f" of {wanted[2]}" if wanted[2] else "")
    return Problem(path, f"{_short(value)} is not {words}", f"write {words}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _read_path(text: str) -> KeyPath:
    steps = re.findall(r"\.(\w+)|\[(\d+)\]", text)
    return tuple(int(index) if index else key for key, index in steps)


def _node_at(path: KeyPath) -> inspect.Type:
    """Return what the records declare at a path whose tables and lists are all known."""
    node: inspect.Type = _SCHEMA
    for key in path:
        if isinstance(node, inspect.UnionType) and isinstance(key, int):
            node = next(o for o in node.types if isinstance(o, inspect.VarTupleType))
        if isinstance(node, inspect.VarTupleType):
            node = node.item_type
        elif isinstance(node, inspect.TupleType):
            node = node.item_types[int(key)]
        else:
            node = next(f.type for f in _struct(node).fields if f.encode_name == key)
    return node


def _struct(node: inspect.Type) -> inspect.StructType:
    options = node.types if isinstance(node, inspect.UnionType) else (node,)
    return next(option for option in options if isinstance(option, inspect.StructType))
