"""`python -m tests.load.overload`: measures the replies of the service when several times more requests arrive than it can
answer.

A closed loop at 64 connections measures the capacity before and after, and the mean counts, because a machine's speed may
change by a tenth within a minute. In between, an open loop sends a multiple of the first rate over a pool of connections, as a
gateway does: a connection is used again after its reply, and a request that finds none free is not sent. Latency counts from
the time at which a request was due. A request is given up after ten seconds. Meanwhile `/healthz` is requested on separate
connections.

The result has the goodput, and the CPU time for each good reply, of the service and all of its processes. If the machine does
other work as well, CPU time is the steadier figure. With `--pin`, service and Redis share one core and the clients have
another.
"""

import argparse
import asyncio
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter, deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import cast

import uvloop

from service.store import embedded_valkey
from tests.load import artifacts, listeners, systems
from tests.load.generator import CpuTime, Order, generate
from tests.load.latencies import summarise
from tests.load.systems import System
from tests.load.traffic import World, requests

GIVE_UP_S, CLIENTS = 10.0, 2
"""Seconds until a request is given up, and the number of client processes."""


@dataclass(kw_only=True, slots=True)
class Overload:
    """The outcomes of an open loop's requests. Latencies are in seconds."""

    good: list[float] = field(default_factory=list)  # seconds from the time at which each was due
    good_at: list[float] = field(default_factory=list)  # time of each reply, from the start
    refused: list[float] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)


class _Connection(asyncio.Protocol):
    """A connection of the pool with at most one request under way."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._reply: asyncio.Future[bytes] | None = None
        self._buffer = b""
        self._lost = asyncio.Event()

    @property
    def closed(self) -> bool:
        """Whether the connection has ended."""
        return self._lost.is_set()

    async def close(self) -> None:
        """End the connection, and wait until its socket is closed."""
        assert self._transport is not None
        self._transport.abort()
        await self._lost.wait()

    async def ask(self, request: bytes) -> bytes:
        """Send a request and return the reply; empty if the connection ended or the reply did not arrive in time."""
        assert self._transport is not None
        self._reply = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await asyncio.wait_for(self._reply, GIVE_UP_S)
        except TimeoutError:
            self._transport.abort()
            return b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop has classes of its own

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
        if end and len(body) >= length:
            self._buffer, whole = b"", self._buffer
            self._settle(whole)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002  # what asyncio calls
        self._lost.set()
        self._settle(b"")

    def _settle(self, reply: bytes) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_result(reply)


class _Pool:
    """A pool with a limit on connections. A request that finds none free is not sent."""

    def __init__(self, port: int, most: int) -> None:
        self._port, self._left = port, most
        self._free: deque[_Connection] = deque()
        self._opened: list[_Connection] = []
        self.found = Overload()
        self._start = time.perf_counter()

    async def send(self, request: bytes, meant: float) -> None:
        """Send a request that was due at `meant`, and record its outcome."""
        connection = await self._take()
        if connection is None:
            return
        reply = await connection.ask(request)
        took = time.perf_counter() - meant
        if not reply:
            self._left += 1
            self.found.others["no reply"] += 1
            return
        self._free.append(connection)
        if reply[9:12] == b"503":
            self.found.refused.append(took)
        elif reply[9:12] == b"200" and b'"degraded":true' not in reply:
            self.found.good.append(took)
            self.found.good_at.append(meant + took - self._start)
        else:
            self.found.others["degraded" if reply[9:12] == b"200" else reply[9:12].decode()] += 1

    async def _take(self) -> _Connection | None:
        while self._free:
            if not (connection := self._free.pop()).closed:
                return connection
            self._left += 1
        if not self._left:
            self.found.others["not sent"] += 1
            return None
        self._left -= 1
        try:
            _, connection = await asyncio.get_running_loop().create_connection(_Connection, "127.0.0.1", self._port)
        except OSError as error:
            self._left += 1
            self.found.others[type(error).__name__] += 1
            return None
        self._opened.append(connection)
        return connection

    async def close(self) -> None:
        """Close all connections."""
        for connection in self._opened:
            await connection.close()


async def flood(port: int, rate: float, seconds: float, most: int, world: World) -> Overload:
    """Send `rate` requests a second over at most `most` connections."""
    pool, prepared = _Pool(port, most), requests("next", world, run="flood")
    under_way = set[asyncio.Task[None]]()
    start = time.perf_counter()
    for number in range(int(rate * seconds)):
        meant = start + number / rate
        if (early := meant - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        elif number % 50 == 0:
            await asyncio.sleep(0)
        task = asyncio.create_task(pool.send(next(prepared), meant))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    if under_way:
        await asyncio.wait(under_way, timeout=GIVE_UP_S + 2)
    await pool.close()
    return pool.found


async def ask_health(port: int, seconds: float) -> list[float]:
    """Measure `/healthz` on a new connection every tenth of a second. Returns the times in seconds."""
    took, end = [], time.perf_counter() + seconds
    while (asked := time.perf_counter()) < end:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        await reader.read()
        took.append(time.perf_counter() - asked)
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(0.1)
    return took


def measure(system: System, factor: float, seconds: float, most: int, world: World) -> dict[str, float]:
    """Run one round: the capacity, the overload, and the capacity again."""
    watched = system.processes()
    closed = Order(port=system.port, kind="next", world=world, connections=64, seconds=seconds, watch=watched)
    before = uvloop.run(generate(closed))
    cpu = CpuTime(watched)
    cpu.start()
    context = multiprocessing.get_context("spawn")
    with context.Pool(CLIENTS) as pool:
        share = (system.port, before.per_second * factor / CLIENTS, seconds, most // CLIENTS, world)
        floods = pool.starmap_async(_flood, [share] * CLIENTS)
        health = uvloop.run(ask_health(system.port, seconds))
        results: list[Overload] = floods.get()
    good = [one for result in results for one in result.good]
    # The first quarter fills the pool of connections, so it does not count. Nor do replies after the last request was sent.
    steady = [at for result in results for at in result.good_at if seconds / 4 <= at <= seconds]
    goodput = len(steady) / (seconds * 3 / 4)
    refused = [one for result in results for one in result.refused]
    others = sum((result.others for result in results), Counter[str]())
    flood_cpu_s, _ = cpu.so_far()
    after = uvloop.run(generate(closed))
    per_second = (before.per_second + after.per_second) / 2
    cpu_s = (before.cpu_s + after.cpu_s) / (len(before.latencies) + len(after.latencies))
    return {
        "capacity/s": per_second,
        "goodput/s": goodput,
        "of capacity": goodput / per_second,
        "of capacity by CPU": cpu_s / (flood_cpu_s / max(1, len(good))),
        "good p50 ms": summarise(good).p50,
        "good p99 ms": summarise(good).p99,
        "refused/s": len(refused) / seconds,
        "refused p50 ms": summarise(refused).p50,
        "healthz max ms": max(health) * 1000,
        "degraded": float(others["degraded"]),
        "no reply": float(others["no reply"]),
        "not sent/s": others["not sent"] / seconds,
    }


def _flood(port: int, rate: float, seconds: float, most: int, world: World) -> Overload:
    return uvloop.run(flood(port, rate, seconds, most, world))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m tests.load.overload", description=str(__doc__).partition("\n")[0])
    made.add_argument("--cache", type=Path, default=Path(".nexttrack/load"), help="folder of artifacts")
    made.add_argument("--tracks", type=int, default=100_000)
    made.add_argument("--factor", type=float, default=3.0, help="how many times the capacity arrives")
    made.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--connections", type=int, default=3_000, help="of the pool")
    made.add_argument("--pin", action="store_true", help="service and Redis on the first core, clients on the second")
    return made


def main() -> None:
    """Print each round, and the median of each figure."""
    options = parser().parse_args()
    folder, world = artifacts.of_size(options.cache, options.tracks), World(tracks=options.tracks)
    with ExitStack() as stack:
        if options.pin:
            os.sched_setaffinity(0, {0})
        url = stack.enter_context(embedded_valkey.running(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        listeners.remember(url, world)
        system = stack.enter_context(systems.service(folder, url))
        if options.pin:
            os.sched_setaffinity(0, {1})
        rounds = []
        for _ in range(options.rounds):
            rounds.append(measure(system, options.factor, options.seconds, options.connections, world))
            sys.stdout.write("  ".join(f"{name} {value:.3g}" for name, value in rounds[-1].items()) + "\n")
    for name in rounds[0]:
        sys.stdout.write(f"{name:20} {median(one[name] for one in rounds):.3g}\n")


if __name__ == "__main__":
    main()
