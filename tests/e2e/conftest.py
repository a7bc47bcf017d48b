"""Running the command as a user would."""

import json
import os
import subprocess
import sys

import pytest


def run_clicktide(*args, cwd=None, stdin=None, **options):
    """The finished process of ``clicktide ARGS``."""
    return subprocess.run(
        [sys.executable, "-m", "clicktide", *map(str, args)],
        capture_output=True,
        cwd=cwd,
        input=stdin,
        timeout=300,
        env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1"},
        **options,
    )


@pytest.fixture
def clicktide(tmp_path):
    """Run ``clicktide`` in an empty folder; expect an exit code; give what it printed."""

    def run(*args, code=0, stdin=None, **options):
        done = run_clicktide(*args, cwd=tmp_path, stdin=stdin, **options)
        said = done.stdout.decode(), done.stderr.decode()
        assert done.returncode == code, said
        return said

    return run


@pytest.fixture
def replay(clicktide):
    """Run ``clicktide replay ARGS --json``; give its JSON object."""

    def run(*args, **options):
        out, _ = clicktide("replay", *args, "--json", **options)
        return json.loads(out)

    return run
