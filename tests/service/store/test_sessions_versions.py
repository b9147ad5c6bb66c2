"""Values of another version, or broken ones: the listener is served, and the trouble is counted, and logged once."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, nullcontext
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from redis import Redis

from model.events import Event, EventType, HistoryRule
from service.errors import StoreUnavailableError
from service.settings import Settings
from service.store.connections import connect
from service.store.formats import pack_event
from service.store.sessions import RedisSessions
from tests.service.store.test_sessions import play, user

pytestmark = pytest.mark.anyio
NOW_MS = 60_000
SKIP, LIKE, DISLIKE = EventType.SKIP, EventType.LIKE, EventType.DISLIKE


@pytest.fixture
def redis(valkey: str) -> Iterator[Redis]:
    """Yield a client that writes values as the service does not."""
    with Redis.from_url(valkey) as client:
        yield client


@asynccontextmanager
async def counting(url: str, **settings: Any) -> AsyncIterator[tuple[RedisSessions, Counter[tuple[str, str]]]]:
    """Open a store, with its counts of unreadable values."""
    counts = Counter[tuple[str, str]]()
    link = connect(url, timedelta(seconds=10))
    try:
        yield (
            RedisSessions(
                link,
                Settings.model_validate(settings),
                HistoryRule(),
                lambda _: nullcontext(),
                unreadable=lambda kind, reason: counts.update([(kind, reason)]),
            ),
            counts,
        )
    finally:
        await link.close()


def key(listener: str, kind: str) -> str:
    """Return the key that holds `kind` of a listener."""
    return f"nexttrack:{{{listener}}}:{kind}"


async def test_events_of_another_version_are_skipped_and_the_others_read(
    valkey: str, redis: Redis, logged: list[dict[str, Any]]
) -> None:
    """They are counted at each read by kind and reason. The log has each kind and reason once, and nothing about the
    listener.
    """
    listener = user()
    newer = b"\x01" + msgspec.msgpack.encode([*play(3, type=SKIP), "one more field"])
    values = {"v2": b"\x02" + pack_event(play(1))[1:], "cut": pack_event(play(2))[:-2], "newer": newer, "": b""}
    for name, value in values.items():
        redis.hset(key(listener, "events"), name, value)
    redis.hset(key(listener, "private"), mapping={"v2": b"\x02more"})
    async with counting(valkey) as (store, counts):
        recorded = await store.record({listener: [play(4)]})
        await store.read(listener, NOW_MS)
        found = await store.read(listener, NOW_MS)

    assert recorded == {listener: [True]}
    assert [entry.track_id for entry in found.history.entries] == ["t3", "t4"]
    assert found.history.skipped(NOW_MS) == ["t3"]
    assert counts == {("events", "version"): 2, ("events", "broken"): 4, ("private", "version"): 2}
    assert sorted((line["kind"], line["reason"]) for line in logged) == sorted(counts)
    assert listener not in str(logged)


async def test_opinions_of_another_version_are_skipped_and_the_others_read(valkey: str, redis: Redis) -> None:
    """One has another form, and one has a track id that is not UTF-8."""
    listener = user()
    async with counting(valkey) as (store, counts):
        await store.record({listener: [play(1, type=DISLIKE)]})
        redis.hset(key(listener, "opinions"), mapping={"t2": "24later", "t3": "nonsense", b"\xff\xfe": "145"})
        found = await store.read(listener, NOW_MS)
        await store.record({listener: [play(2, type=DISLIKE), play(3, type=LIKE), play(4, track="t3", type=DISLIKE)]})
        later = await store.read(listener, NOW_MS)

    assert found.disliked == {"t1"}
    assert later.disliked == {"t1", "t2", "t3"}
    assert counts == {("opinions", "version"): 2, ("opinions", "broken"): 2}


@pytest.mark.parametrize("time", ["nan", "-nan", "later"])
async def test_opinion_whose_time_is_no_number_stands_in_nobodys_way(valkey: str, redis: Redis, time: str) -> None:
    """Lua reads the text `nan` as a number. Such an opinion neither fails a write that drops the oldest one, nor outlasts a
    newer one about the same track.
    """
    listener = user()
    redis.hset(key(listener, "opinions"), mapping={"t1": f"14{time}", "t2": "141"})
    async with counting(valkey, opinions=2) as (store, _):
        recorded = await store.record({listener: [play(3, type=DISLIKE)]})
        await store.record({listener: [play(4, track="t1", type=LIKE)]})
        found = await store.read(listener, NOW_MS)

    assert recorded == {listener: [True]}
    assert found.disliked == {"t3"}


async def test_what_cannot_be_read_is_exported_as_it_is(valkey: str, redis: Redis) -> None:
    """The export is complete: it has values of other versions, and a key of another type as Redis dumps it."""
    listener = user()
    async with counting(valkey) as (store, _):
        await store.record({listener: [play(1, type=LIKE)]})
        redis.hset(key(listener, "events"), "v2", b"\x02more")
        redis.hset(key(listener, "opinions"), mapping={"t2": "24later", b"\xff": "145"})
        redis.set(key(listener, "private"), "text")
        found = await store.export(listener)

    assert [event.track_id for event in found.events] == ["t1"]
    assert set(found.opinions) == {"t1"}
    assert sorted(found.unreadable) == [
        ("events", b"v2", b"\x02more"),
        ("opinions", b"t2", b"24later"),
        ("opinions", b"\xff", b"145"),
        ("private", b"", redis.dump(key(listener, "private"))),
    ]


async def test_key_of_another_kind_is_read_as_empty_and_replaced_by_the_next_write(valkey: str, redis: Redis) -> None:
    """The listener loses neither further events nor other keys."""
    listener = user()
    async with counting(valkey) as (store, counts):
        await store.record({listener: [play(1, type=DISLIKE)]})
        redis.set(key(listener, "events"), "text")
        before = await store.read(listener, NOW_MS)
        recorded = await store.record({listener: [play(2)]})
        after = await store.read(listener, NOW_MS)

    assert (before.history.entries, recorded) == ((), {listener: [True]})
    assert [entry.track_id for entry in after.history.entries] == ["t2"]
    assert before.disliked == after.disliked == {"t1"}
    assert counts == {("key", "broken"): 2}


async def test_key_that_redis_refuses_is_not_taken_for_a_broken_one(valkey: str, redis: Redis) -> None:
    """Without permission for a command, the store is unavailable. Otherwise the listener would seem to have no history."""
    listener = user()
    redis.acl_setuser("narrow", enabled=True, passwords=["+pass"], keys=["*"], commands=["+@all", "-hvals", "-hlen"])
    async with counting(valkey.replace("://", "://narrow:pass@")) as (store, counts):
        with pytest.raises(StoreUnavailableError):
            await store.record({listener: [play(1)]})
        with pytest.raises(StoreUnavailableError):
            await store.read(listener, NOW_MS)

    assert not counts


async def test_what_cannot_be_read_is_the_first_to_be_trimmed(valkey: str, redis: Redis) -> None:
    """The newest readable events are kept. Events of another version are ordered by their time."""
    listener = user()
    redis.hset(key(listener, "events"), mapping={f"broken{number}": b"\xc1" for number in range(20)})
    redis.hset(key(listener, "events"), mapping={"v2": b"\x02" + msgspec.msgpack.encode([50_000, 9, "more"])})
    async with counting(valkey, history_events=4) as (store, _):
        await store.record({listener: [play(number) for number in range(8)]})
        found = await store.read(listener, NOW_MS)

    assert set(redis.hkeys(key(listener, "events"))) == {b"v2", b"e5", b"e6", b"e7"}
    assert [entry.track_id for entry in found.history.entries] == ["t5", "t6", "t7"]


def test_fields_of_an_event_may_only_be_added_at_the_end() -> None:
    """Otherwise services of two versions would misread each other's events. Such a change needs a new `formats.VERSION`."""
    assert Event._fields[:10] == (
        *("at_ms", "type", "event_id", "track_id", "delay_ms", "played_ms", "track_ms", "session_id", "request_id", "private"),
    )
