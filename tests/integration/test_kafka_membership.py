"""A member of a Kafka group that is at other work when its group answers.

kafka-python joins from its own thread, and hands the answer over in ``poll``: between two polls
the group may be a generation further than what the member knows of its partitions.
"""

import time

import pytest
from waiting import until

from streaming.log import (
    NewRecord,
    Position,
    RebalancedError,
    TopicPartition,
    TopicSettings,
    open_log,
)
from streaming.log.kafka_client import KafkaAdminClient

pytestmark = pytest.mark.timeout(120)

TOPIC, GROUP = "in", "readers"


@pytest.fixture
def log(kafka_url):
    with open_log(f"{kafka_url}&timeout_s=10&session_timeout_s=6") as log:
        log.create_topics([TopicSettings(TOPIC, partitions=2)])
        with log.producer("fill") as producer, producer.transaction() as tx:
            tx.append(TOPIC, [NewRecord(None, b"x", p) for p in (0, 1)])
        yield log


def test_an_answer_that_comes_while_the_member_works_is_kept(log):
    """Thrown away, a leader's would begin the next rebalance, and that one's the next."""
    with log.consumer(GROUP, [TOPIC], instance="a") as a:

        def works_and_polls():
            time.sleep(0.2)
            a.poll(10, 0)
            return a.assignment()

        until(works_and_polls)
        assert len(a.assignment()) == 2


def test_a_commit_of_partitions_that_have_moved_on_meanwhile_is_refused(log):
    """Its generation is the one of the partitions it knows, not the one of the latest answer."""
    with log.consumer(GROUP, [TOPIC], instance="a") as a, log.producer("a") as producer:
        until(lambda: a.poll(10, 0.1) or len(a.assignment()) == 2)
        with log.consumer(GROUP, [TOPIC], instance="b") as b:

            def moved():
                a.poll(10, 0)  # at some time sends that it takes part, and does not see the answer
                b.poll(10, 0.5)
                return b.assignment()

            until(moved)
            assert len(a.assignment()) == 2, "it has been told: the test shows nothing"
            with pytest.raises(RebalancedError), producer.transaction() as tx:
                tx.commit(a, {TopicPartition(TOPIC, p): Position(1) for p in (0, 1)})
            until(lambda: a.poll(10, 0.1) or len(a.assignment()) == 1)
            assert not a.assignment() & b.assignment()


def test_what_was_fetched_before_a_rebalance_comes_again(log):
    """Of a partition that stays a member's too: it goes on from what is committed."""
    with log.producer("fill") as producer, producer.transaction() as tx:
        tx.append(TOPIC, [NewRecord(None, b"%d" % i, i % 2) for i in range(100)])
    with log.consumer(GROUP, [TOPIC]) as a, log.producer("a") as producer:
        with log.consumer(GROUP, [TOPIC]) as b:
            one_each = [1, 1]
            until(
                lambda: one_each == [c.poll(1, 0.1) is None or len(c.assignment()) for c in (a, b)]
            )
            [at] = a.assignment()
            until(lambda: a.poll(1, 0.1))  # the other records are fetched with it, and not given
            with producer.transaction() as tx:
                tx.commit(a, {at: Position(a.position(at))})
            committed = a.position(at)
            until(lambda: a.poll(1, 0.1))
        offsets = {0: [], 1: []}

        def all_came():
            for record in a.poll(10, 0.1):
                offsets[record.partition].append(record.offset)
            return len(a.assignment()) == 2 and sum(map(len, offsets.values())) >= 100 - committed

        until(lambda: len(a.assignment()) == 2 or a.poll(1, 0) is None or time.sleep(0.3))
        assert a.position(at) == committed
        until(all_came)
        sent = {
            p: [record.offset for record in log.read(TopicPartition(TOPIC, p), 0)] for p in (0, 1)
        }
        sent[at.partition] = [offset for offset in sent[at.partition] if offset >= committed]
        until(lambda: all_came() and offsets == sent)


def test_a_member_put_out_of_its_group_holds_nothing_until_it_is_let_in_again(log):
    """It is told at once, however long the others take to answer; no position is asked of it."""
    told = []
    with (
        log.consumer(GROUP, [TOPIC], instance="a", on_assigned=told.append) as a,
        log.consumer(GROUP, [TOPIC], instance="b") as b,
    ):
        until(lambda: [c.poll(10, 0.1) for c in (a, b)] and a.assignment() and b.assignment())
        put_out(log, "a")

        def held_is_readable():
            a.poll(10, 0.1)  # b is at other work for a while: no rebalance ends
            return not a.assignment() or not [a.position(at) for at in a.assignment()]

        until(held_is_readable)
        assert told[-1] == frozenset()
        until(lambda: [c.poll(10, 0.1) for c in (a, b)] and a.assignment() and b.assignment())


def put_out(log, instance):
    """As the brokers do with a member whose machine slept too long."""
    from kafka.admin import MemberToRemove  # after kafka_client, which bears kafka's warnings

    admin = KafkaAdminClient(bootstrap_servers=list(log.settings.servers))
    try:
        member = MemberToRemove(group_instance_id=instance)
        admin.remove_group_members(log.names.full(GROUP), [member])
    finally:
        admin.close()
