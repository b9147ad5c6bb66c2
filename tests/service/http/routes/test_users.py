"""The session as the model sees it, and the export and deletion of a listener."""

import logging
from pathlib import Path
from typing import Any

import pytest
import structlog
from redis import Redis

from model.artifact import Artifact
from service.store import embedded_valkey
from tests.service.applications import running
from tests.service.fakes import BrokenSessions


def test_session_shows_outcomes_oldest_first(artifact: Artifact) -> None:
    """Outcomes are the newest ones, times are the player's, and skipped tracks are listed once."""
    events = [
        {"event_id": "3", "user_id": "u", "track_id": "b", "type": "skip", "at": "2027-01-15T07:59:02Z"},
        {"event_id": "1", "user_id": "u", "track_id": "a", "type": "play", "at": "2027-01-15T07:59:00Z"},
        {"event_id": "2", "user_id": "u", "track_id": "b", "type": "play", "at": "2027-01-15T07:59:01Z"},
        {"event_id": "4", "user_id": "u", "track_id": "a", "type": "like", "at": "2027-01-15T07:59:03Z"},
    ]
    with running(artifact) as client:
        client.post("/v1/events", json={"events": events})
        reply = client.get("/v1/users/u/session").json()

    assert reply["session"] == [
        {"track_id": "a", "outcome": "liked", "at": "2027-01-15T07:59:00Z"},
        {"track_id": "b", "outcome": "skipped", "at": "2027-01-15T07:59:01Z"},
    ]
    assert reply["skipped"] == ["b"]
    assert reply["expires_at"] == "2027-01-15T08:00:01Z"  # the store in memory keeps values for a second


def test_unknown_user_has_an_empty_session(artifact: Artifact) -> None:
    """A listener who was never seen is no error, and nothing of theirs expires."""
    with running(artifact) as client:
        reply = client.get("/v1/users/nobody/session")

    assert reply.status_code == 200
    assert reply.json() == {"user_id": "nobody", "session": [], "skipped": [], "expires_at": None}


def test_history_is_all_that_the_model_reads(artifact: Artifact) -> None:
    """On request, the reply has earlier sessions too, without tracks that the model does not know."""
    times = ["2027-01-13T08:00:00Z", "2027-01-13T08:01:00Z", "2027-01-15T07:59:00Z"]
    events = [
        {"event_id": str(place), "user_id": "u", "track_id": track, "type": "skip", "at": at}
        for place, (track, at) in enumerate(zip(["t1", "unheard", "t2"], times, strict=True))
    ]
    with running(artifact) as client:
        client.post("/v1/events", json={"events": events})
        plain = client.get("/v1/users/u/session").json()
        reply = client.get("/v1/users/u/session", params={"history": True}).json()

    assert [entry["track_id"] for entry in plain["session"]] == ["t2"]
    assert "history" not in plain
    assert reply == plain | {
        "history": [
            {"track_id": "t1", "outcome": "skipped", "at": times[0]},
            {"track_id": "t2", "outcome": "skipped", "at": times[2]},
        ]
    }


FULL = {
    "event_id": "e/1",
    "user_id": "{u} 1",
    "track_id": "t1",
    "type": "like",
    "at": "2027-01-15T07:59:00Z",
    "played_ms": 1,
    "track_ms": 2,
    "session_id": "s",
    "request_id": "r",
}
PRIVATE = {"event_id": "e2", "user_id": "{u} 1", "track_id": "t2", "type": "skip", "private": True}


def test_export_has_every_field_of_every_event(artifact: Artifact, valkey: str) -> None:
    """It is one document. It also has values that the service added: the time of receipt, and when each kind of key expires."""
    with running(artifact, redis_url=valkey) as client:
        client.post("/v1/events", json={"events": [FULL, PRIVATE]})
        reply = client.get("/v1/users/%7Bu%7D%201/export")
        client.delete("/v1/users/%7Bu%7D%201")
    found = reply.json()
    sent = [{name: value for name, value in event.items() if name != "user_id"} for event in (FULL, PRIVATE)]

    assert reply.status_code == 200
    assert (found["user_id"], found["exported_at"]) == ("{u} 1", "2027-01-15T08:00:00Z")
    assert [
        {name: value for name, value in event.items() if name in sent[place]} for place, event in enumerate(found["events"])
    ] == sent
    assert [event["received_at"] for event in found["events"]] == ["2027-01-15T08:00:00Z"] * 2
    assert found["opinions"] == [{"track_id": "t1", "type": "like", "at": "2027-01-15T07:59:00Z"}]
    assert (set(found["expires_at"]), found["unreadable"]) == ({"events", "private", "opinions"}, [])


def test_deleted_listener_is_nowhere_in_redis(artifact: Artifact, tmp_path: Path) -> None:
    """The listener used everything that the API offers. Before, every key of theirs has an expiry; after, no key or value has
    the id.
    """
    with (
        embedded_valkey.running(tmp_path) as url,
        Redis.from_url(url) as redis,
        running(artifact, redis_url=url) as client,
    ):
        client.post("/v1/events", json={"events": [FULL, PRIVATE, FULL | {"event_id": "e3", "type": "dislike"}]})
        for path in ("next", "session?history=true", "export"):
            assert client.get(f"/v1/users/%7Bu%7D%201/{path}").status_code == 200
        client.post("/v1/next", json={"user_id": "{u} 1", "candidates": ["t1"]})
        for track in ("t3", "t4"):
            assert client.put(f"/v1/users/%7Bu%7D%201/blocks/tracks/{track}").status_code == 200
        assert client.delete("/v1/users/%7Bu%7D%201/blocks/tracks/t3").status_code == 204
        mine = [name for name in redis.scan_iter() if b"u" in name and b"1" in name]
        lifetimes = [redis.pttl(name) for name in mine]
        reply = client.delete("/v1/users/%7Bu%7D%201")
        left = [(name, redis.dump(name)) for name in redis.scan_iter()]

    assert len(mine) == 4
    assert all(ttl > 0 for ttl in lifetimes)
    assert reply.status_code == 204
    assert [name for name, value in left if b"%7Bu%7D 1" in name or b"{u} 1" in name + (value or b"")] == []


def test_forgotten_person_is_gone_and_the_log_says_so(artifact: Artifact, logged: list[dict[str, Any]]) -> None:
    """The reply is 204, the session is empty, and a log line for the auditor names the user and the request."""
    with running(artifact) as client:
        client.post("/v1/events", json={"event_id": "1", "user_id": "u/1", "track_id": "a", "type": "play"})
        reply = client.delete("/v1/users/u%2F1", headers={"X-Request-ID": "by-law"})
        left = client.get("/v1/users/u%2F1/session").json()["session"]
    [line] = [line for line in logged if "audit" in line["event"]]

    assert (reply.status_code, reply.content, left) == (204, b"", [])
    assert (line["user_id"], line["request_id"], line["keys"]) == ("u/1", "by-law", 1)


def test_the_auditors_line_is_written_whatever_the_level(artifact: Artifact, logged: list[dict[str, Any]]) -> None:
    """It is logged even if only errors are."""
    wrapper = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        with running(artifact) as client:
            client.delete("/v1/users/u")
    finally:
        structlog.configure(wrapper_class=wrapper)

    assert [(line["event"], line["user_id"]) for line in logged] == [("audit: user forgotten", "u")]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/users/u/session"), ("GET", "/v1/users/u/export"), ("DELETE", "/v1/users/u")]
)
def test_store_out_of_reach_is_said(artifact: Artifact, method: str, path: str) -> None:
    """Neither request can be answered without Redis, so both get 503 with Retry-After."""
    with running(artifact, store=BrokenSessions()) as client:
        reply = client.request(method, path)

    assert reply.status_code == 503
    assert "retry-after" in reply.headers
