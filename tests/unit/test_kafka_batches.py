"""Record batches decoded as a whole hold what kafka-python reads from them one by one."""

import random
import struct

import numpy as np
import pytest

from streaming.log.kafka_batches import _find, _Pieces, joined
from streaming.log.kafka_client import Fetcher, IsolationLevel, errors
from streaming.log.kafka_client import KafkaPartition as TopicPartition

from kafka.record import MemoryRecords  # isort: skip
from kafka.record.default_records import DefaultRecordBatchBuilder  # isort: skip

AT = TopicPartition("t", 3)
GZIP, APPEND_TIME = 1, 8


def batch(first, records, *, compression=0, append_time=False, producer=-1):
    """Bytes of a batch as a broker gives it; a record is (time, key, value, headers)."""
    builder = DefaultRecordBatchBuilder(2, compression, producer >= 0, producer, 0, 0, 1 << 20)
    for i, record in enumerate(records):
        builder.append(i, *record)
    data = bytearray(builder.build())
    data[:8] = struct.pack(">q", first)
    if append_time:
        data[22] |= APPEND_TIME  # the checksum is over it: tests of it do not check that
    return bytes(data)


def some_records(rng, count):
    def text():
        return None if rng.random() < 0.2 else rng.randbytes(rng.choice([0, 1, 63, 64, 300]))

    headers = [[], [], [("n", b"2"), ("ü", None)]]
    return [
        (10**12 + rng.randrange(-(10**9), 10**9), text(), text(), rng.choice(headers))
        for _ in range(count)
    ]


def parts_of(kind, data, offset, **options):
    return kind(offset, AT, MemoryRecords(data), **options)


def one_by_one(data, offset, **options):
    found = parts_of(Fetcher.PartitionRecords, data, offset, **options).take()
    return [
        (r.offset, r.timestamp, r.key, r.value or b"", [(k, v or b"") for k, v in r.headers])
        for r in found
    ]


def whole(data, offset, sizes, **options):
    """Ours, some at a time; checks what kafka-python goes on from."""
    parts, out = parts_of(_Pieces, data, offset, **options), []
    while parts:
        most = next(sizes)
        pieces = parts.take(most)
        assert len(pieces) <= most
        records = [record for piece in pieces for record in piece.records("t", 3)]
        assert len(records) == len(pieces)
        out += [(r.offset, r.timestamp_ms, r.key, r.value, list(r.headers)) for r in records]
        if records and parts:
            assert parts.next_fetch_offset == records[-1].offset + 1
    return out, parts.next_fetch_offset


@pytest.mark.parametrize("seed", range(20))
def test_every_record_is_that_of_kafka_python_however_many_are_taken(seed):
    rng = random.Random(seed)
    data, first = b"", 5
    options = {"check_crcs": seed % 4 != 0}
    for _ in range(rng.randrange(1, 4)):
        count = rng.randrange(1, 40)
        data += batch(
            first, some_records(rng, count), compression=rng.choice([0, GZIP]),
            append_time=not options["check_crcs"] and rng.random() < 0.5,
        )  # fmt: skip
        first += count + rng.randrange(2)  # markers of transactions leave gaps
    start = rng.randrange(0, first - 1)
    sizes = iter(lambda: rng.choice([1, 2, 7, 1000]), 0)
    found, after = whole(data, start, sizes, **options)
    assert found == one_by_one(data, start, **options)
    stock = parts_of(Fetcher.PartitionRecords, data, start, **options)
    stock.take()
    assert after == stock.next_fetch_offset


def test_columns_hold_the_values_with_newlines_between():
    rng = random.Random(1)
    records = some_records(rng, 30)
    data = batch(7, records[:20]) + batch(30, records[20:])
    values = joined("t", 3, list(parts_of(_Pieces, data, 7).take()))
    assert values.data == b"\n".join(value or b"" for _, _, value, _ in records)
    assert values.offsets.tolist() == [*range(7, 27), *range(30, 40)]
    ends = values.ends.tolist()
    starts = [0, *(end + 1 for end in ends[:-1])]
    cut = [values.data[a:b] for a, b in zip(starts, ends, strict=True)]
    assert cut == [value or b"" for _, _, value, _ in records]
    assert (values.last, values.next_offset) == (cut[-1], 40)


def test_what_an_aborted_transaction_wrote_is_left_out():
    class Aborted:
        producer_id, first_offset = 9, 0

    rng = random.Random(2)
    gone, kept = batch(0, some_records(rng, 3), producer=9), batch(3, some_records(rng, 4))
    options = {"isolation_level": IsolationLevel.READ_COMMITTED, "aborted_transactions": [Aborted]}
    found, after = whole(gone + kept, 0, iter(lambda: 100, 0), **options)
    assert [offset for offset, *_ in found] == [3, 4, 5, 6]
    assert after == 7


def test_a_damaged_batch_is_an_error_after_what_came_before_it():
    rng = random.Random(3)
    good, bad = batch(0, some_records(rng, 3)), bytearray(batch(3, some_records(rng, 3)))
    bad[-1] ^= 1
    parts = parts_of(_Pieces, good + bytes(bad), 0)
    assert len(parts.take(100)) == 3
    with pytest.raises(errors.CorruptRecordError):
        parts.take(100)


def test_bytes_that_are_no_records_never_lead_out_of_the_batch():
    rng = random.Random(4)
    body = bytearray(batch(0, some_records(rng, 20))[61:])
    for _ in range(3000):
        spoilt = bytearray(body)
        for _ in range(rng.randrange(1, 4)):
            spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
        spoilt = spoilt[: rng.randrange(len(spoilt) + 1)]
        spans = np.zeros((20, 8), np.int64)
        end = _find(np.frombuffer(bytes(spoilt), np.uint8), spans)
        if end >= 0:
            assert end <= len(spoilt)
            inside = spans[:, [2, 4]] + np.maximum(spans[:, [3, 5]], 0)
            assert (spans[:, [2, 4]] >= 0).all() and (inside <= len(spoilt)).all()
