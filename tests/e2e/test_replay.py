"""``clicktide replay`` from the outside: figures, resume after a kill, Ctrl-C, disk full."""

import json
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
from command import clicktide_process
from waiting import until

from learning.snapshot import load_snapshot

SMALL = "sim:abrupt?users=500&sites=50"


def test_one_json_object_has_every_figure(replay):
    figures = replay(f"{SMALL}&events=20000")
    assert figures["events"] == 20_000
    assert figures["rejected"] == 0
    assert 0 < figures["log_loss"] < 0.5
    assert figures["normalised_entropy"] < 1
    assert 0.5 < figures["auc"] < 1
    assert figures["calibration_low"] < figures["calibration_ratio"] < figures["calibration_high"]
    assert 0 <= figures["ece"] < 0.05
    assert figures["events_per_second"] > 0
    assert figures["excess_log_loss"] > 0


def test_the_table_shows_the_figures_and_the_plot_and_model_are_there(clicktide, tmp_path):
    out, _ = clicktide(
        "replay", SMALL, "--events", "3000", "--plot", "curve.png", "--save", "model"
    )
    for word in ("log loss", "calibration ratio", "AUC", "3,000", "curve.png", "model"):
        assert word in out
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert load_snapshot(tmp_path / "model").progress.overall.events == 3000


def test_excess_log_loss_falls_as_events_come_in(clicktide, tmp_path):
    clicktide("replay", "sim:stationary", "--events", "100000", "--save", "model")
    windows = load_snapshot(tmp_path / "model").progress.windows()
    excess = [window.excess_log_loss for window in windows]
    fifth = len(excess) // 5
    assert np.mean(excess[-fifth:]) < 0.75 * np.mean(excess[:fifth])


def same_model(left, right):
    a, b = load_snapshot(left), load_snapshot(right)
    np.testing.assert_array_equal(a.learner.weights.fields, b.learner.weights.fields)
    np.testing.assert_array_equal(a.learner.weights.crosses, b.learner.weights.crosses)
    for name, array in a.learner.weights.arrays.items():
        np.testing.assert_array_equal(array, b.learner.weights.arrays[name])
    np.testing.assert_array_equal(a.learner.weights.calibration, b.learner.weights.calibration)
    assert a.progress.overall.figures() == b.progress.overall.figures()
    assert a.progress.windows() == b.progress.windows()
    assert a.extra["rejected"] == b.extra["rejected"]


def labelled(clicktide, tmp_path, events=30_000):
    """A simulated log as a file, with a bad row in it, and a spec that learns quantiles."""
    clicktide("simulate", SMALL, "--events", events, "--examples", "log.csv")
    lines = (tmp_path / "log.csv").read_text().splitlines(keepends=True)
    lines.insert(17_000, "not,a,row\n")
    (tmp_path / "log.csv").write_text("".join(lines))
    (tmp_path / "spec.toml").write_text(
        'name = "t"\n[source]\nlabel = "click"\n[crosses]\nall_pairs = true\n'
        '[[fields]]\nnames = ["user", "ad", "site"]\n'
        '[[fields]]\nnames = ["when"]\ncolumn = "timestamp"\ntransform = "quantile"\n'
        "buckets = 8\nlearn_from = 20000\n[hash]\nbits = 16\ncross_bits = 18\n"
    )


def test_a_run_cut_in_two_equals_an_unbroken_one(clicktide, replay, tmp_path):
    labelled(clicktide, tmp_path)
    whole = replay("log.csv", "--spec", "spec.toml", "--save", "whole")
    replay("log.csv", "--spec", "spec.toml", "--save", "parts", "--events", "12345")
    parts = replay("log.csv", "--spec", "spec.toml", "--save", "parts", "--resume")
    assert whole["events"] == parts["events"] == 30_000
    assert parts["events_this_run"] == 30_000 - 12_345
    assert whole["rejected_by_reason"] == parts["rejected_by_reason"] == {"row_too_short": 1}
    same_model(tmp_path / "whole", tmp_path / "parts")


def test_killed_runs_that_resume_equal_an_unbroken_one(clicktide, tmp_path):
    labelled(clicktide, tmp_path, events=100_000)
    command = [sys.executable, "-m", "clicktide", "replay", "log.csv", "--spec", "spec.toml"]
    clicktide(*command[3:], "--save", "whole")
    command += ["--save", "killed", "--save-every", "5000", "--resume"]
    saved, rng = tmp_path / "killed" / "snapshot.json", np.random.default_rng(0)

    def last():
        return saved.stat().st_mtime_ns if saved.exists() else 0

    kills = 0
    for _ in range(4):  # each gets on by a save or two, and is killed anywhere in the next
        before = last()
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
        until(lambda b=before, p=process: last() != b or p.poll() is not None)
        time.sleep(rng.uniform(0, 0.05))
        kills += process.poll() is None
        process.kill()
        process.wait()
    assert kills >= 2
    subprocess.run(command, cwd=tmp_path, stdout=subprocess.DEVNULL, check=True)
    same_model(tmp_path / "whole", tmp_path / "killed")


def test_ctrl_c_stops_cleanly_and_saves(tmp_path):
    command = [sys.executable, "-m", "clicktide", "replay", SMALL, "--save", "model", "--json"]
    command += ["--save-every", "20000"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE)
    until((tmp_path / "model" / "snapshot.json").exists)  # it is learning
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate()
    figures = json.loads(out)
    assert process.returncode == 130
    assert figures["stopped"] is True
    assert load_snapshot(tmp_path / "model").progress.overall.events == figures["events"] > 0


def test_a_full_disk_while_saving_is_told_and_keeps_the_old_model(clicktide, tmp_path):
    clicktide("replay", SMALL, "--events", "2000", "--save", "model")
    before = (tmp_path / "model" / "snapshot.json").read_bytes()

    def small_disk():
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    options = ("--events", "20000", "--save", "model")
    done = clicktide_process("replay", SMALL, *options, cwd=tmp_path, preexec_fn=small_disk)
    said = done.stderr
    assert done.returncode == 2
    assert "could not be saved" in said and "kept" in said
    assert (tmp_path / "model" / "snapshot.json").read_bytes() == before
    assert load_snapshot(tmp_path / "model").progress.overall.events == 2000
    assert len(os.listdir(tmp_path / "model")) == 2, "the interrupted write is swept"


def test_resume_with_another_spec_is_refused(clicktide, tmp_path):
    clicktide("replay", SMALL, "--events", "1000", "--save", "model")
    _, said = clicktide(
        "replay", SMALL, "--set", "hash.seed=9", "--save", "model", "--resume", code=2
    )
    assert "another spec" in said


def test_a_file_without_a_spec_says_how_to_get_one(clicktide, tmp_path):
    (tmp_path / "log.csv").write_text("click,ad\n1,a\n")
    _, said = clicktide("replay", "log.csv", code=2)
    assert "clicktide spec init log.csv" in said


def test_a_log_of_which_no_row_can_be_used_is_an_error(clicktide, tmp_path):
    (tmp_path / "log.csv").write_text("label,site,ad\nmaybe,a,b\nperhaps,c,d\n")
    (tmp_path / "s.toml").write_text(
        'name = "s"\n[source]\nlabel = "label"\n[[fields]]\nnames = ["site", "ad"]\n'
    )
    _, said = clicktide("replay", "log.csv", "--spec", "s.toml", code=2)
    assert "bad_label" in said and "--rejects" in said


def test_a_json_array_is_told_whatever_its_name(clicktide, tmp_path):
    (tmp_path / "log.json").write_text('[{"click": 1}]')
    _, said = clicktide("replay", "log.json", "--spec", "avazu20k", code=2)
    assert "JSON array" in said
