"""Run a command and print, as JSON, its wall time in seconds and its peak memory in bytes.

A program of its own, and a small one, because on Linux a process's peak counts the memory of
the one that started it: started from a benchmark with rows in memory, every program is big.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time


def main() -> None:
    """Start ``sys.argv[1:]``; pass on its failure."""
    start = time.perf_counter()
    process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    unit = 1 if sys.platform == "darwin" else 1024
    print(json.dumps({"seconds": seconds, "peak_bytes": usage.ru_maxrss * unit}))
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
