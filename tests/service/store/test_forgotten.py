"""Every process forgets whom any process was told to forget."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from datetime import timedelta
from typing import Any, ClassVar

import pytest

from model.events import Event, EventType, HistoryRule, SkipRule
from service.errors import StoreUnavailableError
from service.settings import Settings
from service.store.connections import RedisClient, connect
from service.store.forgotten import KEPT_S, KEY, ForgottenListeners, digest_of
from service.store.recent_masks import Masks, RecentMasks
from service.store.redis_connection import Command
from service.store.sessions import RedisSessions
from tests.service.applications import Seconds

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["valkey", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    """One server, and a cluster, where the stream is on another node than most listeners."""
    found: str = request.getfixturevalue(request.param)
    return found


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[RedisClient, RedisSessions]]:
    """A client and a store."""
    link = connect(url, timedelta(seconds=10))
    try:
        yield link, RedisSessions(link, Settings(), HistoryRule(), lambda _: nullcontext())
    finally:
        await link.close()


def masks_of(*users: str) -> RecentMasks:
    """The memory of a process that has seen listeners skip a track."""
    masks = RecentMasks(SkipRule(), timedelta(seconds=1))
    masks.post({user: [Event(1, EventType.SKIP, "e", "t")] for user in users})
    return masks


async def test_other_processes_forget_at_their_next_look(url: str) -> None:
    """Only that listener; the id itself is not in Redis, and the digest expires."""
    masks = masks_of("gone listener", "other listener")
    async with opened(url) as (link, store):
        there = ForgottenListeners(link, masks.forget, masks.forget_all)
        await there.refresh()
        await store.forget("gone listener")
        before = masks.of("gone listener").skipped
        await there.refresh()
        [ttl, dump] = await link.run([("PTTL", KEY), ("DUMP", KEY)])

    assert before == ["t"]
    assert masks.of("gone listener") == Masks()
    assert masks.of("other listener").skipped == ["t"]
    assert 0 < ttl <= KEPT_S * 1_000
    assert b"listener" not in dump


async def test_listener_is_forgotten_twice_and_may_come_back_then(valkey: str) -> None:
    """A read that was under way brings masks back once. What the listener does later is kept."""
    forgotten = list[bytes]()
    async with opened(valkey) as (link, store):
        there = ForgottenListeners(link, forgotten.append, lambda: None)
        for _ in range(2):
            await there.refresh()
        forgotten.clear()
        await store.forget("twice")
        for _ in range(4):
            await there.refresh()

    assert forgotten == [digest_of("twice")] * 2


class LosableClient:
    """A client of a Redis without any stream, which cannot be reached while `lost` is set."""

    is_cluster: ClassVar[bool] = False
    lost = False

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        if self.lost:
            raise StoreUnavailableError("lost")
        return [[] for _ in commands]

    async def ping(self) -> None:
        await self.run([])

    async def close(self) -> None:
        return None


async def test_process_that_may_have_missed_somebody_drops_everybody() -> None:
    """After a long time without Redis, once it is back. Until then its memory serves degraded replies."""
    masks, clock, client = masks_of("u"), Seconds(), LosableClient()
    there = ForgottenListeners(client, masks.forget, masks.forget_all, clock=clock)
    seen = []
    for now, lost in ((KEPT_S / 4, False), (KEPT_S / 2, True), (2 * KEPT_S, True), (2 * KEPT_S, False)):
        clock.now, client.lost = now, lost
        await there.refresh()
        seen.append(list(masks.of("u").skipped))

    assert seen == [["t"], ["t"], ["t"], []]
    assert masks.size_bytes == 0
