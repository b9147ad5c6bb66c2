"""`python -m tests.load.memory` prints how many bytes of Redis a listener takes, for several kinds of listeners.

Ids are as long as usual players' ids: UUIDs for events, 22 characters for tracks, the service's own request ids. Redis itself
reports the size of each key (MEMORY USAGE over all of its values).
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from redis import Redis

from model.events import Event, EventType, HistoryRule
from service.blocks import Block
from service.request_ids import new_request_id, new_unique
from service.settings import Settings
from service.store import embedded_valkey
from service.store.connections import connect
from service.store.sessions import RedisSessions


class Kept(NamedTuple):
    """How much is kept of a listener."""

    events: int = 0
    opinions: int = 0
    private: int = 0
    blocks: int = 0
    older: int = 0
    """Plays of the long history."""


KINDS = {
    "a first session of 11 plays": Kept(22),
    "a full history": Kept(320),
    "a full history and 1,000 opinions": Kept(320, 1_000),
    "all of that and as many private events": Kept(320, 1_000, 320),
    "a full history and 1,125 older plays": Kept(320, older=1_125),
    "a full history and 11,250 older plays": Kept(320, older=11_250),
    "ten blocks": Kept(blocks=10),
    "1,000 blocks": Kept(blocks=1_000),
}
"""Kinds of listeners. Redis keeps up to 320 events before it trims them to 256. It also keeps an eighth more plays."""
PLAYS_A_TRACK = 5 / 3
"""1,125 plays of six real listeners are of some 600 to 750 tracks."""


def main(kinds: Mapping[str, Kept]) -> None:
    """Print a line for each kind of listener."""
    with tempfile.TemporaryDirectory() as folder, embedded_valkey.running(Path(folder)) as url, Redis.from_url(url) as redis:
        for kind, kept in kinds.items():
            asyncio.run(_record(url, kind, kept))
            keys = list(redis.scan_iter(match=f"nexttrack:{{{kind}}}:*"))
            total = sum(redis.memory_usage(key, samples=0) or 0 for key in keys)
            print(f"{kind}: {total:,} bytes in {len(keys)} keys")  # noqa: T201  # a terminal program


async def _record(url: str, user_id: str, kept: Kept) -> None:
    client = connect(url, timedelta(seconds=10))
    settings = Settings(long_history=kept.older * 8 // 9)
    store = RedisSessions(client, settings, HistoryRule(), lambda _: nullcontext())
    try:
        liked = (_event(EventType.LIKE) for _ in range(kept.opinions))
        while lot := list(islice(liked, 100)):  # older than the plays, so that they leave the history
            await store.record({user_id: [event._replace(at_ms=1) for event in lot]})
        past = _older_plays(kept.older)
        while lot := list(islice(past, 1_000)):
            await store.record({user_id: lot})
        played = _plays()
        await store.record({user_id: list(islice(played, kept.events))})
        await store.record({user_id: [event._replace(private=True) for event in islice(played, kept.private)]})
        for _ in range(kept.blocks):
            await store.block(user_id, Block("tracks", uuid4().hex[:22]), time.time_ns() // 1_000_000)
    finally:
        await client.close()


def _plays() -> Iterator[Event]:
    """Yield a play and its end, again and again."""
    while True:
        play = _event(EventType.PLAY)
        yield play
        yield play._replace(type=EventType.COMPLETE, event_id=str(uuid4()), played_ms=201_000, track_ms=203_000)


def _older_plays(count: int) -> Iterator[Event]:
    """Plays of repeated tracks, older than all others."""
    tracks = [uuid4().hex[:22] for _ in range(round(count / PLAYS_A_TRACK))]
    for number in range(count):
        yield _event(EventType.PLAY)._replace(at_ms=2 + number, track_id=tracks[number % len(tracks)])


def _event(type: EventType) -> Event:
    now_ms = time.time_ns() // 1_000_000
    request_id = new_request_id(new_unique(now_ms), "current", "nexttrack-20261122T081500-3fa9c1", ["t"] * 10)
    return Event(now_ms, type, str(uuid4()), uuid4().hex[:22], 180, session_id=str(uuid4()), request_id=request_id)


def parser() -> argparse.ArgumentParser:
    """The command line, which has no options."""
    return argparse.ArgumentParser(prog="python -m tests.load.memory", description=str(__doc__).partition("\n")[0])


if __name__ == "__main__":
    parser().parse_args()
    main(KINDS)
