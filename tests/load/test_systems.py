"""A system counts as started when it answers, not when its port is open."""

import socket
import threading

from tests.load.systems import answers

PROBE = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def _asked(reply: bytes) -> bool:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client:
                client.recv(1_000)
                client.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        found = answers(server.getsockname()[1], PROBE)
        thread.join()
    return found


def test_only_a_good_answer_is_ready() -> None:
    """A server that listens but refuses is still starting; so is one that closes the connection."""
    assert _asked(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert not _asked(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
    assert not _asked(b"")


def test_nobody_there_is_not_ready() -> None:
    """Nothing listens on the port, so the system is not ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))

        assert not answers(free.getsockname()[1], PROBE)
