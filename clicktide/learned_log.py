"""Whether a model has learned the log that it is to score: what it says then is no test of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from features.batch import FileMark, Position
from market import PREFIX, parse_sim
from streaming.examples import EXAMPLES_PREFIX
from streaming.sources.files import list_files, mark_of
from streaming.sources.streams import STDIN

__all__ = ["learned_warning"]


def learned_warning(log: str, extra: Mapping[str, Any]) -> str | None:
    """What to say of a log that a model has learned, wholly or in part.

    Files are known again by their bytes, whatever they are called now; standard input is not.

    Parameters
    ----------
    log
        To be scored.
    extra
        Of the model's snapshot: where its learning ended.

    Examples
    --------
    >>> extra = {"source": "sim:abrupt", "position": {"file": "sim:abrupt", "row": 5000}}
    >>> print(learned_warning("sim:abrupt", extra))
    warning: sim:abrupt: this model has learned its first 5,000 rows: their figures are \
better than those of new events. Fix: score a later log, or see `clicktide evaluate`
    >>> learned_warning("sim:abrupt?seed=2", extra)
    """
    try:
        position = msgspec.convert(extra.get("position"), Position)
    except msgspec.ValidationError:
        return None  # none, or one of an earlier format
    what = _learned(log, str(extra.get("source", "")), position)
    if not what:
        return None
    return (
        f"warning: {log}: this model has learned {what}: their figures are better than those of "
        "new events. Fix: score a later log, or see `clicktide evaluate`"
    )


def _learned(log: str, source: str, position: Position) -> str:
    if log.startswith(PREFIX):
        same = source.startswith(PREFIX) and _market(log) == _market(source)
        return f"its first {position.row:,} rows" if same else ""
    if log == STDIN or log.startswith(EXAMPLES_PREFIX):
        return ""
    files = list_files(log, "auto")
    learned = [file.path for file in files if _is_learned(file.path, position.marks)]
    if not learned:
        return ""
    return "rows of it" if len(files) == 1 else f"rows of {len(learned)} of its {len(files)} files"


def _market(log: str) -> Any:
    return msgspec.structs.replace(parse_sim(log), events=1)


def _is_learned(path: str, marks: Mapping[str, FileMark]) -> bool:
    return any(
        mark.size > 0 and mark_of(path, mark.rows, mark.size) == mark for mark in marks.values()
    )
