"""The pages of LLVM's code leave a process's memory, and kernels compile and run as before."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives pages back")

_PROGRAM = """
from pathlib import Path
import numba

from clicktide.process_resources import release_compiler

def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

double = numba.njit(lambda x: 2 * x)
assert double(1) == 2
before = resident_mib()
release_compiler()
released = before - resident_mib()
assert double(2) == 4  # compiled before
assert double(1.5) == 3.0  # compiled now
print(released)
"""


def test_releasing_the_compiler_takes_its_code_out_of_memory_and_breaks_no_kernel():
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    run = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) > 20
