"""Real servers for the integration tests.

``CLICKTIDE_TEST_KAFKA=host:port`` uses a running broker, ``CLICKTIDE_TEST_KAFKA=start`` starts one
from Maven Central (``make test-kafka``), unset skips. ``CLICKTIDE_REQUIRE_KAFKA=1`` makes it an
error, not a skip, when there is none to be had.
"""

import fcntl
import importlib.util
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

BROKER = Path(__file__).parents[1] / "kafka" / "broker.py"


def _load_broker():
    spec = importlib.util.spec_from_file_location("clicktide_test_broker", BROKER)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def kafka(tmp_path_factory):
    """``host:port`` of a real broker, one for all workers of the run."""
    given = os.environ.get("CLICKTIDE_TEST_KAFKA")
    if not given:
        pytest.skip("no Kafka asked for: make test-kafka starts one")
    if given != "start":
        yield given
        return
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    with _shared_broker(root / "kafka") as bootstrap:
        yield bootstrap


@contextmanager
def _shared_broker(folder):
    """The first worker starts it, and stops it when no other uses it any more."""
    folder.mkdir(exist_ok=True)
    address, me, cluster = folder / "address", folder / f"{os.getpid()}.user", None
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not address.exists():
            cluster = _start_or_skip()
            address.write_text(cluster.bootstrap)
        me.touch()
    try:
        yield address.read_text()
    finally:
        me.unlink()
        if cluster is not None:
            _wait_for_others(folder)
            cluster.stop()


def _wait_for_others(folder):
    while any(_runs(int(user.stem)) for user in folder.glob("*.user")):
        time.sleep(0.1)


def _runs(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _start_or_skip():
    broker = _load_broker()
    try:
        return broker.start_broker()
    except broker.BrokerError as error:
        if os.environ.get("CLICKTIDE_REQUIRE_KAFKA"):
            raise
        message = f"NOT TESTED AGAINST KAFKA: no broker could be had: {error}"
        pytest.skip(message if os.environ.get("NO_COLOR") else f"\033[1;31m{message}\033[0m")
