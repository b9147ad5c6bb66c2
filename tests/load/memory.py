"""What a listener takes in Redis: `python -m tests.load.memory` prints bytes for listeners of several kinds.

The ids are as long as those of usual players: UUIDs for events, 22 characters for tracks, the service's own request ids. Redis
itself says what each key takes (MEMORY USAGE over all of its values).
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
from uuid import uuid4

from redis import Redis

from model.events import Event, EventType, HistoryRule
from service.request_ids import new_request_id
from service.settings import Settings
from service.store import embedded_valkey
from service.store.connections import connect
from service.store.sessions import RedisSessions

KINDS = {
    "a first session of 11 plays": (22, 0, 0),
    "a full history": (320, 0, 0),
    "a full history and 1,000 opinions": (320, 1_000, 0),
    "all of that and as many private events": (320, 1_000, 320),
}
"""Events, opinions and private events of a listener. 320 events are all that Redis holds of 256 until it trims them."""


def main(kinds: Mapping[str, tuple[int, int, int]]) -> None:
    """Print a line for each kind of listener."""
    with tempfile.TemporaryDirectory() as folder, embedded_valkey.running(Path(folder)) as url, Redis.from_url(url) as redis:
        for kind, counts in kinds.items():
            asyncio.run(_record(url, kind, *counts))
            keys = list(redis.scan_iter(match=f"nexttrack:{{{kind}}}:*"))
            total = sum(redis.memory_usage(key, samples=0) or 0 for key in keys)
            print(f"{kind}: {total:,} bytes in {len(keys)} keys")  # noqa: T201  # a terminal program


async def _record(url: str, user_id: str, events: int, opinions: int, private: int) -> None:
    client = connect(url, timedelta(seconds=10))
    store = RedisSessions(client, Settings(), HistoryRule(), lambda _: nullcontext())
    try:
        liked = (_event(EventType.LIKE) for _ in range(opinions))
        while lot := list(islice(liked, 100)):  # older than the plays, so that they leave the history
            await store.record({user_id: [event._replace(at_ms=1) for event in lot]})
        played = _plays()
        await store.record({user_id: list(islice(played, events))})
        await store.record({user_id: [event._replace(private=True) for event in islice(played, private)]})
    finally:
        await client.close()


def _plays() -> Iterator[Event]:
    """A play and its end, again and again."""
    while True:
        play = _event(EventType.PLAY)
        yield play
        yield play._replace(type=EventType.COMPLETE, event_id=str(uuid4()), played_ms=201_000, track_ms=203_000)


def _event(type: EventType) -> Event:
    now_ms = time.time_ns() // 1_000_000
    request_id = new_request_id(now_ms, "current", "nexttrack-20261122T081500-3fa9c1", ["t"] * 10)
    return Event(now_ms, type, str(uuid4()), uuid4().hex[:22], 180, session_id=str(uuid4()), request_id=request_id)


def parser() -> argparse.ArgumentParser:
    """The command line, which has no options."""
    return argparse.ArgumentParser(prog="python -m tests.load.memory", description=str(__doc__).partition("\n")[0])


if __name__ == "__main__":
    parser().parse_args()
    main(KINDS)
