"""The replica's thread: a log that is away, has no weights yet, or has forgotten some."""

import numpy as np
import pytest
from small_spec import spec_of
from waiting import until

from learning.click_learner import ClickLearner
from serving.log_followers import ReplicaWeights
from streaming.log import LogUnavailableError, TopicPartition, open_log
from streaming.weights_topic import WEIGHTS, TrainerPosition, WeightsPublisher

SPEC = spec_of("ad", name="shop", bits=6)


class Tapped:
    """A log of which each read is told to a tap first, which may raise."""

    def __init__(self, path, tap):
        self.log, self.tap = open_log(path), tap

    def read(self, at, offset, most):
        self.tap(offset)
        return self.log.read(at, offset, most)

    def __getattr__(self, name):
        return getattr(self.log, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.log.close()


class Publishing:
    def __init__(self, path):
        self.log, self.learner, self.now, self.events = open_log(path), ClickLearner(SPEC), 0.0, 0
        self.publisher = WeightsPublisher(
            self.log, self.learner, every_s=1.0, full_every_s=10.0, precision="half",
            now=lambda: self.now, report=print,
        )  # fmt: skip

    def step(self, seconds=1.0):
        self.now, self.events = self.now + seconds, self.events + 1
        hashed = self.learner.vectoriser.hash_event({"ad": self.events})
        self.learner.learn_hashed(hashed, np.ones(1))
        self.publisher.learned(hashed)
        self.publisher.publish(TrainerPosition(self.events, 0, [0]))


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "log.db")


@pytest.fixture
def publishing(path):
    made = Publishing(path)
    yield made
    made.log.close()


def waited(true, replica):
    until(true, lambda: replica.problem)


def reaches(replica, publishing):
    def there():
        weighing = replica.current()
        return weighing is not None and weighing.events == publishing.events

    waited(there, replica)
    own, other = replica.current().learner.weights, publishing.learner.weights
    assert own.fields.tobytes() == other.fields.tobytes()


def test_it_says_that_there_is_no_topic_and_finds_it_later(path, publishing):
    replica = ReplicaWeights(lambda: open_log(path), SPEC, poll_s=0.005, retry_s=0.005)
    waited(lambda: "--publish-weights" in str(replica.problem), replica)
    assert replica.current() is None
    publishing.step()
    reaches(replica, publishing)
    assert replica.problem is None
    replica.close()


def test_a_log_that_is_away_keeps_the_weights_and_is_asked_again(path, publishing):
    away = [False]

    def tap(_=None):
        if away[0]:
            raise LogUnavailableError("the log is away")

    def opened():
        tap()
        return Tapped(path, tap)

    replica = ReplicaWeights(opened, SPEC, poll_s=0.005, retry_s=0.005)
    publishing.step()
    reaches(replica, publishing)
    away[0] = True
    waited(lambda: replica.problem == "the log is away", replica)
    assert replica.current().events == 1
    assert replica.current().problem == "the log is away"
    publishing.step()
    away[0] = False
    reaches(replica, publishing)
    assert replica.current().problem is None
    replica.close()


def test_one_that_was_away_for_longer_than_the_log_keeps_starts_from_a_full_message(
    path, publishing
):
    publishing.step()
    replica = ReplicaWeights(lambda: open_log(path), SPEC, poll_s=0.005)
    reaches(replica, publishing)
    at = publishing.log.end_offsets(WEIGHTS)[0]
    with publishing.log.db as db:  # as retention does: what came before is gone
        for _ in range(3):
            publishing.step()
        db.execute("UPDATE partitions SET start_offset = ? WHERE topic = ?", (at + 2, WEIGHTS))
        (number,) = publishing.log.partition_ids(WEIGHTS)
        db.execute(f"DELETE FROM records_{number} WHERE offset < ?", (at + 2,))
    publishing.step(seconds=10)
    reaches(replica, publishing)
    replica.close()


def test_a_late_one_reads_no_more_than_from_the_newest_full_message_on(path, publishing):
    for _ in range(60):
        publishing.step()
    first, reads = publishing.publisher._full_at, []
    assert publishing.log.read(TopicPartition(WEIGHTS, 0), first, 1)
    replica = ReplicaWeights(lambda: Tapped(path, reads.append), SPEC, poll_s=0.005)
    reaches(replica, publishing)
    assert min(reads) >= first - 15  # one full message earlier at most
    assert first > 40
    replica.close()
