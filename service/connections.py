"""Ways to Redis: to one server (`service.single`) or to a cluster (`service.cluster`), as the URL says."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Protocol

from service.cluster import Cluster
from service.single import Command, Single


class Link(Protocol):
    """A way to Redis. All methods raise StoreUnavailableError where it does not answer in time."""

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one round trip and give their replies; a command that Redis refuses has its error as reply.

        Several commands are one transaction on a single server, and one each on a cluster, which finds a command's key as
        `service.cluster.key_of` says.
        """

    async def ping(self) -> None:
        """Return once Redis answers."""

    async def close(self) -> None:
        """Let go of all connections."""


def connect(url: str, timeout: timedelta) -> Link:
    """The way to `url`; nothing is connected yet, so a Redis that comes up later is no error."""
    if url.startswith(("redis+cluster://", "rediss+cluster://")):
        return Cluster(url.replace("+cluster", "", 1), timeout)
    return Single(url, timeout)
