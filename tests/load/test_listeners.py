"""Listeners written into Redis without HTTP are read by the service as if a player had posted them."""

import asyncio
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

import pytest

from model.events import HistoryRule
from service.settings import Settings
from service.store import embedded_valkey
from service.store.connections import connect
from service.store.sessions import RedisSessions, Remembered
from tests.load.listeners import bytes_each, remember
from tests.load.traffic import World
from tests.service.applications import NOW_MS


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey for this module alone."""
    with embedded_valkey.running(tmp_path_factory.mktemp("redis")) as url:
        yield url


def _read(url: str, *users: str) -> list[Remembered]:
    async def read() -> list[Remembered]:
        link = connect(url, timedelta(seconds=5))
        store = RedisSessions(link, Settings(redis_url=url, artifact=Path()), HistoryRule(), lambda _: nullcontext())
        try:
            return [await store.read(user, NOW_MS) for user in users]
        finally:
            await link.close()

    return asyncio.run(read())


def test_everybody_has_a_history(url: str) -> None:
    """The first user of a lot and the last one have sessions; a user outside of it has none."""
    remember(url, World(users=150, tracks=1_000, name="few"))
    first, last, nobody = _read(url, "few0", "few149", "few150")

    assert first.history.entries
    assert last.history.entries
    assert not nobody.history.entries


def test_a_long_life_keeps_its_newest_plays(url: str) -> None:
    """A long life is written in several round trips and has many sessions. The store bounds its length and its memory."""
    long, longer = (World(users=2, tracks=1_000, name=f"life{plays}-", plays=plays) for plays in (1_500, 4_000))
    for world in (long, longer):
        remember(url, world)
    [found] = _read(url, "life4000-1")

    assert 50 < len(found.history.entries) <= 256
    assert len(found.history.spans) > 2
    assert bytes_each(url, longer) == pytest.approx(bytes_each(url, long), rel=0.3)
    assert bytes_each(url, long) > 5_000
