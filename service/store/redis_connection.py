"""The way to one Redis server: a single pipelined connection.

redis-py's own client costs 120 to 300 µs a command (pool, retries, instrumentation). So its `Connection` does what it is good
at, addresses, TLS, passwords and the handshake, and then `Single` takes over: one connection a process, on which all requests'
commands travel one behind the other and replies are matched by order, straight from the socket to whoever waits, without a task
or a timer for each. Those of one turn of the event loop leave in one write, which under load saves a system call a request here
and one in Redis. That also answers the pool's known trouble with cancelled
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
from datetime import timedelta
from typing import Any, NoReturn, cast

import hiredis
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import InvalidResponse, NoScriptError, RedisError, ResponseError

from service.errors import StoreUnavailableError

Command = tuple[str | bytes | int, ...]
_Asked = tuple[asyncio.Future[list[Any]], int, float]
"""Who waits for how many replies until when, by the loop's clock."""
_MORE = object()
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.02, 1.0
"""How long nobody tries to connect after one has failed to: doubling, so that a Redis that is down costs nothing."""


class _Wire(asyncio.Protocol):
    """One open connection, taken over from redis-py once it has shaken hands."""

    def __init__(self, connection: AbstractConnection, timeout_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection, self._timeout_s = connection, timeout_s
        self._transport = cast("asyncio.StreamWriter", connection._writer).transport  # it is connected
        self._parser = hiredis.Reader(protocolError=InvalidResponse, replyError=_refusal, notEnoughData=_MORE)
        self._waiting: deque[_Asked] = deque()
        self._replies: list[Any] = []
        self._unsent: list[bytes] = []
        self._watch: asyncio.TimerHandle | None = None
        self._heard_at = self._loop.time()
        self.alive = True
        self._transport.set_protocol(self)

    def post(self, commands: Sequence[Command]) -> asyncio.Future[list[Any]]:
        """Send commands with all others of this turn of the loop; the future gets their replies, or TimeoutError."""
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        due = self._loop.time() + self._timeout_s
        self._waiting.append((future, len(commands), due))
        if self._watch is None:
            self._watch = self._loop.call_at(due, self._give_up)
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent += [hiredis.pack_command(command) for command in commands]  # type: ignore[arg-type]  # its types know no bytes | int
        return future

    def silent(self) -> bool:
        """Whether nothing has come for as long as a request waits; a connection that brings replies, if late ones, is sound."""
        return self._loop.time() - self._heard_at >= self._timeout_s

    async def close(self) -> None:
        self._end()
        await self._connection.disconnect(nowait=True)

    def data_received(self, data: bytes) -> None:
        """Hand each reply to whoever waits for it."""
        self._heard_at = self._loop.time()
        try:
            self._parser.feed(data)
            while (reply := self._parser.gets()) is not _MORE:
                self._replies.append(reply)
                future, wanted, _ = self._waiting[0]
                if len(self._replies) == wanted:
                    self._waiting.popleft()
                    if not future.done():  # a request that went away has cancelled it, or it has waited too long
                        future.set_result(self._replies)
                    self._replies = []
        except (RedisError, IndexError):  # no RESP, or a reply that nobody waits for: nothing that follows can be trusted
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002  # what asyncio calls
        self._end()

    def _flush(self) -> None:
        # Where the connection is about to end, `connection_lost` tells those who wait.
        if self.alive and not self._transport.is_closing():
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def _give_up(self) -> None:
        """Tell those who have waited too long: one timer for all, as they wait equally long, the oldest first."""
        self._watch = None
        now = self._loop.time()
        for future, _, due in self._waiting:
            if due > now:
                self._watch = self._loop.call_at(due, self._give_up)
                return
            if not future.done():
                future.set_exception(TimeoutError())

    def _end(self) -> None:
        self.alive = False
        if self._watch is not None:
            self._watch.cancel()
        for future, *_ in self._waiting:
            if not future.done():
                future.set_exception(LostConnectionError("the connection to Redis ended"))
        self._waiting.clear()


class Single:
    """A link to one server."""

    def __init__(self, url: str, timeout: timedelta) -> None:
        self._timeout_s = timeout.total_seconds()
        self._pool = ConnectionPool.from_url(
            url, protocol=2, socket_timeout=None, socket_connect_timeout=self._timeout_s, retry=Retry(NoBackoff(), 0)
        )
        self._pool.make_connection()  # type: ignore[no-untyped-call]  # untyped there; a wrong option shows only here
        self._wire: _Wire | None = None
        self._opening = asyncio.Lock()
        self._pause_s = FIRST_PAUSE_S
        self._closed_until = 0.0
        self._stay_until = 0.0

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """As `Link.run`: several commands are one transaction."""
        if len(commands) == 1:
            replies = await self.send(commands)
        else:
            *early, replies = await self.send([("MULTI",), *commands, ("EXEC",)])
            if isinstance(replies, ResponseError):
                await self._heed_refusals(early)
                raise StoreUnavailableError(f"Redis refused a transaction: {replies}")
        await self._heed_refusals(replies)
        return list(replies)

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """Commands in one round trip, each for itself; StoreUnavailableError where Redis does not answer in time."""
        wire, latest = self._wire, asyncio.get_running_loop().time() + self._timeout_s
        try:
            if wire is not None and wire.alive:
                with suppress(LostConnectionError):  # most often a Redis that was restarted since the last request
                    return await wire.post(commands)
            async with asyncio.timeout_at(latest):
                return await (await self._open()).post(commands)
        except TimeoutError as error:
            if self._wire is not None and self._wire.silent():
                await self._drop()
            raise StoreUnavailableError(f"Redis did not answer within {self._timeout_s * 1000:.0f} ms") from error
        except (RedisError, OSError) as error:
            raise StoreUnavailableError(f"Redis is out of reach: {error}") from error

    async def ping(self) -> None:
        """Return once Redis answers and is no replica, which would refuse every write."""
        reply, role = await self.send([("PING",), ("ROLE",)])
        if isinstance(reply, ResponseError):  # such as LOADING, while it reads its data from disk
            raise StoreUnavailableError(f"Redis is not ready: {reply}")
        if isinstance(role, list) and role[0] == b"slave":  # who may not ask for the role is told by the first write
            await self._leave_replica()

    async def close(self) -> None:
        """Let go of the connection."""
        await self._drop()
        await self._pool.aclose()

    async def _heed_refusals(self, replies: Sequence[Any]) -> None:
        """Leave a server that has been made a replica; other refusals are the replies of their commands."""
        if any(isinstance(reply, ResponseError) and "READONLY You can't write" in str(reply) for reply in replies):
            await self._leave_replica()

    async def _leave_replica(self) -> NoReturn:
        """Connect anew with the next request: after a failover the same name may lead to the new primary, though nothing has
        cut the connection.

        Not more often than every `LONGEST_PAUSE_S`, as a replica may be all that there is, and it answers reads.
        """
        now = time.monotonic()
        if now >= self._stay_until:
            self._stay_until = now + LONGEST_PAUSE_S
            await self._drop()
        raise StoreUnavailableError("Redis is a read-only replica")

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
            self._wire = _Wire(connection, self._timeout_s)
            return self._wire

    async def _drop(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close()


def _refusal(text: str) -> ResponseError:
    return NoScriptError(text) if text.startswith("NOSCRIPT") else ResponseError(text)
