"""``clicktide explain``: where the event comes from, what is shown, and what is refused."""

import json

import pytest
import typer
from typer.testing import CliRunner

from clicktide.explain import explain
from features.errors import ClicktideError, RowError, SnapshotError, SourceError
from features.spec import CrossSpec, FieldSpec, HashSpec, SourceSpec, Spec
from learning.click_learner import ClickLearner
from learning.explain import explain as explain_event
from learning.progress import Progress
from learning.snapshot import Snapshot, save_snapshot

SPEC = Spec(
    name="shop",
    source=SourceSpec(label="click", event_id="id"),
    fields=(
        FieldSpec(names=("site", "ad")),
        FieldSpec(names=("views",), transform="log_squared"),
    ),
    crosses=CrossSpec(all_pairs=True),
    hash=HashSpec(bits=12, cross_bits=12),
)
EVENT = {"site": "news", "ad": "shoes", "views": 37}
app = typer.Typer()
app.command()(explain)


@pytest.fixture(scope="module")
def learner():
    learner = ClickLearner(SPEC)
    for i in range(200):
        site, ad = ("news", "mail")[i % 2], ("shoes", "boats", "cars")[i % 3]
        learner.learn_one({"site": site, "ad": ad, "views": i % 50}, ad == "shoes")
    return learner


@pytest.fixture(scope="module")
def model(learner, tmp_path_factory):
    return save_snapshot(tmp_path_factory.mktemp("model"), Snapshot(learner, Progress()))


def invoke(*arguments, stdin=None):
    # wide, so that no cell of the table is cut
    environment = {"COLUMNS": "200"}
    return CliRunner().invoke(app, [str(a) for a in arguments], input=stdin, env=environment)


def explained(*arguments, stdin=None):
    result = invoke(*arguments, "--json", stdin=stdin)
    assert result.exit_code == 0, result.output
    explanation = json.loads(result.stdout)
    return explanation


def test_json_holds_the_whole_explanation(model, learner):
    found, due = explained(model, "--event", json.dumps(EVENT)), explain_event(learner, EVENT)
    assert (found["probability"], found["logit"]) == (due.probability, due.logit)
    assert len(found["contributions"]) == 6
    added = found["bias"] + sum(one["logit"] for one in found["contributions"])
    assert added == pytest.approx(found["logit"], abs=1e-5)  # float32


def test_the_table_names_fields_crosses_values_and_buckets(model):
    shown = invoke(model, "--event", json.dumps(EVENT)).stdout
    for said in ("click probability", "ad × site", "shoes × news", "37 (37 to 42)", "logit", "█"):
        assert said in shown


def test_top_limits_the_table_and_sums_the_rest(model, learner):
    shown = invoke(model, "--event", json.dumps(EVENT), "--top", 2).stdout
    rest = sum(one.logit for one in explain_event(learner, EVENT).contributions[2:])
    assert "4 more" in shown
    assert f"{rest:+.4f}" in shown


def test_the_bar_points_left_for_less_probable_and_right_for_more(model):
    shown = invoke(model, "--event", '{"ad": "boats"}', "--top", 1).stdout
    assert "█│" in shown
    assert "│█" not in shown
    assert "│█" in invoke(model, "--event", '{"ad": "shoes"}', "--top", 1).stdout


def test_the_event_is_read_from_a_file_or_standard_input(model, tmp_path):
    text = json.dumps(EVENT)
    (tmp_path / "event.json").write_text(text)
    given = explained(model, "--event", text)
    assert explained(model, "--event", f"@{tmp_path}/event.json") == given
    assert explained(model, "--event", "-", stdin=text) == given


def test_keys_that_the_model_does_not_use_are_noted_with_a_hint(model):
    shown = invoke(model, "--event", '{"sites": "news", "click": 1, "id": 5}').stdout
    assert "Not used by this model: sites (did you mean site?)" in shown
    assert "click," not in shown


def test_absent_fields_are_shown_as_missing_and_unlearned_values_as_new(model):
    shown = invoke(model, "--event", '{"site": "never met", "ad": "shoes"}').stdout
    assert "(missing)" in shown
    assert "never met  new" in shown
    assert "never learned" in shown


def test_a_value_that_looks_like_markup_is_shown_as_it_stands(model):
    assert "[bold]x[/]" in invoke(model, "--event", '{"site": "[bold]x[/]"}').stdout


# from a log


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("id,site,ad,views\n1,mail,boats,1\n2,broken\n3,news,shoes,37\n4,mail,cars,x\n")
    return path


@pytest.mark.parametrize("row", [1, 3])
def test_a_row_of_a_log_is_read_by_the_models_spec(model, log, row):
    event = {1: {"site": "mail", "ad": "boats", "views": 1}, 3: EVENT}[row]
    found = explained(model, "--from", log, "--row", row)
    assert found == explained(model, "--event", json.dumps(event))


def test_a_row_that_is_rejected_is_said_with_the_reason(model, log):
    error = invoke(model, "--from", log, "--row", 2).exception
    assert isinstance(error, ClicktideError)
    assert "row 2" in str(error)
    assert "row_too_short" in str(error)


def test_a_row_with_a_value_that_the_spec_does_not_allow_is_said(model, log):
    assert isinstance(invoke(model, "--from", log, "--row", 4).exception, RowError)


@pytest.mark.parametrize("row", [5, 6, 999])
def test_a_row_past_the_end_is_said(model, log, row):
    error = invoke(model, "--from", log, "--row", row).exception
    assert isinstance(error, ClicktideError)
    assert "row" in str(error)


def test_a_log_laid_out_otherwise_is_read_by_the_spec_given(model, tmp_path):
    (tmp_path / "log.txt").write_text("news;shoes;37;1\n")
    (tmp_path / "spec.toml").write_text(
        """name = "elsewhere"
        source.label = "click"
        source.format = "csv"
        source.separator = ";"
        source.header = false
        source.columns = ["site", "ad", "views", "click"]
        fields = [{names = ["site", "ad"]}, {names = ["views"], transform = "log_squared"}]
        crosses.all_pairs = true
        hash = {bits = 12, cross_bits = 12}
        """
    )
    found = explained(model, "--from", tmp_path / "log.txt", "--spec", tmp_path / "spec.toml")
    assert found == explained(model, "--event", json.dumps(EVENT))


def test_a_folder_as_log_is_refused(model, log):
    error = invoke(model, "--from", log.parent).exception
    assert isinstance(error, ClicktideError)
    assert "one of its files" in str(error)


# refused


@pytest.mark.parametrize("both", [[], ["--event", "{}", "--from", "log.csv"]])
def test_just_one_of_event_and_from_must_be_given(model, both):
    error = invoke(model, *both).exception
    assert isinstance(error, ClicktideError)
    assert "--event JSON, or --from LOG" in str(error)


@pytest.mark.parametrize("text", ["{site: news}", "[1]", "7", "@no/such/file", ""])
def test_what_is_no_json_object_is_refused_with_the_fix(model, text):
    error = invoke(model, "--event", text).exception
    assert isinstance(error, ClicktideError)
    assert "Fix:" in str(error)


def test_a_folder_without_a_model_is_said(tmp_path):
    assert isinstance(invoke(tmp_path, "--event", "{}").exception, SnapshotError)


def test_a_log_that_is_not_there_is_said(model, tmp_path):
    assert isinstance(invoke(model, "--from", tmp_path / "no.csv").exception, SourceError)


def test_help_gives_an_example():
    assert "clicktide explain model --event" in invoke("--help").stdout
