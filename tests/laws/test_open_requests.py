"""What is left of a dead worker's connection: the right request, or nothing, wherever it died."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.open_requests import SLOT_BYTES, Slot


class Died(Exception):
    """The worker was killed."""


class Mortal:
    """Shared memory of a worker that is killed before its n-th write."""

    def __init__(self, inner, life):
        self.inner, self.life = inner, life

    def __getitem__(self, at):
        return self.inner[at]

    def __len__(self):
        return len(self.inner)

    def __setitem__(self, at, value):
        self.life[0] -= 1
        if self.life[0] < 0:
            raise Died
        self.inner[at] = value


def new_slot():
    return Slot(0, memoryview(bytearray(SLOT_BYTES)))


PIECES = st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=3)
TALK = st.lists(st.tuples(PIECES, st.integers(1, 50)), max_size=4)


@given(TALK, st.integers(0, 60), st.integers(0, 50))
def test_another_worker_answers_what_is_not_answered_and_nothing_twice(talk, life, part):
    """Bytes that went each way are counted here as the system does: beyond the worker's death."""
    slot, read, written = new_slot(), 0, 0
    slot.begin()
    lives = [life]
    slot._at, slot._text = Mortal(slot._at, lives), Mortal(slot._text, lives)
    owed = b""  # what the client waits for; None: it has part of the answer
    with contextlib.suppress(Died):
        for pieces, answer in talk:
            for piece in pieces:
                read, owed = read + len(piece), owed + piece
                slot.received(piece)
            slot.answered(written + answer)
            if lives[0] == 0:  # it is killed while it sends
                sent = min(part, answer)
                written += sent
                owed = owed if not sent else b"" if sent == answer else None
                raise Died
            written, owed = written + answer, b""
    assert slot.unanswered(read, written) in (owed, None)


@given(TALK.filter(bool))
def test_between_requests_nothing_is_lost(talk):
    slot, read, written = new_slot(), 0, 0
    slot.begin()
    for pieces, answer in talk:
        for piece in pieces:
            slot.received(piece)
            read += len(piece)
        assert slot.unanswered(read, written) == b"".join(pieces)
        written += answer
        slot.answered(written)
        assert slot.unanswered(read, written) == b""


def test_of_a_request_that_comes_in_pieces_all_of_it_is_left():
    slot = new_slot()
    slot.begin()
    slot.received(b"GET ")
    slot.received(b"/ HTTP")
    assert slot.unanswered(10, 0) == b"GET / HTTP"


@pytest.mark.parametrize(
    ("read", "written", "left"),
    [
        (3, 0, b"abc"),
        (4, 0, None),  # one more byte was read than was noted down
        (3, 5, None),  # part of the answer was sent
        (3, 9, b""),  # all of it
    ],
)
def test_what_the_system_says_decides(read, written, left):
    slot = new_slot()
    slot.begin()
    slot.received(b"abc")
    slot.answered(9)
    assert slot.unanswered(read, written) == left


def test_a_request_that_two_workers_died_of_is_not_tried_again():
    slot = new_slot()
    slot.begin(read=100, written=200, again=True)
    slot.received(b"abc")
    assert slot.unanswered(103, 200) is None
    slot.answered(210)  # it was not to blame
    slot.received(b"de")
    assert slot.unanswered(105, 210) == b"de"


def test_who_can_not_go_on_does_not():
    slot = new_slot()
    slot.begin()
    slot.received(b"x" * SLOT_BYTES)  # with its head it is more than a slot holds
    assert slot.unanswered(SLOT_BYTES, 0) is None
    slot.begin()
    slot.spoil()
    assert slot.unanswered(0, 0) is None


def test_an_idle_connection_goes_on():
    slot = new_slot()
    slot.begin(read=7, written=9)
    assert slot.unanswered(7, 9) == b""
