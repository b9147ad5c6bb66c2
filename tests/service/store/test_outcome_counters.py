"""Hourly counts of the outcomes of proposals: exact on one server and on a cluster, despite repetitions and failures."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from datetime import timedelta
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from redis import Redis, RedisCluster

from model.events import Event, EventType, HistoryRule
from service.errors import StoreUnavailableError
from service.observing.outcomes import ProposalOutcome
from service.request_ids import new_request_id, new_unique
from service.settings import Settings
from service.store.connections import RedisClient, connect
from service.store.outcome_counters import HOUR_MS, HourlyCount, OutcomeCounters, key_of
from service.store.redis_connection import Command
from service.store.sessions import RedisSessions

pytestmark = pytest.mark.anyio
SKIP, COMPLETE, LIKE = EventType.SKIP, EventType.COMPLETE, EventType.LIKE
TTL = timedelta(days=14)


@pytest.fixture(params=["valkey", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    """Yield one server, and then a cluster of two nodes."""
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture
def version() -> str:
    """Return a version of a model that no other test uses."""
    return f"test-{uuid4().hex[:8]}"


class Broken:
    """A client whose replies are lost: Redis executes its commands, but until `lost` is unset, no reply arrives."""

    is_cluster: ClassVar[bool] = True
    lost = True

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        replies = await self._client.run(commands)
        if self.lost:
            raise StoreUnavailableError("the reply was lost")
        return replies

    async def ping(self) -> None:
        await self._client.ping()

    async def close(self) -> None:
        await self._client.close()


@asynccontextmanager
async def opened(url: str, **limits: int) -> AsyncIterator[tuple[RedisSessions, OutcomeCounters, Counter[ProposalOutcome]]]:
    """Open a store that counts outcomes, with its counters and the outcomes that it reported."""
    told = Counter[ProposalOutcome]()
    client = connect(url, timedelta(seconds=10))
    counters = OutcomeCounters(client, TTL, **limits)
    store = RedisSessions(
        client,
        Settings(),
        HistoryRule(),
        lambda _: nullcontext(),
        counters=counters,
        counted=lambda outcome: told.update([outcome]),
    )
    try:
        async with counters.flushing():
            yield store, counters, told
    finally:
        await client.close()


def event(version: str, type: EventType, track: str = "t1", *, at_ms: int = HOUR_MS, **more: Any) -> Event:
    """An event about a track of a reply that had t1 and t2."""
    return Event(
        at_ms, type, uuid4().hex, track, request_id=new_request_id(new_unique(5), "current", version, ["t1", "t2"]), **more
    )


async def counts_of(counters: OutcomeCounters, version: str, now_ms: int = HOUR_MS, hours: int = 1) -> list[HourlyCount]:
    """Return the counts of a version, in order."""
    return sorted(count for count in await counters.read(now_ms, hours) if count.outcome.version == version)


async def test_each_outcome_counts_once_for_the_version_and_rank_that_proposed_it(url: str, version: str) -> None:
    """They are posted in one request or several, some twice. Plays, private events and other ids do not count."""
    listener, other = uuid4().hex, uuid4().hex
    counted = [event(version, SKIP), event(version, COMPLETE, "t2"), event(version, LIKE, "t2"), event(version, COMPLETE, "t2")]
    uncounted = [
        event(version, EventType.PLAY),
        event(version, SKIP, private=True),
        event(version, SKIP, "t9"),
        event(version, SKIP)._replace(request_id="mine"),
    ]
    async with opened(url) as (store, counters, told):
        await store.record({listener: [*counted[:2], *uncounted], other: [counted[2]]})
        await store.record({listener: [*counted[:2], *uncounted], other: [counted[2], counted[3], counted[3]]})
        await counters.flush()
        found = await counts_of(counters, version)

    expected = {
        ProposalOutcome(version, "current", "1", "skipped"): 1,
        ProposalOutcome(version, "current", "2", "completed"): 2,
        ProposalOutcome(version, "current", "2", "liked"): 1,
    }
    assert {count.outcome: count.times for count in found} == expected
    assert {count.hour_ms for count in found} == {HOUR_MS}
    assert told == expected


async def test_counts_add_up_over_services_and_outlive_them(url: str, version: str) -> None:
    """Two services run at once, and one after them. Counts that were collected for a cluster are written when a service
    ends.
    """
    for _ in range(2):
        async with opened(url) as (one, *_), opened(url) as (two, *_):
            await one.record({uuid4().hex: [event(version, SKIP)]})
            await two.record({uuid4().hex: [event(version, SKIP)]})
    async with opened(url) as (_, counters, _):
        [count] = await counts_of(counters, version)

    assert count.times == 4


async def test_hours_are_those_of_receipt(url: str, version: str) -> None:
    """A late report counts in the hour of its arrival. Only the requested hours are read."""
    late = event(version, SKIP, at_ms=HOUR_MS, delay_ms=2 * HOUR_MS + 5)
    async with opened(url) as (store, counters, _):
        await store.record({uuid4().hex: [event(version, SKIP), event(version, SKIP)]})
        await store.record({uuid4().hex: [late]})
        await counters.flush()
        found = [await counts_of(counters, version, 3 * HOUR_MS + 7, hours) for hours in (1, 2, 3)]

    assert [[(count.hour_ms, count.times) for count in counts] for counts in found] == [
        [(3 * HOUR_MS, 1)],
        [(3 * HOUR_MS, 1)],
        [(HOUR_MS, 2), (3 * HOUR_MS, 1)],
    ]


async def test_counters_expire(valkey: str, version: str) -> None:
    """Each hour's hash expires by itself, counted from its last change."""
    async with opened(valkey) as (store, _, _):
        await store.record({uuid4().hex: [event(version, SKIP, at_ms=7 * HOUR_MS)]})
    with Redis.from_url(valkey) as redis:
        left_ms = int(redis.pttl(key_of(7 * HOUR_MS)))

    assert TTL.total_seconds() * 1000 - 60_000 < left_ms <= TTL.total_seconds() * 1000


async def test_addition_whose_reply_was_lost_counts_once(cluster: str, version: str) -> None:
    """The addition is sent again until a reply arrives. Later counts are added after it, and none twice."""
    client = connect(cluster, timedelta(seconds=10))
    broken = Broken(client)
    counters = OutcomeCounters(broken, TTL)
    outcome = ProposalOutcome(version, "current", "1", "liked")
    counters.add(HOUR_MS, outcome)
    for _ in range(3):
        await counters.flush()
        counters.add(HOUR_MS, outcome)
    broken.lost = False
    for _ in range(3):
        await counters.flush()
    [count] = await counts_of(counters, version)
    await client.close()

    assert count.times == 4


@pytest.mark.parametrize("value", ["a text", {"1\tv\tcurrent\t1\tskipped": "no number"}])
async def test_broken_counters_refuse_no_event(valkey: str, value: str | dict[str, str]) -> None:
    """A counter key has another type, or a value that is not a number. Events are stored, and reading finds no counts."""
    hour_ms = 90 * HOUR_MS
    with Redis.from_url(valkey) as redis:
        if isinstance(value, str):
            redis.set(key_of(hour_ms), value)
        else:
            redis.delete(key_of(hour_ms))
            redis.hset(key_of(hour_ms), mapping=value)
    async with opened(valkey) as (store, counters, _):
        recorded = await store.record({(user := uuid4().hex): [event("v", SKIP, at_ms=hour_ms)]})
        found = await counters.read(hour_ms, 1)

    assert (recorded, found) == ({user: [True]}, [])


async def test_made_up_versions_are_bounded(url: str) -> None:
    """Beyond the limit, new versions count as `other`, by outcome. Versions that are there already still count."""
    hour_ms = 200 * HOUR_MS
    async with opened(url, most_fields=5) as (store, counters, _):
        for number in (*range(9), 0):
            await store.record({uuid4().hex: [event(f"v{number}", SKIP, at_ms=hour_ms)]})
            await counters.flush()
        found = {count.outcome.version: count.times for count in await counters.read(hour_ms, 1)}

    assert found["v0"] == 2
    assert sum(found.values()) == 10
    assert found["other"] >= 4
    assert len(found) <= 6


async def test_other_fields_are_no_counts(url: str) -> None:
    """They have another format or another outcome, or are notes of a cluster's writers."""
    hour_ms = 300 * HOUR_MS
    fields = {"2\tv\tcurrent\t1\tskipped": 1, "1\tv\tcurrent\t1\thummed": 1, "1\tv": 1, "writer:x": 7, "": 1}
    client: Any = RedisCluster.from_url(url.replace("+cluster", "")) if "cluster" in url else Redis.from_url(url)
    with client:
        client.hset(key_of(hour_ms), mapping=fields)
    async with opened(url) as (_, counters, _):
        assert await counters.read(hour_ms, 1) == []
