"""What a long-running process logs: one record a line, as text or JSON, libraries' too."""

import importlib.metadata
import json
import logging
import sys
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

import clicktide
from clicktide.cli import app
from clicktide.process_log import FORMAT, LEVEL, as_record, begin_log, message_of, write_error

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """The logging of the test run itself comes back."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setenv("MLFLOW_CONFIGURE_LOGGING", "false")
    for name in (FORMAT, LEVEL):
        monkeypatch.delenv(name, raising=False)
    yield
    root.handlers = handlers
    root.setLevel(level)
    logging.getLogger("clicktide").setLevel(logging.NOTSET)


def boom():
    raise ValueError("two\nlines")


def logged(capsys, process="train"):
    """Everything a process may log: its own, a library's, its end by an error."""
    say = begin_log(process)
    say("train: saved at 5 events")
    logging.getLogger("uvicorn.error").warning("odd\nrequest")
    logging.getLogger("mlflow").info("not wanted")
    try:
        boom()
    except ValueError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    return capsys.readouterr().err.splitlines()


def test_a_record_is_a_line_of_time_level_process_and_message(capsys):
    own, library, end = logged(capsys)
    assert own.partition(" ")[2] == "INFO train: saved at 5 events"
    assert library.partition(" ")[2] == "WARNING train: uvicorn.error: odd\\nrequest"
    assert end.partition(" ")[2].startswith("CRITICAL train: ended by an error of its own: Trace")
    assert end.endswith("ValueError: two\\nlines")


def test_as_json_it_is_an_object_a_line(capsys, monkeypatch):
    monkeypatch.setenv(FORMAT, "json")
    own, library, end = map(json.loads, logged(capsys))
    time = own.pop("time")
    assert own == {"level": "INFO", "process": "train", "message": "saved at 5 events"}
    assert time.endswith("+00:00") and library["message"] == "uvicorn.error: odd\nrequest"
    assert "in boom" in end["trace"]
    assert write_error("no such spec")
    assert json.loads(capsys.readouterr().err)["level"] == "ERROR"


def test_the_level_is_that_asked_for(capsys, monkeypatch):
    monkeypatch.setenv(LEVEL, "warning")
    assert len(logged(capsys)) == 2
    monkeypatch.setenv(LEVEL, "debug")
    assert len(logged(capsys)) == 4


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_line_of_another_program_becomes_a_record_and_one_of_ours_stays(
    form, capsys, monkeypatch
):
    monkeypatch.setenv(FORMAT, form)
    for line in logged(capsys):
        assert as_record("x", line) == line
    record = as_record("valkey", "1:M ready")
    assert message_of(record) == "1:M ready" and as_record("x", record) == record
    assert message_of(as_record("train", "error: no")) == "no"


def test_the_version_is_that_of_the_package():
    version = importlib.metadata.version("clicktide")
    assert clicktide.__version__ == version
    assert CliRunner().invoke(app, ["--version"]).stdout == f"clicktide {version}\n"


def test_every_package_says_that_it_has_types():
    for name in [
        "clicktide",
        "serving",
        "monitoring",
        "streaming",
        "market",
        "learning",
        "features",
    ]:
        assert (ROOT / name / "py.typed").exists()
