"""The circuit breaker: how long a failing store is left alone."""

from serving.store_reader import Breaker


def test_a_single_failure_allows_a_new_try_at_once():
    breaker = Breaker(first_ms=50, most_ms=400)
    assert breaker.closed
    breaker.failed(1000)
    assert not breaker.closed
    assert breaker.may_probe(1000)


def test_each_further_failure_doubles_the_wait_up_to_the_most():
    breaker, waits, now = Breaker(first_ms=50, most_ms=400), [], 0.0
    for _ in range(7):
        breaker.failed(now)
        start = now
        while not breaker.may_probe(now):
            now += 1.0
        waits.append(now - start)
    assert waits == [0, 50, 100, 200, 400, 400, 400]


def test_a_probe_that_passes_closes_it_and_keeps_the_count_until_a_request_does():
    breaker = Breaker(first_ms=50, most_ms=400)
    breaker.failed(0)
    breaker.failed(0)
    breaker.mended()
    assert breaker.closed
    breaker.failed(100)  # a request after the probe: the store is sick, not back
    assert not breaker.may_probe(199)
    assert breaker.may_probe(200)
    breaker.mended()
    breaker.passed()
    breaker.failed(1000)
    assert breaker.may_probe(1000)


def test_a_closed_one_has_nothing_to_probe():
    assert not Breaker().may_probe(1e9)


def test_failures_without_end_do_not_overflow():
    breaker = Breaker()
    for _ in range(5000):
        breaker.failed(0)
    assert breaker.may_probe(1000)


def test_a_store_that_is_only_late_is_tried_again_sooner():
    breaker = Breaker(first_ms=50, most_ms=1000, late_ms=100)
    for now in range(0, 8000, 1000):
        breaker.failed(now, late=True)
    assert not breaker.may_probe(7099)
    assert breaker.may_probe(7100)
    breaker.failed(8000)
    assert not breaker.may_probe(8999)
