"""The session as the model sees it, and forgetting a person."""

import logging
from typing import Any

import pytest
import structlog

from model.artifact import Artifact
from tests.service.applications import running
from tests.service.fakes import BrokenSessions


def test_session_shows_outcomes_oldest_first(artifact: Artifact) -> None:
    """Outcomes are the latest word, times are the player's, skipped tracks are listed once."""
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
    assert reply["expires_at"] == "2027-01-15T08:00:01Z"  # the store in memory keeps for a second


def test_unknown_user_has_an_empty_session(artifact: Artifact) -> None:
    """Who was never seen is no error, and nothing of theirs expires."""
    with running(artifact) as client:
        reply = client.get("/v1/users/nobody/session")

    assert reply.status_code == 200
    assert reply.json() == {"user_id": "nobody", "session": [], "skipped": [], "expires_at": None}


def test_forgotten_person_is_gone_and_the_log_says_so(artifact: Artifact, logged: list[dict[str, Any]]) -> None:
    """204, an empty session, and a line for the auditor that names the user and the request."""
    with running(artifact) as client:
        client.post("/v1/events", json={"event_id": "1", "user_id": "u/1", "track_id": "a", "type": "play"})
        reply = client.delete("/v1/users/u%2F1", headers={"X-Request-ID": "by-law"})
        left = client.get("/v1/users/u%2F1/session").json()["session"]
    [line] = [line for line in logged if "audit" in line["event"]]

    assert (reply.status_code, reply.content, left) == (204, b"", [])
    assert (line["user_id"], line["request_id"], line["keys"]) == ("u/1", "by-law", 1)


def test_the_auditors_line_is_written_whatever_the_level(artifact: Artifact, logged: list[dict[str, Any]]) -> None:
    """Who logs errors alone still has it."""
    wrapper = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        with running(artifact) as client:
            client.delete("/v1/users/u")
    finally:
        structlog.configure(wrapper_class=wrapper)

    assert [(line["event"], line["user_id"]) for line in logged] == [("audit: user forgotten", "u")]


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/users/u/session"), ("DELETE", "/v1/users/u")])
def test_store_out_of_reach_is_said(artifact: Artifact, method: str, path: str) -> None:
    """Neither can be answered without Redis: 503 with Retry-After."""
    with running(artifact, store=BrokenSessions()) as client:
        reply = client.request(method, path)

    assert reply.status_code == 503
    assert "retry-after" in reply.headers
