"""The health of a process over HTTP: while it takes steps, and when it is stuck."""

import httpx
import pytest

from clicktide.health_server import HealthServer, Steps, health_server
from features.errors import ClicktideError


@pytest.fixture
def now():
    return [100.0]


@pytest.fixture
def steps(now):
    return Steps(lambda: False, lambda: now[0])


def asked(server, path="/healthz"):
    return httpx.get(f"http://127.0.0.1:{server.port}{path}", timeout=30)


def test_healthy_while_steps_are_taken_and_stuck_without(now, steps):
    with HealthServer("0", "join", steps, lambda: 12, still_s=60.0) as server:
        now[0] += 59.0
        answer = asked(server)
        assert answer.status_code == 200
        assert answer.json() == {"name": "join", "healthy": True, "step_s": 59.0, "lag": 12}
        now[0] += 2.0
        assert asked(server).status_code == 503
        assert not steps.stopping()
        assert asked(server).json()["step_s"] == 0.0
        assert asked(server).status_code == 200


def test_a_log_that_does_not_answer_makes_no_process_ill(steps):
    def lag():
        raise ClicktideError("the log is away. Fix: bring it back")

    with HealthServer("127.0.0.1:0", "train", steps, lag) as server:
        answer = asked(server)
        assert answer.status_code == 200
        assert answer.json()["lag"] is None


def test_nothing_else_is_told(steps):
    with HealthServer("0", "join", steps) as server:
        assert asked(server, "/").status_code == 404
        assert "Python" not in asked(server).headers["server"]


@pytest.mark.parametrize("address", ["x", "127.0.0.1:99999", "no.such.host.invalid:1", ""])
def test_a_wrong_address_is_told(address, steps):
    with pytest.raises(ClicktideError, match=r"--health .*Fix:"):
        HealthServer(address, "join", steps)


def test_an_address_that_is_taken_is_told(steps):
    with (
        HealthServer("0", "join", steps) as server,
        pytest.raises(ClicktideError, match="cannot be had"),
    ):
        HealthServer(str(server.port), "join", steps)


def test_without_an_address_nothing_listens(steps):
    with health_server(None, "join", steps) as nothing:
        assert nothing is None
