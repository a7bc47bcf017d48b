"""A stream's folder remembers its log, spec and settings; every command takes them from there."""

import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import typer
from command import invoke, printed

from clicktide.cli import app
from clicktide.serve import listen
from clicktide.settings import STREAM
from clicktide.stream_opening import open_stream
from clicktide.up import Stream
from features.errors import ClicktideError
from streaming.settings import StreamSettings

ROOT = Path(__file__).parents[2]
OF_A_STREAM = (
    "up", "join", "count", "train", "monitor", "challenge", "register", "serve", "status", "events",
    "report", "replay",
)  # fmt: skip
ALL = (*STREAM, "monitor", "serve", "registry")


def commands():
    """Every command with its parameters, those of groups too."""
    for name, command in typer.main.get_command(app).commands.items():
        group = getattr(command, "commands", None)
        if group is None:
            yield name, command
        else:
            yield from ((f"{name} {inner}", of) for inner, of in group.items())


def options(command):
    return {option: param for param in command.params for option in param.opts}


def test_every_command_of_a_stream_has_the_folder_and_none_has_an_older_name():
    known = {name: options(command) for name, command in commands()}
    models = [name for name in known if name.startswith("models ")]
    assert len(models) == 7
    for name in (*OF_A_STREAM, *models):
        assert "--dir" in known[name], name
    gone = {"--run", "--trainer", "--kafka", "--stream", "--set-stream", "--set-monitor"}
    assert not [name for name, has in known.items() if gone & set(has)]


@pytest.mark.parametrize("option", ["--set", "--settings", "--until-idle", "--log", "--dir"])
def test_an_option_means_the_same_wherever_it_is(option):
    found = [options(command).get(option) for name, command in commands() if name != "demo"]
    shapes = {(p.multiple, p.metavar, p.is_flag) for p in found if p is not None}
    assert len(shapes) == 1


def test_what_the_first_command_was_told_the_others_take_from_the_folder(tmp_path):
    (tmp_path / "my.toml").write_text((ROOT / "specs" / "sim.toml").read_text())
    changes = ["stream.batch=7", "join.join_window_s=60", "monitor.slices=ad,site", "serve.port=99"]
    changes += ["registry.gate.min_clicks=5"]
    spec = str(tmp_path / "my.toml")
    told = open_stream(tmp_path / "a", spec=spec, log="kafka://h:1", changes=changes, reads=ALL)
    assert "serve" not in tomllib.loads((tmp_path / "a" / "clicktide.toml").read_text())
    told.remember()  # as `up` does, when it knows that all is right
    other = open_stream(tmp_path / "a")
    assert (other.log, other.spec) == ("kafka://h:1", spec)
    assert (other.stream_settings().batch, other.stream_settings().join.join_window_s) == (7, 60)
    assert other.monitor_settings().slices == ("ad", "site")
    assert other.serve_settings().port == 99
    assert other.registry_settings().gate.min_clicks == 5


def test_a_folder_may_be_moved_with_its_log(tmp_path):
    open_stream(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    assert open_stream(tmp_path / "b").log == str(tmp_path / "b" / "log.db")


def test_a_log_of_a_file_says_which_folder_is_meant(tmp_path):
    assert open_stream(log=str(tmp_path / "a" / "log.db")).path == tmp_path / "a"


def test_a_command_without_a_spec_leaves_it_to_the_first_that_has_one(tmp_path):
    open_stream(tmp_path, needs_spec=False)
    assert "spec" not in tomllib.loads((tmp_path / "clicktide.toml").read_text())
    assert open_stream(tmp_path, spec="sim").spec == "sim"
    assert open_stream(tmp_path).spec == "sim"


def test_a_look_leaves_nothing_behind(tmp_path):
    assert open_stream(tmp_path / "a", begin=False).spec == "market"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("told", [{"spec": "nosuch"}, {"changes": ["stream.partitions=0"]}])
def test_what_is_wrong_is_not_remembered(tmp_path, told):
    with pytest.raises(ClicktideError):
        open_stream(tmp_path, reads=STREAM, **told)
    assert not (tmp_path / "clicktide.toml").exists()


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ({"spec": "sim"}, "spec of this stream is market, not sim. Fix: leave --spec out"),
        ({"log": "kafka://other:1"}, "not kafka://other:1. Fix: leave --log out"),
        ({"changes": ["stream.partitions=2"]}, "cannot change stream.partitions from 1 to 2"),
        ({"env": "CLICKTIDE_STREAM__PARTITIONS"}, "stream.partitions from 1 to 2"),
        ({"changes": ["join.late_window_s=1"]}, "cannot change join.late_window_s from 3600 to 1"),
        ({"changes": ["serve.port=1"]}, "--set serve.port=1: a setting of serve, which this comma"),
        ({"changes": ["nosuch=1"]}, "nosuch"),
        ({"changes": ["batch=5"]}, "SECTION.KEY=VALUE"),
        ({"changes": ["stream.batch"]}, "SECTION.KEY=VALUE"),
        ({"changes": ["stream.nosuch=1"]}, "nosuch"),
    ],
)
def test_what_contradicts_it_is_refused(tmp_path, monkeypatch, told, named):
    open_stream(tmp_path)
    if "env" in told:
        monkeypatch.setenv(told["env"], "2")
    given = {name: value for name, value in told.items() if name != "env"}
    with pytest.raises(ClicktideError, match="Fix: ") as error:
        open_stream(tmp_path, reads=STREAM, **given).stream_settings()
    assert named in str(error.value)


def test_of_those_that_start_at_one_time_one_decides(tmp_path):
    def start(spec):
        try:
            return open_stream(tmp_path, spec=spec).spec
        except ClicktideError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(start, ["sim", "market"] * 4))
    kept = open_stream(tmp_path).spec
    refused = [one for one in told if one != kept]
    assert len(refused) == 4 and all(f"is {kept}, not" in one for one in refused)


def test_a_file_of_before_is_refused_with_what_to_rename(tmp_path):
    (tmp_path / "stream.toml").write_text('log = "log.db"\n')
    with pytest.raises(ClicktideError, match=r"rename it to clicktide.toml; put .* \[registry\]"):
        open_stream(tmp_path)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('log = "log.db"', "'log' stands in no table"),
        ("[register]", "rename it [registry]"),
        ("[nosuch]", r"one of stream, join"),
        ("[stream", "not TOML"),
        ("[stream]\nbatches = 3", "batches"),
        ("[stream.join]\njoin_window_s = 3", "[join]"),
    ],
)
def test_a_wrong_file_says_what_to_do(tmp_path, text, named):
    (tmp_path / "clicktide.toml").write_text(text)
    with pytest.raises(ClicktideError, match="Fix: ") as error:
        open_stream(tmp_path)
    assert named in str(error.value)


def test_the_environment_goes_before_the_file_and_a_change_before_both(tmp_path, monkeypatch):
    (tmp_path / "clicktide.toml").write_text("[serve]\nworkers = 2\nport = 1\nepsilon = 0.5\n")
    monkeypatch.setenv("CLICKTIDE_SERVE__WORKERS", "3")
    monkeypatch.setenv("CLICKTIDE_SERVE__PORT", "2")
    monkeypatch.setenv("CLICKTIDE_MONITOR__WINDOWS__LEAST_CLICKS", "7")
    stream = open_stream(tmp_path, changes=["serve.port=3"], reads=ALL, begin=False)
    of = stream.serve_settings()
    assert (of.workers, of.port, of.epsilon) == (3, 3, 0.5)
    assert stream.monitor_settings().windows.least_clicks == 7
    origins = {one.key: one.origin for one in stream.effective()}
    assert origins["serve.workers"] == "CLICKTIDE_SERVE__WORKERS"
    assert origins["serve.port"] == "--set"
    assert origins["serve.epsilon"] == str(tmp_path / "clicktide.toml")
    assert origins["serve.host"] == "default"
    assert origins["monitor.windows.least_clicks"] == "CLICKTIDE_MONITOR__WINDOWS__LEAST_CLICKS"


def test_what_the_environment_says_is_not_remembered_unless_the_log_is_made_by_it(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("CLICKTIDE_STREAM__BATCH", "7")
    monkeypatch.setenv("CLICKTIDE_JOIN__MAX_PENDING", "8")
    monkeypatch.setenv("CLICKTIDE_TRAIN__SNAPSHOT_EVERY_S", "9")
    monkeypatch.setenv("CLICKTIDE_STREAM__PARTITIONS", "2")
    monkeypatch.setenv("CLICKTIDE_JOIN__JOIN_WINDOW_S", "60")
    first = open_stream(tmp_path, changes=["stream.retention_h=5"], reads=STREAM)
    assert (first.stream_settings().batch, first.stream_settings().join.max_pending) == (7, 8)
    for name in ("STREAM__BATCH", "JOIN__MAX_PENDING", "TRAIN__SNAPSHOT_EVERY_S"):
        monkeypatch.delenv(f"CLICKTIDE_{name}")
    of, usual = open_stream(tmp_path).stream_settings(), StreamSettings()
    assert (of.batch, of.train, of.join.max_pending) == (
        usual.batch, usual.train, usual.join.max_pending,
    )  # fmt: skip
    assert (of.partitions, of.join.join_window_s, of.retention_h) == (2, 60, 5)


@pytest.mark.parametrize("begun", [False, True])
def test_a_file_of_settings_names_the_log_and_the_spec(tmp_path, begun):
    file, folder = tmp_path / "mine.toml", tmp_path / "a"
    file.write_text('[stream]\nlog = "events.db"\nspec = "sim"\n')
    if begun:
        open_stream(folder, log=str(folder / "events.db"), spec="sim")
    stream = open_stream(folder, settings=file)
    assert (stream.log, stream.spec) == (str(folder / "events.db"), "sim")
    assert open_stream(folder).log == stream.log
    told = open_stream(tmp_path / "b", log="kafka://h:1", spec="market", settings=file)
    assert (told.log, told.spec) == ("kafka://h:1", "market")


def test_a_file_of_settings_that_names_another_log_is_refused(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('[stream]\nlog = "kafka://other:1"\n')
    open_stream(tmp_path / "a")
    with pytest.raises(ClicktideError, match=r"not kafka://other:1. Fix: .* --settings"):
        open_stream(tmp_path / "a", settings=file)


@pytest.mark.parametrize(
    ("host", "changes", "url"),
    [
        ("127.0.0.1", [], "http://127.0.0.1:"),
        ("0.0.0.0", ["serve.tls_cert=c", "serve.tls_key=k"], "https://localhost:"),
        ("::1", [], "http://[::1]:"),
    ],
)
def test_a_stream_says_where_it_is_asked(tmp_path, host, changes, url):
    folder = open_stream(tmp_path, changes=changes, reads=ALL)
    with listen(host, 0, "another --port") as listening:
        stream = Stream(folder, None, False, listening)
        assert stream.url == f"{url}{listening.getsockname()[1]}"


def test_the_settings_are_printed_with_their_origins(tmp_path):
    url = "redis://me:secret@h:1"
    arguments = ("settings", "--dir", tmp_path, "--set", f"stream.redis={url}")
    shown = invoke(app, *arguments).stdout
    assert "secret" not in shown
    lines = [line.split() for line in shown.splitlines()]
    assert ["serve.workers", "1", "default"] in lines
    assert ["stream.log", f'"{tmp_path}/log.db"', "default"] in lines
    told = printed(app, *arguments)
    assert told["join.join_window_s"] == {"value": 600.0, "origin": "default"}
    assert told["stream.redis"]["origin"] == "--set"
    assert not list(tmp_path.iterdir())
