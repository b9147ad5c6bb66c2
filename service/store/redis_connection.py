"""Talks to one Redis server over a single pipelined connection.

redis-py's `Connection` opens it: addresses, TLS, passwords and the handshake. Then `ServerClient` takes the socket over. The
commands of all requests travel on this one connection, and replies are matched to commands by their order. Commands leave in
lots, not one by one (`LOT`). No request owns a connection. So a cancelled request neither blocks a connection nor leaves its
reply to another request (redis-py#2624, #2665): its reply arrives and is dropped.

redis-py's own client takes a connection from a pool for each command, with retries and instrumentation around it. This code
answers 1.2 to 2 times as many proposals a second and 1.6 to 2 times as many events, for .5 to .7 of the event loop's CPU time
(docs/measurements/speed.md, "Does the Redis connection pay?").

Every command that is sent here may be repeated without harm, so those in flight when a connection breaks are sent once more.
The module knows nothing about sessions.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ClassVar, NoReturn, cast

import hiredis
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import InvalidResponse, NoScriptError, RedisError, ResponseError

from service.errors import StoreUnavailableError

Command = tuple[str | bytes | int, ...]
PROBE_KEY = "nexttrack:probe"
"""The key of the write that `check_writes` asks for and takes back."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.02, 1.0
"""The pause after a failed try to connect. It doubles up to the longest, so that a Redis that is down costs nothing."""
MAX_REPLY_BYTES = 64 * 1024 * 1024
"""A reply that is longer is not a Redis that we asked. A listener's whole state is below 2 MB."""
LOT = 4
"""How many waiting commands are sent at once. Then Redis works on them while the event loop handles further requests.

If all commands of a turn of the loop were sent together, Redis and the loop would take turns. Lots of four answer 1.12 times as
many events, of 16 and of 64 clients. Smaller lots cost more system calls and gain no more.
"""
_WRITE_REFUSALS = ("OOM", "MISCONF", "NOREPLICAS", "READONLY", "LOADING")
_Pending = tuple[asyncio.Future[list[Any]], int, float]
"""A future, the number of replies that it waits for, and its deadline by the loop's clock."""
_MORE = object()


class ServerClient:
    """A client of one server."""

    is_cluster: ClassVar[bool] = False

    def __init__(self, url: str, timeout: timedelta) -> None:
        self._timeout_s = timeout.total_seconds()
        self._pool = ConnectionPool.from_url(
            url, protocol=2, socket_timeout=None, socket_connect_timeout=self._timeout_s, retry=Retry(NoBackoff(), 0)
        )
        self._pool.make_connection()  # type: ignore[no-untyped-call]  # untyped there; a wrong option shows only here
        self._connection: _Connection | None = None
        self._opening = asyncio.Lock()
        self._pause_s = FIRST_PAUSE_S
        self._closed_until = 0.0
        self._stay_until = 0.0

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands as `RedisClient.run` says. Several commands are one transaction."""
        if len(commands) == 1:
            replies = await self.pipeline(commands)
        else:
            *early, replies = await self.pipeline([("MULTI",), *commands, ("EXEC",)])
            if isinstance(replies, ResponseError):
                await self._check_role(early)
                raise StoreUnavailableError("Redis refused a transaction", cause=replies)
        await self._check_role(replies)
        return list(replies)

    async def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one round trip, without a transaction. Raises StoreUnavailableError if Redis does not answer in
        time.
        """
        connection, deadline = self._connection, asyncio.get_running_loop().time() + self._timeout_s
        try:
            if connection is not None and connection.alive:
                try:
                    return await connection.send(commands)
                except LostConnectionError:  # most often a Redis that was restarted since the last request
                    pass
            async with asyncio.timeout_at(deadline):
                return await (await self._open()).send(commands)
        except TimeoutError as error:
            if self._connection is not None and self._connection.is_silent():
                await self._drop()
            limit = f"nothing within {self._timeout_s * 1000:.0f} ms"
            raise StoreUnavailableError("Redis did not answer in time", cause=limit) from error
        except (RedisError, OSError) as error:
            raise StoreUnavailableError("Redis is out of reach", cause=error) from error

    async def ping(self) -> None:
        """Check that Redis answers and accepts writes. Raises StoreUnavailableError if not."""
        await self.check_writes(PROBE_KEY)

    async def check_writes(self, key: str) -> None:
        """Ask Redis whether it would accept a write to `key`, and write nothing. Raises StoreUnavailableError if not.

        Redis refuses to queue a write of a transaction if its memory is full, its disk fails, it is a replica, has too few
        replicas, or still loads its data. The transaction is then discarded.
        """
        replies = await self.pipeline([("MULTI",), ("SET", key, "", "PX", 1), ("DISCARD",)])
        await self._check_role(replies)
        checked(replies)

    async def close(self) -> None:
        """Close the connection."""
        await self._drop()
        await self._pool.aclose()

    async def _check_role(self, replies: Sequence[Any]) -> None:
        """Raise and disconnect if a reply says that the server has become a replica. Other errors stay in the replies."""
        for reply in replies:
            if isinstance(reply, ResponseError) and "READONLY You can't write" in str(reply):
                await self._leave_replica()

    async def _leave_replica(self) -> NoReturn:
        """Close the connection, so that the next request connects again.

        After a failover the same name may lead to the new primary, while the old connection stays open. This happens at most
        every `LONGEST_PAUSE_S` seconds, because a replica may be the only server, and it answers reads.
        """
        now = time.monotonic()
        if now >= self._stay_until:
            self._stay_until = now + LONGEST_PAUSE_S
            await self._drop()
        raise refused(ResponseError("READONLY it is a read-only replica"))

    async def _open(self) -> "_Connection":
        async with self._opening:
            if self._connection is not None and self._connection.alive:
                return self._connection
            if time.monotonic() < self._closed_until:
                raise LostConnectionError("the last try to connect failed just now")
            await self._drop()
            opened = self._pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py left it untyped
            try:
                await opened.connect()
            except BaseException:
                self._closed_until = time.monotonic() + self._pause_s
                self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
                await opened.disconnect(nowait=True)
                raise
            self._pause_s = FIRST_PAUSE_S
            self._connection = _Connection(opened, self._timeout_s)
            return self._connection

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def checked(replies: list[Any], *passing: str) -> list[Any]:
    """Return the replies. Raises StoreUnavailableError if one is an error, unless it says that a script is unknown, or its text
    has one of `passing`.
    """
    for reply in replies:
        is_error = isinstance(reply, ResponseError) and not isinstance(reply, NoScriptError)
        if is_error and not any(text in str(reply) for text in passing):
            raise refused(reply) from reply
    return replies


def refused(reply: ResponseError) -> StoreUnavailableError:
    """Make the error for a reply with which Redis refuses a command: memory or disk is full, the server is a replica, or
    another reason.
    """
    refuses_writes = str(reply).startswith(_WRITE_REFUSALS)
    return StoreUnavailableError("Redis refuses writes" if refuses_writes else "Redis refused the request", cause=reply)


class _Connection(asyncio.Protocol):
    """An open connection to Redis, taken over from redis-py after the handshake."""

    def __init__(self, opened: AbstractConnection, timeout_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._opened, self._timeout_s = opened, timeout_s
        self._transport = cast("asyncio.StreamWriter", opened._writer).transport  # it is connected
        self._parser = hiredis.Reader(protocolError=InvalidResponse, replyError=_error, notEnoughData=_MORE)
        self._pending: deque[_Pending] = deque()
        self._replies: list[Any] = []
        self._unsent: list[bytes] = []
        self._will_flush = False
        self._timer: asyncio.TimerHandle | None = None
        self._received_at = self._loop.time()
        self._received_bytes = 0  # since the last whole reply
        self.alive = True
        self._transport.set_protocol(self)

    def send(self, commands: Sequence[Command]) -> asyncio.Future[list[Any]]:
        """Send commands, at the latest with all others of this turn of the event loop. The future gets their replies, or
        TimeoutError.
        """
        # First, because it may raise. A request that waits without having sent anything would get the replies to others.
        self._unsent += [hiredis.pack_command(command) for command in commands]  # type: ignore[arg-type]  # its types know no bytes | int
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        deadline = self._loop.time() + self._timeout_s
        self._pending.append((future, len(commands), deadline))
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._time_out)
        if len(self._unsent) >= LOT:
            self._send_waiting()
        elif not self._will_flush:
            self._will_flush = True
            self._loop.call_soon(self._flush)
        return future

    def is_silent(self) -> bool:
        """Return whether nothing has arrived for as long as a request waits. If replies are only late, the connection is still
        usable.
        """
        return self._loop.time() - self._received_at >= self._timeout_s

    async def close(self) -> None:
        self._end()
        await self._opened.disconnect(nowait=True)

    def data_received(self, data: bytes) -> None:
        """Parse the data, and give each reply to the oldest request that waits for one."""
        self._received_at = self._loop.time()
        self._received_bytes += len(data)
        if self._received_bytes > MAX_REPLY_BYTES:
            self._transport.abort()
            return
        try:
            self._parser.feed(data)
            while (reply := self._parser.gets()) is not _MORE:
                self._received_bytes = 0
                self._replies.append(reply)
                future, wanted, _ = self._pending[0]
                if len(self._replies) == wanted:
                    self._pending.popleft()
                    if not future.done():  # a cancelled request has cancelled it, or it has timed out
                        future.set_result(self._replies)
                    self._replies = []
        except (RedisError, IndexError):  # no RESP, or a reply too many: nothing that follows can be trusted
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002  # what asyncio calls
        self._end()

    def _flush(self) -> None:
        self._will_flush = False
        if self._unsent:
            self._send_waiting()

    def _send_waiting(self) -> None:
        # A connection that is about to end: `connection_lost` fails the requests in flight.
        if self.alive and not self._transport.is_closing():
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def _time_out(self) -> None:
        """Fail the requests that are past their deadline. One timer serves all, because all wait equally long and the oldest is
        first.
        """
        self._timer = None
        now = self._loop.time()
        for future, _, deadline in self._pending:
            if deadline > now:
                self._timer = self._loop.call_at(deadline, self._time_out)
                return
            if not future.done():
                future.set_exception(TimeoutError())

    def _end(self) -> None:
        self.alive = False
        if self._timer is not None:
            self._timer.cancel()
        for future, *_ in self._pending:
            if not future.done():
                future.set_exception(LostConnectionError("the connection to Redis ended"))
        self._pending.clear()


def _error(text: str) -> ResponseError:
    return NoScriptError(text) if text.startswith("NOSCRIPT") else ResponseError(text)
