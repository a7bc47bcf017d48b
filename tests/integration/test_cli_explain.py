"""``clicktide explain``: where the event comes from, what is shown, and what is refused."""

import json
import re

import pytest
import typer
from command import invoke, printed, refusal
from small_spec import spec_of

from clicktide.explain import explain
from features.errors import ClicktideError, RowError, SnapshotError, SourceError
from features.spec import FieldSpec, SourceSpec
from learning.click_learner import ClickLearner
from learning.explain import explain as explain_event
from learning.progress import Progress
from learning.snapshot import Snapshot, save_snapshot

SPEC = spec_of(
    "site",
    "ad",
    FieldSpec(names=("views",), transform="log_squared"),
    name="shop",
    source=SourceSpec(label="click", event_id="id"),
    pairs=True,
    bits=12,
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


def shown(*arguments, stdin=None):
    wide = {"COLUMNS": "200"}  # so that no cell of the table is cut
    return invoke(app, *arguments, input=stdin, env=wide).stdout


def explained(*arguments, stdin=None):
    return printed(app, *arguments, input=stdin)


def test_json_holds_the_whole_explanation(model, learner):
    found, due = explained(model, "--event", json.dumps(EVENT)), explain_event(learner, EVENT)
    assert (found["probability"], found["logit"]) == (due.probability, due.logit)
    assert len(found["contributions"]) == 6
    added = found["bias"] + sum(one["logit"] for one in found["contributions"])
    assert added == pytest.approx(found["logit"], abs=1e-5)  # float32


# The event, further options, what the table shows, and what it does not.
SEEN = ("click probability", "ad × site", "shoes × news", "37 (37 to 42)", "logit", "█")
TABLES = [
    (EVENT, (), SEEN, "4 more"),
    ({"ad": "boats"}, ("--top", 1), ("█│",), "│█"),  # to the left for less probable
    ({"ad": "shoes"}, ("--top", 1), ("│█",), "Not used"),
    (
        {"sites": "news", "click": 1, "id": 5}, (),
        ("Not used by this model: sites (did you mean site?)",), "click,",
    ),
    (
        {"site": "never met", "ad": "shoes"}, (), ("(missing)", "never met  new", "never learned"),
        "Not used",
    ),
    ({"site": "[bold]x[/]"}, (), ("[bold]x[/]",), "Not used"),
]  # fmt: skip


@pytest.mark.parametrize(("event", "more", "said", "unsaid"), TABLES)
def test_the_table_shows(model, event, more, said, unsaid):
    text = shown(model, "--event", json.dumps(event), *more)
    for part in said:
        assert part in text
    assert unsaid not in text


def test_top_limits_the_table_and_sums_the_rest(model, learner):
    text = shown(model, "--event", json.dumps(EVENT), "--top", 2)
    rest = sum(one.logit for one in explain_event(learner, EVENT).contributions[2:])
    assert "4 more" in text and f"{rest:+.4f}" in text


def test_the_event_is_read_from_a_file_or_standard_input(model, tmp_path):
    text = json.dumps(EVENT)
    (tmp_path / "event.json").write_text(text)
    given = explained(model, "--event", text)
    assert explained(model, "--event", f"@{tmp_path}/event.json") == given
    assert explained(model, "--event", "-", stdin=text) == given


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


NO_OBJECT = ["{site: news}", "[1]", "7", "@no/such/file", ""]
REFUSED = [
    (("--from", "log.csv", "--row", 2), ClicktideError, "row 2.*row_too_short"),
    (("--from", "log.csv", "--row", 4), RowError, "views"),
    *((("--from", "log.csv", "--row", n), ClicktideError, "row") for n in (5, 6, 999)),
    (("--from", "."), ClicktideError, "one of its files"),
    (("--from", "no.csv"), SourceError, "no.csv"),
    *(((*both,), ClicktideError, "--event JSON, or --from LOG")
      for both in ([], ["--event", "{}", "--from", "log.csv"])),
    *((("--event", text), ClicktideError, "Fix:") for text in NO_OBJECT),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "kind", "said"), REFUSED)
def test_what_cannot_be_explained_is_refused(model, log, monkeypatch, arguments, kind, said):
    monkeypatch.chdir(log.parent)
    assert re.search(said, refusal(app, model, *arguments, kind=kind))


def test_a_folder_without_a_model_is_said(tmp_path):
    refusal(app, tmp_path, "--event", "{}", kind=SnapshotError)
