"""5 % of messages twice, 5 % out of order, 1 % broken, at once: every one is accounted for.

That a broker which dies under the joiner changes nothing of it is in `test_kafka_faults.py`.
"""

from random import Random

import pytest
from faulty_stream import SETTINGS, append, assert_accounted_for, end_stream, faulty, rejected
from stream_runs import stream_log

from streaming.join_process import JoinProcess

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def log(url):
    with stream_log(url, SETTINGS) as log:
        yield log


def test_impressions_are_examples_pending_or_rejected_and_what_is_broken_is_kept(log):
    sent, broken = faulty(Random(4))
    append(log, sent)
    process = JoinProcess(log, SETTINGS, "join-0", print)
    process.run(until_idle_s=0.5)
    counts = process.counts()
    assert process.pending() > 100  # nothing has closed the last windows
    assert counts["impressions"] == len(sent["impressions"])
    refused = rejected(counts, "impressions").total()
    assert counts["impressions"] == counts["examples"] + process.pending() + refused

    end_stream(log)
    process.run(until_idle_s=0.5)
    process.close()
    assert process.pending() == 0
    assert_accounted_for(log, process.counts(), sent, broken)
