"""``clicktide evaluate``: what it does is replay, predict and report, one after the other."""

import json

import numpy as np
import pandas as pd
import pytest
from command import printed, refusal
from shop_log import SPEC, TOML, some_events, standard_input

from clicktide.cli import app
from learning.click_learner import ClickLearner

EVENTS = some_events(4000, 3)


def evaluate(log, folder, *more):
    (folder / "spec.toml").write_text(TOML)
    spec = ("--spec", folder / "spec.toml")
    return printed(app, "evaluate", log, "--out", folder / "page.html", *spec, *more)


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
    told = refusal(app, "evaluate", tmp_path / "log.csv", "--spec", tmp_path / "s.toml", *more)
    assert said in told and "Fix: " in told
    assert not (tmp_path / "evaluation.html").exists()
