"""Settings: the tables of ``clicktide.toml``, environment variables, and ``--set`` changes.

The same keys everywhere, each origin over the one before: ``workers = 4`` in the table ``[serve]``
of the file, ``CLICKTIDE_SERVE__WORKERS=4`` in the environment, ``--set serve.workers=4``.
"""

from __future__ import annotations

import os
import tomllib
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from features.errors import ClicktideError

__all__ = [
    "SECTIONS",
    "SETTINGS_FILE",
    "File",
    "Setting",
    "given_settings",
    "keys_of",
    "load_settings",
    "read_tables",
    "tables_of",
]

SETTINGS_FILE = "clicktide.toml"
SECTIONS = {
    "stream": "docs/stream.md",
    "join": "docs/stream.md",
    "count": "docs/stream.md",
    "train": "docs/stream.md",
    "serve": "docs/serving.md",
    "monitor": "docs/monitor.md",
    "registry": "docs/models.md",
}
"""The tables of the file, and the page that describes each."""
_ENVIRONMENT = "CLICKTIDE_"
_FORM = "SECTION.KEY=VALUE, such as serve.workers=4"

S = TypeVar("S", bound=msgspec.Struct)
File = str | os.PathLike[str]


class Setting(NamedTuple):
    """A value as it was given, and its origin: a file, an environment variable, or ``--set``."""

    value: Any
    origin: str


def load_settings(
    kind: type[S],
    section: str,
    file: File | None = None,
    changes: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> S:
    """Read the settings of a section.

    Parameters
    ----------
    kind
        Their record.
    section
        Of :data:`SECTIONS`.
    file
        TOML; ``None``: there is none.
    changes
        Such as ``serve.workers=4``; those of other sections are passed over.
    environ
        Environment variables; ``None``: those of this process.

    Raises
    ------
    ClicktideError
        The file cannot be read, or a name or value is wrong.

    Examples
    --------
    >>> class Limits(msgspec.Struct, forbid_unknown_fields=True):
    ...     workers: int = 1
    ...     parents: tuple[str, ...] = ()
    >>> variables = {"CLICKTIDE_SERVE__WORKERS": "4"}
    >>> load_settings(Limits, "serve", None, ["serve.parents=ad,site"], variables)
    Limits(workers=4, parents=('ad', 'site'))
    """
    given = given_settings(section, file, changes, environ)
    values = {key: _listed(kind, key, setting.value) for key, setting in given.items()}
    try:
        return msgspec.convert(tables_of(values), kind, strict=False)
    except msgspec.ValidationError as error:
        origins = ", ".join(dict.fromkeys(setting.origin for setting in given.values()))
        raise ClicktideError(
            f"[{section}] of {origins}: {error}. Fix: the names and types are in "
            f"{SECTIONS[section]}"
        ) from error


def given_settings(
    section: str,
    file: File | None = None,
    changes: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> dict[str, Setting]:
    """What is given of a section, by key; inner tables' keys have dots. See :func:`load_settings`.

    Examples
    --------
    >>> given_settings("serve", None, ["serve.port=9000"], {})
    {'port': Setting(value='9000', origin='--set')}
    """
    tables = {} if file is None else read_tables(file)
    given = {key: Setting(value, str(file)) for key, value in keys_of(tables.get(section, {}))}
    prefix = f"{_ENVIRONMENT}{section.upper()}__"
    for name, value in sorted((os.environ if environ is None else environ).items()):
        if name.startswith(prefix):
            given[name.removeprefix(prefix).replace("__", ".").lower()] = Setting(value, name)
    for change in changes:
        name, equals, value = change.partition("=")
        first, dot, key = name.partition(".")
        if not equals or not dot or first not in SECTIONS:
            raise ClicktideError(f"--set {change!r}. Fix: {_FORM}")
        if first == section:
            given[key] = Setting(value, "--set")
    return given


def read_tables(file: File) -> dict[str, dict[str, Any]]:
    """Read a file of settings: its tables by name.

    Raises
    ------
    ClicktideError
        It cannot be read, or holds anything but the tables of :data:`SECTIONS`.
    """
    try:
        tables = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise ClicktideError(f"{file}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ClicktideError(f"{file}: not TOML: {error}. Fix: mend that line") from error
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise ClicktideError(
                f"{file}: {name!r} stands in no table, as in settings of before 0.2. Fix: put it "
                "into [stream], or [train] if its name ends in _every_s (docs/stream.md)"
            )
        if name not in SECTIONS:
            fix = "rename it [registry]" if name == "register" else f"one of {', '.join(SECTIONS)}"
            raise ClicktideError(f"{file}: there is no table [{name}]. Fix: {fix}")
    return tables


def keys_of(table: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the keys of a table with their values; keys of inner tables have dots.

    Examples
    --------
    >>> dict(keys_of({"slices": [], "windows": {"window_s": 60}}))
    {'slices': [], 'windows.window_s': 60}
    """
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from keys_of(value, f"{path}{name}.")
        else:
            yield path + name, value


def tables_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Make tables of keys with dots, the reverse of :func:`keys_of`.

    Raises
    ------
    ClicktideError
        A key is given as a value and as a table.
    """
    tables: dict[str, Any] = {}
    for key, value in values.items():
        *path, name = key.split(".")
        table = tables
        for part in path:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise ClicktideError(f"{key}: {part} is a value, no table. Fix: give only one")
        if isinstance(table.get(name), dict):
            raise ClicktideError(f"{key}: {name} is a table, no value. Fix: give only one")
        table[name] = value
    return tables


def _listed(kind: Any, key: str, value: Any) -> Any:
    """Split a text at its commas where the setting is a list."""
    for name in key.split("."):
        fields = msgspec.structs.fields(kind) if hasattr(kind, "__struct_fields__") else ()
        kind = next((field.type for field in fields if field.name == name), None)
    if isinstance(value, str) and typing.get_origin(kind) is tuple:
        return [part for part in value.split(",") if part]
    return value
