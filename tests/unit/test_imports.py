"""What a process imports when it starts: each import is paid at every start of every process."""

import platform
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from clicktide.cli import COMMANDS, app

HEAVY = {"numba", "pandas", "pyarrow", "river", "scipy", "mlflow", "matplotlib", "fastapi"}
COMMAND = """
import sys
from clicktide.cli import main
sys.argv = ["clicktide", *{}]
try:
    main()
except SystemExit:
    pass
"""
REPLAY = COMMAND.format(["replay", "sim:stationary?events=100"])
WORKER = """
from clicktide.serving_worker import state_of
from clicktide.stream_opening import open_stream
stream = open_stream()
state = state_of(stream, stream.serve_settings(), stream.stream_settings())
for close in state.closing:
    close()
"""


def modules_after(code, folder):
    """The modules that a new process has imported after some code."""
    code += "\nimport sys; print(*sys.modules, file=sys.stderr)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


def imported_by(code, folder):
    """The top-level modules of those."""
    return {name.partition(".")[0] for name in modules_after(code, folder)}


@pytest.mark.parametrize(
    ("code", "without"),
    [
        pytest.param(COMMAND.format(["--help"]), HEAVY | {"numpy", "rich", "msgspec"}, id="help"),
        pytest.param(COMMAND.format(["spec", "check", "market"]), HEAVY, id="spec check"),
        pytest.param("import clicktide.status, clicktide.events", HEAVY, id="status, events"),
        pytest.param("import clicktide.up, clicktide.serve", HEAVY, id="up, serve"),
        pytest.param("import clicktide.stream_processes, streaming.join_process", HEAVY, id="join"),
        pytest.param(
            "import streaming.train_process, streaming.count_process, monitoring.watch.process, "
            "clicktide.replay",
            HEAVY - {"numba", "scipy", "pyarrow"},
            id="train, count, monitor, replay",
        ),
        pytest.param(
            REPLAY, HEAVY - {"numba", "pyarrow"} | {"ssl"}, id="a replay that has learned"
        ),
        pytest.param(
            WORKER, {"pandas", "river", "mlflow", "matplotlib"}, id="a worker that has scored"
        ),
    ],
)
def test_a_process_imports_no_more_than_it_needs(code, without, tmp_path):
    (tmp_path / "run").mkdir()
    assert not imported_by(code, tmp_path) & without


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others keep no freed memory")
def test_arrow_takes_its_memory_where_freed_memory_is_kept(tmp_path):
    code = (
        f"{REPLAY}\nimport pyarrow; assert pyarrow.default_memory_pool().backend_name == 'system'"
    )
    modules_after(code, tmp_path)


def test_every_command_stands_in_help_under_a_heading_with_one_line():
    text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).stdout
    headings = {command.panel for command in COMMANDS.values()}
    assert headings == {"Learn", "Stream", "Serve", "Watch", "Models", "Tools"}
    lines = text.splitlines()
    for name, command in COMMANDS.items():
        assert f"  {name:<{max(map(len, COMMANDS))}}  {command.purpose}" in lines
    assert all(f"{heading}:" in lines for heading in headings)


def test_a_misspelt_command_is_told_the_nearest():
    done = CliRunner().invoke(app, ["repay"])
    assert done.exit_code == 2 and "'replay'" in done.output
