"""Waiting for the stream's processes: by positions, and only as long as anything moves."""

import itertools

import pytest

from streaming.publish import Lockstep, Patience, StandstillError
from streaming.status import GroupPart, Look

ENDS = {"join": "impressions", "count": "impressions", "train": "examples", "monitor": "examples"}


def look(**read):
    """One look: records read by group, of ten."""
    groups = {
        name: [GroupPart(ENDS[name], 0, 10, done, done, 10 - done)] for name, done in read.items()
    }
    return Look(0, {}, groups, None, None, None)


def lockstep(looks, *, groups=None, most_s=5, slice_s=60):
    looks, seconds = iter(looks), itertools.count()
    patience = Patience(most_s, lambda: next(seconds))
    return Lockstep(lambda: next(looks), slice_s, patience, sleep=lambda s: None, groups=groups)


def test_a_slice_begins_with_its_first_event_once():
    step = lockstep([])
    times = [60_000, 60_000, 119_999, 120_000, 119_000, 300_000, 310_000]
    assert [step.begins(time) for time in times] == [True, False, False, True, False, True, False]


def test_it_waits_for_those_that_run_until_all_is_read():
    looks = [look(join=3, train=10), look(join=10, train=4), look(join=10, train=10), look()]
    step = lockstep(looks)
    step.wait()
    assert step.seen == looks[2]
    step.wait()  # a stream of which nothing has ever run is not waited for
    assert step.seen == looks[3]


STANDING = [
    # what is read, by group; which are waited for; what is said
    (dict(join=10, count=10, train=7), None, "clicktide train has read examples-0: 7 of 10"),
    (dict(join=4, count=4, train=0), None, "clicktide join has read impressions-0: 4 of 10"),
    (dict(join=10, train=10), ("join", "count"), "clicktide count has read nothing"),
]


@pytest.mark.parametrize(("read", "groups", "said"), STANDING, ids=lambda it: str(it))
def test_the_first_of_the_flow_that_stands_still_is_named(read, groups, said):
    step = lockstep(itertools.repeat(look(**read)), groups=groups)
    with pytest.raises(StandstillError, match=rf"{said}; nothing has moved for 5 s\. Fix: .*logs/"):
        step.wait()


def test_the_slowest_progress_is_progress_whoever_makes_it():
    slow = [look(join=n // 3, train=0) for n in range(30)]
    slow += [look(join=10, train=0), look(join=10, train=10)]
    lockstep(slow).wait()
    moving = (look(join=10, train=2, monitor=n % 10) for n in itertools.count())
    step = lockstep(itertools.islice(moving, 50), groups=("join", "train"))
    with pytest.raises(StopIteration):  # out of looks: it never gave up
        step.wait()
