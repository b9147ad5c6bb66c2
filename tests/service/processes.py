"""Starts, queries and stops the service as a process."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import httpx

Found = TypeVar("Found")

_NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients of plain HTTP. By default httpx reads all certificates for each client, which takes 20 ms of processor time."""


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(**settings: object) -> Mapping[str, str]:
    """Return the tests' environment with settings added."""
    settings = {"redis_timeout": 20} | settings  # these tests are not about slow machines
    return os.environ | {f"NEXTTRACK_{name.upper()}": str(value) for name, value in settings.items()}


@contextmanager
def process(*command: str, port: int, log: Path, **settings: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that listens on `port`. Its output goes to `log`, and it is stopped in the end."""
    with log.open("ab") as output:
        started = subprocess.Popen(
            [sys.executable, *command], env=environment(port=port, **settings), stdout=output, stderr=output
        )
    try:
        until(lambda: started.poll() is not None or answers(port))
        assert started.poll() is None, log.read_text()
        yield started
    finally:
        started.terminate()  # SIGTERM first: a killed service would leave its Valkey behind
        try:
            started.wait(30)
        finally:
            started.kill()
            started.wait()


def answers(port: int) -> bool:
    """Say whether a service answers at `port`."""
    try:
        with http(port) as client:
            return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def until(done: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def stop(process: subprocess.Popen[bytes]) -> int:
    """Tell a process to stop and return its exit code."""
    process.send_signal(signal.SIGTERM)
    return process.wait(30)


def http(port: int) -> httpx.Client:
    """Return a client of the service at `port`."""
    return client_of(f"http://127.0.0.1:{port}")


def of_each_worker(workers: int, log: Path, port: int, ask: Callable[[httpx.Client], Found]) -> list[Found]:
    """Call `ask` with new connections until each worker has answered one. Returns all that it returned.

    Which worker accepts a connection is up to the system. The service's JSON log says who answered.
    """
    mark, found = uuid4().hex, list[Found]()

    def all_answered() -> bool:
        with http(port) as client:
            client.headers["x-request-id"] = mark
            found.append(ask(client))
        whole_lines = log.read_text().rpartition("\n")[0].splitlines()
        return len({json.loads(line)["pid"] for line in whole_lines if mark in line}) == workers

    until(all_answered)
    return found


def client_of(url: str) -> httpx.Client:
    """Return a client of the service at an address of plain HTTP."""
    return httpx.Client(base_url=url, timeout=30, verify=_NO_CERTIFICATES)
