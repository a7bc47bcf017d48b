"""A test run that is interrupted leaves no process behind, whatever its tests have started."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from reaper import RUN, marked
from waiting import until

TESTS = Path(__file__).parents[1]

# In a worker: a child, and a grandchild that has left its parent, session and process group.
STARTS = """
import subprocess, sys, time
from pathlib import Path

def test_that_is_interrupted():
    sleeper = [sys.executable, "-c", "import signal; signal.pause()"]
    leaver = "import subprocess; subprocess.Popen({0}, start_new_session=True)".format(sleeper)
    subprocess.run([sys.executable, "-c", leaver], check=True)
    child = subprocess.Popen(sleeper)
    import os
    Path("run").write_text(os.environ["CLICKTIDE_TEST_RUN"])
    child.wait()
"""


def heed_ctrl_c():
    """Also where these tests were begun in a shell's background, which is deaf to it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_run_leaves_no_process(tmp_path, number):
    (tmp_path / "test_it.py").write_text(STARTS)
    path = os.pathsep.join(str(TESTS / part) for part in ("", "kafka", "helpers"))
    environment = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST")}
    run = subprocess.Popen(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "xdist", "-n", "1", "-p", "conftest",
            "test_it.py",
        ],
        cwd=tmp_path, env=environment | {"PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        stdout=subprocess.PIPE, preexec_fn=heed_ctrl_c,
    )  # fmt: skip
    named = tmp_path / "run"
    until(lambda: named.exists() and named.read_text(), progress=run.poll)
    folder = named.read_text()
    assert folder != os.environ[RUN]
    assert len(marked(folder)) >= 3  # the worker, the child, and who left
    run.send_signal(number)
    run.communicate()
    until(lambda: not marked(folder) and not Path(folder).exists())
