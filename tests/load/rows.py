"""The rows of the benchmark as data: the kinds of work, and the systems that are measured for each.

There are two tiers, which are never mixed. `model` is the bare model call: the request has the history, and no state is read.
`full` and the others are the whole job of the service, with sessions in Redis. Some rivals do the bare call only. If they are
compared with the whole job, the row's name says that they do less.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tests.load.traffic import Kind, World

OURS, TWO, THREADS, CEILING = "nexttrack", "two workers", "two threads", "ceiling"
ROUTED, REDIS_PY = "without the fast path", "with redis-py's client"
RATES = {10_000: 2000.0, 100_000: 1000.0, 1_000_000: 2000.0, 10_000_000: 800.0}
"""Requests a second of the open loop, by catalogue size."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row of the result: the work, its setting, and the systems beside our service."""

    work: str
    kind: Kind | Literal["start"]
    tracks: int = 100_000
    connections: int = 64
    rate: float | None = None
    beside: Sequence[str] = ()
    each: int = 1  # number of events in a request
    seconds: float | None = None  # duration of one measurement, instead of the command's length of rounds
    listeners: World | None = (
        None  # listeners of this row alone; event rows post hundreds of events into the sessions of the common ones
    )
    metrics: bool = False  # read the service's own metrics too

    @property
    def setting(self) -> str:
        """Return the row's setting, for people and for `grep`."""
        if self.kind == "start":
            return f"{self.tracks} tracks"
        loop = f"open loop {self.rate:g} req/s" if self.rate else f"closed loop, {self.connections} connections"
        lasting = f" for {self.seconds / 60:g} minutes" if self.seconds else ""
        return f"{self.tracks} tracks, {loop}{lasting}"

    @property
    def world(self) -> World:
        """Return the listeners of the row."""
        return self.listeners or World(tracks=self.tracks)


def plan(*, sizes: Sequence[int], rivals: Sequence[str], users: int, long: bool = False) -> list[Row]:
    """List all rows. Everything is measured at the first of `sizes`; at the others the whole job alone."""
    first, *others = sizes
    less = tuple(name for name in rivals if name in ("with_litserve", "plain_fastapi"))
    loops = (1, 16, 64)
    rows = [Row(work="start", kind="start", tracks=size) for size in sizes]
    rows += [Row(work="model", kind="history", tracks=first, connections=number, beside=rivals) for number in loops]
    rows += [Row(work="full", kind="next", tracks=first, connections=number, beside=(CEILING, TWO)) for number in loops]
    rows += [
        Row(work="full, beside FastAPI's own routing", kind="next", tracks=first, connections=number, beside=(ROUTED,))
        for number in (16, 64)
    ]
    client = "beside redis-py's own client"
    rows += [
        Row(work=f"full, {client}", kind="next", tracks=first, connections=number, beside=(REDIS_PY,)) for number in (16, 64)
    ]
    rows += [
        Row(work=f"event, {client}", kind="event", tracks=first, connections=number, beside=(REDIS_PY,)) for number in (16, 64)
    ]
    if less:
        rows.append(Row(work="full, beside bare model calls, which do less", kind="next", tracks=first, beside=(TWO, *less)))
    rates = (250.0, 500.0, 1000.0, 1500.0, 2000.0, 3000.0)
    rows += [Row(work="full", kind="next", tracks=first, rate=rate, beside=(CEILING,)) for rate in rates]
    rows += [
        Row(work="overhead", kind="next", tracks=first, connections=1, metrics=True),
        Row(work="event", kind="event", tracks=first),
        Row(work="events in batches of 100", kind="batch", tracks=first, connections=4, each=100),
        Row(work="2 events to 1 next", kind="mixed", tracks=first, rate=1500.0, listeners=World(tracks=first, name="mixed")),
        *growth(first, users),
    ]
    if long:
        rows.append(Row(work="full", kind="next", tracks=first, rate=1000.0, seconds=600.0))
        # so many listeners that each plays only a few tracks in an hour
        hour = World(tracks=first, users=100_000, name="hour")
        rows.append(Row(work="2 events to 1 next", kind="mixed", tracks=first, rate=300.0, seconds=3600.0, listeners=hour))
    for size in others:
        ways = (TWO, THREADS) if size >= 1_000_000 else ()  # sizes at which the model takes most of the time
        rows += [Row(work="full", kind="next", tracks=size, connections=number, beside=ways) for number in (16, 64)]
        rows.append(Row(work="full", kind="next", tracks=size, rate=RATES.get(size, 500.0), beside=ways))
    return rows


def growth(tracks: int, users: int) -> list[Row]:
    """Plan rows that show whether a request costs more with a longer history or with more listeners."""
    lives = [World(tracks=tracks, users=50, name=f"life{plays}-", plays=plays) for plays in (1, 10, 100, 1_000, 10_000)]
    many = World(tracks=tracks, users=users, name="many")
    return [
        *(Row(work=f"life of {life.plays} plays", kind="next", tracks=tracks, connections=1, listeners=life) for life in lives),
        Row(work=f"full, {users} listeners", kind="next", tracks=tracks, connections=16, listeners=many),
    ]
