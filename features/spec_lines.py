"""Which line of a TOML text each key stands on, so that an error can name it.

``tomllib`` gives values without places. This walks the same text once more; it is only asked
about texts that ``tomllib`` has accepted, so it checks nothing and never raises.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from collections.abc import Mapping
from contextlib import suppress

__all__ = ["KeyPath", "key_lines", "nearest_line", "show_path"]

KeyPath = tuple[str | int, ...]
"""Keys and list positions from the root, such as ``("fields", 1, "transform")``."""

_STRING = (
    r'"""(?:\\.|[^\\])*?"{3,5}' r"|'''.*?'{3,5}" r'|"(?:\\.|[^"\\\n])*"' r"|'[^'\n]*'"
)  # up to two quotes may stand before the closing three
_KEY_PART = r"""(?:[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*')"""
_KEY = re.compile(rf"{_KEY_PART}(?:[ \t]*\.[ \t]*{_KEY_PART})*")
_SCALAR = re.compile(rf"{_STRING}|[^,\]}}#\n]+", re.DOTALL)
_GAP = re.compile(r"(?:[\s,]|#[^\n]*)*")
_EQUALS = re.compile(r"[ \t]*=[ \t]*")


def key_lines(text: str) -> dict[KeyPath, int]:
    r"""Map every key, table and list item of a TOML text to its line.

    Parameters
    ----------
    text
        A text that ``tomllib.loads`` accepts.

    Returns
    -------
    dict
        Key path to 1-based line; a table made by several lines has its first.

    Examples
    --------
    >>> lines = key_lines('name = "a"\n[[fields]]\nnames = ["x",\n  "y"]')
    >>> lines["fields", 0, "names"], lines["fields", 0, "names", 1]
    (3, 4)
    """
    return _Walk(text).lines


def nearest_line(lines: Mapping[KeyPath, int], path: KeyPath) -> int:
    """Return the line of a key path, or of the nearest table around it that was written.

    Examples
    --------
    >>> nearest_line({("source",): 4}, ("source", "label"))
    4
    """
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return 1


def show_path(path: KeyPath) -> str:
    """Write a key path for people.

    Examples
    --------
    >>> show_path(("fields", 1, "transform"))
    'fields[1].transform'
    """
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).lstrip(".")


class _Walk:
    """One pass over a text; ``lines`` is filled on the way."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.lines: dict[KeyPath, int] = {}
        self._newlines = [found.start() for found in re.finditer("\n", text)]
        self._tables: dict[KeyPath, int] = {}  # tables so far of each [[array of tables]]
        with suppress(RecursionError):  # what is nested so deeply has the line of its key
            self._document()

    def _document(self) -> None:
        table: KeyPath = ()
        while self._skip(_GAP) and self.at < len(self.text):
            before = self.at
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)
            if self.at == before:
                return

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        found = pattern.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return found is not None

    def _note(self, path: KeyPath, place: int) -> None:
        self.lines.setdefault(path, bisect_left(self._newlines, place) + 1)

    def _keys(self) -> tuple[str, ...]:
        start = self.at
        return _split_key(self.text[start : self.at]) if self._skip(_KEY) else ()

    def _header(self) -> KeyPath:
        start = self.at
        many = self.text.startswith("[[", start)
        self.at += 2 if many else 1
        self._skip(_GAP)
        path: KeyPath = ()
        *parents, last = self._keys() or ("",)
        for key in parents:
            path = self._last_table((*path, key))
            self._note(path, start)
        path = (*path, last)
        self._note(path, start)
        if many:
            self._tables[path] = self._tables.get(path, 0) + 1
        path = self._last_table(path)
        self._note(path, start)
        self._skip(_GAP)
        self.at += 2 if many else 1
        return path

    def _last_table(self, path: KeyPath) -> KeyPath:
        count = self._tables.get(path, 0)
        return (*path, count - 1) if count else path

    def _pair(self, table: KeyPath) -> None:
        start = self.at
        path = table
        for key in self._keys():
            path = (*path, key)
            self._note(path, start)
        if self._skip(_EQUALS):
            self._value(path)

    def _value(self, path: KeyPath) -> None:
        opening = self.text[self.at : self.at + 1]
        if opening in ("[", "{"):
            self._members(path, "]" if opening == "[" else "}")
        else:
            self._skip(_SCALAR)

    def _members(self, path: KeyPath, closing: str) -> None:
        """Items of a list, or pairs of an inline table."""
        self.at += 1
        item = 0
        while self._skip(_GAP) and self.text[self.at : self.at + 1] not in (closing, ""):
            before = self.at
            if closing == "}":
                self._pair(path)
            else:
                self._note((*path, item), before)
                self._value((*path, item))
                item += 1
            if self.at == before:
                return
        self.at += 1


def _split_key(text: str) -> tuple[str, ...]:
    """Split a dotted key the way TOML does, quotes and escapes included."""
    keys: list[str] = []
    try:
        value: object = tomllib.loads(f"{text} = 0")
    except tomllib.TOMLDecodeError:
        return (text,)
    while isinstance(value, dict):
        key, value = next(iter(value.items()))
        keys.append(key)
    return tuple(keys)
