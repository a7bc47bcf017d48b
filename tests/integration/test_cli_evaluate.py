"""``clicktide evaluate``: what it does is replay, predict and report, one after the other."""

import json

import numpy as np
import pandas as pd
import pytest
from shop_log import SPEC, some_events, standard_input
from typer.testing import CliRunner

from clicktide.cli import app
from features.errors import ClicktideError
from learning.click_learner import ClickLearner

EVENTS = some_events(4000, 3)
TOML = """
name = "shop"
[source]
label = "click"
event_id = "id"
timestamp = "at"
timestamp_format = "s"
[hash]
bits = 14
cross_bits = 14
[[fields]]
names = ["site", "ad"]
[[fields]]
names = ["views"]
transform = "log_squared"
[[fields]]
names = ["price"]
transform = "quantile"
buckets = 5
learn_from = 100_000
[crosses]
all_pairs = true
"""


def evaluate(log, folder, *more):
    (folder / "spec.toml").write_text(TOML)
    command = ["evaluate", str(log), "--out", str(folder / "page.html"), "--json", *more]
    done = CliRunner().invoke(app, [*command, "--spec", str(folder / "spec.toml")])
    assert done.exit_code == 0, done.exception
    return json.loads(done.stdout)


def due(share):
    """Log loss of a model of the first events on the others, and how many those are."""
    cut = round(share * len(EVENTS))
    first, rest = EVENTS[:cut], EVENTS[cut:]
    learner = ClickLearner(SPEC)
    learner.learn_many(first, first["click"])
    p = learner.predict_proba_many(rest)[True].to_numpy()
    loss = -np.log(np.where(rest["click"] == 1, p, 1 - p)).mean()
    return float(loss), len(rest)


@pytest.mark.parametrize("origin", ["file", "shuffled", "folder", "standard input"])
def test_a_model_of_the_first_part_is_judged_on_the_rest(tmp_path, origin):
    folder = tmp_path / "logs"
    folder.mkdir()
    log = folder / "a.csv"
    if origin == "folder":
        EVENTS[:1000].to_csv(log, index=False)
        EVENTS[1000:].to_csv(folder / "b.csv", index=False)
    else:
        EVENTS.to_csv(log, index=False)
    if origin == "shuffled":  # the part that is learned is in order; the rest comes before it
        pd.concat([EVENTS[3000:], EVENTS[:3000]]).to_csv(log, index=False)
    path = {"folder": folder, "standard input": "-"}.get(origin, log)
    with standard_input(log):
        figures = evaluate(path, tmp_path, "--train-share", "0.75", "--slices", "site")
    loss, count = due(0.75)
    assert (figures["events"], figures["learned"]["events"]) == (count, len(EVENTS) - count)
    assert figures["log_loss"] == pytest.approx(loss)
    assert figures["scored"].startswith("from 2001-09-09")
    report = json.loads((tmp_path / "page.json").read_bytes())
    assert report["total"]["calibration_ratio"] == pytest.approx(figures["calibration_ratio"])
    assert {row["field"] for row in report["slices"]} == {"site"}


def test_without_times_that_differ_it_is_cut_by_rows(tmp_path):
    EVENTS.assign(at=10**9).to_csv(tmp_path / "log.csv", index=False)
    figures = evaluate(tmp_path / "log.csv", tmp_path, "--train-share", "0.5")
    loss, _ = due(0.5)
    assert figures["scored"] == "from row 2,001 on"
    assert figures["log_loss"] == pytest.approx(loss)


@pytest.mark.parametrize(
    ("more", "said"),
    [(["--train-share", "1.5"], "share such as 0.8"), (["--slices", "nosuch"], "nosuch")],
)
def test_what_cannot_be_done_is_said(tmp_path, more, said):
    EVENTS[:100].to_csv(tmp_path / "log.csv", index=False)
    (tmp_path / "s.toml").write_text(TOML)
    command = ["evaluate", str(tmp_path / "log.csv"), "--spec", str(tmp_path / "s.toml"), *more]
    error = CliRunner().invoke(app, command).exception
    assert isinstance(error, ClicktideError)
    assert said in str(error) and "Fix: " in str(error)
    assert not (tmp_path / "evaluation.html").exists()
