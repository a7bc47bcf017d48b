"""What is fetched from Kafka and not yet given comes out in order, each partition in its turn."""

import numpy as np
import pytest

from streaming.log.kafka_ahead import Ahead
from streaming.log.kafka_batches import Piece
from streaming.log.kafka_client import KafkaPartition

A, B = KafkaPartition("impressions", 0), KafkaPartition("clicks", 0)


def piece(first, count):
    spans = np.zeros((count, 8), np.int64)
    spans[:, 0] = np.arange(first, first + count)
    return Piece(b"", spans)


def offsets(taken):
    return [(at.topic[0], piece.spans[:, 0].tolist()) for at, piece in taken]


@pytest.fixture
def ahead():
    ahead = Ahead()
    ahead.add({A: [piece(0, 3), piece(3, 2)], B: [piece(7, 2)]})
    return ahead


def test_a_partition_that_has_given_stands_behind_the_others(ahead):
    assert offsets(ahead.take(2, ())) == [("i", [0, 1])]
    assert offsets(ahead.take(3, ())) == [("c", [7, 8]), ("i", [2])]
    assert offsets(ahead.take(9, ())) == [("i", [3, 4])]
    assert ahead.take(9, ()) == [] and not ahead.has_more(())


def test_what_is_skipped_stays_and_keeps_its_place(ahead):
    assert offsets(ahead.take(9, {A})) == [("c", [7, 8])]
    assert not ahead.has_more({A}) and ahead.has_more(())
    assert (ahead.first(A), ahead.first(B)) == (0, None)
    assert offsets(ahead.take(4, {B})) == [("i", [0, 1, 2]), ("i", [3])]
    assert ahead.first(A) == 4


def test_the_next_answer_goes_on_behind_what_is_left(ahead):
    ahead.take(1, {B})
    ahead.add({A: [piece(5, 1)]})
    assert offsets(ahead.take(9, {B})) == [("i", [1, 2]), ("i", [3, 4]), ("i", [5])]


def test_what_is_dropped_does_not_come_back(ahead):
    ahead.drop(A)
    ahead.drop(A)
    assert ahead.first(A) is None
    assert offsets(ahead.take(1, ())) == [("c", [7])]
    ahead.clear()
    assert ahead.first(B) is None and ahead.take(9, ()) == []
