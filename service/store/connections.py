"""Makes the client of the Redis that a URL names: of one server (`redis_connection`) or of a cluster (`redis_cluster`)."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ClassVar, Protocol
from urllib.parse import urlsplit

from redis.exceptions import RedisError

from service.store.redis_cluster import ClusterClient
from service.store.redis_connection import Command, ServerClient


class RedisClient(Protocol):
    """A client of Redis. All methods raise StoreUnavailableError if Redis does not answer in time."""

    is_cluster: ClassVar[bool]
    """Whether a script reaches the keys of one slot only."""

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one round trip and return their replies. If Redis refuses a command, its reply is the error.

        On one server, several commands are one transaction. On a cluster each command is its own transaction, and
        `service.store.redis_cluster.key_of` decides which node runs it.
        """

    async def ping(self) -> None:
        """Check that Redis answers and accepts writes. Raises StoreUnavailableError if not."""

    async def close(self) -> None:
        """Close all connections."""


def connect(url: str, timeout: timedelta) -> RedisClient:
    """Returns a client for a URL that `check` accepted. It connects at the first use, so Redis may start later."""
    if url.startswith(("redis+cluster://", "rediss+cluster://")):
        return ClusterClient(url.replace("+cluster", "", 1), timeout)
    return ServerClient(url, timeout)


def check(url: str) -> str:
    """Return `url` if a connection can be made from it. Otherwise raises ValueError with a text that has no part of a
    password.
    """
    _check_parts(url)
    try:
        connect(url, timedelta(seconds=1))
    except (TypeError, RedisError) as error:
        # An option that redis-py does not know is an argument too many for its connection.
        raise ValueError(f"no connection can be made from its options: {error}") from error
    return url


def _check_parts(url: str) -> None:
    """Raise ValueError for URLs that redis-py would accept although they are wrong, or would refuse with a text that shows the
    password.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # reading it checks it
    except ValueError as error:
        raise ValueError("its host is no host, or its port no number from 0 to 65535") from error
    if parts.scheme == "unix":
        return
    if any("@" in part for part in (parts.path, parts.query, parts.fragment)):
        raise ValueError("a user name or password with special characters must be percent-encoded")
    database = parts.path.strip("/")
    if database and not database.isdecimal():
        raise ValueError("what follows the address must be the number of a database")
    if parts.scheme.endswith("+cluster") and (int(database or 0) or "db=" in parts.query):
        raise ValueError("a cluster has no database but 0")
