"""The command ``clicktide replay``: a log through the learner, with honest progressive figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from time import perf_counter
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

from clicktide.click_log import RejectSink, estimated_rows, open_log, spec_for
from clicktide.kernels import warm_up
from clicktide.options import DirOption, JsonOption, RejectsOption, SettingsOption, StrictOption
from clicktide.process_resources import release_compiler
from clicktide.publication import Publication
from clicktide.publish import (
    ClickDelayOption,
    IdPrefixOption,
    NoEndOption,
    ShiftOption,
    SpeedOption,
    ThroughOption,
    ToOption,
    publish,
)
from clicktide.run_summary import figures_table, learning_text, progress_bar, summary_json
from clicktide.settings import SPEC, STREAM, check_sections, split_changes
from clicktide.stream_opening import open_stream
from features.errors import ClicktideError, SnapshotError
from features.spec import Spec
from features.vectoriser import Vectoriser
from learning.click_learner import ClickLearner
from learning.progress import FIRST_WINDOW, Progress
from learning.snapshot import load_snapshot, save_snapshot
from market import PREFIX
from streaming.batch_cuts import Subsample
from streaming.examples import EXAMPLES_PREFIXES, examples_source
from streaming.prepare import Preparer, TimeOrder
from streaming.replay import Replay, first_rows
from streaming.signals import Stopped, stop_request
from streaming.time_text import span

__all__ = ["replay"]

_LATE_SHARE = 0.1  # of the rows; less is the disorder of several servers


@dataclass
class Run:
    """One call of the command: what it was asked, and how it went."""

    log: str
    spec: Spec
    events: int | None
    resume: bool
    rejects: Path | None
    strict: bool
    save: Path | None = None
    save_every: int = 1_000_000
    window: int = FIRST_WINDOW
    negative_share: float | None = None
    seconds: float = 0.0
    learned: int = 0
    error: ClicktideError | None = None
    stopped: bool = False
    order: TimeOrder = field(default_factory=TimeOrder)

    def begin(self) -> Replay:
        """A new learner, or the saved one."""
        if self.resume and self.save is None:
            raise ClicktideError("--resume goes on from a saved model. Fix: add --save DIR")
        if self.resume and self.save is not None and (self.save / "snapshot.json").exists():
            return Replay.resumed(load_snapshot(self.save, self.spec))
        return Replay(ClickLearner(self.spec), Progress(self.window))

    def preparer(self, replay: Replay) -> Preparer:
        """With a vectoriser that stands where the learner's does."""
        vectoriser = Vectoriser(self.spec)
        if replay.learner.vectoriser is not None:
            vectoriser.follow(replay.learner.vectoriser)
        from_examples = self.log.startswith(EXAMPLES_PREFIXES)
        source = examples_source(self.spec) if from_examples else self.spec.source
        share = self.negative_share
        subsample = None if share is None else Subsample(share, source)
        return Preparer(vectoriser, source, subsample=subsample)

    def go(self, replay: Replay, show: Callable[[int, Callable[[], str]], None]) -> None:
        """Learn to the end, the wanted number of events, Ctrl-C, or damage."""
        preparer = self.preparer(replay)
        self.order = preparer.time_order
        done = replay.progress.overall.events
        saved = done
        start = perf_counter()

        def on_batch(at: Replay) -> None:
            nonlocal saved
            self.learned = at.progress.overall.events - done
            self.seconds = perf_counter() - start
            show(self.learned, lambda: learning_text(at, self.learned, self.seconds))
            if self.save is not None and at.progress.overall.events - saved >= self.save_every:
                save_snapshot(self.save, at.snapshot(self.log))
                saved = at.progress.overall.events
            request.check()

        with (
            stop_request() as request,
            RejectSink(self.rejects, strict=self.strict, append=self.resume) as sink,
        ):
            batches = open_log(self.log, self.spec, preparer.columns, replay.position)
            if self.events is not None:
                batches = first_rows(batches, self.events)
            try:
                replay.run(batches, preparer=preparer, on_reject=sink, on_batch=on_batch)
            except Stopped:
                self.stopped = True
            except SnapshotError:
                raise
            except ClicktideError as error:
                if not self.learned and not replay.rejected:
                    raise
                self.error = error

    def summary(self, replay: Replay) -> dict[str, Any]:
        """Everything ``--json`` prints."""
        return summary_json(
            replay, log=self.log, spec=self.spec, learned=self.learned, seconds=self.seconds
        ) | {"error": str(self.error) if self.error else None, "stopped": self.stopped}


SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A file or folder (CSV, TSV, JSON Lines, Parquet, VW, libsvm, libffm; plain or "
        "compressed), - for standard input, sim:NAME for a simulated market (clicktide "
        "simulate --list), or examples:LOG for the examples of an event log "
        "(early_examples:LOG: those the trainer learns; examples:FILE.jsonl: of a file)",
    ),
]
SpecOption = Annotated[
    str | None,
    typer.Option(
        "--spec",
        help="Feature spec: a TOML file, or the name of a shipped one. Not needed for sim:",
    ),
]
ChangesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change the spec for this run, e.g. learner.kind=single, "
        "learner.fields.alpha=0.05, crosses.all_pairs=false; with --to also the stream's "
        "settings, e.g. stream.partitions=4; may be repeated",
    ),
]
EventsOption = Annotated[
    int | None, typer.Option("--events", min=1, help="Stop after so many events")
]
PlotOption = Annotated[
    Path | None,
    typer.Option("--plot", help="Draw learning and reliability curves: .png, .svg or .pdf"),
]
SaveOption = Annotated[Path | None, typer.Option("--save", help="Folder for the learned model")]
SaveEveryOption = Annotated[
    int | None,
    typer.Option(
        "--save-every", min=1, help="Events between saves, with --save [default: 1000000]"
    ),
]
ResumeOption = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on from the model in --save, if there is one; with --to: from where "
        "publishing this source ended",
    ),
]
NegativeShareOption = Annotated[
    float | None,
    typer.Option(
        "--negative-share",
        help="Learn this share of the events that were not clicked, by their ids, each as "
        "1 / share of them: so much faster, and nothing to correct",
    ),
]
CurveWindowOption = Annotated[
    int | None,
    typer.Option(
        "--window",
        min=1,
        help=f"Events in the first windows of the curves [default: {FIRST_WINDOW}]",
    ),
]


def replay(
    log: SourceArgument,
    spec: SpecOption = None,
    changes: ChangesOption = None,
    events: EventsOption = None,
    as_json: JsonOption = False,
    plot: PlotOption = None,
    save: SaveOption = None,
    save_every: SaveEveryOption = None,
    resume: ResumeOption = False,
    rejects: RejectsOption = None,
    strict: StrictOption = False,
    negative_share: NegativeShareOption = None,
    window: CurveWindowOption = None,
    to: ToOption = None,
    speed: SpeedOption = None,
    shift: ShiftOption = None,
    id_prefix: IdPrefixOption = None,
    click_delay_s: ClickDelayOption = None,
    no_end: NoEndOption = False,
    through: ThroughOption = None,
    folder: DirOption = None,
    settings: SettingsOption = None,
) -> None:
    """Learn a click log event by event; score each prediction before learning it.

    clicktide replay sim:abrupt --events 500000 --plot curve.png
    clicktide replay clicks.csv --spec my.toml --save model/ --rejects bad.jsonl
    zcat log.tsv.gz | clicktide replay - --spec criteo_dac80k --json

    With --to or --dir, publish it into a stream's event log instead, as impressions and clicks:

    clicktide replay sim:abrupt --dir run --speed 60 --shift now
    """
    target = folder is not None or to is not None
    of_settings, of_spec = split_changes(changes or [])
    publishing: dict[str, Any] = {"speed": speed, "shift": shift, "id_prefix": id_prefix}
    publishing |= {"click_delay_s": click_delay_s, "no_end": no_end, "through": through}
    learning: dict[str, Any] = {"save": save, "save_every": save_every, "window": window}
    learning |= {"negative_share": negative_share}
    common: dict[str, Any] = {"events": events, "resume": resume, "rejects": rejects}
    common |= {"strict": strict}
    if not target:
        _check_together(publishing | {"settings": settings}, publishes=False)
        check_sections(of_settings, of_spec, (SPEC,))
        given = {name: value for name, value in learning.items() if value is not None}
        run = Run(log, spec_for(log, spec, of_spec), **common, **given)
        _learn(run, plot, as_json)
        return
    stream = open_stream(
        folder, log=to, settings=settings, changes=of_settings, reads=STREAM,
        needs_spec=False, begin=False,
    )  # fmt: skip
    _check_together(learning | {"plot": plot}, publishes=True)
    check_sections(of_settings, of_spec, (*STREAM, SPEC))
    if not log.startswith(PREFIX):
        spec = spec or stream.spec or None
    publishing |= {"settings": stream.file, "as_json": as_json, "set_stream": of_settings}
    publish(Publication(log, spec_for(log, spec, of_spec), stream.log, **publishing, **common))


def _learn(run: Run, plot: Path | None, as_json: bool) -> None:
    console = Console(stderr=True)
    _check_writable(run.save, plot)
    state = run.begin()
    warm_up(run.spec, console, from_text=not run.log.startswith(PREFIX))
    release_compiler()
    with progress_bar(console, run.events or estimated_rows(run.log), "learning") as show:
        run.go(state, show)
    _finish(run, state, plot, as_json)


def _check_together(useless: dict[str, Any], publishes: bool) -> None:
    """Refuse options that would do nothing."""
    names = [f"--{name.replace('_', '-')}" for name, value in useless.items() if value]
    if not names:
        return
    said = ", ".join(names)
    if publishes:
        raise ClicktideError(
            f"replay --to publishes and does not learn: {said} has no meaning with it. "
            "Fix: leave it out, or leave out --to and --dir to learn from the log itself"
        )
    raise ClicktideError(
        f"replay: {said} is for publishing. Fix: add --to LOG or --dir FOLDER, or leave it out"
    )


def _check_writable(save: Path | None, plot: Path | None) -> None:
    """Find out now, rather than after an hour of learning, that something cannot be written."""
    if save is not None:
        _check_folder(save, save)
    if plot is not None:
        from clicktide.plot import check_ending  # matplotlib takes half a second to import

        check_ending(plot)
        _check_folder(plot.parent, plot)


def _check_folder(folder: Path, wanted: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ClicktideError(
            f"{wanted}: cannot be written: {error.strerror}. "
            "Fix: name a place in a folder that may be written to"
        ) from error


def _backward_warning(run: Run) -> str:
    order = run.order
    return (
        f"[bold yellow]times go back:[/] {order.late:,} of {order.rows:,} rows are more than an "
        f"hour older than rows before them, by up to {span(order.furthest_ms / 1000)}. They were "
        "learned in the log's order, so these figures predict the past from the future. "
        f"Fix: sort the log by {run.spec.source.timestamp!r}, oldest first"
    )


def _finish(run: Run, state: Replay, plot: Path | None, as_json: bool) -> None:
    if run.save is not None:
        save_snapshot(run.save, state.snapshot(run.log))
    if plot is not None:
        from clicktide.plot import save_plot

        overall = state.progress.overall
        save_plot(
            plot,
            state.progress.windows(),
            overall.figures(),
            overall.reliability(),
            title=f"{run.log}, spec {run.spec.name}",
        )
    if as_json:
        typer.echo(msgspec.json.encode(run.summary(state)).decode())
    else:
        Console().print(figures_table(run.summary(state), save=run.save, plot=plot))
    if run.order.late > _LATE_SHARE * run.order.rows:
        Console(stderr=True).print(_backward_warning(run), soft_wrap=True, highlight=False)
    if run.error is not None:
        Console(stderr=True).print(f"[bold red]stopped early:[/] {run.error}", soft_wrap=True)
        raise typer.Exit(1)
    if run.stopped:
        raise typer.Exit(130)
    if not state.progress.overall.events and state.rejected:
        raise ClicktideError(
            f"{run.log}: none of its rows could be used (most often: "
            f"{state.rejected.most_common(1)[0][0]}). "
            "Fix: see the rows with --rejects FILE, then mend the spec or the log"
        )
