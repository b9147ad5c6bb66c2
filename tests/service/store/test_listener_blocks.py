"""A listener's blocks in Redis: kept, bounded, exported, forgotten, and read by whatever version wrote them."""

from collections import Counter
from datetime import timedelta

import pytest
from redis import Redis

from model.events import EventType
from service.blocks import Block, Blocks
from service.store.sessions import Remembered
from tests.service.applications import NOW_MS
from tests.service.store.test_sessions import Where, opened, play, user, where
from tests.service.store.test_sessions_versions import counting

pytestmark = pytest.mark.anyio
__all__ = ["where"]  # the fixture: each store in turn
TRACK, ARTIST, ALBUM = Block("tracks", "t/1"), Block("artists", "Sigur Rós"), Block("albums", "()")


async def test_blocks_are_read_until_they_are_deleted(where: Where) -> None:
    """By kind. To block again, or to delete what is not there, changes nothing."""
    listener = user()
    async with opened(where) as store:
        stored = [await store.block(listener, block, NOW_MS) for block in (TRACK, ARTIST, ALBUM, TRACK)]
        all_three = (await store.read(listener, NOW_MS)).blocks
        for block in (TRACK, TRACK, ARTIST):
            await store.unblock(listener, block)
        one = (await store.read(listener, NOW_MS)).blocks
        nothing = (await store.read(user(), NOW_MS)).blocks

    assert stored == [True] * 4
    assert all_three == Blocks(frozenset(["t/1"]), frozenset(["Sigur Rós"]), frozenset(["()"]))
    assert (set(one), set(nothing)) == ({ALBUM}, set())


async def test_blocks_are_exported_with_their_first_time_and_forgotten(where: Where) -> None:
    """A listener who only blocked is known by that alone."""
    listener = user()
    async with opened(where) as store:
        for at_ms in (NOW_MS, NOW_MS + 1):
            await store.block(listener, ARTIST, at_ms)
        exported = (await store.export(listener)).blocks
        keys = await store.forget(listener)
        left = await store.read(listener, NOW_MS)

    assert (exported, keys) == ({ARTIST: NOW_MS}, 1)
    assert left == Remembered()


async def test_number_of_blocks_is_bounded(valkey: str) -> None:
    """One more is refused and not stored. One that is there is no further one, and a deleted one makes room."""
    listener = user()
    async with opened(Where(valkey), blocks=2) as store:
        first = [await store.block(listener, block, NOW_MS) for block in (TRACK, ARTIST, ALBUM, TRACK)]
        kept = set((await store.read(listener, NOW_MS)).blocks)
        await store.unblock(listener, TRACK)
        again = await store.block(listener, ALBUM, NOW_MS)

    assert first == [True, True, False, True]
    assert kept == {TRACK, ARTIST}
    assert again


async def test_blocks_of_a_listener_who_goes_on_listening_do_not_expire(valkey: str) -> None:
    """Blocks and events prolong them, reading does not."""
    listener = user()
    key = f"nexttrack:{{{listener}}}:blocks"
    with Redis.from_url(valkey) as redis:
        async with opened(Where(valkey), opinions_ttl=timedelta(seconds=90)) as store:
            await store.block(listener, TRACK, NOW_MS)
            ttls = [int(redis.pttl(key))]
            redis.pexpire(key, 20_000)
            await store.read(listener, NOW_MS)
            ttls.append(int(redis.pttl(key)))
            await store.record({listener: [play(1)]})
            ttls.append(int(redis.pttl(key)))
            redis.pexpire(key, 20_000)
            await store.block(listener, TRACK, NOW_MS)
            ttls.append(int(redis.pttl(key)))

    assert [ttl > 20_000 for ttl in ttls] == [True, False, True, True]
    assert max(ttls) <= 90_000


async def test_blocks_of_another_version_are_skipped_and_the_others_read(valkey: str) -> None:
    """Also a block of an unknown kind, and one that is no UTF-8. Each is counted, and exported as it is."""
    listener = user()
    odd = {b"tracks/t2": b"2later", b"genres/x": b"145", b"tracks/\xff": b"145", b"albums/x": b"1later"}
    async with counting(valkey) as (store, counts):
        await store.block(listener, TRACK, NOW_MS)
        with Redis.from_url(valkey) as redis:
            redis.hset(f"nexttrack:{{{listener}}}:blocks", mapping=odd)
        found = await store.read(listener, NOW_MS)
        exported = await store.export(listener)
        await store.block(listener, Block("tracks", "t2"), NOW_MS)
        later = await store.read(listener, NOW_MS)

    assert set(found.blocks) == {TRACK, Block("albums", "x")}  # its time alone cannot be read
    assert exported.blocks == {TRACK: NOW_MS}
    assert sorted(exported.unreadable) == sorted(("blocks", name, value) for name, value in odd.items())
    assert set(later.blocks) == {TRACK, Block("tracks", "t2"), Block("albums", "x")}
    assert Counter(counts) == {("blocks", "version"): 1, ("blocks", "broken"): 4}


async def test_key_of_another_kind_is_replaced_by_the_next_block(valkey: str) -> None:
    """It is read as empty before, and the other keys are read as usual."""
    listener = user()
    async with counting(valkey) as (store, counts):
        await store.record({listener: [play(1, type=EventType.DISLIKE)]})
        with Redis.from_url(valkey) as redis:
            redis.set(f"nexttrack:{{{listener}}}:blocks", "text")
        before = await store.read(listener, NOW_MS)
        await store.block(listener, TRACK, NOW_MS)
        after = await store.read(listener, NOW_MS)

    assert not before.blocks
    assert set(after.blocks) == {TRACK}
    assert before.disliked == after.disliked == {"t1"}
    assert counts == {("key", "broken"): 2}
