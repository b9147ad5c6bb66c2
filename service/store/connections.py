"""Opens the connection to Redis that the URL names: to one server (`redis_connection`) or to a cluster (`redis_cluster`)."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Protocol
from urllib.parse import urlsplit

from redis.exceptions import RedisError

from service.store.redis_cluster import Cluster
from service.store.redis_connection import Command, Single


class Link(Protocol):
    """A way to Redis. All methods raise StoreUnavailableError where it does not answer in time."""

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one round trip and give their replies; a command that Redis refuses has its error as reply.

        Several commands are one transaction on a single server, and one each on a cluster, which finds a command's key as
        `service.store.redis_cluster.key_of` says.
        """

    async def ping(self) -> None:
        """Return once Redis answers."""

    async def close(self) -> None:
        """Let go of all connections."""


def connect(url: str, timeout: timedelta) -> Link:
    """The way to a URL that `check` lets pass; nothing is connected yet, so a Redis that comes up later is no error."""
    if url.startswith(("redis+cluster://", "rediss+cluster://")):
        return Cluster(url.replace("+cluster", "", 1), timeout)
    return Single(url, timeout)


def check(url: str) -> str:
    """`url` as it is; ValueError where no connection can be made of it, saying why without anything of a password."""
    _check_parts(url)
    try:
        connect(url, timedelta(seconds=1))
    except (TypeError, RedisError) as error:
        # An option that redis-py does not know is one too many for its connection.
        raise ValueError(f"no connection can be made of its options: {error}") from error
    return url


def _check_parts(url: str) -> None:
    """What redis-py lets pass, or refuses with words that may hold a part of the password."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # looking at it checks it
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
