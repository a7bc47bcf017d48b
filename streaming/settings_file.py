"""Reading settings: a TOML file, if there is one, and ``key=value`` changes to it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from features.errors import ClicktideError

__all__ = ["load_settings", "merged_settings"]

S = TypeVar("S", bound=msgspec.Struct)


def load_settings(
    kind: type[S],
    file: str | os.PathLike[str] | None,
    overrides: Sequence[str],
    *,
    name: str,
    example: str,
    page: str,
    sections: Collection[str] = (),
    lists: Collection[str] = (),
    table: str = "",
    others: Collection[str] = (),
) -> S:
    """Read settings.

    Parameters
    ----------
    kind
        Their record.
    file
        TOML; ``None``: the defaults.
    overrides
        Such as ``batch=5`` or ``join.join_window_s=60``.
    name, example, page
        For errors: what these are, a change that is right, the page that has them all.
    sections
        Tables within them that a change may name.
    lists
        Settings whose values are given with commas between.
    table
        The table of the file that holds them; empty: the whole file.
    others
        Keys of the whole file that are not among them.

    Raises
    ------
    ClicktideError
        The file cannot be read, or a name or value in it is wrong.
    """
    where = f"{name} settings" if file is None else str(file)
    for change in overrides:
        said, equals, _ = change.partition("=")
        if not equals or said.rpartition(".")[0] not in ("", *sections):
            raise ClicktideError(f"{where}: {change!r}. Fix: KEY=VALUE, such as {example}")
    found = merged_settings(file, overrides, lists=lists, table=table)
    mine = {key: value for key, value in found.items() if key not in others}
    try:
        return msgspec.convert(mine, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ClicktideError(f"{where}: {error}. Fix: the names and types are in {page}") from error


def merged_settings(
    file: str | os.PathLike[str] | None,
    changes: Sequence[str],
    *,
    lists: Collection[str] = (),
    table: str = "",
) -> dict[str, Any]:
    """The tables of a file, if there is one, with ``key=value`` changes put in, unchecked."""
    found = {} if file is None else _read(Path(file), table)
    for change in changes:
        said, _, value = change.partition("=")
        section, _, key = said.rpartition(".")
        target = found.setdefault(section, {}) if section else found
        if not isinstance(target, dict):
            raise ClicktideError(f"{file}: {section} is not a table. Fix: write [{section}]")
        target[key] = [part for part in value.split(",") if part] if key in lists else value
    return found


def _read(path: Path, table: str) -> dict[str, Any]:
    try:
        whole = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ClicktideError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ClicktideError(f"{path}: not TOML: {error}. Fix: mend that line") from error
    found = whole.get(table, {}) if table else whole
    if not isinstance(found, dict):
        raise ClicktideError(f"{path}: {table} is not a table. Fix: write [{table}]")
    return found
