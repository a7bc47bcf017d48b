"""``clicktide spec``: what check says of good and bad specs, what init writes, what list shows."""

import json

import pytest
from command import invoke, refusal

from clicktide.spec_commands import app
from features.errors import SourceError, SpecError
from features.spec_file import load_spec, shipped_specs
from learning.click_learner import ClickLearner

GOOD = """
name = "small"
source.label = "click"
fields = [{names = ["site", "ad", "user"]}]
crosses.all_pairs = true
hash = {bits = 10, cross_bits = 8}
"""
BAD = GOOD.replace("all_pairs", "all_pears")


def spec(*arguments):
    return invoke(app, *arguments)


@pytest.fixture
def files(tmp_path):
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text(GOOD)
    bad.write_text(BAD)
    return good, bad


# check


def test_a_good_spec_is_ok_with_its_fields_crosses_tables_and_memory(files):
    result = spec("check", files[0])
    assert result.exit_code == 0
    assert result.stdout.startswith("ok ")
    for said in ("small", "3 fields", "3 crosses", "1,024 buckets", "256 for crosses", "MB"):
        assert said in result.stdout


def test_a_bad_spec_is_told_with_line_key_and_fix_and_exits_2(files):
    result = spec("check", files[1])
    assert result.exit_code == 2
    assert result.stdout == ""
    for said in ("bad.toml", "line 5", "all_pears", "Fix:", "all_pairs"):
        assert said in result.stderr


def test_all_specs_are_checked_though_one_is_bad(files):
    good, bad = files
    result = spec("check", bad, good, "sim")
    assert result.exit_code == 2
    assert result.stdout.count("ok ") == 2


def test_json_is_one_object_a_spec(files):
    good, bad = files
    result = spec("check", good, bad, "--json")
    assert result.exit_code == 2
    first, second = map(json.loads, result.stdout.splitlines())
    assert (first["ok"], first["fields"], first["crosses"]) == (True, 3, 3)
    assert (second["ok"], second["line"], second["field"]) == (False, 5, "crosses.all_pears")
    assert second["error"]


@pytest.mark.parametrize("change", ["", 'learner.kind = "single"', "crosses.all_pairs = false"])
def test_the_memory_told_is_that_of_the_weights(tmp_path, change):
    key = change.partition(" =")[0]
    lines = [line for line in GOOD.splitlines() if not key or not line.startswith(key)]
    file = tmp_path / "spec.toml"
    file.write_text("\n".join([*lines, change]).replace("bits = 10", "bits = 16"))
    told = json.loads(spec("check", file, "--json").stdout)["memory_mb"]
    weights = ClickLearner(load_spec(file)).weights
    assert told == pytest.approx((weights.fields.nbytes + weights.crosses.nbytes) / 1e6, abs=0.05)


# init


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "day 1.clicks.csv"
    rows = [f"{i % 3 == 0:d},news{i % 4},ad{i % 5}" for i in range(50)]
    path.write_text("\n".join(["click,site,ad", *rows, ""]))
    return path


def test_init_prints_a_spec_that_reads_the_log_and_the_next_step_apart(log):
    result = spec("init", log)
    assert result.exit_code == 0
    assert f"clicktide replay '{log}'" in result.stderr
    path = log.with_name("printed.toml")
    path.write_text(result.stdout)
    found = load_spec(path)
    assert (found.name, found.source.label) == ("day_1", "click")
    assert found.fields[0].names == ("site", "ad")


def test_init_writes_what_it_would_print_and_names_the_replay_command(log):
    out = log.with_name("new") / "mine.toml"
    result = spec("init", log, "--out", out)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert out.read_text() == spec("init", log).stdout
    assert f"--spec {out}" in result.stderr
    assert [path.name for path in out.parent.iterdir()] == ["mine.toml"]


def test_init_refuses_to_replace_a_file_unless_forced(log):
    out = log.with_name("mine.toml")
    out.write_text("edited by hand")
    assert "--force" in refusal(app, "init", log, "--out", out)
    assert out.read_text() == "edited by hand"
    assert spec("init", log, "--out", out, "--force").exit_code == 0
    assert out.read_text() != "edited by hand"


def test_the_label_may_be_named_and_its_values_explained(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("end,ad\nwon,x\nlost,y\nlate,z\n")
    result = spec("init", path, "--label", "end", "--label-values", "won=1,*=0")
    assert 'label_values = { "won" = 1, "*" = 0 }' in result.stdout
    for options in (["--label", "end"], ["--label", "no"], ["--label-values", "won=1,*=0"]):
        refusal(app, "init", path, *options, kind=SpecError)
    assert str(path) in refusal(app, "init", path, kind=SpecError)


def test_a_log_or_a_place_that_is_not_there_is_said(log):
    refusal(app, "init", log.with_name("no.csv"), kind=SourceError)
    assert "cannot be written" in refusal(app, "init", log, "--out", log / "mine.toml")


# list


def test_list_shows_each_shipped_spec_with_its_description():
    shown = spec("list").stdout
    described = json.loads(spec("list", "--json").stdout)
    assert list(described) == shipped_specs()
    for name, description in described.items():
        assert name in shown
        assert description == load_spec(name).description
        assert description
