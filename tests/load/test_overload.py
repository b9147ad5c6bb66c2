"""The overload's clients against a server that answers, refuses and stays silent by turns."""

import asyncio

from tests.load.overload import ask_health, flood
from tests.load.traffic import World

REPLIES = {
    "good": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "refused": b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}",
    "degraded": b'HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{"degraded":true}',
}


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers a connection's requests, each in another way; hangs up at the end, or where it is asked to."""
    for reply in REPLIES.values():
        if not await reader.readline():
            break
        close = False
        while (line := await reader.readline()).strip():
            close |= line.lower() == b"connection: close\r\n"
        writer.write(reply)
        if close:
            break
    writer.close()


async def _flooded(most: int) -> tuple[int, int, dict[str, int]]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        found = await flood(port, 300, 0.5, most, World(users=5, tracks=50))
        assert await ask_health(port, 0.01)
    return len(found.good), len(found.refused), dict(found.others)


def test_every_request_is_accounted_for() -> None:
    """Good, refused and degraded replies are told apart; what finds no connection is counted as not sent."""
    good, refused, others = asyncio.run(_flooded(most=300))
    none_good, none_refused, not_sent = asyncio.run(_flooded(most=0))

    assert good > 0
    assert refused > 0
    assert others["degraded"] > 0
    assert good + refused + sum(others.values()) == 150
    assert (none_good, none_refused, not_sent) == (0, 0, {"not sent": 150})
