"""No process of a test run outlives the run, however it ends: Ctrl-C, kill, kill -9.

Whatever the run starts inherits ``CLICKTIDE_TEST_RUN``, the name of the run's folder, whoever its
parent is by then: a server's worker, a broker in a session of its own, a browser's helper. At the
end of the run what still carries it is killed; a process beside the run does so if that one dies.
"""

import contextlib
import os
import shutil
import signal
from pathlib import Path

RUN = "CLICKTIDE_TEST_RUN"


def marked(folder):
    """Process numbers of all that the run of this folder has started, and that run."""
    mark = f"{RUN}={folder}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended, or another user's
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


def reap(folder):
    """Kill them all, and what they start meanwhile."""
    while pids := [pid for pid in marked(folder) if pid != os.getpid()]:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def start_reaper(folder):
    """A process that reaps once this one has ended; whoever closes the returned pipe ends it."""
    ours, theirs = os.pipe()
    if os.fork():
        os.close(ours)
        return theirs
    os.setsid()  # Ctrl-C is for the run
    os.close(theirs)
    for descriptor in (0, 1, 2):  # a pipe that reads the run's output ends with the run
        os.close(descriptor)
    os.read(ours, 1)
    reap(folder)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def interrupt(number, frame):
    """What kill does to a run is what Ctrl-C does: fixtures end their servers in order."""
    raise KeyboardInterrupt
