"""Talks to a Redis Cluster: a `ServerClient` for each node, and a map from each slot to its node.

A node that is down affects only the listeners whose slots it has. Other commands use their own nodes' connections, which
stay open. (redis-py's cluster client closes all connections when one node fails, and holds requests until it has explored the
cluster again.)

The map is fetched from all nodes at once, and the first node that finds the cluster in order is believed. That happens at the
first use, after a failure, and after a node says that a slot moved. It runs in the background, at most every
`REFRESH_PAUSE_S`. A command whose slot has moved goes to the new node at once.

While a slot moves, Redis refuses (`TRYAGAIN`) commands of a listener whose keys are not all on one node, or do not all exist.
The store is unavailable for these listeners until the slot has moved. Replicas are not read: a listener's own event must show
in the next reply.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlsplit

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import ResponseError

from service.errors import StoreUnavailableError
from service.store.redis_connection import PROBE_KEY, Command, ServerClient

MAX_REDIRECTIONS = 3
REFRESH_PAUSE_S = 0.1
"""A failover takes seconds, so a map that is a tenth of a second older makes no difference."""
PROBES = 1_000
"""How many keys are tried to find one for each node. A node with so few slots that none fits is not probed."""
_SCRIPTS = {"EVAL", "EVALSHA"}
_T = TypeVar("_T")


class ClusterClient:
    """A client of a Redis Cluster."""

    is_cluster: ClassVar[bool] = True

    def __init__(self, url: str, timeout: timedelta) -> None:
        self._url, self._timeout = urlsplit(url), timeout
        self._seed = ServerClient(url, timeout)
        self._nodes: dict[tuple[str, int], ServerClient] = {}
        self._owners: list[ServerClient | None] = []  # by slot
        self._refreshing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._refreshed_at = 0.0

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands as `RedisClient.run` says. Each command is a transaction of its own."""
        if not self._owners:
            await self._refresh()
        places: dict[ServerClient, list[int]] = {}
        for place, command in enumerate(commands):
            places.setdefault(self._owner(command), []).append(place)
        if len(places) == 1:
            [node] = places
            replies = await self._pipeline(node, commands)
        else:
            sent = (self._pipeline(node, [commands[place] for place in at]) for node, at in places.items())
            replies = [None] * len(commands)
            for at, answers in zip(places.values(), await asyncio.gather(*sent), strict=True):
                for place, answer in zip(at, answers, strict=True):
                    replies[place] = answer
        if any(isinstance(reply, ResponseError) for reply in replies):
            return await self._follow_all(commands, replies)
        return replies

    async def ping(self) -> None:
        """Check that at least one node accepts writes. Raises StoreUnavailableError if none does, or if no node knows the
        cluster's slots.

        One node is enough: a node that is down or full affects only its own listeners.
        """
        await self._refresh()
        refusal = StoreUnavailableError("no node of the Redis Cluster has slots")
        checks = [self._start(node.check_writes(key)) for node, key in self._probes().items()]
        try:
            for check in asyncio.as_completed(checks):
                try:
                    return await check
                except StoreUnavailableError as error:
                    refusal = error
        finally:
            for task in checks:
                task.cancel()
        raise refusal

    async def close(self) -> None:
        """Close the connections to all nodes."""
        unfinished = [*self._tasks]
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        for node in (self._seed, *self._nodes.values()):
            await node.close()

    def _owner(self, command: Command) -> ServerClient:
        slot = key_slot(key_of(command))
        node = self._owners[slot]
        if node is None:
            self._refresh_soon()
            raise StoreUnavailableError("no node of the Redis Cluster serves this listener", cause=f"slot {slot}")
        return node

    async def _pipeline(self, node: ServerClient, commands: Sequence[Command]) -> list[Any]:
        try:
            return await node.pipeline(commands)
        except StoreUnavailableError:
            self._refresh_soon()
            raise

    async def _follow_all(self, commands: Sequence[Command], replies: Sequence[Any]) -> list[Any]:
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                return await asyncio.gather(*map(self._follow, commands, replies))
        except TimeoutError as error:
            raise StoreUnavailableError(
                "Redis did not answer in time", cause="a node that another one redirected to"
            ) from error

    async def _follow(self, command: Command, reply: Any) -> Any:
        """Follow redirections to other nodes, and return the final reply. If `reply` is no redirection, return it unchanged."""
        for _ in range(MAX_REDIRECTIONS):
            match str(reply).split() if isinstance(reply, ResponseError) else ():
                case ["MOVED", slot, address]:
                    node = self._owners[int(slot)] = self._node(*_host_and_port(address))
                    self._refresh_soon()
                    [reply] = await self._pipeline(node, [command])
                case ["ASK", _, address]:  # for this time: the slot is moving, and these keys are there already
                    _, reply = await self._pipeline(self._node(*_host_and_port(address)), [("ASKING",), command])
                case ["CLUSTERDOWN", *_]:
                    self._refresh_soon()
                    break
                case _:
                    break
        return reply

    def _probes(self) -> Mapping[ServerClient, str]:
        """Return for each node that has slots a key in one of its slots."""
        keys: dict[ServerClient, str] = {}
        serving = set(self._owners) - {None}
        for number in range(PROBES):
            key = f"{PROBE_KEY}:{number}"
            node = self._owners[key_slot(key.encode())]
            if node is not None:
                keys.setdefault(node, key)
            if len(keys) == len(serving):
                break
        return keys

    async def _refresh(self) -> None:
        """Fetch the map of slots. Requests that need it at the same time share one fetch."""
        await asyncio.shield(self._refresh_task())

    def _refresh_soon(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._refreshed_at + REFRESH_PAUSE_S:
            self._refreshed_at = now
            self._refresh_task()

    def _refresh_task(self) -> asyncio.Task[None]:
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = self._start(self._fetch_map())
        return self._refreshing

    async def _fetch_map(self) -> None:
        fetches = [self._start(_slots_of(node)) for node in (*self._nodes.values(), self._seed)]
        reasons = set()
        for fetch in asyncio.as_completed(fetches):  # the others may take their time
            found = await fetch
            if not isinstance(found, str):
                await self._apply(found)
                return
            reasons.add(found)
        raise StoreUnavailableError("Redis Cluster is out of reach", cause="; ".join(sorted(reasons)))

    async def _apply(self, ranges: Sequence[Any]) -> None:
        owners: list[ServerClient | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        for first, last, (host, port, *_), *_ in ranges:
            owners[first : last + 1] = [self._node((host or b"").decode(), port)] * (last - first + 1)
        self._owners = owners
        serving = set(owners)
        gone = [address for address, node in self._nodes.items() if node not in serving]
        for node in [self._nodes.pop(address) for address in gone]:
            await node.close()

    def _node(self, host: str, port: int) -> ServerClient:
        if host in {"", "?"}:  # a node that does not know its own address is where we found the cluster
            host = self._url.hostname or "localhost"
        if (host, port) not in self._nodes:
            credentials, at, _ = self._url.netloc.rpartition("@")
            netloc = f"{credentials}{at}{f'[{host}]' if ':' in host else host}:{port}"
            self._nodes[host, port] = ServerClient(self._url._replace(netloc=netloc).geturl(), self._timeout)
        return self._nodes[host, port]

    def _start(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Run `work` in a task. `close` cancels it, and asyncio does not report its exception if nobody awaits it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_retrieve_exception)
        return task


def key_of(command: Command) -> bytes:
    """Return the key that decides which node runs a command: a script's first key, or else the word after the command."""
    word = command[3 if command[0] in _SCRIPTS else 1]
    return word if isinstance(word, bytes) else str(word).encode()


async def _slots_of(node: ServerClient) -> list[Any] | str:
    """Return the slot ranges and their nodes according to `node`; a sentence if `node` says that the cluster does not work."""
    try:
        state, ranges = await node.pipeline([("CLUSTER", "INFO"), ("CLUSTER", "SLOTS")])
    except StoreUnavailableError as error:
        return str(error)
    for reply in (state, ranges):
        if isinstance(reply, ResponseError):
            return f"Redis refused: {reply}"
    if b"cluster_state:ok" not in state:
        return "the cluster is not in order"
    return list(ranges)


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def _retrieve_exception(task: asyncio.Task[Any]) -> None:
    """Retrieve the task's exception, so that asyncio does not log it as never retrieved."""
    if not task.cancelled():
        task.exception()
