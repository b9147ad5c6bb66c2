"""The load generator: `python -m tests.load.generator` reads an `Order` from stdin and writes a `Result` to stdout, both
JSON.

It sends raw HTTP/1.1 over kept connections on uvloop, with one request in flight on each. A request costs some 20 µs, a tenth
of httpx, and the same for every system. wrk is cheaper still, but it knows closed loops only and would be one more program to
install. wrk2, which corrects for coordinated omission, is in no registry.
"""

import asyncio
import itertools
import json
import os
import selectors
import sys
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import uvloop

from tests.load.latencies import arrivals
from tests.load.traffic import Kind, World, requests

Done = Callable[["_Connection", float], None]
_GIVE_UP_S = 10.0
"""Seconds that an open loop waits for replies after its last request was due."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """An order: requests, address, duration. With a `rate` an open loop, else a closed one."""

    port: int
    kind: Kind
    world: World
    connections: int
    seconds: float
    warm_s: float = 1.0
    rate: float | None = None
    run: str = "run"
    watch: Sequence[int] = ()  # processes whose CPU time is counted
    key: str = ""  # presented with each request


@dataclass(kw_only=True, slots=True)
class Result:
    """The measured latencies in seconds, requests a second, and errors."""

    latencies: list[float] = field(default_factory=list)
    per_second: float = 0.0
    cpu_s: float = 0.0
    main_cpu_s: float = 0.0  # the part of the processes' main threads
    errors: dict[str, int] = field(default_factory=dict)


class _Connection(asyncio.Protocol):
    """One kept connection. It calls `done` for each complete reply."""

    def __init__(self, done: Done, faults: Counter[str]) -> None:
        self._done, self._faults = done, faults
        self._transport: asyncio.WriteTransport | None = None
        self._buffer = b""
        self._meant = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop has its own classes

    def send(self, request: bytes, meant: float) -> None:
        """Send a request that was due at `meant`."""
        assert self._transport is not None
        self._meant = meant
        self._transport.write(request)

    def close(self) -> None:
        """Close the connection."""
        assert self._transport is not None
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._buffer = buffer = self._buffer + data if self._buffer else data
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = buffer[:end].lower()
        place = head.find(b"content-length:")
        if place < 0:
            raise RuntimeError(f"a reply without Content-Length: {head!r}")
        line = head[place + 15 :].split(b"\r\n", 1)[0]
        if len(buffer) < end + 4 + int(line):
            return
        self._buffer = b""
        if head[9:12] != b"200":
            self._faults[head[9:12].decode()] += 1
        elif b'"degraded":true' in buffer:
            self._faults["degraded"] += 1
        self._done(self, self._meant)

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None:
            self._faults[type(error).__name__] += 1


async def generate(order: Order) -> Result:
    """Carry out an order after a warm-up, which is not counted."""
    result, faults = Result(), Counter[str]()
    made = requests(order.kind, order.world, run=order.run)
    if order.key:
        line = f"\r\nAuthorization: Bearer {order.key}".encode()
        made = (request.replace(b" HTTP/1.1", b" HTTP/1.1" + line, 1) for request in made)
    made = itertools.chain([next(made)], made)  # making the first one prepares the others, before the clock starts
    seconds = order.warm_s + order.seconds
    if order.rate is None:
        await _closed(order, made, result, faults, seconds)
    else:
        await _open(order, made, result, faults, arrivals(order.rate, seconds, order.world.seed))
    result.errors = dict(faults)
    return result


async def _closed(order: Order, made: Iterator[bytes], result: Result, faults: Counter[str], seconds: float) -> None:
    """Closed loop: each connection sends its next request as soon as it has its reply."""
    started = time.perf_counter()
    begin, end = started + order.warm_s, started + seconds
    measuring = CpuTime(order.watch)
    over = asyncio.Event()
    left = order.connections

    def done(connection: _Connection, sent: float) -> None:
        nonlocal left
        now = time.perf_counter()
        if begin <= now < end:
            measuring.start()
            result.latencies.append(now - sent)
        if now < end:
            connection.send(next(made), now)
            return
        left -= 1
        if not left:
            over.set()

    async with _connected(order, done, faults) as connections:
        for connection in connections:
            connection.send(next(made), time.perf_counter())
        await _wait(over, seconds + _GIVE_UP_S, lambda: left, faults)
    result.cpu_s, result.main_cpu_s = measuring.so_far()
    result.per_second = len(result.latencies) / order.seconds


async def _open(order: Order, made: Iterator[bytes], result: Result, faults: Counter[str], due: list[float]) -> None:
    """Open loop: requests are sent on schedule. If no connection is free, a request queues, and its latency includes the
    wait.
    """
    waiting: deque[float] = deque()
    idle: deque[_Connection] = deque()
    measuring = CpuTime(order.watch)
    over = asyncio.Event()
    left = len(due)
    counted_from = 0.0

    def done(connection: _Connection, meant: float) -> None:
        nonlocal left
        if meant >= counted_from:
            result.latencies.append(time.perf_counter() - meant)
        left -= 1
        if not left:
            over.set()
        if waiting:
            connection.send(next(made), waiting.popleft())
        else:
            idle.append(connection)

    async with _connected(order, done, faults) as connections:
        idle.extend(connections)
        started = time.perf_counter()
        counted_from = started + order.warm_s
        for moment in due:
            meant = started + moment
            await asyncio.sleep(max(0.0, meant - time.perf_counter()))
            if meant >= counted_from:
                measuring.start()
            if idle:
                idle.popleft().send(next(made), meant)
            else:
                waiting.append(meant)
        await _wait(over, _GIVE_UP_S, lambda: left, faults)
    result.cpu_s, result.main_cpu_s = measuring.so_far()
    result.per_second = len(result.latencies) / (time.perf_counter() - counted_from)


async def _wait(over: asyncio.Event, seconds: float, left: Callable[[], int], faults: Counter[str]) -> None:
    try:
        async with asyncio.timeout(seconds):
            await over.wait()
    except TimeoutError:
        faults["unanswered"] += left()


@asynccontextmanager
async def _connected(order: Order, done: Done, faults: Counter[str]) -> AsyncIterator[list[_Connection]]:
    loop = asyncio.get_running_loop()
    made: list[_Connection] = []
    try:
        for _ in range(order.connections):
            _, connection = await loop.create_connection(lambda: _Connection(done, faults), "127.0.0.1", order.port)
            made.append(connection)
        yield made
    finally:
        for connection in made:
            connection.close()


class CpuTime:
    """The CPU time of processes and of their main threads since the first `start`, from /proc; 0 without it."""

    def __init__(self, processes: Sequence[int]) -> None:
        self._processes = processes
        self._before: tuple[float, float] | None = None

    def start(self) -> None:
        if self._before is None:
            self._before = self._now()

    def so_far(self) -> tuple[float, float]:
        all_now, main_now = self._now()
        all_before, main_before = self._before or (0.0, 0.0)
        return all_now - all_before, main_now - main_before

    def _now(self) -> tuple[float, float]:
        folders = [Path(f"/proc/{process}") for process in self._processes]
        return sum(map(_cpu_s, folders)), sum(_cpu_s(folder / "task" / folder.name) for folder in folders)


def _cpu_s(folder: Path) -> float:
    """Return the CPU seconds of a process or thread."""
    try:
        fields = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:  # the process has ended, or this is not Linux
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _punctual_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop with timers of microseconds. Those of uvloop and epoll would add up to a millisecond to each
    latency.
    """
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


def main() -> None:
    """Read an order, carry it out, write the result."""
    given = json.load(sys.stdin)
    order = Order(**{**given, "world": World(**given["world"])})
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if order.rate is None else _punctual_loop) as runner:
        result = runner.run(generate(order))
    json.dump(asdict(result), sys.stdout)


if __name__ == "__main__":
    main()
