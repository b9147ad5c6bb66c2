"""Rate limits, as an arithmetic and on a running application."""

from collections.abc import Iterator
from typing import Any

import pytest
from httpx import Client

from model.artifact import Artifact
from service.errors import RateLimitedError
from service.http.access import limits
from service.http.access.limits import RateLimit
from tests.service.applications import Seconds, bearer, running
from tests.service.fakes import MemorySessions
from tests.service.http.access.signing import SECRET, token

KEYS: dict[str, Any] = {"api_keys": "web:web-secret,app:app-secret", "jwt_key": SECRET}
NEVER_AGAIN = 0.001
"""Requests a second that refill no bucket while a test lasts."""


def admitted(limit: RateLimit, *names: str) -> bool:
    """Whether one request is."""
    try:
        limit.take(names)
    except RateLimitedError:
        return False
    return True


def test_bucket_gives_a_burst_and_then_the_rate() -> None:
    """Counted by hand: 2 a second with a burst of 3 seconds are 6 at once, then one each half second, then 6 again."""
    clock = Seconds()
    limit = RateLimit("a key", 2, 3, clock)
    at_once = [admitted(limit, "a") for _ in range(7)]
    later = []
    for _ in range(4):
        clock.now += 0.25
        later.append(admitted(limit, "a"))
    clock.now += 60
    rested = [admitted(limit, "a") for _ in range(7)]

    assert at_once == rested == [True] * 6 + [False]
    assert later == [False, True, False, True]


def test_refusal_says_when_to_come_back() -> None:
    """In whole seconds, and then there is room."""
    clock = Seconds()
    limit = RateLimit("a key", 0.1, 1, clock)
    limit.take(["a"])
    clock.now += 2.5
    with pytest.raises(RateLimitedError) as refused:
        limit.take(["a"])
    wait_s = int(refused.value.headers["Retry-After"])
    clock.now += wait_s

    assert wait_s == 8
    assert admitted(limit, "a")


def test_names_are_counted_apart_and_all_or_none() -> None:
    clock = Seconds()
    limit = RateLimit("a user", 1, 2, clock)
    first = [admitted(limit, "a"), admitted(limit, "a", "b"), admitted(limit, "a", "b")]

    assert first == [True, True, False]
    assert [admitted(limit, "b"), admitted(limit, "b")] == [True, False]  # the refused request took nothing of b
    assert admitted(limit)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name that was not used for the longest time is forgotten."""
    monkeypatch.setattr(limits, "MOST_BUCKETS", 2)
    limit = RateLimit("a user", 1, 1, Seconds())

    assert [admitted(limit, name) for name in ("a", "b", "c", "c", "b", "a")] == [True, True, True, False, False, True]


@pytest.fixture(params=[True, False], ids=["fast path", "framework"])
def client(request: pytest.FixtureRequest, artifact: Artifact) -> Iterator[Client]:
    """A client of an application that admits two requests for each user, and no more while the test lasts."""
    burst: dict[str, Any] = {"rate_per_user": NEVER_AGAIN, "rate_burst": 2 / NEVER_AGAIN}
    with running(artifact, fast_path=request.param, **KEYS, **burst) as client:
        yield client


def event(number: int, user: str) -> dict[str, str]:
    """An event of its own."""
    return {"event_id": f"e{number}", "user_id": user, "track_id": "t3", "type": "play"}


def test_user_is_limited_over_all_routes_and_keys(client: Client) -> None:
    """In paths, however they are written, in bodies and in tokens. Another user is not."""
    client.headers.update(bearer("web-secret"))
    spent = [client.post("/v1/events", json=event(1, "ann")), client.get("/v1/users/%61nn/next")]
    over = [
        client.post("/v1/events", json=event(2, "ann")),
        client.get("/v1/users/ann/next"),
        client.post("/v1/next", json={"user_id": "ann"}),
        client.post("/v1/next/batch", json={"requests": [{"user_id": "ann"}, {"user_id": "bob"}]}),
        client.get("/v1/users/ann/session"),
        client.get("/v1/users/ann/next", headers=bearer("app-secret")),
        client.get("/v1/users/ann/next", headers=bearer(token("ann"))),
    ]
    others = [client.get("/v1/users/bob/next"), client.post("/v1/next", json={}), client.get("/v1/model")]

    assert [reply.status_code for reply in spent] == [200, 200]
    assert {reply.status_code for reply in over} == {429}
    assert {reply.headers["content-type"] for reply in over} == {"application/problem+json"}
    assert all(0 < int(reply.headers["retry-after"]) <= 1 / NEVER_AGAIN for reply in over)
    assert [reply.status_code for reply in others] == [200, 200, 200]


def test_batch_counts_once_for_each_user(client: Client) -> None:
    """However many events it has. If one of its users may not, nothing of it is stored."""
    client.headers.update(bearer("web-secret"))
    many = {"events": [event(number, "ann") for number in range(10)]}
    first, second = client.post("/v1/events", json=many), client.get("/v1/users/ann/session")
    refused = client.post("/v1/events", json={"events": [event(20, "bob"), event(21, "ann")]})
    session = client.get("/v1/users/bob/session")

    assert (first.status_code, second.status_code, refused.status_code) == (200, 200, 429)
    assert session.json()["session"] == []


def test_listener_token_counts_once_for_a_request(client: Client) -> None:
    """Not for the token and again for the body."""
    statuses = [client.post("/v1/events", json=event(n, "ann"), headers=bearer(token("ann"))).status_code for n in range(3)]

    assert statuses == [200, 200, 429]


@pytest.mark.parametrize("fast_path", [True, False], ids=["fast path", "framework"])
def test_key_is_limited_by_its_name(artifact: Artifact, fast_path: bool) -> None:
    """Other keys are not, nor are probes, nor requests that have no key anyway."""
    burst: dict[str, Any] = {"rate_per_key": NEVER_AGAIN, "rate_burst": 3 / NEVER_AGAIN}
    with running(artifact, fast_path=fast_path, **KEYS, **burst) as client:
        statuses = [client.get(f"/v1/users/{user}/next", headers=bearer("web-secret")).status_code for user in range(5)]
        other = client.get("/v1/users/0/next", headers=bearer("app-secret"))
        probes = [client.get("/healthz", headers=bearer("web-secret")).status_code for _ in range(5)]
        unknown = [client.get("/v1/model", headers=bearer("nobody")).status_code for _ in range(5)]

    assert statuses == [200, 200, 200, 429, 429]
    assert other.status_code == 200
    assert (set(probes), set(unknown)) == ({200}, {401})


def test_users_are_limited_without_keys_too(artifact: Artifact) -> None:
    """And a page of another origin can read the refusal."""
    origin = "https://player.example"
    store = MemorySessions(artifact.manifest.history)
    settings: dict[str, Any] = {"rate_per_user": NEVER_AGAIN, "rate_burst": 1, "cors_origins": origin}
    with running(artifact, store=store, **settings) as client:
        replies = [client.post("/v1/events", json=event(n, "ann"), headers={"Origin": origin}) for n in range(2)]

    assert [reply.status_code for reply in replies] == [200, 429]
    assert replies[1].headers["access-control-allow-origin"] == origin
    assert "Retry-After" in replies[1].headers["access-control-expose-headers"]
