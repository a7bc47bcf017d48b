"""Opening what a user names as a log, and keeping the rows of it that are rejected."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from features.batch import Reject
from features.errors import ClicktideError, SpecError, StrictError
from features.spec import Spec
from features.spec_file import load_spec
from market import PREFIX, open_simulation, parse_sim
from streaming.examples import EXAMPLES_PREFIXES, open_examples
from streaming.sources import Batch, Position, open_source
from streaming.sources.compression import MAGIC_BYTES, compression_of

__all__ = ["RejectSink", "estimated_rows", "open_log", "rereadable", "spec_for"]

_SAMPLE = 1 << 20


def open_log(
    log: str, spec: Spec, columns: Sequence[str], start: Position | None
) -> Generator[Batch]:
    """Batches of a log from a position on."""
    if log.startswith(PREFIX):
        return open_simulation(log, columns, start)
    if log.startswith(EXAMPLES_PREFIXES):
        return open_examples(log, spec.source, columns, start)
    return open_source(log, spec.source, columns, start=start)


@contextmanager
def rereadable(log: str, wanted: bool = True) -> Iterator[str]:
    """A log that can be read more than once: standard input is copied to a file first."""
    if log != "-" or not wanted:
        yield log
        return
    with TemporaryDirectory(prefix="clicktide-") as folder:
        path = Path(folder) / "standard-input"
        # Unbuffered: a thread waiting in sys.stdin.buffer would hold its lock at exit.
        with open(0, "rb", buffering=0, closefd=False) as stdin, path.open("wb") as file:
            shutil.copyfileobj(stdin, file)
        yield str(path)


def spec_for(log: str, spec: str | None, overrides: Sequence[str]) -> Spec:
    """The spec a user named, or the simulator's own for a simulation."""
    if spec is None and log.startswith(PREFIX):
        spec = "sim"
    if spec is None:
        raise SpecError(
            f"no spec says what the columns of {log} are",
            fix=f"--spec FILE; `clicktide spec init {log}` writes a first one",
        )
    return load_spec(spec, overrides)


def estimated_rows(log: str) -> int | None:
    """About how many rows a log has, if that is cheap to tell."""
    if log.startswith(PREFIX):
        return parse_sim(log).events
    if log.startswith(EXAMPLES_PREFIXES):
        return None
    path = Path(log)
    if not path.is_file() or path.stat().st_size == 0:
        return None
    try:
        with path.open("rb") as file:
            head = file.read(_SAMPLE)
    except OSError:
        return None
    if head[:4] == b"PAR1":
        return _parquet_rows(log)
    if compression_of(head[:MAGIC_BYTES]):
        return None
    return int(head.count(b"\n") * path.stat().st_size / len(head)) or None


def _parquet_rows(log: str) -> int | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return int(pq.read_metadata(log).num_rows)
    except (OSError, pa.ArrowInvalid):
        return None


class RejectSink:
    """Takes bad rows: writes them down, or stops at the first.

    Parameters
    ----------
    path
        The rejects file; ``None``: none is kept.
    strict
        Whether to stop at the first bad row.
    append
        Whether to add to what is there (a run that goes on) or replace it.
    """

    def __init__(self, path: Path | None, *, strict: bool, append: bool) -> None:
        self.strict = strict
        try:
            self._file = path.open("ab" if append else "wb") if path else None
        except OSError as error:
            raise ClicktideError(
                f"{path}: cannot be written: {error.strerror}. "
                "Fix: name a file in a folder that exists and may be written to"
            ) from error

    def __call__(self, reject: Reject) -> None:
        """Take one bad row."""
        if self._file is not None:
            self._file.write(msgspec.json.encode(_record(reject)) + b"\n")
        if self.strict:
            where = f", line {reject.line}" if reject.line else ""
            raise StrictError(
                f"{reject.file}{where}: {reject.detail} ({reject.reason}). "
                "Fix: mend the row, or leave out --strict to skip and count such rows."
            )

    def __enter__(self) -> RejectSink:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()


def _record(reject: Reject) -> dict[str, str | int]:
    """The row as text where it is UTF-8, else as base64: nothing of it is lost."""
    where: dict[str, str | int] = {
        "reason": reject.reason,
        "detail": reject.detail,
        "file": reject.file,
        "line": reject.line,
    }
    try:
        return where | {"raw": reject.raw.decode("utf-8")}
    except UnicodeDecodeError:
        return where | {"raw_base64": base64.b64encode(reject.raw).decode("ascii")}
