"""The fast path answers like FastAPI. Requests that are unusual or wrong reach FastAPI unchanged."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.service import artifacts
from tests.service.applications import running
from tests.service.fakes import MemorySessions


@dataclass
class Ways:
    """Two applications with one store: one has the fast path, and the other leaves everything to FastAPI."""

    fast: httpx.Client
    framework: httpx.Client
    reached_framework: list[str] = field(default_factory=list)  # paths that the first application has passed to FastAPI

    def replies(self, method: str, path: str, bodies: Sequence[str] = ("", "")) -> list[tuple[int, Any, list[str]]]:
        """Return status, body and header names of both applications, without ids that are new each time."""
        self.reached_framework.clear()
        headers = {"content-type": "application/json"} if method == "POST" else {}
        found = []
        for client, body in zip((self.fast, self.framework), bodies, strict=True):
            reply = client.request(method, path, content=body.encode() if method == "POST" else None, headers=headers)
            content = reply.json()
            content.pop("request_id", None)
            found.append((reply.status_code, content, sorted(reply.headers)))
        return found


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    """Applications in which one listener has a session."""
    artifact = artifacts.load(tmp_path_factory.mktemp("artifact"), catalogue=True)
    store = MemorySessions(artifact.manifest.history)
    reached: list[str] = []
    with (
        running(artifact, store=store, reached_framework=reached) as fast,
        running(artifact, store=store, fast_path=False) as framework,
    ):
        heard = {"event_id": "e1", "user_id": "ann", "track_id": "t0", "type": "skip"}
        assert fast.post("/v1/events", json=heard).json()["accepted"] == 1
        yield Ways(fast, framework, reached)


SOUND_USERS = ["ann", "nobody", "a%2Fb", "%C3%A9t%C3%A9"]
SOUND_QUERIES = [
    *("", "?count=5", "?count=100", "?exclude=t1&exclude=t%202"),
    *("?artist_gap=3&album_gap=0", "?artist_gap=100&replay=true", "?not_heard_days=0.5&replay=false", "?not_heard_days=30"),
    *("?explain=true", "?explain=false", "?novelty=-0.5", "?novelty=1&explore=0", "?novelty=-1.0"),
]
WRONG_QUERIES = [
    *(
        "?count=0",
        "?count=x",
        "?exclude=",
        "?limit=5",
        "?count=1&count=2",
        "?novelty=0&novelty=0.25",
        "?replay=true&replay=true",
    ),
    *("?artist_gap=101", "?album_gap=-1", "?artist_gap=1.5", "?artist_gap=", "?not_heard_days=-1", "?not_heard_days=nan"),
    *("?not_heard_days=inf", "?not_heard_days=36501", "?replay=perhaps", "?replay="),
    *("?novelty=1.01", "?novelty=-2", "?novelty=nan", "?explore=0.51", "?explore=-0.1", "?explore=inf", "?explain=maybe"),
]
UNUSUAL_QUERIES = [
    "?artist_gap=+3",
    "?artist_gap=03",
    "?not_heard_days=1e1",
    "?replay=on",
    "?replay=1",
    "?novelty=.5",
    "?explore=0.0000001",
]
"""FastAPI takes them, the fast path leaves them to it."""


@pytest.mark.parametrize("user", [*SOUND_USERS, "%00", "%FF", "x" * 257])
@pytest.mark.parametrize("query", [*SOUND_QUERIES, *WRONG_QUERIES, *UNUSUAL_QUERIES])
def test_listeners_get_the_same_proposals_either_way(ways: Ways, user: str, query: str) -> None:
    """Only wrong requests reach FastAPI."""
    by_fast_path, by_framework = ways.replies("GET", f"/v1/users/{user}/next{query}")

    assert by_fast_path == by_framework
    assert by_framework[0] == 422 or (query not in WRONG_QUERIES and (user in SOUND_USERS))
    assert bool(ways.reached_framework) == (user not in SOUND_USERS or query not in SOUND_QUERIES)


SOUND_BODIES = [
    '{"history": [{"track_id": "t1"}, {"track_id": "t2", "outcome": "skipped"}], "count": 3}',
    '{"user_id": "ann", "exclude": ["t5"]}',
    '{"candidates": ["t1", "t9", "new"]}',
    '{"count": 3, "count": 4}',
    '{"user_id": 7, "exclude": [5, "t5"], "candidates": [9, "t9", -1]}',
    '{"history": [{"track_id": 1}, {"track_id": "t2"}]}',
    '{"user_id": "ann", "artist_gap": 3, "album_gap": 2, "not_heard_days": 0.5, "replay": true}',
    '{"user_id": "ann", "novelty": -0.5, "explore": 0}',
    '{"user_id": "ann", "novelty": 1, "explain": true}',
    '{"history": [{"track_id": "t1"}, {"track_id": "t2"}], "explain": true, "replay": true}',
    '{"user_id": "ann", "artist_gap": null, "not_heard_days": 3, "replay": null}',
]


@pytest.mark.parametrize(
    "body",
    [
        *SOUND_BODIES,
        '{"count": 101}',
        '{"count": 1.0}',
        '{"artist_gap": 101}',
        '{"artist_gap": 3.0}',
        '{"album_gap": "3"}',
        '{"not_heard_days": "1"}',
        '{"not_heard_days": 1e9}',
        '{"not_heard_days": Infinity}',
        '{"replay": 1}',
        '{"novelty": 1.5}',
        '{"novelty": "0"}',
        '{"explore": 0.6}',
        '{"explore": NaN}',
        '{"explain": "true"}',
        '{"count": "5"}',
        '{"user_id": "\\ud800"}',
        '{"user_id": "\\u0000"}',
        '{"history": NaN}',
        '{"unknown": 1}',
        '{"user_id": true}',
        '{"exclude": [1.0]}',
        "[]",
        "[" * 200_000,
        "{",
        "",
    ],
)
def test_bodies_get_the_same_proposals_either_way(ways: Ways, body: str) -> None:
    """Correct bodies, and each kind of wrong body."""
    by_fast_path, by_framework = ways.replies("POST", "/v1/next", [body, body])

    assert by_fast_path == by_framework
    assert bool(ways.reached_framework) == (body not in SOUND_BODIES)


SOUND_EVENTS = [
    '{"event_id": "%s", "user_id": "bob", "track_id": "t1", "type": "play", "at": "2027-01-15T07:59:00.5Z"}',
    '{"events": [{"event_id": "%s", "user_id": "bob", "track_id": "t1", "type": "complete", "played_ms": 5}]}',
    '{"event_id": "%s", "user_id": "bob", "track_id": "t1", "type": "play", "at": "2027-01-16T08:00:00Z"}',  # in the future
    '{"event_id": %s, "user_id": 12, "track_id": 0, "type": "play", "session_id": -3, "request_id": 18446744073709551615}',
]


@pytest.mark.parametrize(
    "body",
    [
        *SOUND_EVENTS,
        '{"event_id": "%s", "user_id": "bob", "track_id": "t1", "type": "hum"}',
        '{"events": []}',
        '{"event_id": "%s"}',
        "null",
    ],
)
def test_events_are_taken_the_same_either_way(ways: Ways, body: str) -> None:
    """Accepted events, refused times in the future, and refused fields. Each way gets an event of its own."""
    bodies = [body.replace("%s", f"{way}{abs(hash(body)) // 10}") for way in (1, 2)]
    by_fast_path, by_framework = ways.replies("POST", "/v1/events", bodies)

    assert by_fast_path == by_framework
    assert bool(ways.reached_framework) == (body not in SOUND_EVENTS)
