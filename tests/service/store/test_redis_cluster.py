"""A Redis Cluster that loses nodes and moves slots under the service."""

import asyncio
import gc
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from redis.crc import key_slot

from model.events import Event, EventType, HistoryRule
from model.long_history import past_entries
from service.blocks import Block
from service.errors import StoreUnavailableError
from service.settings import Settings
from service.store.connections import RedisClient, connect
from service.store.sessions import HistoryReader, RedisSessions, Remembered
from tests.service.applications import NOW_MS
from tests.service.store import clusters
from tests.service.store.clusters import Node

pytestmark = pytest.mark.anyio
LONG = timedelta(seconds=20)
USERS = [f"u{number}" for number in range(30)]
EVENT = Event(1, EventType.LIKE, "e1", "t1")
PRIVATE = Event(2, EventType.PLAY, "e2", "t2", private=True)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[Node]]:
    """Make a cluster of three nodes for one test, which may break it."""
    with clusters.running(tmp_path, 3) as started:
        yield started


def users_of(node: Node) -> list[str]:
    """Return the users among `USERS` whose slots `node` has."""
    return [user for user in USERS if key_slot(user.encode()) in node.slots]


@pytest.mark.parametrize("victim", [0, 2])
async def test_dead_node_costs_its_own_users_alone(nodes: list[Node], victim: int) -> None:
    """It holds at once and later, alone or in a batch: its users get the error that the store is unavailable, and all others
    are served. The dead node may be the one in the URL. Failed requests leave nothing behind.
    """
    forgotten: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: forgotten.append(context))
    client = connect(clusters.url(nodes[0]), LONG)
    store = RedisSessions(client, Settings(), HistoryRule(), lambda _: nullcontext())
    await store.record({user: [EVENT] for user in USERS})
    nodes[victim].kill()
    rounds = [await asyncio.gather(*[store.read(user, NOW_MS) for user in USERS], return_exceptions=True) for _ in range(5)]
    with pytest.raises(StoreUnavailableError):
        await store.record({user: [EVENT] for user in USERS})
    await client.ping()
    await client.close()
    await asyncio.sleep(0)
    gc.collect()

    lost = set(users_of(nodes[victim]))
    assert 0 < len(lost) < len(USERS)
    for found in rounds:
        kinds = {user: type(answer) for user, answer in zip(USERS, found, strict=True)}
        assert kinds == {user: StoreUnavailableError if user in lost else Remembered for user in USERS}
    assert not forgotten


async def test_node_that_is_back_is_used_again(nodes: list[Node]) -> None:
    """When it listens again, its users are served again, without a restart of the service."""
    user = users_of(nodes[1])[0]
    client = connect(clusters.url(nodes[0]), LONG)
    store = RedisSessions(client, Settings(), HistoryRule(), lambda _: nullcontext())
    await store.record({user: [EVENT]})
    nodes[1].kill()
    with pytest.raises(StoreUnavailableError):
        await store.read(user, NOW_MS)
    nodes[1].start()
    recorded = await _patiently(store, user)
    await client.close()

    assert recorded == {user: [True]}  # these nodes store nothing on disk


async def _patiently(store: RedisSessions, user: str) -> object:
    while True:
        try:
            return await store.record({user: [EVENT]})
        except StoreUnavailableError:
            await asyncio.sleep(0.01)


async def test_moved_slot_is_followed(nodes: list[Node]) -> None:
    """While a slot moves to another node, and afterwards, its users are served, and their earlier events are there.

    The listener has keys of all kinds. A cluster refuses several keys of such a slot if one of them does not exist.
    """
    user = users_of(nodes[0])[0]
    slot, names = key_slot(user.encode()), [node.ask("MYID").decode() for node in nodes[:2]]
    client = connect(clusters.url(nodes[0]), LONG)
    store = RedisSessions(client, Settings(history_events=1), HistoryRule(), lambda _: nullcontext())
    later = [Event(number, EventType.PLAY, f"later {number}", f"t{number}") for number in range(3, 6)]
    await store.record({user: [EVENT, PRIVATE, *later]})
    await store.block(user, Block("tracks", "t2"), NOW_MS)
    nodes[1].ask("SETSLOT", slot, "IMPORTING", names[0])
    nodes[0].ask("SETSLOT", slot, "MIGRATING", names[1])
    keys = [f"nexttrack:{{{user}}}:{what}" for what in ("events", "private", "opinions", "blocks", "long", "tracks")]
    nodes[0].redis.migrate("127.0.0.1", nodes[1].port, keys, 0, 5_000)
    on_its_way = await store.record({user: [EVENT]})
    for node in nodes:
        node.ask("SETSLOT", slot, "NODE", names[1])
    afterwards = await store.record({user: [EVENT]})
    found = await store.read(user, NOW_MS, HistoryReader(HistoryRule(), reads_past=True))
    await client.close()

    assert on_its_way == afterwards == {user: [False]}
    assert [entry.track_id for entry in [*past_entries(found.past), *found.history.entries]] == ["t1", "t3", "t4", "t5"]


async def test_cluster_that_is_down_is_not_ready(nodes: list[Node]) -> None:
    """A node without most of the others refuses all keys, though it answers. The service is then not ready, and comes to say
    why.
    """
    nodes[0].redis.config_set("cluster-node-timeout", 200)
    client = connect(clusters.url(nodes[0]), LONG)
    await client.ping()
    for node in nodes[1:]:
        node.kill()
    reason = await _refusal(client)
    while "not in order" not in reason and "CLUSTERDOWN" not in reason:  # it may ask a node that was killed first
        reason = await _refusal(client)
    with pytest.raises(StoreUnavailableError, match="CLUSTERDOWN"):
        await RedisSessions(client, Settings(), HistoryRule(), lambda _: nullcontext()).read(users_of(nodes[0])[0], NOW_MS)
    await client.close()


async def _ready(client: RedisClient) -> None:
    """Wait until the service is ready. On a busy machine a node may be out of reach of the others for a moment."""
    async with asyncio.timeout(LONG.total_seconds()):
        while True:
            with suppress(StoreUnavailableError):
                return await client.ping()
            await asyncio.sleep(0.05)


async def _refusal(client: RedisClient) -> str:
    """Return why the service is not ready, once it is not."""
    while True:
        try:
            await client.ping()
        except StoreUnavailableError as error:
            return str(error)
        await asyncio.sleep(0.05)


async def test_cluster_is_ready_while_a_node_accepts_writes(nodes: list[Node]) -> None:
    """A full node affects its own listeners only, like a node that is down. If all nodes are full, the service is not ready."""
    client = connect(clusters.url(nodes[0]), LONG)
    for node in nodes[1:]:
        node.redis.config_set("maxmemory", 1)
    await _ready(client)
    nodes[0].redis.config_set("maxmemory", 1)
    with pytest.raises(StoreUnavailableError, match="Redis refuses writes: OOM"):
        await client.ping()
    nodes[2].redis.config_set("maxmemory", 0)
    await _ready(client)
    await client.close()

    assert [node.redis.keys() for node in nodes] == [[], [], []]
