"""What is open on each connection of a worker, where it outlives the worker.

Each connection has a slot in memory that is shared with the process above: the bytes of the request
that is not answered yet, and how much of the connection's two streams the worker had dealt with.
The system knows how many bytes went each way; where the two agree, another worker can go on.
"""

from __future__ import annotations

import mmap

__all__ = ["SLOTS", "SLOT_BYTES", "Slot", "Slots"]

SLOTS, SLOT_BYTES = 1024, 64 * 1024
"""Connections of a worker beyond so many, and requests longer than that, end with their worker."""
_HEAD = 64
_READ, _BEFORE, _AFTER, _LENGTH, _AGAIN, _SPOILT = range(6)


class Slot:
    """One connection.

    The order of its writes matters, for the worker may be killed between any two: what was read is
    counted last, so that a request that is half noted down does not agree with the system's count.

    Parameters
    ----------
    number
        Which one of the worker's.
    page
        Its shared memory, :data:`SLOT_BYTES` long.

    Examples
    --------
    >>> slot = Slot(0, memoryview(bytearray(SLOT_BYTES)))
    >>> slot.begin()
    >>> slot.received(b"GET / HTTP/1.1")
    >>> slot.unanswered(read=14, written=0), slot.unanswered(read=20, written=0)
    (b'GET / HTTP/1.1', None)
    >>> slot.answered(written=99)
    >>> slot.unanswered(read=14, written=99)
    b''
    """

    __slots__ = ("_at", "_text", "number")

    def __init__(self, number: int, page: memoryview) -> None:
        self.number = number
        self._at, self._text = page[:_HEAD].cast("Q"), page[_HEAD:]

    def begin(self, read: int = 0, written: int = 0, again: bool = False) -> None:
        """Begin a connection on which so many bytes went each way before.

        Parameters
        ----------
        read, written
            Bytes from the client and to it that were dealt with.
        again
            Whether the request that comes now was open on a worker that died: it is not tried a
            third time, for it may be what kills them.
        """
        at = self._at
        at[_LENGTH] = at[_AFTER] = at[_SPOILT] = 0
        at[_BEFORE], at[_AGAIN], at[_READ] = written, again, read

    def received(self, data: bytes) -> None:
        """Note down what the client sent, before anything is made of it."""
        at = self._at
        if at[_AFTER]:  # the request before is answered
            at[_LENGTH] = 0
            at[_BEFORE], at[_AFTER], at[_AGAIN] = at[_AFTER], 0, 0
        length = at[_LENGTH]
        end = length + len(data)
        if end > len(self._text):
            at[_SPOILT] = 1
        else:
            self._text[length:end] = data
            at[_LENGTH] = end
        at[_READ] += len(data)

    def answered(self, written: int) -> None:
        """All that was asked is answered, once so many bytes in all have gone to the client."""
        self._at[_AFTER] = written

    def spoil(self) -> None:
        """Nobody else can go on with this connection."""
        self._at[_SPOILT] = 1

    def unanswered(self, read: int, written: int) -> bytes | None:
        """What another worker has to do on this connection, after this one died.

        Parameters
        ----------
        read, written
            Bytes that the system says were taken from the client, and given to be sent to it.

        Returns
        -------
        bytes or None
            The request to answer; empty if there is none; ``None`` if nobody can go on, for part of
            an answer was sent, or part of a request was not noted down.
        """
        at = self._at
        if at[_SPOILT] or at[_READ] != read:
            return None
        if written == (at[_AFTER] or at[_BEFORE]) and (at[_AFTER] or not at[_LENGTH]):
            return b""
        if written != at[_BEFORE] or at[_AGAIN]:
            return None
        return bytes(self._text[: at[_LENGTH]])


class Slots:
    """The slots of a worker, in memory that two processes map.

    Parameters
    ----------
    memory
        A file of :data:`SLOTS` times :data:`SLOT_BYTES` bytes, all 0 at first.
    """

    def __init__(self, memory: int) -> None:
        self._view = memoryview(mmap.mmap(memory, SLOTS * SLOT_BYTES))

    def __getitem__(self, number: int) -> Slot:
        return Slot(number, self._view[number * SLOT_BYTES : (number + 1) * SLOT_BYTES])
