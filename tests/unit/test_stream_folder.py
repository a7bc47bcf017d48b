"""A stream's folder remembers its log, spec and settings; every command takes them from there."""

import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import typer

from clicktide.cli import COMMANDS, app
from clicktide.stream_folder import STREAM, open_stream
from features.errors import ClicktideError

ROOT = Path(__file__).parents[2]
OF_A_STREAM = (
    "up", "join", "count", "train", "monitor", "challenge", "register", "serve", "status", "events",
    "report", "replay",
)  # fmt: skip
ALL = (STREAM, "monitor", "serve", "register")


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
    changes = ["batch=7", "join.join_window_s=60", "monitor.slices=ad,site", "serve.port=99"]
    changes += ["register.gate.min_clicks=5"]
    spec = str(tmp_path / "my.toml")
    told = open_stream(tmp_path / "a", spec=spec, log="kafka://h:1", changes=changes, reads=ALL)
    assert "serve" not in tomllib.loads((tmp_path / "a" / "stream.toml").read_text())
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
    assert "spec" not in tomllib.loads((tmp_path / "stream.toml").read_text())
    assert open_stream(tmp_path, spec="sim").spec == "sim"
    assert open_stream(tmp_path).spec == "sim"


def test_a_look_leaves_nothing_behind(tmp_path):
    assert open_stream(tmp_path / "a", begin=False).spec == "market"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("told", [{"spec": "nosuch"}, {"changes": ["partitions=0"]}])
def test_what_is_wrong_is_not_remembered(tmp_path, told):
    with pytest.raises(ClicktideError):
        open_stream(tmp_path, reads=[STREAM], **told)
    assert not (tmp_path / "stream.toml").exists()


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ({"spec": "sim"}, "spec of this stream is market, not sim. Fix: leave --spec out"),
        ({"log": "kafka://other:1"}, "not kafka://other:1. Fix: leave --log out"),
        ({"changes": ["partitions=2"]}, "cannot change partitions from 1 to 2"),
        ({"changes": ["join.late_window_s=1"]}, "cannot change join.late_window_s from 1800 to 1"),
        (
            {"changes": ["serve.port=1"]},
            "--set serve.port=1: a setting of serve, which this command",
        ),
        ({"changes": ["nosuch=1"]}, "nosuch"),
        ({"changes": ["batch"]}, "KEY=VALUE"),
    ],
)
def test_what_contradicts_it_is_refused(tmp_path, told, named):
    open_stream(tmp_path)
    with pytest.raises(ClicktideError, match="Fix: ") as error:
        open_stream(tmp_path, reads=[STREAM], **told).stream_settings()
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


def test_every_command_of_a_stream_is_among_the_commands():
    assert set(OF_A_STREAM) < set(COMMANDS)
