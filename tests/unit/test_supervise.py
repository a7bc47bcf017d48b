"""The supervisor's decisions, with a settable clock and processes that only pretend."""

import pytest

from clicktide.supervisor import Child, Supervisor, wait_s
from features.errors import ClicktideError


class Fake:
    """A process that ends when told to."""

    def __init__(self, pid, world, name):
        self.pid, self.world, self.name = pid, world, name
        self.code, self.said = None, "partitions: Fix: give at least 1"
        self.stubborn = False

    def poll(self):
        return self.code

    def terminate(self):
        self.world.events.append(f"term {self.name}")
        if not self.stubborn:
            self.code = 0

    def kill(self):
        if self.code is None:
            self.world.events.append(f"kill {self.name}")
            self.code = -9

    def last_line(self):
        return self.said


class World:
    """Time that passes only while somebody waits."""

    def __init__(self, *names, **options):
        self.now, self.events, self.said, self.processes = 0.0, [], [], {}
        self.there = True
        self.supervisor = Supervisor(
            [Child(name, [name], needs=lambda: self.there) for name in names],
            spawn=self.spawn,
            clock=lambda: self.now,
            wait=self.wait,
            say=lambda name, line: self.said.append(f"{name}: {line}"),
            **options,
        )

    def spawn(self, child):
        self.events.append(f"start {child.name}")
        process = Fake(100 + len(self.events), self, child.name)
        self.processes[child.name] = process
        return process

    def wait(self, seconds):
        self.now += seconds

    def starts(self, name="join"):
        return self.supervisor.state()[name]["starts"]

    def die(self, code, name="join"):
        """End a child and let the supervisor see it."""
        self.processes[name].code = code
        self.supervisor.step()


def test_children_start_in_the_order_given():
    world = World("valkey", "join", "train")
    assert world.supervisor.step()
    assert world.events == ["start valkey", "start join", "start train"]
    assert not world.supervisor.step()


@pytest.mark.parametrize(
    ("code", "end"), [(-9, "was killed by SIGKILL"), (0, "ended with exit code 0")]
)
def test_a_child_that_ends_is_started_again_and_it_is_said(code, end):
    world = World("join", "train")
    world.supervisor.step()
    world.die(code)
    assert world.said[-1] == f"join: {end}; starts again in 0.2 s"
    world.supervisor.step()
    assert world.starts() == 1
    world.now += 0.2
    world.supervisor.step()
    assert world.starts() == 2
    assert world.starts("train") == 1
    assert "again (start 2)" in world.said[-1]


def test_what_a_dead_child_leaves_behind_is_killed():
    world = World("serve", "join")
    world.supervisor.step()
    killed = []
    for name, process in world.processes.items():
        process.kill = lambda name=name: killed.append(name)
    world.die(-9, "serve")
    assert killed == ["serve"]


def test_waits_double_up_to_the_bound():
    world = World("join")
    waits = []
    for _ in range(8):
        while world.supervisor.state()["join"]["pid"] is None:
            world.now += 0.1
            world.supervisor.step()
        world.die(1)
        waits.append(float(world.said[-1].split()[-2]))
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10]


def test_a_healthy_time_begins_the_waits_anew():
    world = World("join")
    world.supervisor.step()
    for _ in range(3):
        world.die(1)
        world.now += 10
        world.supervisor.step()
    world.now += 30
    world.die(1)
    assert world.said[-1].endswith("starts again in 0.2 s")


def test_three_refusals_in_a_row_stop_all_with_the_childs_own_words():
    world = World("join")
    with pytest.raises(ClicktideError, match=r"join refused to run 3 times: partitions: Fix"):
        for _ in range(5):
            world.now += 10
            world.supervisor.step()
            world.die(2)
    assert world.starts() == 3


@pytest.mark.parametrize("between", [1, 0, -9])
def test_another_end_between_refusals_counts_them_anew(between):
    world = World("join")
    for code in (2, 2, between, 2, 2):
        world.now += 10
        world.supervisor.step()
        world.die(code)
    assert world.starts() == 5


def test_a_refusal_after_a_healthy_time_counts_anew():
    world = World("join")
    for _ in range(5):
        world.now += 10
        world.supervisor.step()
        world.now += 30
        world.die(2)
    assert world.starts() == 5


def test_drain_stops_all_and_then_the_servers_they_use():
    world = World("valkey", "join", "train")
    world.supervisor.step()
    world.supervisor.drain(last=["valkey"])
    assert world.events[3:] == ["term join", "term train", "term valkey"]
    assert world.said[-3:] == ["join: stopped", "train: stopped", "valkey: stopped"]
    assert all(at["pid"] is None for at in world.supervisor.state().values())


def test_a_child_that_does_not_stop_is_killed_loudly_after_its_time():
    world = World("join", "train", drain_s=20)
    world.supervisor.step()
    world.processes["join"].stubborn = True
    world.supervisor.drain()
    assert world.events[2:] == ["term join", "term train", "kill join"]
    assert 20 <= world.now < 21
    assert any("join: KILLED: it did not stop in 20 s" in line for line in world.said)


def test_a_second_signal_does_not_wait():
    world = World("join")
    world.supervisor.step()
    world.processes["join"].stubborn = True
    world.supervisor.drain(hurry=lambda: True)
    assert world.now < 1
    assert "KILLED: asked to hurry" in world.said[-1]


def test_what_waits_to_be_started_again_is_not_stopped():
    world = World("join")
    world.supervisor.step()
    world.die(1)
    world.supervisor.drain()
    assert world.events == ["start join"]


def test_run_ends_when_asked_and_tells_of_changes():
    world, changes = World("join"), []
    world.supervisor.run(lambda: world.now > 1, lambda: changes.append(world.now))
    assert changes == [0.0]


def test_a_long_row_of_failures_does_not_overflow():
    assert wait_s(10_000) == 10


def test_a_child_waits_for_what_it_needs_and_is_not_blamed_for_ending_without_it():
    world = World("count")
    world.there = False
    assert not world.supervisor.step()
    for _ in range(5):
        world.there = True
        world.now += 10
        world.supervisor.step()
        world.there = False
        world.die(2, "count")
    assert world.starts("count") == 5
