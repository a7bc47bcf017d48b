"""The command ``clicktide explain``: why one event gets the probability it gets."""

from __future__ import annotations

import difflib
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clicktide.click_log import open_log
from clicktide.options import print_json
from features.errors import ClicktideError
from features.spec import Spec
from features.spec_file import load_spec
from features.vectoriser import Vectoriser
from learning.explain import Contribution, Explanation
from learning.explain import explain as explain_event
from learning.snapshot import load_snapshot
from market import PREFIX
from streaming.sources import Batch, Position

__all__ = ["explain"]

_HALF_BAR = 10
_LONGEST_VALUE = 60
_WIDE = 110  # columns that the parts of a contribution need beside the rest


def explain(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Folder given to clicktide replay --save")
    ],
    event: Annotated[
        str | None,
        typer.Option(
            "--event", help="The event as a JSON object; @FILE reads it from there, - from stdin"
        ),
    ] = None,
    log: Annotated[
        str | None, typer.Option("--from", metavar="LOG", help="Take the event from this log")
    ] = None,
    row: Annotated[
        int, typer.Option("--row", min=1, help="Which row of --from; the header is none")
    ] = 1,
    spec: Annotated[
        str | None,
        typer.Option("--spec", help="Where --from keeps its columns, if not as the model's log"),
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Contributions to show")] = 20,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, all contributions in it")
    ] = False,
) -> None:
    """Show what each field and each cross adds to the prediction for one event.

    A contribution is added to the logit: above 0, it makes the click more
    probable, and it multiplies the odds by the number beside it. With the
    bias, they add up to the prediction. A terminal of 110 columns shows what
    the regressions, the statistics and the net add of each.

    clicktide explain model --event '{"site": "news", "ad": "shoes"}'

    clicktide explain model --from clicks.csv --row 17 --top 10
    """
    if (event is None) == (log is None):
        raise ClicktideError("explain: which event? Fix: give --event JSON, or --from LOG --row N")
    snapshot = load_snapshot(model, load_spec(spec) if spec else None)
    own, vectoriser = snapshot.learner.spec, snapshot.learner.vectoriser
    assert own is not None and vectoriser is not None  # a snapshot has both
    of_log = load_spec(spec) if spec else own
    given = _from_log(log, row, of_log, vectoriser) if log else _from_json(event or "")
    explanation = explain_event(snapshot.learner, given)
    if as_json:
        print_json(explanation)
        return
    _show(explanation, top, _unused(explanation, own, vectoriser))


# Reading the event


def _from_json(argument: str) -> dict[str, Any]:
    text, where = _text_of(argument)
    try:
        event = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise ClicktideError(
            f"{where}: this is not JSON: {error}. "
            """Fix: an object in single quotes, such as '{"site": "news", "ad": 7}'"""
        ) from None
    if not isinstance(event, dict):
        raise ClicktideError(
            f"{where}: a {type(event).__name__} is no event. Fix: give one object, {{...}}"
        )
    return event


def _text_of(argument: str) -> tuple[str | bytes, str]:
    """The JSON and what to call it in errors."""
    if argument == "-":
        return sys.stdin.read(), "standard input"
    if not argument.startswith("@"):
        return argument, "--event"
    file = argument[1:]
    try:
        return Path(file).read_bytes(), file
    except OSError as error:
        raise ClicktideError(
            f"{file}: cannot be read: {error.strerror}. Fix: check the path after @"
        ) from error


def _from_log(log: str, row: int, spec: Spec, vectoriser: Vectoriser) -> dict[str, Any]:
    if os.path.isdir(log):
        raise ClicktideError(f"{log}: a folder has many row {row}s. Fix: name one of its files")
    start = None if log.startswith(PREFIX) else Position(log, row - 1)
    with closing(open_log(log, spec, vectoriser.columns, start)) as batches:
        for batch in batches:
            found = _row_in(batch, row)
            if found is not None:
                return found
    raise ClicktideError(f"{log}: it has no row {row}. Fix: give a smaller --row")


def _row_in(batch: Batch, row: int) -> dict[str, Any] | None:
    """Row number ``row`` of the file, if it stands in this batch."""
    if batch.position.row < row:
        return None
    rows = batch.columns.num_rows
    numbers = (batch.positions(i).row for i in range(rows))
    at = next((i for i, number in enumerate(numbers) if number >= row), rows)
    if at < rows and batch.positions(at).row == row:
        event: dict[str, Any] = batch.columns.slice(at, 1).to_pylist()[0]
        return event
    message = "; ".join(f"{reject.detail} ({reject.reason})" for reject in batch.rejects[:1])
    raise ClicktideError(f"{batch.file}: row {row} cannot be read: {message}. Fix: mend it")


# Showing


def _show(explanation: Explanation, top: int, unused: list[str]) -> None:
    console = Console()
    if unused:  # before the number, which was told without them
        console.print(
            Text(f"Not used by this model: {', '.join(unused)}", "yellow"), soft_wrap=True
        )
    console.print(_headline(explanation), highlight=False)
    console.print(_table(explanation, top, parts=console.width >= _WIDE))
    if not all(c.seen for c in explanation.contributions):
        nothing = not any(c.logit for c in explanation.contributions if not c.seen)
        adds = "nothing yet" if nothing else "what the average of the traffic does"
        new = f"new: the model never learned anything like it, so it adds {adds}"
        console.print(Text(new, "dim"), soft_wrap=True)


def _headline(explanation: Explanation) -> str:
    rest = math.fsum(c.logit for c in explanation.contributions)
    return (
        f"[bold]click probability {explanation.probability:.5f}[/]\n"
        f"logit {explanation.logit:+.4f} = bias {explanation.bias:+.4f} "
        f"+ {len(explanation.contributions)} contributions {rest:+.4f}"
    )


def _table(explanation: Explanation, top: int, *, parts: bool) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("field or cross", overflow="fold")
    table.add_column("value", overflow="fold")
    table.add_column("logit", justify="right", no_wrap=True)
    table.add_column("odds", justify="right", no_wrap=True)
    for name in ("regressions", "statistics", "net") if parts else ():
        table.add_column(name, justify="right", no_wrap=True, style="dim")
    table.add_column("less probable │ more".center(2 * _HALF_BAR + 1), no_wrap=True)
    shown, rest = explanation.contributions[:top], explanation.contributions[top:]
    largest = max((abs(c.logit) for c in shown), default=0.0)
    for contribution in shown:
        table.add_row(
            Text(" × ".join(contribution.names)),
            _values(contribution),
            *_figures([contribution], largest, parts),
        )
    if rest:
        table.add_row(f"{len(rest)} more", "", *_figures(rest, largest, parts), style="dim")
    return table


def _values(contribution: Contribution) -> Text:
    text = Text(" × ".join(map(_cut, contribution.values)))
    return text if contribution.seen else text.append("  new", "italic dim")


def _cut(value: str) -> str:
    return value if len(value) <= _LONGEST_VALUE else f"{value[: _LONGEST_VALUE - 1]}…"


def _figures(some: Sequence[Contribution], largest: float, parts: bool) -> Iterator[str | Text]:
    """What some contributions add: the logit, the odds, where it comes from, and a bar."""
    logit = math.fsum(c.logit for c in some)
    yield from (f"{logit:+.4f}", f"× {math.exp(min(logit, 700.0)):.3g}")
    for part in ("regressions", "statistics", "net") if parts else ():
        yield f"{math.fsum(getattr(c, part) for c in some):+.4f}"
    yield _bar(logit, largest)


def _bar(logit: float, largest: float) -> Text:
    """To the left below 0, to the right above: to be read without its colours too."""
    cells = min(round(abs(logit) / largest * _HALF_BAR), _HALF_BAR) if largest else 0
    blocks = "█" * cells
    if logit < 0.0:
        return Text.assemble((blocks.rjust(_HALF_BAR), "dark_orange"), "│", " " * _HALF_BAR)
    return Text.assemble(" " * _HALF_BAR, "│", (blocks.ljust(_HALF_BAR), "dodger_blue2"))


def _unused(explanation: Explanation, spec: Spec, vectoriser: Vectoriser) -> list[str]:
    """Keys that are no field, and not the label or such."""
    source = spec.source
    known = {source.label, source.timestamp, source.event_id, source.weight, source.truth}
    return [_with_hint(key, vectoriser) for key in explanation.unused if key not in known]


def _with_hint(key: str, vectoriser: Vectoriser) -> str:
    near = difflib.get_close_matches(key, vectoriser.columns, n=1)
    return f"{key} (did you mean {near[0]}?)" if near else key
