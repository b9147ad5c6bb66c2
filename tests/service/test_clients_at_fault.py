"""The service as a process, with clients that leave, keep connections, or send too much."""

import json
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from model.artifact import Artifact
from tests.service.processes import free_port, http, process, until

GET = b"GET /v1/users/u/next HTTP/1.1\r\nhost: x\r\n\r\n"


def connect(port: int) -> socket.socket:
    """Open a connection."""
    made = socket.create_connection(("127.0.0.1", port), 30)
    made.settimeout(30)
    return made


def reset(client: socket.socket) -> None:
    """Close the connection with a reset."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def value(client: httpx.Client, series: str) -> float:
    """Return the value of one time series of the metrics, 0 if it does not exist yet."""
    lines = client.get("/metrics").text.splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(series)), 0.0)


def test_abandoned_requests_cost_no_model_run(artifact: Artifact, tmp_path: Path) -> None:
    """While the model is busy, clients send several requests in one packet and reset. None of these is scored or logged as a
    failure.
    """
    port, gate, log = free_port(), tmp_path / "gate", tmp_path / "log"
    command = ("-m", "tests.service.slow_service", str(artifact.folder), str(port), str(gate))
    left = 'nexttrack_requests_total{method="GET",route="/v1/users/{user_id}/next",status="none"}'
    with process(*command, port=port, log=log), http(port) as client, ExitStack() as stack:
        waiting = stack.enter_context(connect(port))
        waiting.sendall(GET)
        until(gate.with_suffix(".entered").exists)
        for _ in range(20):
            gone = connect(port)
            gone.sendall(GET * 3)
            reset(gone)
        until(lambda: value(client, left) == 20)
        gate.touch()
        status = waiting.recv(65536)[9:12]
        scored = value(client, "nexttrack_batch_requests_sum")

    assert status == b"200"
    assert scored == 1
    assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def port(artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Run a service that keeps at most 20 connections, and yield its port."""
    folder, port = tmp_path_factory.mktemp("service"), free_port()
    settings = {"artifact": artifact.folder, "state_dir": folder, "max_connections": 20}
    with process("-m", "service", port=port, log=folder / "log", **settings):
        yield port


def test_connections_without_a_use_keep_nobody_out(port: int) -> None:
    """Three times as many clients as allowed send nothing or half a head. Other listeners and health checks are answered."""
    with ExitStack() as stack, http(port) as client:
        for number in range(60):
            held = stack.enter_context(connect(port))
            if number % 2:
                held.sendall(b"GET /healthz HTTP/1.1\r\n")
        statuses = [client.get("/v1/users/u/next").status_code, client.get("/healthz").status_code]

    assert statuses == [200, 200]


def test_table_full_of_half_bodies_still_answers_health(port: int) -> None:
    """Bodies may take ten seconds. Meanwhile other requests are refused with an error, but health checks are answered."""
    half = b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(connect(port)).sendall(half)
        refused = httpx.get(f"http://127.0.0.1:{port}/v1/users/u/next")
        health = httpx.get(f"http://127.0.0.1:{port}/healthz")

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert refused.headers["content-type"] == "application/problem+json"
    assert health.status_code == 200


def test_body_may_have_a_mebibyte(port: int) -> None:
    """One byte more is refused, whether the length is announced or the body arrives in chunks."""
    url = f"http://127.0.0.1:{port}/v1/next"

    def send(size: int, *, announced: bool) -> int:
        body = json.dumps({"count": 1}).encode().ljust(size)
        content = body if announced else (body[start : start + 65536] for start in range(0, size, 65536))
        return httpx.post(url, content=content, headers={"content-type": "application/json"}).status_code

    assert [send(1024 * 1024, announced=announced) for announced in (True, False)] == [200, 200]
    assert [send(1024 * 1024 + 1, announced=announced) for announced in (True, False)] == [413, 413]


def test_url_may_have_64_kibibytes(port: int) -> None:
    """Ten thousand exclusions do not fit into one. The error says how to send them."""
    query = b"&".join(b"exclude=track%06d" % number for number in range(10_000))
    with connect(port) as client:
        client.sendall(b"GET /v1/users/u/next?" + query + b" HTTP/1.1\r\nhost: x\r\n\r\n")
        head, _, body = client.makefile("rb").read().partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 414 ")
    assert b"content-type: application/problem+json" in head
    assert "POST /v1/next" in json.loads(body)["detail"]
