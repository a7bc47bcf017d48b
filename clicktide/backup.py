"""The commands ``clicktide backup`` and ``restore``: a whole stream in one file.

Whatever has a place in the log (model, monitor, versions) is copied before the log, so that the log
of a backup reaches at least as far as all that was made from it, and a restored stream goes on as
after a crash. Counters are not in it: they are counted anew from the log.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import zstandard

from clicktide.options import DirOption, ForceOption, JsonOption, print_json
from clicktide.stream_folder import StreamFolder
from clicktide.stream_opening import DEFAULT_FOLDER, open_existing, open_stream
from features.errors import ClicktideError
from features.public_url import public_url
from features.whole_file import file_stamp, refuse_existing, whole_file
from streaming.settings_file import SETTINGS_FILE
from streaming.time_text import now_ms

__all__ = ["backup", "restore"]

FORMAT = 1
_MANIFEST = "backup.json"
_LOG, _MLFLOW = "log.db", "mlflow.db"
_PARTS = {
    "model": "snapshot.json",
    "monitor": "state",
    "registry": "",
    "served": "",
    "mlartifacts": "",
}
"""Folders of a stream, and the file that their process replaces last, whenever it saves."""
_LEFT_OUT = (".lock", ".part")
_TRIES = 30
Say = Callable[[str], None]

FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="The backup, such as ads.tar.zst")
]


def backup(
    file: FileArgument,
    folder: DirOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a whole stream into one file, while it runs.

    Settings, model, monitor, versions, the embedded event log, and a copy of the spec's file. A log
    on Kafka and a registry elsewhere have backups of their own; counters are counted anew.

    clicktide backup ads.tar.zst --dir ads

    clicktide restore ads.tar.zst --dir elsewhere
    """
    if not force:
        refuse_existing(file)
    stream = open_stream(folder, needs_spec=False, begin=False)
    with open_existing(stream.log):
        pass
    with tempfile.TemporaryDirectory(prefix="clicktide-backup-", dir=file.parent or None) as place:
        _copy(stream, Path(place), lambda line: typer.echo(line, err=True))
        files = _packed(Path(place), file, public_url(stream.log))
    _tell(file, files, "written", as_json)


def restore(
    file: FileArgument,
    folder: DirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a stream's folder of a backup: `clicktide up` goes on from there.

    Every file is checked against the backup's checksums before the folder appears.

    clicktide restore ads.tar.zst --dir ads

    clicktide up --dir ads
    """
    home = folder or DEFAULT_FOLDER
    if home.exists() and any(home.iterdir()):
        raise ClicktideError(f"{home}: not empty. Fix: name a new folder with --dir")
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".restore-", dir=home.parent) as above:
        place = Path(above) / "stream"
        place.mkdir()
        _unpack(file, place)
        files = _checked(file, place)
        (place / _MANIFEST).unlink()
        place.replace(home)  # an empty folder may be there
    _tell(home, files, "restored", as_json)


def _tell(path: Path, files: dict[str, Any], done: str, as_json: bool) -> None:
    size = sum(one["bytes"] for one in files.values())
    if as_json:
        print_json({"path": str(path), "files": len(files), "bytes": size})
    else:
        typer.echo(f"{path}: {done}, {len(files)} files, {size / 1e6:,.1f} MB")


def _copy(stream: StreamFolder, place: Path, say: Say) -> None:
    """Copy what a stream consists of, the log last."""
    for name, marker in _PARTS.items():
        if (stream.path / name).is_dir():
            say(f"copying {name}")
            _copy_folder(stream.path / name, place / name, marker)
    databases = {_MLFLOW: stream.path / _MLFLOW, _LOG: stream.embedded_log}
    for name, source in databases.items():
        if source is not None and source.exists():
            say(f"copying {name}, {source.stat().st_size / 1e6:,.1f} MB")
            _copy_database(source, place / name)
    if stream.spec and (spec := Path(stream.spec)).is_file():
        shutil.copy(spec, place / "spec.toml")
    settings = (stream.path / SETTINGS_FILE).read_text("utf-8")
    (place / SETTINGS_FILE).write_text(_own_log(settings, stream), "utf-8")


def _own_log(settings: str, stream: StreamFolder) -> str:
    """The settings, with an embedded log named as the backup has it."""
    if stream.embedded_log is None:
        return settings
    lines = settings.splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if line.startswith("log ="))
    lines[at] = f"log = {json.dumps(_LOG)}\n"
    return "".join(lines)


def _copy_folder(source: Path, target: Path, marker: str) -> None:
    """Copy a folder as it was between two saves: until its marker stays the same meanwhile.

    Raises
    ------
    ClicktideError
        It is saved anew each time.
    """
    for _ in range(_TRIES):
        before = file_stamp(source / marker)
        try:
            shutil.copytree(source, target, ignore=_left_out)
        except (shutil.Error, FileNotFoundError):  # what is saved anew takes old files away
            before = (-1, -1)
        if before == file_stamp(source / marker):
            return
        shutil.rmtree(target, ignore_errors=True)
        time.sleep(0.1)
    raise ClicktideError(
        f"{source}: is saved anew faster than it can be copied. Fix: save more seldom "
        "(train.snapshot_every_s), or stop the stream"
    )


def _left_out(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if name.endswith(_LEFT_OUT) or ".draft-" in name}


def _copy_database(source: Path, target: Path) -> None:
    """Copy a SQLite file in one read transaction: writers go on meanwhile."""
    with (
        closing(sqlite3.connect(f"file:{source.resolve()}?mode=ro", uri=True)) as live,
        closing(sqlite3.connect(target)) as copy,
    ):
        live.backup(copy)


def _packed(place: Path, file: Path, log: str) -> dict[str, Any]:
    """Write the backup: all files, then what they must be."""
    names = sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())
    files = {name: _about(place / name) for name in names}
    about = {"format": FORMAT, "made_ms": now_ms(), "log": log, "files": files}
    (place / _MANIFEST).write_text(json.dumps(about, indent=1), "utf-8")
    with (
        whole_file(file) as raw,
        zstandard.ZstdCompressor().stream_writer(raw, closefd=False) as out,
        tarfile.open(fileobj=out, mode="w|") as archive,
    ):
        for name in [*names, _MANIFEST]:
            archive.add(place / name, name)
    return files


def _about(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


@contextmanager
def _archive(file: Path) -> Iterator[tarfile.TarFile]:
    try:
        with (
            file.open("rb") as raw,
            zstandard.ZstdDecompressor().stream_reader(raw) as out,
            tarfile.open(fileobj=out, mode="r|") as archive,
        ):
            yield archive
    except (OSError, tarfile.TarError, zstandard.ZstdError, EOFError) as error:
        raise ClicktideError(
            f"{file}: cannot be read as a backup: {error}. Fix: a file of `clicktide backup`, whole"
        ) from error


def _unpack(file: Path, place: Path) -> None:
    """Unpack plain files alone, and none outside the folder."""
    with _archive(file) as archive:
        archive.extractall(place, filter="data")


def _checked(file: Path, place: Path) -> dict[str, Any]:
    """What the backup has, once each file is what it must be.

    Raises
    ------
    ClicktideError
        A file is not, or is missing; or another version made the backup.
    """
    try:
        about = json.loads((place / _MANIFEST).read_text("utf-8"))
        files: dict[str, Any] = about["files"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ClicktideError(f"{file}: no backup, or not the whole of one. Fix: another") from None
    if about.get("format") != FORMAT:
        raise ClicktideError(
            f"{file}: has format {about.get('format')!r}, not {FORMAT}. Fix: the version of "
            "Clicktide that made it"
        )
    for name, what in files.items():
        if not (place / name).is_file() or _about(place / name) != what:
            raise ClicktideError(f"{file}: {name} is damaged in it. Fix: another backup")
    return files
