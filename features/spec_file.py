"""Read a feature spec from TOML, change single keys of it, and give it an identity."""

from __future__ import annotations

import difflib
import hashlib
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from features.counters.names import half_life_ms, key_parts
from features.errors import SpecError
from features.spec import TIME_TRANSFORMS, CounterSpec, FieldSpec, HashSpec, Spec
from features.spec_check import first_problem
from features.spec_lines import KeyPath, key_lines, nearest_line, show_path
from features.spec_problem import Problem, settable_keys, suggest, type_problem

__all__ = ["load_spec", "parse_spec", "shipped_specs", "spec_identity"]


def load_spec(path_or_name: str | Path, overrides: Sequence[str] = ()) -> Spec:
    """Read a feature spec file, or one of the shipped specs by name, and check it.

    Parameters
    ----------
    path_or_name
        A TOML file, or a bare name such as ``avazu20k``.
    overrides
        Keys to change, such as ``hash.bits=20``; see :func:`parse_spec`.

    Raises
    ------
    SpecError
        The file cannot be read, or the spec is wrong; names the file, the line and the key.

    Examples
    --------
    >>> load_spec("avazu20k").source.label
    'click'
    """
    text, file = _read(path_or_name)
    return parse_spec(text, file, overrides)


def parse_spec(text: str, file: str = "", overrides: Sequence[str] = ()) -> Spec:
    r"""Turn the text of a spec into records, and check it.

    Parameters
    ----------
    text
        TOML.
    file
        Where it comes from, for errors.
    overrides
        Keys to change before the check, as ``key.path=value``. The value is TOML; what is no
        TOML value is taken as text, so ``learner.kind=single`` needs no quotes.

    Raises
    ------
    SpecError
        The text is not TOML, a key is unknown, missing or of a wrong type, or the settings
        contradict each other. The first thing found is reported.

    Examples
    --------
    >>> spec = parse_spec(
    ...     'name = "a"\nsource.label = "click"\nfields = [{names = ["ad"]}]',
    ...     overrides=["hash.bits=20"],
    ... )
    >>> spec.hash.bits
    20
    """
    tree = _parse_toml(text, file)
    origin = _Origin(file, key_lines(text))
    for override in overrides:
        origin.overrides[_apply_override(tree, override)] = override
    try:
        spec = msgspec.convert(tree, Spec, strict=True)
    except msgspec.ValidationError as error:
        raise origin.error(type_problem(tree, str(error))) from None
    if problem := first_problem(spec):
        raise origin.error(problem)
    return spec


def shipped_specs() -> list[str]:
    """Return the names of the specs that come with Clicktide.

    Examples
    --------
    >>> "sim" in shipped_specs()
    True
    """
    entries = (entry.name for entry in files("specs").iterdir())
    return sorted(name.removesuffix(".toml") for name in entries if name.endswith(".toml"))


def spec_identity(spec: Spec) -> str:
    """Return what tells two specs apart that do not learn the same model from the same values.

    Fields, crosses, counters, hash, learner and the event time count. The name, the description and
    where the log keeps its columns do not, so a model learned from CSV scores JSON Lines.

    Returns
    -------
    str
        SHA-256 in hex, the same on every machine.

    Examples
    --------
    >>> spec = load_spec("sim")
    >>> spec_identity(spec) == spec_identity(msgspec.structs.replace(spec, name="other"))
    True
    """
    deciding: dict[str, Any] = {
        "timestamp": spec.source.timestamp,
        "timestamp_format": spec.source.timestamp_format,
        "fields": list(_fields_spelled_out(spec)),
        "crosses": spec.crosses,
        "hash": _hash_spelled_out(spec.hash),
        "learner": spec.learner,
    }
    if spec.counters:  # a spec without them keeps the identity it had before there were any
        deciding["counters"] = [_counters_spelled_out(counters) for counters in spec.counters]
        deciding["click_delay"] = spec.source.click_delay
    return hashlib.sha256(msgspec.json.encode(deciding, order="sorted")).hexdigest()


def _hash_spelled_out(sizes: HashSpec) -> dict[str, Any]:
    """Without what came later and is not used: such a spec keeps the identity it had."""
    said = msgspec.structs.asdict(sizes)
    return {k: v for k, v in said.items() if v or k not in ("admit_after", "evict_after")}


def _counters_spelled_out(counters: CounterSpec) -> list[Any]:
    """What a table of counters says, the same for 24 and 24.0 hours."""
    rate = counters.prior_rate
    return [
        [key_parts(key) for key in counters.keys],
        [half_life_ms(hours) for hours in counters.half_lives_h],
        float(counters.prior_views),
        None if rate is None else float(rate),
    ]


def _fields_spelled_out(spec: Spec) -> Iterator[FieldSpec]:
    """One record a field, so that how fields are put together in tables does not matter."""
    for fields in spec.fields:
        timed = fields.transform in TIME_TRANSFORMS
        pattern = fields.timestamp_format or (spec.source.timestamp_format if timed else "")
        for name in fields.names:
            yield msgspec.structs.replace(
                fields, names=(name,), column=fields.column or name, timestamp_format=pattern
            )


# Reading the text


def _read(path_or_name: str | Path) -> tuple[str, str]:
    """Return the text and what to call it in errors."""
    path = Path(path_or_name)
    bare = path.name == str(path_or_name) and path.suffix != ".toml"
    if bare and path.name in shipped_specs() and not path.is_file():
        file = f"specs/{path.name}.toml"
        return files("specs").joinpath(f"{path.name}.toml").read_text("utf-8"), file
    if bare and not path.exists():
        raise SpecError(
            f"no file and no shipped spec is called `{path_or_name}`",
            fix=f"give a path, or a shipped spec: {_shipped_like(path.name)}",
        )
    return _decode(_file_bytes(path), str(path)), str(path)


def _shipped_like(name: str) -> str:
    near = difflib.get_close_matches(name, shipped_specs(), n=1)
    return f"{', '.join(shipped_specs())}{f' (did you mean `{near[0]}`?)' if near else ''}"


def _file_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        message = "there is no such file"
        fix = f"check the path, or use a shipped spec by name: {', '.join(shipped_specs())}"
    except IsADirectoryError:
        message, fix = "this is a directory", "name the TOML file in it"
    except PermissionError:
        message, fix = "no permission to read it", "make it readable for this user"
    except (OSError, ValueError) as error:
        message, fix = f"cannot be read: {error}", "check the path"
    raise SpecError(message, file=str(path), fix=fix)


def _decode(content: bytes, file: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(
            f"byte 0x{content[error.start]:02x} is not UTF-8",
            file=file,
            line=content.count(b"\n", 0, error.start) + 1,
            fix="save the file as UTF-8",
        ) from None


def _parse_toml(text: str, file: str) -> dict[str, Any]:
    try:
        tree = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise _syntax_error(str(error), text, file) from None
    if not tree:
        raise SpecError(
            "the spec is empty",
            file=file,
            line=1,
            fix="write a first one with `clicktide spec init LOG`",
        )
    return tree


def _syntax_error(message: str, text: str, file: str) -> SpecError:
    last = text.rstrip().count("\n") + 1
    place = re.search(r"at line (\d+), column (\d+)", message)
    return SpecError(
        f"this is not TOML: {message.split(' (at ')[0]}",
        file=file,
        line=min(int(place[1]), last) if place else last,
        fix=f"look at column {place[2]}" if place else "look for an open bracket or quote above",
    )


# Overrides


def _apply_override(tree: dict[str, Any], override: str) -> KeyPath:
    """Set one key of the tree, and return its path."""
    dotted, equals, value = override.partition("=")
    path = tuple(dotted.strip().split("."))
    if not equals:
        raise SpecError(f"override `{override}` has no `=`", fix="KEY=VALUE, such as hash.bits=20")
    known = [show_path(key) for key in settable_keys()]
    if show_path(path) not in known:
        raise SpecError(
            f"override `{override}`: there is no key `{dotted.strip()}`",
            field=dotted.strip(),
            fix=suggest(dotted.strip(), known),
        )
    table = tree
    for key in path[:-1]:
        if not isinstance(table.get(key), dict):
            table[key] = {}
        table = table[key]
    table[path[-1]] = _override_value(value.strip())
    return path


def _override_value(text: str) -> object:
    if re.fullmatch(r"[+-]?\.\d+", text):  # people write .005, TOML wants 0.005
        return float(text)
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return parsed["value"] if len(parsed) == 1 else text


# Errors


@dataclass
class _Origin:
    """Where the keys of a spec come from: lines of a file, or overrides."""

    file: str
    lines: dict[KeyPath, int]
    overrides: dict[KeyPath, str] = field(default_factory=dict)

    def error(self, problem: Problem) -> SpecError:
        path, message, fix = problem
        line = nearest_line(self.lines, path)
        for key, override in self.overrides.items():
            if all(one == other for one, other in zip(key, path, strict=False)):
                message, line = f"{message} (from the override `{override}`)", 0
                break
        return SpecError(message, file=self.file, line=line, field=show_path(path), fix=fix)
