"""An idle connection ends so that no request is lost by it, if that can be helped."""

import socket

import pytest

from serving.lingering import LingeringProtocol


class Transport:
    """The part of a transport that ending a connection needs."""

    def __init__(self, connection, tls=None):
        self._told, self.closed = {"socket": connection, "sslcontext": tls}, False

    def get_extra_info(self, name):
        return self._told[name]

    def is_closing(self):
        return self.closed

    def close(self):
        self.closed = True


@pytest.fixture
def ends():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname(), timeout=10)
        server, _ = listening.accept()
    with client, server:
        yield client, server


def end(transport):
    protocol = LingeringProtocol.__new__(LingeringProtocol)  # all else is uvicorn's
    protocol.transport = transport
    protocol.timeout_keep_alive_handler()


def test_a_client_hears_at_once_that_its_idle_connection_ends(ends):
    client, server = ends
    transport = Transport(server)
    end(transport)
    assert client.recv(1) == b""  # before the transport gets to closing it
    assert transport.closed


def test_one_on_which_a_request_has_come_does_not_end(ends):
    client, server = ends
    client.sendall(b"GET")
    server.recv(1, socket.MSG_PEEK)  # it is there
    transport = Transport(server)
    end(transport)
    assert not transport.closed
    server.sendall(b"answer")
    assert client.recv(6) == b"answer"


def test_one_with_tls_ends_by_its_own_rules(ends):
    client, server = ends
    transport = Transport(server, tls=object())
    end(transport)
    assert transport.closed
    server.sendall(b"bye")
    assert client.recv(3) == b"bye"
