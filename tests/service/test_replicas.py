"""Two services that share a Redis: what one is told to keep out or to forget, the other keeps out or forgets too."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from redis import Redis

from model.versions import switch
from service.store import embedded_valkey
from tests.service import artifacts
from tests.service.processes import free_port, http, of_each_worker, process, until

BLOCKED = {"t4", "t5", "t6", "t7", "t9"}
"""What the take-downs of `take_down` keep out."""


class Replica(NamedTuple):
    """A service: a client of it, its port, its log, and the number of its workers."""

    client: httpx.Client
    port: int
    log: Path
    workers: int


class Replicas(NamedTuple):
    """Two services, the Redis that they share, and the folder of their artifacts."""

    one: Replica
    other: Replica
    redis: Redis
    root: Path


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """Run two services. The second has two workers, which a new connection reaches by chance."""
    root = tmp_path_factory.mktemp("replicas")
    artifacts.build(root, version="v2", catalogue=True)
    artifacts.build(root, version="v1", catalogue=True)
    with ExitStack() as stack:
        url = stack.enter_context(embedded_valkey.running(root / "redis"))
        services = []
        for name, workers in (("one", 1), ("other", 2)):
            port, log = free_port(), root / f"{name}.log"
            settings = {
                "artifact": root / "current",
                "redis_url": url,
                "redis_timeout": 0.5,
                "workers": workers,
                "state_dir": root / name,
                "model_watch": 0.1,
            }
            stack.enter_context(process("-m", "service", port=port, log=log, **settings))
            services.append(Replica(stack.enter_context(http(port)), port, log, workers))
        one, other = services
        yield Replicas(one, other, stack.enter_context(Redis.from_url(url)), root)


@contextmanager
def frozen(redis: Redis) -> Iterator[None]:
    """A Redis that answers nobody inside the block."""
    number = redis.info()["process_id"]
    os.kill(number, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(number, signal.SIGCONT)


def take_down(replica: Replica) -> None:
    """Take a track and an artist down."""
    for end in ("tracks/t9", "artists/artist%201"):
        replica.client.put(f"/v1/blocks/{end}").raise_for_status()


def proposed(replica: Replica, user: str = "u") -> list[set[str]]:
    """Return the tracks that every worker proposes, in each way to ask."""

    def ask(new: httpx.Client) -> list[set[str]]:
        replies = [
            new.get(f"/v1/users/{user}/next?count=40"),
            new.post("/v1/next", json={"user_id": user, "candidates": list(artifacts.TRACKS), "count": 100}),
            new.post("/v1/next", json={"history": [{"track_id": "t0"}], "count": 100}),
        ]
        return [{track["track_id"] for track in reply.json()["tracks"]} for reply in replies]

    return [tracks for found in of_each_worker(replica.workers, replica.log, replica.port, ask) for tracks in found]


def keep_out(found: Sequence[set[str]], wanted: set[str] = BLOCKED) -> bool:
    """Whether all replies have tracks, and none has one of these."""
    return all(found) and not any(tracks & wanted for tracks in found)


def ready(replica: Replica) -> bool:
    """Say whether a service finds everything in order."""
    return replica.client.get("/readyz").status_code == 200


def test_forgotten_listener_is_forgotten_by_all_processes(replicas: Replicas) -> None:
    """Also what a process keeps for replies without Redis. Nobody's id is left anywhere in Redis."""
    one, other, redis, _ = replicas
    event = {"event_id": "e", "user_id": "some listener", "track_id": "t0", "type": "dislike"}

    def degraded() -> list[set[str]]:
        with frozen(redis):
            return proposed(other, "some%20listener")[::3]

    def tell(new: httpx.Client) -> None:
        new.post("/v1/events", json=event).raise_for_status()
        new.put("/v1/users/some%20listener/blocks/tracks/t1").raise_for_status()

    of_each_worker(other.workers, other.log, other.port, tell)
    remembered = degraded()
    until(lambda: one.client.delete("/v1/users/some%20listener").is_success)  # 503 while Redis has just been frozen
    until(lambda: all(tracks >= {"t0", "t1"} for tracks in degraded()))
    values = [redis.dump(name) or b"" for name in redis.scan_iter()]

    assert keep_out(remembered, {"t0", "t1"})
    assert not any(b"some listener" in part for part in (*values, *redis.scan_iter()))


def test_take_down_holds_everywhere_whatever_happens(replicas: Replicas) -> None:
    """On all processes, without Redis, with another model, after Redis was killed, and until it is ended."""
    one, other, redis, root = replicas
    until(lambda: ready(one) and ready(other))  # another test may have frozen Redis just now
    before = proposed(other)
    take_down(one)
    at_once = proposed(one)
    until(lambda: keep_out(proposed(other)))

    assert all(tracks >= BLOCKED for tracks in before)
    assert keep_out(at_once)

    with frozen(redis):
        degraded = [one.client.get("/v1/users/u/next?count=40").json() for _ in range(2)]
        switch(root, "v2")
        until(lambda: {each.client.get("/v1/model").json()["version"] for each in (one, other)} == {"v2"})
        without_redis = [proposed(one), proposed(other)]
    with_new_model = [proposed(one), proposed(other)]

    assert [reply["source"] for reply in degraded] == ["popular"] * 2
    assert all(map(keep_out, without_redis))
    assert all(map(keep_out, with_new_model))

    os.kill(redis.info()["process_id"], signal.SIGKILL)  # it is started again
    after_kill = [proposed(one), proposed(other)]
    until(lambda: ready(one) and ready(other))
    listed = other.client.get("/v1/blocks").json()
    other.client.delete("/v1/blocks/artists/artist%201").raise_for_status()
    until(lambda: all("t4" in tracks for tracks in proposed(one)))

    assert all(map(keep_out, after_kill))
    assert listed == {"tracks": ["t9"], "artists": ["artist 1"], "albums": []}
    assert keep_out(proposed(one), {"t9"})
