"""The keeper of connections: what it holds, gives away, and does when it breaks."""

import contextlib
import os
import socket
import time

import pytest

from serving.keeper import CLOSED, HELLO, LEAVING, MESSAGE, OPENED, TAKE, Keeper, hear, went
from serving.open_requests import SLOT_BYTES, SLOTS, Slots

pytestmark = pytest.mark.timeout(60)


class Worker:
    """A worker as the keeper sees it, without a server."""

    def __init__(self, path):
        memory = os.memfd_create("slots")
        os.truncate(memory, SLOTS * SLOT_BYTES)
        self.slots = Slots(memory)
        self.channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel.settimeout(30)
        self.channel.connect(str(path))
        socket.send_fds(self.channel, [MESSAGE.pack(HELLO, 0, 0)], [memory])
        os.close(memory)

    def opened(self, number, connection, offer=0):
        self.slots[number].begin()
        said = MESSAGE.pack(OPENED, number, offer)
        socket.send_fds(self.channel, [said], [connection.fileno()])

    def say(self, what, number=0):
        self.channel.send(MESSAGE.pack(what, number, 0))

    def told(self):
        message, files = hear(self.channel, TAKE.size + SLOT_BYTES)
        return TAKE.unpack_from(message), message[TAKE.size :], files


@pytest.fixture
def said():
    return []


@pytest.fixture
def path(tmp_path, said):
    with Keeper(tmp_path / "k", said.append):
        yield tmp_path / "k"


def until(holds):
    while not holds():  # the test's own limit ends it
        time.sleep(0.01)


@contextlib.contextmanager
def connected():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=30)
        server, _ = listener.accept()
        with client, server:
            yield client, server


def test_bytes_that_went_are_the_systems_count():
    with connected() as (client, server):
        client.sendall(b"x" * 70)
        server.sendall(b"y" * 33)
        server.recv(50)
        assert client.recv(99)
        assert went(server.fileno()) == (50, 33)


def test_a_dead_workers_connection_is_offered_until_one_has_it(path, said):
    with connected() as (client, server):
        first = Worker(path)
        first.opened(3, server)
        client.sendall(b"GET")
        first.slots[3].received(server.recv(9))
        server.close()
        first.channel.close()  # it dies
        second = Worker(path)
        (offer, read, written, again), request, files = second.told()
        assert (offer > 0, read, written, again, request) == (True, 0, 0, True, b"GET")
        second.channel.close()  # it dies too, before it says that it has it
        for file in files:
            os.close(file)
        third = Worker(path)
        (offer, *_), request, files = third.told()
        with socket.socket(fileno=files[0]) as taken:
            third.opened(0, taken, offer)
            taken.sendall(b"200")
            assert client.recv(9) == b"200"
        third.say(CLOSED, 0)
        assert client.recv(9) == b""  # nobody holds it any more
        third.channel.close()
    assert said == ["a worker is gone; 1 of its connections go on with another"]


def test_what_nobody_can_go_on_with_is_closed(path, said):
    with connected() as (client, server):
        first = Worker(path)
        first.opened(0, server)
        client.sendall(b"GET")
        server.recv(9)  # and it is killed before it notes that down
        server.close()
        first.channel.close()
        with contextlib.suppress(ConnectionError):
            assert client.recv(9) == b""
    until(lambda: said)
    assert said == ["a worker is gone; 0 of its connections go on with another, 1 end with it"]


def test_one_that_leaves_is_told_whether_others_stay(path):
    first, second = Worker(path), Worker(path)
    time.sleep(0.1)  # both are known
    first.say(LEAVING)
    assert first.told()[0] == (0, 0, 0, True)
    second.say(LEAVING)
    assert second.told()[0] == (0, 0, 0, False)
    for worker in (first, second):
        worker.channel.close()


def test_a_keeper_that_breaks_lets_all_go(path, said):
    with connected() as (client, server):
        worker = Worker(path)
        worker.opened(0, server)
        server.close()
        worker.channel.send(b"?")
        assert client.recv(9) == b""
        assert worker.channel.recv(9) == b""
        worker.channel.close()
    until(lambda: said)
    assert "kept no longer" in said[0]
