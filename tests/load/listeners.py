"""Writes listeners into Redis fast: through the store's own script, many users in a round trip, without HTTP.

A few thousand sessions are prepared and reused, so that a million listeners cost Redis' time and not the generator's. Redis
itself is asked for the memory of a listener.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import timedelta
from itertools import islice

import numpy as np
import redis

from model.events import Event, EventType, HistoryRule
from service.settings import Settings
from service.store.connections import connect
from service.store.sessions import RedisSessions
from tests.load.traffic import World

_DIFFERENT, _USERS, _EVENTS, _UNDER_WAY = 2_000, 100, 1_000, 4
"""Different sessions; users in a round trip; events of one user in it; round trips in flight."""
_SITTING, _DAY_MS = 12, 24 * 60 * 60 * 1000
"""Plays in each daily session of a long life: the median of the sessions that a world draws."""


def remember(url: str, world: World) -> None:
    """Give every user of a world a history that ends now: one session, or `plays` plays in daily sessions."""
    asyncio.run(_remember(url, world))


def bytes_each(url: str, world: World, *, sample: int = 1_000) -> float:
    """Return the mean memory of a listener's keys, by MEMORY USAGE of some of them."""
    with redis.Redis.from_url(url) as client:
        keys = list(islice(client.scan_iter(match=f"nexttrack:{{{world.name}*", count=1_000), sample))
        return sum(client.memory_usage(key, samples=0) or 0 for key in keys) / max(1, len(keys))


async def _remember(url: str, world: World) -> None:
    link = connect(url, timedelta(minutes=1))
    store = RedisSessions(link, Settings(), HistoryRule(), lambda _: nullcontext())
    random, now_ms = np.random.default_rng(world.seed), round(time.time() * 1000)
    sittings = _SITTING if world.plays else None
    sessions = [_events(world.session(random), now_ms, sittings) for _ in range(min(world.users, _DIFFERENT))]
    free = asyncio.Semaphore(_UNDER_WAY)

    async def write(users: Sequence[int]) -> None:
        histories = {f"{world.name}{user}": sessions[user % len(sessions)] for user in users}
        try:
            for start in range(0, max(map(len, histories.values())), _EVENTS):
                part = {user: events[start : start + _EVENTS] for user, events in histories.items()}
                await store.record({user: events for user, events in part.items() if events})
        finally:
            free.release()

    try:
        async with asyncio.TaskGroup() as group:
            for users in _lots(world.users):
                await free.acquire()
                group.create_task(write(users))
    finally:
        await link.close()


def _lots(users: int) -> list[range]:
    return [range(start, min(start + _USERS, users)) for start in range(0, users, _USERS)]


def _events(plays: Sequence[tuple[int, bool]], now_ms: int, sitting: int | None) -> list[Event]:
    """Times of plays a second apart that end now, with a day between two sessions."""
    events = []
    for place, (track, skipped) in enumerate(plays):
        left = len(plays) - place
        at_ms = now_ms - 1000 * left - (_DAY_MS * ((left - 1) // sitting) if sitting else 0)
        events.append(Event(at_ms, EventType.PLAY, f"seed-{place}", f"t{track}"))
        if skipped:
            events.append(Event(at_ms + 500, EventType.SKIP, f"seed-{place}s", f"t{track}"))
    return events
