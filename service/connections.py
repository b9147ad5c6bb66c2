"""Ways to Redis: one server over a single pipelined connection, or a cluster.

redis-py's own client costs 120 to 300 µs a command (pool, retries, instrumentation); its bare `Connection`, which does
addresses, TLS, passwords and parsing, costs 45. So `Single` keeps one connection a process, on which all requests' commands
travel one behind the other and replies are matched by order; those of one turn of the event loop leave in one write, which
under load saves a system call a request here and one in Redis. That also answers the pool's known trouble with cancelled
requests (redis-py#2624, #2665): nobody owns a connection, so a request that goes away leaves neither a connection in use
nor its reply to somebody else; its reply comes and is dropped.

All commands sent here may be repeated without harm, so those in flight when a connection breaks are sent once more.
It knows nothing about sessions.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

from hiredis import pack_command
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import RedisClusterException, RedisError, ResponseError

from service.errors import StoreUnavailableError

Command = tuple[str | bytes | int, ...]
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.02, 1.0
"""How long nobody tries to connect after one has failed to: doubling, so that a Redis that is down costs nothing."""


class Link(Protocol):
    """A way to Redis. All methods raise StoreUnavailableError where it does not answer in time."""

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one round trip and give their replies; a command that Redis refuses has its error as reply.

        The key of a command, where a cluster needs it, is found as Redis documents it. Several commands are one
        transaction on a single server, and one a key on a cluster.
        """

    async def ping(self) -> None:
        """Return once Redis answers."""

    async def close(self) -> None:
        """Let go of all connections."""


def connect(url: str, timeout: timedelta) -> Link:
    """The way to `url`; nothing is connected yet, so a Redis that comes up later is no error."""
    if url.startswith(("redis+cluster://", "rediss+cluster://")):
        return Cluster(url.replace("+cluster", ""), timeout)
    return Single(url, timeout)


@dataclass(slots=True)
class _Wire:
    """One open connection, who waits on it (for each, how many replies), and when it last brought a reply."""

    connection: AbstractConnection
    waiting: deque[tuple[asyncio.Future[list[Any]], int]] = field(default_factory=deque)
    heard_at: float = field(default_factory=time.monotonic)
    alive: bool = True
    unsent: list[bytes] = field(default_factory=list)

    def post(self, commands: Sequence[Command]) -> asyncio.Future[list[Any]]:
        """Send commands with all others of this turn of the loop; the future gets their replies."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Any]] = loop.create_future()
        self.waiting.append((future, len(commands)))
        if not self.unsent:
            loop.call_soon(self._flush)
        self.unsent += [pack_command(command) for command in commands]  # type: ignore[arg-type]  # its types know no bytes | int
        return future

    def _flush(self) -> None:
        # redis-py's own way to send is a coroutine that waits for the socket; this only hands over. Where the connection has
        # ended, its reader tells those who wait.
        writer = self.connection._writer
        if self.alive and writer is not None and not writer.is_closing():
            writer.write(b"".join(self.unsent))
        self.unsent.clear()


class Single:
    """A link to one server."""

    def __init__(self, url: str, timeout: timedelta) -> None:
        self._timeout_s = timeout.total_seconds()
        self._pool = ConnectionPool.from_url(
            url, protocol=2, socket_timeout=None, socket_connect_timeout=self._timeout_s, retry=Retry(NoBackoff(), 0)
        )
        self._wire: _Wire | None = None
        self._reader: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()
        self._pause_s = FIRST_PAUSE_S
        self._closed_until = 0.0

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        if len(commands) == 1:
            return await self._within_time(commands)
        *_, replies = await self._within_time([("MULTI",), *commands, ("EXEC",)])
        if isinstance(replies, ResponseError):
            raise StoreUnavailableError(f"Redis refused a transaction: {replies}")
        return list(replies)

    async def ping(self) -> None:
        [reply] = await self._within_time([("PING",)])
        if isinstance(reply, ResponseError):  # such as LOADING, while it reads its data from disk
            raise StoreUnavailableError(f"Redis is not ready: {reply}")

    async def close(self) -> None:
        await self._drop()
        await self._pool.aclose()

    async def _within_time(self, commands: Sequence[Command]) -> list[Any]:
        try:
            async with asyncio.timeout(self._timeout_s):
                try:
                    return await self._send(commands)
                except (LostConnectionError, OSError):  # most often a Redis that was restarted since the last request
                    return await self._send(commands)
        except TimeoutError as error:
            if self._wire is not None and time.monotonic() - self._wire.heard_at >= self._timeout_s:
                await self._drop()  # silent; a connection that brings replies, if late ones, is kept
            raise StoreUnavailableError(f"Redis did not answer within {self._timeout_s * 1000:.0f} ms") from error
        except (RedisError, OSError) as error:
            raise StoreUnavailableError(f"Redis is out of reach: {error}") from error

    async def _send(self, commands: Sequence[Command]) -> list[Any]:
        wire = self._wire
        if wire is None or not wire.alive:
            wire = await self._open()
        return await wire.post(commands)

    async def _open(self) -> _Wire:
        async with self._opening:
            if self._wire is not None and self._wire.alive:
                return self._wire
            if time.monotonic() < self._closed_until:
                raise LostConnectionError("the last try to connect failed just now")
            await self._drop()
            connection = self._pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py left it untyped
            try:
                await connection.connect()
            except BaseException:
                self._closed_until = time.monotonic() + self._pause_s
                self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
                await connection.disconnect(nowait=True)
                raise
            self._pause_s = FIRST_PAUSE_S
            self._wire = _Wire(connection)
            self._reader = asyncio.create_task(_read(self._wire), name="redis replies")
            return self._wire

    async def _drop(self) -> None:
        reader, self._reader, self._wire = self._reader, None, None
        if reader is not None:
            reader.cancel()
            with suppress(asyncio.CancelledError):
                await reader


async def _read(wire: _Wire) -> None:
    """Hand each reply to whoever waits for it, until the connection ends; then tell those who still wait."""
    replies: list[Any] = []
    try:
        while True:
            try:
                replies.append(await wire.connection.read_response())
            except ResponseError as refusal:
                replies.append(refusal)
            wire.heard_at = time.monotonic()
            future, wanted = wire.waiting[0]
            if len(replies) == wanted:
                wire.waiting.popleft()
                if not future.done():  # a request that went away has cancelled it
                    future.set_result(replies)
                replies = []
    except (RedisError, OSError):
        pass  # who waits is told below; who comes next opens a new connection
    finally:
        wire.alive = False
        for future, _ in wire.waiting:
            if not future.done():
                future.set_exception(LostConnectionError("the connection to Redis ended"))
        wire.waiting.clear()
        await wire.connection.disconnect(nowait=True)


class Cluster:
    """A link to a Redis Cluster, through redis-py's own client, which follows slots as they move."""

    def __init__(self, url: str, timeout: timedelta) -> None:
        self._timeout_s = timeout.total_seconds()
        self._client = RedisCluster.from_url(
            url, protocol=2, socket_timeout=self._timeout_s, socket_connect_timeout=self._timeout_s
        )

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        pipeline = self._client.pipeline()
        for command in commands:
            pipeline.execute_command(*command)
        return list(await self._within_time(pipeline.execute(raise_on_error=False)))

    async def ping(self) -> None:
        await self._within_time(self._client.execute_command("PING", target_nodes=RedisCluster.RANDOM))

    async def close(self) -> None:
        await self._client.aclose()

    async def _within_time(self, work: Any) -> Any:
        # A task of its own: a request that goes away must not leave a pooled connection half read (redis-py#2665).
        task = asyncio.ensure_future(work)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.shield(task)
        except TimeoutError as error:
            raise StoreUnavailableError(f"Redis Cluster did not answer within {self._timeout_s * 1000:.0f} ms") from error
        except (RedisError, RedisClusterException, OSError) as error:
            raise StoreUnavailableError(f"Redis Cluster is out of reach: {error}") from error
