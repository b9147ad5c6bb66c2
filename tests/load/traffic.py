"""Makes the requests of listeners as bytes, before the clock starts, so that the generator spends no time on them.

Users are drawn by Zipf's law with exponent 0.8, tracks with exponent 1.0. Session lengths resemble people's: log-normal with a
median of 12 plays, three in a hundred over 50. Three plays in ten are skipped. Events have no `at`, so they happen when they
are sent.
"""

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Kind = Literal["next", "history", "rows", "asks", "kserve", "event", "batch", "mixed"]
BATCH = 100
PREPARED = 5_000
COUNT = 20
LENGTH = 50
"""Length of the history that the measured model reads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """The listeners and what they hear. The seed makes it the same for every measured system."""

    users: int = 2_000
    tracks: int = 100_000
    seed: int = 1
    name: str = "u"  # prefix of user ids: worlds of different names share no user
    plays: int | None = None  # plays of each user when they are written; None: one session of random length

    def user(self, random: np.random.Generator, count: int) -> list[str]:
        """Draw the ids of `count` users, busy ones more often."""
        return [f"{self.name}{number}" for number in _zipf(random, self.users, 0.8, count)]

    def session(self, random: np.random.Generator) -> list[tuple[int, bool]]:
        """Draw one session: track numbers, and whether each was skipped."""
        length = self.plays or int(np.clip(random.lognormal(np.log(12), 0.75), 1, 120))
        return list(zip(_zipf(random, self.tracks, 1.0, length), (random.random(length) < 0.3).tolist(), strict=True))


def requests(kind: Kind, world: World, *, run: str) -> Iterator[bytes]:
    """Yield requests of one kind without end, the same for the same world. `run` makes event ids new."""
    random = np.random.default_rng(world.seed)
    if kind == "mixed":
        events, asks = requests("event", world, run=run), requests("next", world, run=run)
        while True:
            yield from (next(events), next(events), next(asks))
    if kind in ("event", "batch"):
        yield from _posted(kind, world, random, run)
    makers: dict[str, Callable[[], bytes]] = {
        "next": lambda: _get(f"/v1/users/{world.user(random, 1)[0]}/next?count={COUNT}"),
        "history": lambda: _post("/v1/next", {"history": _history(world, random), "count": COUNT}),
        "rows": lambda: _post("/next", _rows(world, random)),
        "asks": lambda: _post("/next", {"asks": [_rows(world, random)]}),
        "kserve": lambda: _post("/v2/models/next/infer", _kserve(_rows(world, random))),
    }
    yield from itertools.cycle([makers[kind]() for _ in range(PREPARED)])


def _posted(kind: Kind, world: World, random: np.random.Generator, run: str) -> Iterator[bytes]:
    """Prepare bodies without their event ids. All ids have one length, and so all bodies do too."""
    size = BATCH if kind == "batch" else 1
    bodies = []
    for _ in range(PREPARED // size):
        users, tracks = world.user(random, size), _zipf(random, world.tracks, 1.0, size)
        types = random.choice(["play", "play", "skip"], size)
        events = [
            {"event_id": f"{run}-{place:03d}-##########", "user_id": user, "track_id": f"t{track}", "type": str(type)}
            for place, (user, track, type) in enumerate(zip(users, tracks, types, strict=True))
        ]
        bodies.append(_post("/v1/events", {"events": events} if kind == "batch" else events[0]))
    for number, body in enumerate(itertools.cycle(bodies)):
        yield body.replace(b"##########", b"%010d" % number)


def _history(world: World, random: np.random.Generator) -> list[dict[str, str]]:
    plays = world.session(random)[-LENGTH:]
    return [{"track_id": f"t{track}", "outcome": "skipped" if skipped else "played"} for track, skipped in plays]


def _rows(world: World, random: np.random.Generator) -> dict[str, Any]:
    """Make the requests of rivals: rows and outcome numbers, so that they look up no ids."""
    plays = world.session(random)[-LENGTH:]
    return {"tracks": [track + 2 for track, _ in plays], "outcomes": [1 + skipped for _, skipped in plays], "count": COUNT}


def _kserve(rows: dict[str, Any]) -> dict[str, Any]:
    """Make the same for KServe's protocol, padded to one width, because Triton batches requests of one shape only."""
    padding = [0] * (LENGTH - len(rows["tracks"]))
    values = {"tracks": padding + rows["tracks"], "outcomes": padding + rows["outcomes"], "count": [rows["count"]]}
    inputs = [{"name": name, "shape": [1, len(data)], "datatype": "INT64", "data": data} for name, data in values.items()]
    return {"inputs": inputs}


def _zipf(random: np.random.Generator, size: int, exponent: float, count: int) -> list[int]:
    """Draw numbers below `size`, n with a probability of about (n + 1) ** -exponent, by inverting the continuous law."""
    share = random.random(count)
    if exponent == 1.0:
        drawn = np.exp(share * np.log(size + 1))
    else:
        power = 1 - exponent
        drawn = (share * ((size + 1) ** power - 1) + 1) ** (1 / power)
    numbers: list[int] = np.minimum(drawn.astype(np.int64) - 1, size - 1).tolist()
    return numbers


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def _post(path: str, body: object) -> bytes:
    encoded = json.dumps(body, separators=(",", ":")).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(encoded)}\r\n\r\n"
    )
    return head.encode() + encoded
