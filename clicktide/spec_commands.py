"""The commands ``clicktide spec check``, ``spec init`` and ``spec list``."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clicktide.options import ForceOption, JsonOption, print_json
from features.errors import SpecError
from features.spec import BUCKET_BYTES, Spec
from features.spec_file import load_spec, shipped_specs
from features.whole_file import refuse_existing, whole_file

__all__ = ["app", "check", "first_spec", "init", "list_specs"]

_MB = 1e6

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich")


class Checked(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a spec means, or what is wrong with it."""

    file: str
    ok: bool
    name: str = ""
    fields: int | None = None
    crosses: int | None = None
    learner: str = ""
    field_buckets: int | None = None
    cross_buckets: int | None = None
    memory_mb: float | None = None
    error: str = ""
    line: int | None = None
    field: str = ""
    fix: str = ""


@app.command()
def check(
    specs: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="TOML files, or names of shipped specs")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a spec")] = False,
) -> None:
    """Check feature specs; the line, the key and the fix where one is wrong.

    Where it is right: how many fields and crosses there are, and the memory
    that the weights take once every bucket is in use.

    clicktide spec check my.toml

    clicktide spec check specs/*.toml --json
    """
    checked = [_check(spec) for spec in specs]
    errors = Console(stderr=True, highlight=False)
    for one in checked:
        if as_json:
            print_json(one)
        elif one.ok:
            typer.echo(_check_text(one))
        else:
            errors.print(Text.assemble(("error: ", "bold red"), one.error), soft_wrap=True)
    if not all(one.ok for one in checked):
        raise typer.Exit(2)


def _check(file: str) -> Checked:
    try:
        return _summary(file, load_spec(file))
    except SpecError as error:
        return Checked(
            file, ok=False, error=str(error), line=error.line, field=error.field, fix=error.fix
        )


def _summary(file: str, spec: Spec) -> Checked:
    crosses = len(spec.crossed_fields())
    fields = 2**spec.hash.bits
    crossed = 2**spec.hash.cross_bits if crosses else 0
    of_field, of_cross = BUCKET_BYTES[spec.learner.kind]
    size = of_field * fields + of_cross * crossed
    return Checked(
        file=file,
        ok=True,
        name=spec.name,
        fields=len(spec.field_names),
        crosses=crosses,
        learner=spec.learner.kind,
        field_buckets=fields,
        cross_buckets=crossed,
        memory_mb=round(size / _MB, 1),
    )


def _check_text(one: Checked) -> str:
    tables = f"{one.field_buckets:,} buckets"
    if one.cross_buckets:
        tables += f" for fields, {one.cross_buckets:,} for crosses"
    return (
        f"ok  {one.file}: {one.name}: {_count(one.fields, 'field')}, "
        f"{_count(one.crosses, 'cross', 'es')}; learner {one.learner}; {tables}; "
        f"weights take up to {one.memory_mb:,.0f} MB"
    )


def _count(number: int | None, noun: str, plural: str = "s") -> str:
    return f"{number:,} {noun}{'' if number == 1 else plural}"


@app.command()
def init(
    log: Annotated[
        str,
        typer.Argument(
            metavar="LOG",
            help="A file or folder: CSV, TSV, JSON Lines, Parquet, VW, libsvm or libffm, also "
            "compressed; - for standard input",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; without it, standard output")
    ] = None,
    force: ForceOption = False,
    label: Annotated[
        str, typer.Option("--label", help="Column with the click [default: told by its name]")
    ] = "",
    label_values: Annotated[
        str,
        typer.Option(
            "--label-values",
            metavar="VALUE=0,VALUE=1",
            help="What the label's values mean; * is any other [default: told by the values]",
        ),
    ] = "",
) -> None:
    """Look at rows from all over a log and write a first spec to edit.

    clicktide spec init clicks.csv --out my.toml

    clicktide spec init clicks.csv --label bought --label-values yes=1,no=0

    clicktide replay clicks.csv --spec my.toml
    """
    if out is not None and not force:
        refuse_existing(out)
    text = first_spec(log, label, label_values)
    if out is None:
        typer.echo(text, nl=not text.endswith("\n"))
    else:
        with whole_file(out) as file:
            file.write(text.encode())
    typer.echo(_next_step(log, out), err=True)


def first_spec(log: str, label: str = "", label_values: str = "") -> str:
    """Text of a first spec of a log; see :func:`features.spec_guess.guess_spec`."""
    # with Arrow and numba, which `spec check` does without
    from features.labels import parse_label_values
    from features.spec_guess import guess_spec
    from streaming.sources import sample_log

    values = parse_label_values(label_values) if label_values else None
    if values and not label:
        raise SpecError("--label-values of which column?", fix="name it with --label")
    sample = sample_log(log)
    try:
        return guess_spec(
            _name_of(log),
            sample.rows,
            source=sample.head.keys,
            left_out=sample.unusable,
            label=label,
            label_values=values,
        )
    except SpecError as error:
        raise SpecError(error.message, file=log, field=error.field, fix=error.fix) from None


def _name_of(log: str) -> str:
    """A name from the file's own, endings aside: ``day 1.csv.gz`` is ``day_1``."""
    stem = Path(log).resolve().name.split(".")[0] if log != "-" else ""
    return re.sub(r"\W+", "_", stem).strip("_") or "log"


def _next_step(log: str, out: Path | None) -> str:
    spec = "FILE" if out is None else shlex.quote(str(out))
    saved = "save it in a FILE, read and edit it" if out is None else f"{out} written: read it"
    return f"Next: {saved}; then  clicktide replay {shlex.quote(log)} --spec {spec}"


@app.command("list")
def list_specs(
    as_json: JsonOption = False,
) -> None:
    """List the specs that come with Clicktide; --spec takes their names.

    clicktide replay clicks.tsv --spec criteo_dac80k
    """
    described = {name: load_spec(name).description for name in shipped_specs()}
    if as_json:
        print_json(described)
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, description in described.items():
        table.add_row(name, description)
    Console().print(table)
