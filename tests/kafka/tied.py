"""Run a program that is killed when its starter ends: ``tied.py PARENT COMMAND...``.

On Linux, by the kernel, so that no kill -9 of a test run leaves a broker behind; elsewhere the
program just runs. It is the parent's *thread* that counts: start brokers from the main one.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

__all__ = ["main"]

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent, then become the command."""
    parent, *command = sys.argv[1:]
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        sys.exit("the parent ended before")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
