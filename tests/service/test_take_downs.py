"""The list of take-downs in a process: it follows Redis, outlives an outage, and is written back where Redis has lost it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from service.blocks import Block, Blocks
from service.errors import StoreUnavailableError
from service.store import embedded_valkey
from service.store.connections import connect
from service.store.take_downs import KEY, RedisTakeDowns, TakeDownStore
from service.take_downs import TakeDowns
from tests.service.applications import NOW_MS
from tests.service.fakes import BrokenTakeDowns, MemoryTakeDowns

pytestmark = pytest.mark.anyio
TRACK, ARTIST, ALBUM = Block("tracks", "t/1"), Block("artists", "Sigur Rós"), Block("albums", "()")


@pytest.fixture(params=["valkey", "cluster", "memory"])
def where(request: pytest.FixtureRequest) -> str | None:
    """The URL of each store in turn, emptied of take-downs; None for the stand-in."""
    if request.param == "memory":
        return None
    url: str = request.getfixturevalue(request.param)
    return url


@asynccontextmanager
async def opened(where: str | None, most: int = 10_000) -> AsyncIterator[TakeDownStore]:
    """The store, which is empty at first."""
    if where is None:
        yield MemoryTakeDowns(most=most)
        return
    link = connect(where, timedelta(seconds=10))
    try:
        await link.run([("DEL", KEY)])
        yield RedisTakeDowns(link, most=most)
    finally:
        await link.run([("DEL", KEY)])
        await link.close()


def process(store: TakeDownStore) -> TakeDowns:
    """What one process knows."""
    return TakeDowns(store, lambda: NOW_MS)


async def test_what_one_process_takes_down_all_know_at_their_next_look(where: str | None) -> None:
    """The process that was told knows it at once. To add or remove twice changes nothing."""
    async with opened(where) as store:
        one, other = process(store), process(store)
        await other.refresh()
        added = [await one.add(block) for block in (TRACK, ARTIST, TRACK)]
        here, not_yet = set(one.blocks), set(other.blocks)
        await other.refresh()
        there = set(other.blocks)
        for _ in range(2):
            await other.remove(TRACK)
        await one.refresh()

    assert added == [True] * 3
    assert (here, not_yet, there) == ({TRACK, ARTIST}, set(), {TRACK, ARTIST})
    assert set(one.blocks) == set(other.blocks) == {ARTIST}


async def test_list_is_one_object_until_it_changes(where: str | None) -> None:
    """Whoever works something out of it does so once."""
    async with opened(where) as store:
        one = process(store)
        await one.add(TRACK)
        await one.refresh()
        before = one.blocks
        await one.refresh()
        same = one.blocks is before
        await process(store).add(ARTIST)
        await one.refresh()

    assert same
    assert one.blocks is not before


async def test_number_of_take_downs_is_bounded(where: str | None) -> None:
    """One more is refused and not in force. One that is there is no further one, and a removed one makes room."""
    async with opened(where, most=2) as store:
        one = process(store)
        added = [await one.add(block) for block in (TRACK, ARTIST, ALBUM, TRACK)]
        kept = set(one.blocks)
        await one.remove(TRACK)
        again = await one.add(ALBUM)

    assert added == [True, True, False, True]
    assert kept == {TRACK, ARTIST}
    assert again


async def test_outage_leaves_the_known_list_in_force() -> None:
    """A process that has never read the list says so, and is not ready."""
    store = MemoryTakeDowns(TRACK)
    one, new = process(store), process(BrokenTakeDowns())
    await one.refresh()
    one._store = BrokenTakeDowns()
    for take_downs in (one, new):
        await take_downs.refresh()
        with pytest.raises(StoreUnavailableError):
            await take_downs.add(ARTIST)

    assert (set(one.blocks), one.fault()) == ({TRACK}, None)
    assert (set(new.blocks), new.fault()) == (set(), "the list of take-downs has not been read yet")


@pytest.mark.parametrize("lost", ["wiped", "restored", "begun anew"])
async def test_list_that_redis_has_lost_is_written_back(valkey: str, lost: str, logged: list[MutableMapping[str, Any]]) -> None:
    """A Redis without its data, one from a backup, and one whose list somebody has begun anew since."""
    async with opened(valkey) as store:
        with Redis.from_url(valkey) as redis:
            one, new = process(store), process(store)
            await one.add(TRACK)
            backup = redis.dump(KEY)
            await one.add(ARTIST)
            await one.refresh()
            redis.delete(KEY)
            if lost == "restored":
                redis.restore(KEY, 0, backup)
            elif lost == "begun anew":
                await new.add(ALBUM)
            await one.refresh()
            await new.refresh()
            ttl = redis.pttl(KEY)

    added = {ALBUM} if lost == "begun anew" else set()
    assert set(one.blocks) == set(new.blocks) == {TRACK, ARTIST} | added
    assert ttl == -1
    assert [line["event"] for line in logged] == ["Redis has lost take-downs; they are written back"]


async def test_list_survives_a_redis_that_is_killed(tmp_path: Path) -> None:
    """It is in the append-only file like everything else, so a new process finds it."""
    with embedded_valkey.running(tmp_path) as url, Redis.from_url(url) as redis:
        link = connect(url, timedelta(seconds=10))
        await process(RedisTakeDowns(link)).add(ARTIST)
        os.kill(redis.info()["process_id"], signal.SIGKILL)
        new = process(RedisTakeDowns(link))
        async with asyncio.timeout(60):
            while new.fault() is not None:
                await asyncio.sleep(0.01)
                await new.refresh()
        await link.close()

    assert new.blocks == Blocks(artists=frozenset(["Sigur Rós"]))


async def test_fields_that_are_no_blocks_are_passed_over(valkey: str) -> None:
    """What a later version of the service adds to the hash, and bytes that are no UTF-8."""
    async with opened(valkey) as store:
        await store.add([TRACK], NOW_MS)
        with Redis.from_url(valkey) as redis:
            redis.hset(KEY, mapping={"genres/x": "2later", b"\xff": "1", "since": "2027", "albums/x": "2later"})
        listed = await store.read(None)

    assert listed is not None
    assert set(listed.blocks) == {TRACK, Block("albums", "x")}
