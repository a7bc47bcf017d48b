"""The ``clicktide`` command as a user types it, in this process: what it says and its exit code.

A process of its own costs seconds of start each time. Where the process is the point (it is killed,
interrupted, measured, or runs beside another) a test starts one.
"""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import typer
from typer.testing import CliRunner

from clicktide import cli
from features.errors import ClicktideError

INTERRUPTED = 130


def run_clicktide(*arguments, cwd=None, stdin=b""):
    """Run ``clicktide ARGUMENTS`` in a folder; gives stdout and stderr as text."""
    arguments = ["clicktide", *map(str, arguments)]
    streams = {
        "stdin": io.TextIOWrapper(io.BytesIO(stdin)),
        "stdout": io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True),
        "stderr": io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd or Path.cwd())
        patch.setenv("COLUMNS", "200")
        patch.setenv("NO_COLOR", "1")
        patch.setattr(cli, "do_without_probed", lambda: None)  # others here use pandas
        patch.setattr(os, "nice", lambda more: 0)  # these tests' process gives way to nobody
        patch.setattr(sys, "argv", arguments)
        for name, stream in streams.items():
            patch.setattr(sys, name, stream)
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        if code == INTERRUPTED:  # so were the tests
            raise KeyboardInterrupt
    out, err = (streams[name].buffer.getvalue().decode() for name in ("stdout", "stderr"))
    return CompletedProcess(arguments, code, out, err)


def clicktide_process(*arguments, cwd=None, **options):
    """The same in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "clicktide", *map(str, arguments)],
        capture_output=True, text=True, cwd=cwd, check=False,
        env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}, **options,
    )  # fmt: skip


def parsed(arguments):
    """The parameters that the real command line makes of these arguments."""
    group = typer.main.get_command(cli.app)
    name, *rest = arguments
    command = group.commands[name]
    with command.make_context(name, list(rest)) as context:
        return context.params


def invoke(app, *arguments, **options):
    """A command of ``typer`` with these arguments, whatever they are: its exit code and output."""
    return CliRunner().invoke(app, [*map(str, arguments)], **options)


def refusal(app, *arguments, kind=ClicktideError):
    """What the error says that a command ends with."""
    error = invoke(app, *arguments).exception
    assert isinstance(error, kind), error
    return str(error)


def printed(app, *arguments, **options):
    """The JSON object that a command prints."""
    result = invoke(app, *arguments, "--json", **options)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)
