"""The overload's clients against a server that answers, refuses and degrades by turns."""

import asyncio
import itertools

from tests.load.overload import ask_health, flood
from tests.load.traffic import World

REPLIES = {
    "good": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "refused": b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}",
    "degraded": b'HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{"degraded":true}',
}


class Server:
    """Answers each request in the way that is next, whatever its connection."""

    def __init__(self) -> None:
        self._next = itertools.cycle(REPLIES.values())

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers a connection's requests until its client leaves."""
        try:
            while b"connection: close" not in (await reader.readuntil(b"\r\n\r\n")).lower():
                writer.write(next(self._next))
        except (asyncio.IncompleteReadError, ConnectionError):  # the client has left
            pass
        writer.close()


async def _flooded(most: int) -> tuple[int, int, dict[str, int]]:
    server = await asyncio.start_server(Server().serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    before = asyncio.all_tasks()
    found = await flood(port, 300, 0.5, most, World(users=5, tracks=50))
    assert await ask_health(port, 0.01)
    server.close()
    if served := asyncio.all_tasks() - before:
        await asyncio.wait(served)
    await asyncio.sleep(0)  # the transports close their sockets in the turn after
    return len(found.good), len(found.refused), dict(found.others)


def test_every_request_is_accounted_for() -> None:
    """Good, refused and degraded replies are told apart. A request without a connection is counted as not sent."""
    good, refused, others = asyncio.run(_flooded(most=300))
    none_good, none_refused, not_sent = asyncio.run(_flooded(most=0))

    assert good > 0
    assert refused > 0
    assert others["degraded"] > 0
    assert good + refused + sum(others.values()) == 150
    assert (none_good, none_refused, not_sent) == (0, 0, {"not sent": 150})
