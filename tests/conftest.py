"""Real servers for the tests that ask for them, and a red word at the end when there are none.

``CLICKTIDE_TEST_KAFKA`` unset or ``start``: one is started from Maven Central (``make kafka``
fetches it), for all workers together; ``host:port``: a running one is used; ``off``: skipped.
``CLICKTIDE_REQUIRE_KAFKA=1`` makes it an error, not a skip, when there is none to be had.

A test that cannot meet its server skips with a reason that begins ``NOT TESTED``: the end of the
run repeats those in red.
"""

import gc
import os
import shutil
import signal
import socket
import uuid
from collections import Counter
from pathlib import Path

import pytest
from broker_jars import BrokerError
from broker_keeper import held_run, shared_broker
from hypothesis import settings
from reaper import RUN, interrupt, reap, start_reaper

LOUD = "NOT TESTED"
settings.register_profile("any machine", deadline=None)  # no example fails by the clock
settings.load_profile("any machine")


def pytest_configure(config):
    """In the run's main process: whatever is started from here on ends with it."""
    if not hasattr(config, "workerinput"):
        run = held_run()
        folder = str(run.__enter__())
        os.environ[RUN] = folder
        start_reaper(folder)
        signal.signal(signal.SIGTERM, interrupt)
        config.add_cleanup(lambda: reap(folder))
        config.add_cleanup(lambda: run.__exit__(None, None, None))


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Look for no garbage in what collecting imports: it stays, and is a third of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_terminal_summary(terminalreporter):
    """Repeat what was not tested, where nobody overlooks it."""
    skipped = terminalreporter.stats.get("skipped", ())
    reasons = Counter(report.longrepr[2] for report in skipped if len(report.longrepr) == 3)
    for reason, count in reasons.items():
        if LOUD in reason:
            said = reason.removeprefix("Skipped: ")
            terminalreporter.write_line(in_red(f"{said} ({count} tests skipped)"))


def in_red(text):
    """Also where the output is no terminal, such as a CI log."""
    return text if os.environ.get("NO_COLOR") else f"\033[1;31m{text}\033[0m"


@pytest.fixture(scope="session")
def kafka_address():
    """``host:port[,host:port]`` of a broker, one for all workers of the run."""
    given = os.environ.get("CLICKTIDE_TEST_KAFKA") or "start"
    try:
        if given == "off":
            raise BrokerError("CLICKTIDE_TEST_KAFKA=off")
        return shared_broker(Path(os.environ[RUN])) if given == "start" else given
    except BrokerError as error:
        if os.environ.get("CLICKTIDE_REQUIRE_KAFKA"):
            raise
        pytest.skip(f"{LOUD} AGAINST KAFKA: no broker could be had: {error}")


@pytest.fixture
def kafka(kafka_address):
    """``host:port`` of a broker that answers; if it died, each test says so at once."""
    host, _, port = kafka_address.split(",")[0].rpartition(":")
    try:
        socket.create_connection((host, int(port)), 10).close()
    except OSError as error:
        pytest.fail(f"the broker at {kafka_address} does not answer any more: {error}")
    return kafka_address


@pytest.fixture
def kafka_url(kafka):
    """URL of a log on the shared broker that is this test's own, fixed topic names and all."""
    return f"kafka://{kafka}?prefix=t{uuid.uuid4().hex[:12]}."


@pytest.fixture(scope="session")
def redis_server():
    """Path of Debian's ``redis-server`` (``make redis-server`` has it installed)."""
    path = shutil.which("redis-server")
    if path is None:
        pytest.skip(f"{LOUD} AGAINST REDIS: no redis-server on the PATH. Fix: install Redis")
    return path


@pytest.fixture(scope="module")
def browser():
    """Chromium (``make chromium`` has it installed)."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip(f"{LOUD} IN CHROMIUM: there is none on the PATH. Fix: apt install chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        options = {"args": ["--no-sandbox"], "timeout": 60_000}
        opened = started.chromium.launch(executable_path=path, **options)
        yield opened
        opened.close()
