"""Tells all processes that a listener is forgotten. Each then drops its own memory of the listener.

    nexttrack:forgotten   stream: digests of the ids of listeners who were forgotten in the last `KEPT_S`

A digest is no id, and it is gone after `KEPT_S` too. Each process polls the stream. A process that could not do so for a long
time drops all that it remembers, because it may have missed somebody.
"""

import hashlib
import time
from collections.abc import Callable

from redis.exceptions import ResponseError

from service.errors import StoreUnavailableError
from service.store.connections import RedisClient
from service.store.redis_connection import Command

KEY = "nexttrack:forgotten"
KEPT_S = 10 * 60
MOST = 10_000
"""Digests of the stream. The oldest go first; a process reads them twice a second."""
_SIZE = 16


def digest_of(user_id: str) -> bytes:
    """Return the 16-byte digest of a user id."""
    return hashlib.blake2b(user_id.encode("utf-8", "surrogatepass"), digest_size=_SIZE).digest()


def commands_to_announce(user_id: str) -> list[Command]:
    """Return the Redis commands that tell all processes to forget a listener."""
    return [
        ("XADD", KEY, "MAXLEN", "~", MOST, "*", "digest", digest_of(user_id)),
        ("PEXPIRE", KEY, KEPT_S * 1_000),
    ]


class ForgottenListeners:
    """Polls Redis for forgotten listeners, and lets this process forget them too."""

    def __init__(
        self,
        client: RedisClient,
        forget: Callable[[bytes], None],
        forget_all: Callable[[], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`forget` is called with the digest of each forgotten listener; `forget_all` if some may have been missed. `clock`
        returns seconds.
        """
        self._client, self._forget, self._forget_all, self._clock = client, forget, forget_all, clock
        self._read_at = clock()
        self._done, self._newest = b"-", b"-"  # entries of the stream: all up to `done` were applied twice, to `newest` once

    async def refresh(self) -> None:
        """Read from Redis which listeners were forgotten, and forget them here. Without Redis the next call tries again.

        Each listener is forgotten twice, because a read of the store that was in progress the first time may have restored
        their data.
        """
        start = self._done if self._done == b"-" else b"(" + self._done
        try:
            [entries] = await self._client.run([("XRANGE", KEY, start, "+")])
        except StoreUnavailableError:
            return
        now = self._clock()
        if now - self._read_at > KEPT_S / 2:
            self._forget_all()
        self._read_at = now
        if isinstance(entries, ResponseError):
            return
        for _, (_, digest) in entries:
            self._forget(digest)
        self._done, self._newest = self._newest, entries[-1][0] if entries else self._newest
