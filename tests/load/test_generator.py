"""The generator counts latencies correctly, tested against a server that stalls on purpose."""

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.load.generator import CpuTime, Order, Result, generate
from tests.load.latencies import summarise
from tests.load.traffic import World

WORLD = World(users=5, tracks=50)


@asynccontextmanager
async def server(stall_s: float, status: bytes = b"200 OK") -> AsyncIterator[int]:
    """Run a server that answers at once, except for one stall of each connection 0.1 s after the first request. Yields the
    port.
    """
    first: list[float] = []
    serving: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        serving.append(asyncio.current_task())
        stalled = False
        while await reader.readline():
            while await reader.readline() != b"\r\n":
                pass
            first.append(loop.time())
            if not stalled and loop.time() >= first[0] + 0.1:
                stalled = True
                await asyncio.sleep(stall_s)
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1]
        await asyncio.gather(*(task for task in serving if task))


def order(port: int, *, rate: float | None, connections: int = 2) -> Order:
    """An order for a second of `next` requests."""
    return Order(port=port, kind="next", world=WORLD, connections=connections, seconds=1.0, warm_s=0.0, rate=rate)


async def _measured(stall_s: float, *, rate: float | None) -> Result:
    """Measure while the server's stall is the only one. Repeats the measurement if the machine stopped this process too."""
    for _ in range(8):
        async with server(stall_s) as port:
            pauses = asyncio.create_task(_longest_pause(1.0))
            result = await generate(order(port, rate=rate))
        if await pauses < 0.1:
            return result
    pytest.skip("this machine gives a process no second without a pause of 0.1 s: no stall could be told from its own")


async def _longest_pause(seconds: float) -> float:
    """Return the longest time in which this event loop did not run."""
    loop, longest = asyncio.get_running_loop(), 0.0
    before = started = loop.time()
    while before < started + seconds:
        await asyncio.sleep(0.01)
        now = loop.time()
        longest, before = max(longest, now - before - 0.01), now
    return longest


def test_stall_counts_for_everyone_who_came_in_it() -> None:
    """A stall of 0.4 s in 1 s delays four of ten requests, although only two connections were there to see it."""
    result = asyncio.run(_measured(0.4, rate=200.0))
    delayed = [seconds for seconds in result.latencies if seconds > 0.05]

    assert len(result.latencies) == 200
    assert 40 <= len(delayed) <= 110
    assert summarise(result.latencies).p90 > 250


def test_closed_loop_sees_a_stall_once_a_connection() -> None:
    """A closed loop sends nothing during a stall and so hides it. This is why an open loop exists too."""
    result = asyncio.run(_measured(0.4, rate=None))

    assert sum(seconds > 0.2 for seconds in result.latencies) == 2
    assert result.per_second == len(result.latencies)


def test_refusals_are_errors() -> None:
    """Errors are counted by status."""

    async def refused() -> Result:
        async with server(0.0, b"503 Service Unavailable") as port:
            return await generate(order(port, rate=50.0))

    assert asyncio.run(refused()).errors == {"503": 50}


@pytest.mark.parametrize("rate", [None, 100.0])
def test_warm_up_is_not_counted(rate: float | None) -> None:
    """Requests of the warm-up are neither in the latencies nor in the rate."""

    async def warmed() -> Result:
        async with server(0.0) as port:
            given = order(port, rate=rate)
            return await generate(
                Order(port=given.port, kind="next", world=WORLD, connections=1, seconds=0.3, warm_s=0.5, rate=rate)
            )

    result = asyncio.run(warmed())

    assert result.per_second == pytest.approx(len(result.latencies) / 0.3, rel=0.2)
    assert result.errors == {}


def test_cpu_time_of_main_threads_is_told_from_all() -> None:
    """A thread beside the main one works for 0.3 s of CPU time while the main thread waits."""

    def work() -> None:
        until = time.thread_time() + 0.3
        while time.thread_time() < until:
            pass

    measuring = CpuTime([os.getpid()])
    measuring.start()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    all_s, main_s = measuring.so_far()

    assert all_s - main_s > 0.2
    assert main_s < 0.2
