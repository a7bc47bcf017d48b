"""The weights topic: a replica is, bit for bit, the trainer's model, or stays what it was."""

import numpy as np
import pytest
from example_log import example_line, fill
from small_spec import spec_of
from stream_runs import learn_all, stream_log
from waiting import until

from features.spec import CrossSpec, FieldSpec, HashSpec, LearnerSpec, SourceSpec, Spec
from learning.click_learner import ClickLearner
from learning.compression import compress_crosses, expand_crosses
from learning.snapshot import load_snapshot
from learning.weights import StackWeights
from serving.log_followers import ReplicaWeights
from streaming.log import LogUnavailableError, TopicPartition, open_log
from streaming.settings import EARLY_EXAMPLES, StreamSettings, TrainSettings
from streaming.weights_message import read_head
from streaming.weights_topic import WEIGHTS, TrainerPosition, WeightsFollower, WeightsPublisher

AT = TopicPartition(WEIGHTS, 0)


def spec(name="shop", bits=8, evict_after=0, kind="stack"):
    return spec_of(
        "ad",
        "site",
        FieldSpec(names=("tags",), transform="categories"),
        FieldSpec(names=("price",), transform="quantile", buckets=8, learn_from=300),
        name=name,
        pairs=True,
        hash=HashSpec(bits=bits, cross_bits=bits, evict_after=evict_after),
        learner=LearnerSpec(kind=kind),
    )


class Training:
    """A learner that publishes, with a clock of its own."""

    def __init__(self, log, spec, seed=0, precision="half"):
        self.precision = precision
        self.learner, self.spec, self.log = ClickLearner(spec), spec, log
        self.rng, self.events, self.now, self.said = np.random.default_rng(seed), 0, 1000.0, []
        self.restart()

    def restart(self):
        self.publisher = WeightsPublisher(
            self.log, self.learner, every_s=1.0, full_every_s=100.0, precision=self.precision,
            now=lambda: self.now, report=self.said.append,
        )  # fmt: skip

    def learn(self, events):
        for _ in range(events):
            event = {
                "ad": int(self.rng.integers(50)),
                "site": int(self.rng.integers(9)),
                "tags": self.rng.integers(9, size=3).tolist(),
                "price": float(self.rng.exponential()),
            }
            hashed = self.learner.vectoriser.hash_event(event, learn=True)
            self.learner.learn_hashed(hashed, np.array([float(self.rng.random() < 0.3)]))
            self.publisher.learned(hashed)
            self.events += 1

    def publish(self, seconds=1.0):
        self.now += seconds
        self.publisher.publish(TrainerPosition(self.events, 7, [self.events]))

    def step(self, events=100):
        self.learn(events)
        self.publish()


def same(replica, trained, precision="half"):
    a, b = replica.weights, trained.weights
    served = b.arrays["crosses"]
    if precision == "half" and isinstance(b, StackWeights):
        served = expand_crosses(compress_crosses(served))
    rest = all(a.arrays[n].tobytes() == b.arrays[n].tobytes() for n in ("fields", *b.rest))
    return (
        rest
        and a.arrays["crosses"].tobytes() == served.tobytes()
        and replica.vectoriser.quantiles.state() == trained.vectoriser.quantiles.state()
    )


def records(log, start=0):
    found = log.read(AT, start, 1000)
    return [record.value for record in found]


def fed(follower, values):
    for value in values:
        follower.take(value)
    follower.refresh()
    return follower


@pytest.fixture
def embedded(tmp_path):
    with open_log(str(tmp_path / "log.db")) as log:
        yield log


@pytest.fixture
def small_records(monkeypatch):
    monkeypatch.setattr("streaming.weights_message._PART_BYTES", 2048)


@pytest.mark.parametrize("precision", ["half", "exact"])
@pytest.mark.parametrize("evict_after", [0, 60])
@pytest.mark.parametrize("kind", ["stack", "single"])
def test_each_message_leads_to_the_very_bits_that_were_published(
    embedded, small_records, evict_after, precision, kind
):
    """Buckets that were emptied as well: of 16,384, most are before long."""
    bits = 14 if evict_after else 8
    learned = spec(bits=bits, evict_after=evict_after, kind=kind)
    training = Training(embedded, learned, precision=precision)
    follower = WeightsFollower(training.spec)
    at, built = 0, []
    for events in (0, 100, 1, 250, 0, 40):
        training.step(events)
        new = embedded.read(AT, at, 1000)
        at += len(new)
        fed(follower, [record.value for record in new])
        assert same(follower.learner, training.learner, precision)
        assert (follower.head.events, follower.head.offsets) == (training.events, [training.events])
        built.append(follower.learner)
    assert len(set(map(id, built))) == 1  # deltas went into the same tables


def test_a_late_joiner_starts_from_the_newest_full_message(embedded, small_records):
    training = Training(embedded, spec())
    for _ in range(5):
        training.step()
    training.publish(seconds=100)
    full_at = embedded.end_offsets(WEIGHTS)[0]
    training.now += 100
    training.step()  # a delta, then a full one
    training.step()
    found = records(embedded, training.publisher._full_at)
    assert training.publisher._full_at >= full_at
    assert same(fed(WeightsFollower(spec()), found).learner, training.learner)


def test_a_gap_keeps_the_old_weights_until_the_next_full_message(embedded):
    training, follower = Training(embedded, spec()), WeightsFollower(spec())
    training.step()
    fed(follower, records(embedded))
    before = follower.learner.weights.fields.copy()
    training.step()
    training.step()
    fed(follower, records(embedded)[-1:])
    assert "missing" in follower.problem
    assert np.array_equal(before, follower.learner.weights.fields)
    training.learn(50)
    training.publish(seconds=100)
    fed(follower, records(embedded)[-2:])
    assert follower.problem is None
    assert same(follower.learner, training.learner)


@pytest.mark.parametrize("place", [0, 5, 30, -1])
def test_a_damaged_record_is_never_put_in(embedded, place):
    training, follower = Training(embedded, spec()), WeightsFollower(spec())
    training.step()
    fed(follower, records(embedded))
    before = follower.learner.weights.fields.copy()
    training.step()
    bad = bytearray(records(embedded)[-1])
    bad[place] ^= 4
    fed(follower, [bytes(bad), bytes(bad[:40]), b""])
    assert follower.problem is not None
    assert np.array_equal(before, follower.learner.weights.fields)


def test_half_a_message_changes_nothing(embedded, small_records):
    training, follower = Training(embedded, spec()), WeightsFollower(spec())
    training.step()
    fed(follower, records(embedded))
    before = follower.learner.weights.fields.copy()
    size = len(records(embedded))
    training.step(300)
    parts = records(embedded, size)
    assert len(parts) > 2
    fed(follower, parts[:-1])
    assert np.array_equal(before, follower.learner.weights.fields)
    fed(follower, parts[-1:])
    assert same(follower.learner, training.learner)


def test_another_spec_is_refused_and_the_old_weights_stay(embedded):
    training, follower = Training(embedded, spec()), WeightsFollower(spec())
    training.step()
    fed(follower, records(embedded))
    held = follower.learner
    other = Training(embedded, spec("other", bits=9))
    other.step()
    fed(follower, records(embedded)[-1:])
    assert follower.learner is held
    assert "another spec" in follower.problem
    training.step()
    assert any("another trainer" in line for line in training.said)  # it is fenced, and learns on


def test_a_restarted_trainer_is_followed(embedded):
    training, follower = Training(embedded, spec()), WeightsFollower(spec())
    training.step()
    fed(follower, records(embedded))
    training.learn(10)  # never published: killed before
    training.restart()
    training.step()
    training.step()
    fed(follower, records(embedded))
    assert same(follower.learner, training.learner)


def test_a_log_that_fails_costs_a_full_message_and_no_learning(embedded, monkeypatch):
    training, follower = Training(embedded, spec()), WeightsFollower(spec())
    training.step()

    def broken():
        raise LogUnavailableError("away")

    with monkeypatch.context() as patch:
        patch.setattr(training.publisher._producer, "transaction", broken)
        training.step()
    training.step()
    assert len(training.said) == 1
    assert same(fed(follower, records(embedded)).learner, training.learner)


def followed(replica, training):
    def reached():
        weighing = replica.current()
        return weighing if weighing is not None and weighing.events == training.events else None

    return until(reached, lambda: replica.problem)


def test_replicas_follow(url):
    with open_log(url) as log:
        training = Training(log, spec(bits=12))
        replica = ReplicaWeights(lambda: open_log(url), spec(bits=12), poll_s=0.01, retry_s=0.1)
        try:
            for _ in range(4):
                training.step(200)
                weighing = followed(replica, training)
                assert same(weighing.learner, training.learner)
                assert weighing.version.endswith(f"-{training.events}")
            late = ReplicaWeights(lambda: open_log(url), spec(bits=12), poll_s=0.01)
            try:
                assert late.wait(30)
                assert same(followed(late, training).learner, training.learner)
            finally:
                late.close()
        finally:
            replica.close()


LOG_SPEC = Spec(
    name="shop",
    source=SourceSpec(label="click", timestamp="time", timestamp_format="ms"),
    fields=spec().fields,
    crosses=CrossSpec(all_pairs=True),
    hash=HashSpec(bits=12, cross_bits=12),
)


def examples(count):
    """Examples of a shop; each seventh has a late click later."""
    rng = np.random.default_rng(3)
    for i in range(count):
        fields = {"ad": int(rng.integers(50)), "tags": ["a", "b"][: int(rng.integers(3))]}
        fields |= {"price": float(rng.exponential()), "time": 1_736_121_600_000 + i}
        given = (f"i{i}", fields["time"], fields)
        yield example_line(*given, int(i % 4 == 0))
        if i % 7 == 1:
            yield example_line(*given, 1, click_timestamp=fields["time"] + 10**7, correction=True)


def test_a_trainer_that_publishes_is_followed_to_its_snapshot(tmp_path):
    url = str(tmp_path / "log.db")
    settings = StreamSettings(
        batch=3, train=TrainSettings(publish_every_s=0.001, publish_full_every_s=3600)
    )
    with stream_log(url, settings) as log:
        fill(log, [EARLY_EXAMPLES], list(examples(1500)))
        options = {"live": tmp_path / "live", "publish_weights": True}
        for _ in range(2):  # the second time from its snapshot
            trainer = learn_all(log, LOG_SPEC, settings, tmp_path / "model", **options)
            follower = fed(WeightsFollower(LOG_SPEC), records(log))
            assert same(follower.learner, load_snapshot(tmp_path / "model").learner)
            assert follower.head.events == trainer.events == 1500
            assert follower.head.offsets == trainer.offsets
            assert trainer.replay.corrections == 215
        assert sum(not read_head(value).full for value in records(log)) > 10
