"""The way to a Redis Cluster: a `Single` to each node, and a map of which node has which slots.

A node that is down costs its own users alone: the others' commands go over connections of their own, which nobody closes.
(redis-py's client closes all of them when any node fails, and lets requests wait until the cluster has been explored anew.) The
map is asked of all nodes at once, and the first that finds the cluster in order is believed; that happens at first use, after a
failure, and after a node has said that a slot moved, in the background and not more often than every `LEARNING_PAUSE_S`. Who is
told that a slot has moved goes to its new node at once.

While a slot moves, Redis refuses (`TRYAGAIN`) what concerns a listener whose keys are not all on one node, or do not all exist.
The store is unavailable for these listeners until the slot has moved. Replicas are not read from: a listener's own event must
show in the next reply.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import ResponseError

from service.errors import StoreUnavailableError
from service.store.redis_connection import Command, Single

MOST_REDIRECTIONS = 3
LEARNING_PAUSE_S = 0.1
"""A failover takes seconds; to hear of it a tenth later costs a dead node's users nothing."""
_SCRIPTS = {"EVAL", "EVALSHA"}


class Cluster:
    """A link to a Redis Cluster."""

    def __init__(self, url: str, timeout: timedelta) -> None:
        self._url, self._timeout = urlsplit(url), timeout
        self._seed = Single(url, timeout)
        self._nodes: dict[tuple[str, int], Single] = {}
        self._owners: list[Single | None] = []
        self._learning: asyncio.Task[None] | None = None
        self._asking: set[asyncio.Task[list[Any] | str]] = set()
        self._learned_at = 0.0

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """As `Link.run`: each command is a transaction of its own."""
        if not self._owners:
            await self._learn()
        places: dict[Single, list[int]] = {}
        for place, command in enumerate(commands):
            places.setdefault(self._owner(command), []).append(place)
        if len(places) == 1:
            [node] = places
            replies = await self._ask(node, commands)
        else:
            asks = (self._ask(node, [commands[place] for place in at]) for node, at in places.items())
            replies = [None] * len(commands)
            for at, answers in zip(places.values(), await asyncio.gather(*asks), strict=True):
                for place, answer in zip(at, answers, strict=True):
                    replies[place] = answer
        if any(isinstance(reply, ResponseError) for reply in replies):
            return await self._redirected(commands, replies)
        return replies

    async def ping(self) -> None:
        """Return once a node finds the cluster in order."""
        await self._learn()

    async def close(self) -> None:
        """Let go of all nodes."""
        unfinished = [task for task in (self._learning, *self._asking) if task is not None]
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        for node in (self._seed, *self._nodes.values()):
            await node.close()

    def _owner(self, command: Command) -> Single:
        slot = key_slot(key_of(command))
        node = self._owners[slot]
        if node is None:
            self._learn_soon()
            raise StoreUnavailableError(f"no node of the Redis Cluster serves slot {slot}")
        return node

    async def _ask(self, node: Single, commands: Sequence[Command]) -> list[Any]:
        try:
            return await node.send(commands)
        except StoreUnavailableError:
            self._learn_soon()
            raise

    async def _redirected(self, commands: Sequence[Command], replies: Sequence[Any]) -> list[Any]:
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                return await asyncio.gather(*map(self._follow, commands, replies))
        except TimeoutError as error:
            raise StoreUnavailableError("Redis Cluster did not answer in time where it sent us on to") from error

    async def _follow(self, command: Command, reply: Any) -> Any:
        """The reply at the end of where `reply` sends us on to, if it does."""
        for _ in range(MOST_REDIRECTIONS):
            match str(reply).split() if isinstance(reply, ResponseError) else ():
                case ["MOVED", slot, address]:
                    node = self._owners[int(slot)] = self._node(*_host_and_port(address))
                    self._learn_soon()
                    [reply] = await self._ask(node, [command])
                case ["ASK", _, address]:  # for this time: the slot is on its way, and these keys are there already
                    _, reply = await self._ask(self._node(*_host_and_port(address)), [("ASKING",), command])
                case ["CLUSTERDOWN", *_]:
                    self._learn_soon()
                    break
                case _:
                    break
        return reply

    async def _learn(self) -> None:
        """Bring the map up to date, together with all who want it now."""
        await asyncio.shield(self._learner())

    def _learn_soon(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._learned_at + LEARNING_PAUSE_S:
            self._learned_at = now
            self._learner()

    def _learner(self) -> asyncio.Task[None]:
        if self._learning is None or self._learning.done():
            self._learning = asyncio.create_task(self._ask_all())
            self._learning.add_done_callback(_heed)
        return self._learning

    async def _ask_all(self) -> None:
        asks = [asyncio.create_task(_map_of(node)) for node in (*self._nodes.values(), self._seed)]
        self._asking.update(asks)
        for ask in asks:
            ask.add_done_callback(self._asking.discard)
        reasons = set()
        for answer in asyncio.as_completed(asks):  # the rest may take their time
            told = await answer
            if not isinstance(told, str):
                await self._use(told)
                return
            reasons.add(told)
        raise StoreUnavailableError(f"Redis Cluster is out of reach: {'; '.join(sorted(reasons))}")

    async def _use(self, ranges: Sequence[Any]) -> None:
        owners: list[Single | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        for first, last, (host, port, *_), *_ in ranges:
            owners[first : last + 1] = [self._node((host or b"").decode(), port)] * (last - first + 1)
        self._owners = owners
        serving = set(owners)
        gone = [address for address, node in self._nodes.items() if node not in serving]
        for node in [self._nodes.pop(address) for address in gone]:
            await node.close()

    def _node(self, host: str, port: int) -> Single:
        if host in {"", "?"}:  # a node that does not know its own address is where we have found the cluster
            host = self._url.hostname or "localhost"
        if (host, port) not in self._nodes:
            credentials, at, _ = self._url.netloc.rpartition("@")
            netloc = f"{credentials}{at}{f'[{host}]' if ':' in host else host}:{port}"
            self._nodes[host, port] = Single(self._url._replace(netloc=netloc).geturl(), self._timeout)
        return self._nodes[host, port]


def key_of(command: Command) -> bytes:
    """What decides a command's node: of a script its first key, of all else the word after the command."""
    word = command[3 if command[0] in _SCRIPTS else 1]
    return word if isinstance(word, bytes) else str(word).encode()


async def _map_of(node: Single) -> list[Any] | str:
    """Who has which slots, as `node` knows it; a sentence where it does not say or finds the cluster out of order."""
    try:
        state, ranges = await node.send([("CLUSTER", "INFO"), ("CLUSTER", "SLOTS")])
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


def _heed(task: asyncio.Task[None]) -> None:
    """Look at how a task ended that perhaps nobody waits for, or asyncio would report it as forgotten."""
    if not task.cancelled():
        task.exception()
