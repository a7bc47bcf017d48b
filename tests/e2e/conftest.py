"""Running the command as a user would."""

import json

import pytest
from command import run_clicktide
from shop_log import standard_input


@pytest.fixture
def clicktide(tmp_path):
    """Run ``clicktide`` in an empty folder; expect an exit code; give what it printed."""

    def run(*args, code=0, stdin=b""):
        (tmp_path / ".stdin").write_bytes(stdin)
        with standard_input(tmp_path / ".stdin"):
            done = run_clicktide(*args, cwd=tmp_path)
        assert done.returncode == code, (done.stdout, done.stderr)
        return done.stdout, done.stderr

    return run


@pytest.fixture
def replay(clicktide):
    """Run ``clicktide replay ARGS --json``; give its JSON object."""

    def run(*args, **options):
        out, _ = clicktide("replay", *args, "--json", **options)
        return json.loads(out)

    return run
