"""``clicktide predict``: exact probabilities, rejects as in replay, whole files or none."""

import csv
import gzip
import json
import os
import signal
from collections import Counter
from contextlib import closing

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from command import invoke, printed, refusal
from full_disk import room_for
from shop_log import SPEC, some_events, standard_input

import clicktide.score
from clicktide.cli import app as clicktide_app
from clicktide.predict import predict
from features.errors import ClicktideError, SourceError, StrictError
from features.spec_file import load_spec
from features.vectoriser import Vectoriser
from learning.click_learner import ClickLearner
from learning.click_learner import probabilities as learned_probabilities
from learning.metrics import Tally
from learning.progress import Progress
from learning.snapshot import Snapshot, save_snapshot
from streaming.prepare import Preparer
from streaming.replay import Replay
from streaming.sources import open_source

ROWS = 3000
app = typer.Typer()
app.command()(predict)


def run(log, model, out, *more):
    return invoke(app, log, "--model", model, "--out", out, *more)


EVENTS = some_events(ROWS, 1)


@pytest.fixture(scope="module")
def learner():
    """In the midst of learning its quantiles: a prediction must not go on with it."""
    learner, seen = ClickLearner(SPEC), some_events(2000, 0)
    learner.learn_many(seen, seen["click"])
    return learner


@pytest.fixture(scope="module")
def due(learner):
    return learner.predict_proba_many(EVENTS)[True].to_numpy()


@pytest.fixture(scope="module")
def model(learner, tmp_path_factory):
    return save_snapshot(tmp_path_factory.mktemp("model"), Snapshot(learner, Progress()))


@pytest.fixture
def log(tmp_path):
    return write(tmp_path / "log.csv", EVENTS)


def write(path, events):
    path.parent.mkdir(exist_ok=True)
    events.to_csv(path, index=False)
    return path


def scored(log, model, out, *more):
    return printed(app, log, "--model", model, "--out", out, *more)


def refused(log, model, out, *more, kind=ClicktideError):
    return refusal(app, log, "--model", model, "--out", out, *more, kind=kind)


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def probabilities(rows):
    return [float(row["probability"]) for row in rows]


# what is written


def test_csv_holds_id_probability_and_label_and_reads_back_to_the_same_bits(
    log, model, tmp_path, due, learner
):
    scored(log, model, tmp_path / "out.csv")
    rows = read(tmp_path / "out.csv")
    assert list(rows[0]) == ["id", "probability", "click", "at"]
    assert [row["id"] for row in rows] == EVENTS["id"].tolist()
    assert [int(row["click"]) for row in rows] == EVENTS["click"].tolist()
    assert probabilities(rows) == due.tolist()
    one_by_one = [learner.predict_proba_one(row)[True] for row in EVENTS.to_dict("records")[:500]]
    assert probabilities(rows)[:500] == one_by_one


def test_parquet_holds_the_same_with_types(log, model, tmp_path, due):
    scored(log, model, tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.schema.types == [pa.string(), pa.float64(), pa.int8(), pa.string()]
    assert table["probability"].to_pylist() == due.tolist()
    assert table["click"].to_pylist() == EVENTS["click"].tolist()


def test_scoring_teaches_the_model_nothing(log, model, tmp_path):
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    scored(log, model, tmp_path / "first.csv")
    scored(log, model, tmp_path / "second.csv")
    assert (tmp_path / "first.csv").read_bytes() == (tmp_path / "second.csv").read_bytes()
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before


def test_without_an_id_in_the_log_rows_are_numbered_rejects_counted(model, tmp_path):
    log = write(tmp_path / "log.csv", EVENTS.drop(columns="id")[:4])
    lines = log.read_text().splitlines()
    log.write_text("\n".join([*lines[:2], "too,short", *lines[2:]]))
    scored(log, model, tmp_path / "out.csv")
    assert [row["row"] for row in read(tmp_path / "out.csv")] == ["1", "3", "4", "5"]


def test_row_numbers_go_on_from_file_to_file_of_a_folder(model, tmp_path):
    for name in ("a.csv", "b.csv"):
        write(tmp_path / "logs" / name, EVENTS.drop(columns="id")[:3])
    scored(tmp_path / "logs", model, tmp_path / "out.csv")
    assert [row["row"] for row in read(tmp_path / "out.csv")] == list("123456")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_ids_with_commas_quotes_and_line_ends_survive(model, tmp_path, ending):
    ids = ["a,b", 'say "x"', "two\nlines", "ünï", "plain"]
    rows = EVENTS[:5].assign(id=ids).to_json(orient="records", lines=True)
    (tmp_path / "log.jsonl").write_text(rows)
    out = tmp_path / f"out.{ending}"
    scored(tmp_path / "log.jsonl", model, out)
    found = [row["id"] for row in read(out)] if ending == "csv" else pq.read_table(out)["id"]
    assert [str(one) for one in found] == ids


# labels


def test_with_labels_the_figures_are_those_of_the_predictions(log, model, tmp_path, learner):
    figures = scored(log, model, tmp_path / "out.csv")
    tally = Tally()
    hashed = Vectoriser(SPEC).hash_frame(EVENTS)
    tally.add(learner.predict_hashed(hashed), EVENTS["click"].to_numpy(np.float64))
    for name, value in msgspec.to_builtins(tally.figures()).items():
        assert figures[name] == (pytest.approx(value) if value is not None else None), name
    assert (figures["events"], figures["rejected"]) == (ROWS, 0)


def test_without_labels_there_is_no_label_column_and_no_figure_of_it(model, tmp_path, due):
    log = write(tmp_path / "log.csv", EVENTS.drop(columns="click"))
    figures = scored(log, model, tmp_path / "out.csv")
    rows = read(tmp_path / "out.csv")
    assert list(rows[0]) == ["id", "probability", "at"]
    assert probabilities(rows) == due.tolist()
    assert (figures["events"], figures["clicks"], figures["log_loss"]) == (ROWS, None, None)
    assert figures["mean_prediction"] == pytest.approx(due.mean())


def test_the_table_shows_the_figures(log, model, tmp_path):
    shown = run(log, model, tmp_path / "out.csv").stdout
    for said in ("log loss", "normalised entropy", "AUC", "calibration ratio", "3,000"):
        assert said in shown
    written = "".join(line.strip("│ ") for line in shown.partition("written")[2].splitlines())
    assert str(tmp_path / "out.csv") in written


# bad rows


@pytest.fixture
def bad_log(log):
    bad = ["x,1,s0,1,1,0", "x,1,s0,1,1,0,maybe", "x,now,s0,1,1,0,1", "x,1,s0,1,many,0,1"]
    lines = log.read_text().splitlines()
    for at, line in zip((3, 900, 901, 2900), bad, strict=True):
        lines.insert(at, line)
    log.write_text("\n".join(lines))
    return log


def replayed(log):
    """What replay rejects of a log, and how many events it learns."""
    replay = Replay(ClickLearner(SPEC))
    preparer = Preparer(Vectoriser(SPEC), SPEC.source)
    with closing(open_source(str(log), SPEC.source, preparer.columns)) as batches:
        for batch in batches:
            replay.learn(preparer(batch))
    return replay.rejected, replay.progress.overall.events


def test_bad_rows_are_rejected_and_counted_as_replay_does(bad_log, model, tmp_path, due):
    figures = scored(bad_log, model, tmp_path / "out.csv")
    assert (Counter(figures["rejected_by_reason"]), figures["events"]) == replayed(bad_log)
    assert figures["rejected"] == 4
    assert probabilities(read(tmp_path / "out.csv")) == due.tolist()


def test_a_rejects_file_keeps_every_bad_row(bad_log, model, tmp_path):
    rejects = tmp_path / "bad.jsonl"
    scored(bad_log, model, tmp_path / "out.csv", "--rejects", rejects)
    lines = rejects.read_text().splitlines()
    kept = {one["line"]: one["reason"] for one in map(json.loads, lines)}
    assert kept == {4: "row_too_short", 901: "bad_label", 902: "bad_time", 2901: "bad_number"}


def test_strict_stops_at_a_bad_row_and_writes_nothing(bad_log, model, tmp_path):
    out = tmp_path / "new" / "out.csv"
    refused(bad_log, model, out, "--strict", kind=StrictError)
    assert list(out.parent.iterdir()) == []


# the file


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_file_is_replaced_only_if_forced(log, model, tmp_path, ending):
    out = tmp_path / f"out.{ending}"
    out.write_text("before")
    assert "--force" in refused(log, model, out)
    assert out.read_text() == "before"
    scored(log, model, out, "--force")
    assert out.stat().st_size > 1000


# What is asked: the log, the file, further options; and what is said.
REFUSED = {
    "an ending that is none of ours": ("log.csv", "out.txt", (), ".csv, .jsonl or .parquet"),
    "no ending": ("log.csv", "out", (), ".csv, .jsonl or .parquet"),
    "a compressed one": ("log.csv", "out.csv.gz", (), ".csv, .jsonl or .parquet"),
    "the log itself": ("log.csv", "log.csv", ("--force",), "log.csv"),
    "a field that is not in the log": ("no views.csv", "out.csv", (), "'views'"),
    "a column kept that is ours": ("p.csv", "out.csv", ("--keep", "all"), "'probability'"),
}


@pytest.mark.parametrize(("name", "out", "more", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_done_is_refused_and_nothing_is_written(
    log, model, tmp_path, name, out, more, said
):
    write(tmp_path / "no views.csv", EVENTS.drop(columns="views"))
    write(tmp_path / "p.csv", EVENTS[:9].assign(probability=0.5))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    told = refused(tmp_path / name, model, tmp_path / out, *more)
    assert said in told and "Fix: " in told
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_disk_that_fills_up_is_said_and_leaves_what_was_there(log, model, tmp_path, ending):
    out = tmp_path / "new" / f"out.{ending}"
    out.parent.mkdir()
    out.write_text("before")
    with room_for(8000):
        assert f"out.{ending}: cannot be written" in refused(log, model, out, "--force")
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    assert out.read_text() == "before"


def test_ctrl_c_exits_130_and_leaves_no_file(log, model, tmp_path, monkeypatch):
    def interrupted(logits):
        os.kill(os.getpid(), signal.SIGINT)
        return learned_probabilities(logits)

    monkeypatch.setattr(clicktide.score, "probabilities", interrupted)
    out = tmp_path / "new" / "out.csv"
    result = run(log, model, out)
    assert result.exit_code == 130
    assert "Stopped" in result.stderr
    assert list(out.parent.iterdir()) == []


def test_damage_further_on_leaves_no_file(model, tmp_path, log):
    whole = gzip.compress(log.read_bytes())
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "cut.csv.gz", model, tmp_path / "new" / "out.csv", kind=SourceError)
    assert not (tmp_path / "new" / "out.csv").exists()


# standard input and output


def test_a_log_with_all_columns_is_opened_once(model, log, tmp_path, monkeypatch):
    opened, open_log = [], clicktide.score.open_log

    def counted(*arguments):
        opened.append(arguments)
        return open_log(*arguments)

    monkeypatch.setattr(clicktide.score, "open_log", counted)
    assert run(log, model, tmp_path / "out.csv").exit_code == 0
    assert len(opened) == 1


@pytest.mark.parametrize("origin", ["file", "standard input"])
@pytest.mark.parametrize("absent", [[], ["click"], ["id", "at", "click"]])
def test_a_log_is_read_whichever_columns_it_lacks(model, tmp_path, due, absent, origin):
    log = write(tmp_path / "log.csv", EVENTS.drop(columns=absent))
    with standard_input(log):
        figures = scored(log if origin == "file" else "-", model, tmp_path / "out.csv")
    assert figures["events"] == ROWS
    assert probabilities(read(tmp_path / "out.csv")) == due.tolist()


def test_standard_output_holds_the_csv_and_nothing_else(log, model, tmp_path):
    scored(log, model, tmp_path / "out.csv")
    for more in ([], ["--json"]):
        result = run(log, model, "-", *more)
        assert result.exit_code == 0
        assert result.stdout == (tmp_path / "out.csv").read_text()
        assert "3,000" in result.stderr or json.loads(result.stderr)["events"] == ROWS


def test_a_simulation_is_scored_against_its_truth(tmp_path):
    spec = load_spec("sim", ["hash.bits=14", "hash.cross_bits=14"])
    model = save_snapshot(tmp_path / "model", Snapshot(ClickLearner(spec), Progress()))
    figures = scored("sim:stationary?events=2000", model, tmp_path / "out.parquet")
    assert figures["events"] == 2000
    assert figures["excess_log_loss"] > 0.0


# what is kept, and what report makes of it


ODD = pd.DataFrame(
    {
        "id": ["a", "b", "c"],
        "at": [10**9, 10**9 + 1, 10**9 + 2],
        "site": ['say "x", twice', "two\nlines", None],
        "ad": [7, 8, 9],
        "views": [1, 2, 3],
        "price": [0.5, 0.1, None],
        "tags": [["x", "y"], [], ["z"]],
        "click": [1, 0, 1],
    }
)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("source", ["jsonl", "parquet"])
def test_kept_columns_read_back_as_they_were(model, tmp_path, source, ending):
    log, out = tmp_path / f"log.{source}", tmp_path / f"out.{ending}"
    if source == "jsonl":
        ODD.to_json(log, orient="records", lines=True)
    else:
        ODD.to_parquet(log)
    scored(log, model, out, "--keep", "site,tags,price")
    if ending == "csv":
        rows = read(out)
        assert [row["site"] for row in rows] == ['say "x", twice', "two\nlines", ""]
        assert [row["tags"] for row in rows] == ["x|y", "", "z"]
        assert [row["price"] for row in rows] == ["0.5", "0.1", ""]
    else:
        table = (
            pq.read_table(out)
            if ending == "parquet"
            else pa.Table.from_pylist([json.loads(line) for line in out.read_text().splitlines()])
        )
        assert table["site"].to_pylist() == ['say "x", twice', "two\nlines", None]
        assert table["tags"].to_pylist() == [["x", "y"], [], ["z"]]
        assert np.isnan(table["price"].to_pandas()[2]) and table["price"][0].as_py() == 0.5


@pytest.mark.parametrize("origin", ["file", "folder", "standard input"])
def test_all_columns_can_be_kept(model, tmp_path, origin):
    log = write(tmp_path / "logs" / "log.csv", EVENTS[:50])
    out = tmp_path / "out.csv"
    with standard_input(log):
        path = {"file": log, "folder": log.parent, "standard input": "-"}[origin]
        scored(path, model, out, "--keep", "all")
    rows, kept = read(out), pd.read_csv(out)
    assert list(rows[0]) == ["id", "probability", "click", "at", "site", "ad", "views", "price"]
    columns = ["id", "site", "ad", "views", "click", "at"]
    pd.testing.assert_frame_equal(kept[columns], EVENTS[:50][columns], check_dtype=False)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_report_takes_what_predict_wrote_without_being_told_its_columns(
    log, model, tmp_path, ending
):
    out, page = tmp_path / f"out.{ending}", tmp_path / "page.html"
    figures = scored(log, model, out, "--keep", "site,ad")
    data = printed(clicktide_app, "report", "--from", out, "--slices", "site", "--out", page)
    assert data["axis"] == "time"
    assert data["total"]["calibration_ratio"] == pytest.approx(figures["calibration_ratio"])
    assert data["total"]["normalised_entropy"] == pytest.approx(figures["normalised_entropy"])


def test_a_log_that_the_model_has_learned_is_told_whatever_it_is_called_now(log, tmp_path):
    replay = Replay(ClickLearner(SPEC))
    preparer = Preparer(Vectoriser(SPEC), SPEC.source)
    replay.run(
        open_source(str(log), SPEC.source, preparer.columns),
        preparer=preparer, on_reject=lambda _: None, on_batch=lambda _: None,
    )  # fmt: skip
    model = save_snapshot(tmp_path / "model", replay.snapshot(str(log)))
    grown = tmp_path / "later.csv"
    grown.write_bytes(log.read_bytes() + b"x,1000003000,s0,1,1,0,1\n")
    new = write(tmp_path / "new.csv", some_events(50, 7))
    said = {
        path: scored(path, model, tmp_path / "out.csv", "--force")["warning"]
        for path in (log, grown, new)
    }
    assert "has learned rows of it" in said[log] and "Fix: " in said[log]
    assert said[grown] is not None and said[new] is None
