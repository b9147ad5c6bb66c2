"""The HTTP contract stays as player apps know it, and the OpenAPI document describes real replies."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest
from httpx import Client, Response

from model.artifact import Artifact
from tests.service import artifacts
from tests.service.applications import running
from tests.service.fakes import BrokenSessions

EVENT = {"event_id": "e1", "user_id": "u", "track_id": "t3", "type": "play"}
PATHS = {
    ("post", "/v1/events"),
    ("get", "/v1/users/{user_id}/next"),
    ("post", "/v1/next"),
    ("post", "/v1/next/batch"),
    ("get", "/v1/users/{user_id}/session"),
    ("get", "/v1/users/{user_id}/export"),
    ("delete", "/v1/users/{user_id}"),
    ("get", "/v1/users/{user_id}/blocks"),
    ("put", "/v1/users/{user_id}/blocks/{kind}/{value}"),
    ("delete", "/v1/users/{user_id}/blocks/{kind}/{value}"),
    ("get", "/v1/blocks"),
    ("put", "/v1/blocks/{kind}/{value}"),
    ("delete", "/v1/blocks/{kind}/{value}"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/metrics"),
    ("get", "/v1/model"),
    ("post", "/v1/model/reload"),
    ("get", "/v1/status"),
}
RULES = {"artist_gap", "album_gap", "not_heard_days", "replay", "novelty", "explore", "explain"}
FIELDS = {
    "PostedEvent": {
        *("event_id", "user_id", "track_id", "type", "at", "played_ms", "track_ms", "request_id", "session_id"),
        *("private", "imported"),
    },
    "PostedEvents": {"events"},
    "Recorded": {"accepted", "duplicates"},
    "NextBatch": {"requests"},
    "ProposalBatch": {"replies"},
    "NextRequest": {"user_id", "history", "count", "exclude", "candidates", *RULES},
    "GivenEntry": {"track_id", "outcome"},
    "Proposal": {"user_id", "request_id", "model", "source", "degraded", "tracks"},
    "Track": {"track_id", "score", "title", "artist", "explored", "because", "reason"},
    "Cause": {"track_id", "share"},
    "ListenerSession": {"user_id", "session", "skipped", "expires_at", "history"},
    "SessionEntry": {"track_id", "outcome", "at"},
    "Problem": {"type", "title", "status", "detail", "errors"},
}
"""Copied from the contract by hand, so that renaming a field fails here."""


@pytest.fixture(scope="module")
def catalogued(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """An artifact with all optional parts."""
    root: Path = tmp_path_factory.mktemp("catalogued")
    return artifacts.load(root, catalogue=True)


@pytest.fixture(scope="module")
def client(catalogued: Artifact) -> Iterator[Client]:
    """Yield a client of a healthy application, which all these tests use."""
    with running(catalogued) as client:
        yield client


def document(client: Client) -> dict[str, Any]:
    """Return the OpenAPI document."""
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def test_paths_and_fields_are_those_of_the_contract(client: Client) -> None:
    """All paths and fields of the contract exist by these names, and ids and limits are described."""
    found = document(client)
    schemas = found["components"]["schemas"]

    assert {(method, path) for path, methods in found["paths"].items() for method in methods} == PATHS
    assert {name: set(schemas[name]["properties"]) for name in FIELDS} == FIELDS
    next_parameters = found["paths"]["/v1/users/{user_id}/next"]["get"]["parameters"]
    assert {one["name"] for one in next_parameters} == {"user_id", "count", "exclude", *RULES}
    assert schemas["PostedEvent"]["required"] == ["event_id", "user_id", "track_id", "type"]
    assert schemas["PostedEvent"]["properties"]["event_id"]["maxLength"] == 256
    assert schemas["PostedEvents"]["properties"]["events"]["maxItems"] == 1_000
    assert schemas["NextRequest"]["properties"]["candidates"]["anyOf"][0]["maxItems"] == 10_000
    assert schemas["NextRequest"]["properties"]["count"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 100,
        "default": 10,
        "title": "Count",
    }


class Exchange(NamedTuple):
    """A request with its route, and the expected status of the reply."""

    method: str
    route: str
    path: str
    body: object
    status: int


LISTENER_BLOCK = "/v1/users/{user_id}/blocks/{kind}/{value}"
TAKE_DOWN = "/v1/blocks/{kind}/{value}"
REQUESTS = [
    Exchange("post", "/v1/events", "/v1/events", EVENT, 200),
    Exchange("post", "/v1/events", "/v1/events", {"events": [EVENT, EVENT]}, 200),
    Exchange("post", "/v1/events", "/v1/events", {"events": [{}]}, 422),
    Exchange("get", "/v1/users/{user_id}/next", "/v1/users/u/next", None, 200),
    Exchange("get", "/v1/users/{user_id}/next", "/v1/users/u/next?count=0", None, 422),
    Exchange("get", "/v1/users/{user_id}/next", "/v1/users/u/next?artist_gap=3&replay=true&not_heard_days=1", None, 200),
    Exchange("get", "/v1/users/{user_id}/next", "/v1/users/u/next?artist_gap=101", None, 422),
    Exchange("get", "/v1/users/{user_id}/next", "/v1/users/u/next?explore=0.5&novelty=-0.5&explain=true", None, 200),
    Exchange("post", "/v1/next", "/v1/next", {"history": [{"track_id": "t1"}], "explain": True}, 200),
    Exchange("post", "/v1/next", "/v1/next", {"candidates": ["t1", "unheard"]}, 200),
    Exchange("post", "/v1/next", "/v1/next", {"user_id": "u", "count": 100}, 200),
    Exchange("post", "/v1/next", "/v1/next", {"count": "x"}, 422),
    Exchange("post", "/v1/next/batch", "/v1/next/batch", {"requests": [{"user_id": "u"}, {"candidates": ["t1"]}]}, 200),
    Exchange("post", "/v1/next/batch", "/v1/next/batch", {"requests": [{"count": 0}]}, 422),
    Exchange("get", "/v1/users/{user_id}/session", "/v1/users/u/session", None, 200),
    Exchange("get", "/v1/users/{user_id}/session", "/v1/users/u/session?history=true", None, 200),
    Exchange("get", "/v1/users/{user_id}/export", "/v1/users/u/export", None, 200),
    Exchange("get", "/v1/users/{user_id}/session", "/v1/users/nobody/session", None, 200),
    Exchange("delete", "/v1/users/{user_id}", "/v1/users/u", None, 204),
    Exchange("get", "/v1/users/{user_id}/blocks", "/v1/users/u/blocks", None, 200),
    Exchange("put", LISTENER_BLOCK, "/v1/users/u/blocks/artists/artist%201", None, 200),
    Exchange("put", LISTENER_BLOCK, "/v1/users/u/blocks/genres/x", None, 422),
    Exchange("delete", LISTENER_BLOCK, "/v1/users/u/blocks/tracks/t1", None, 204),
    Exchange("get", "/v1/blocks", "/v1/blocks", None, 200),
    Exchange("put", TAKE_DOWN, "/v1/blocks/tracks/t1", None, 200),
    Exchange("put", TAKE_DOWN, "/v1/blocks/genres/x", None, 422),
    Exchange("delete", TAKE_DOWN, "/v1/blocks/tracks/t1", None, 204),
    Exchange("get", "/healthz", "/healthz", None, 200),
    Exchange("get", "/readyz", "/readyz", None, 200),
    Exchange("get", "/v1/model", "/v1/model", None, 200),
    Exchange("get", "/v1/status", "/v1/status", None, 200),
    Exchange("get", "/v1/status", "/v1/status?hours=0", None, 422),
    Exchange("post", "/v1/model/reload", "/v1/model/reload", None, 200),
]


@pytest.mark.parametrize("exchange", REQUESTS)
def test_replies_are_what_the_document_says(client: Client, exchange: Exchange) -> None:
    """Replies are not validated while serving. Here each is validated against its schema, and no field is undescribed."""
    client.post("/v1/events", json=EVENT | {"event_id": "e0"})
    reply = client.request(exchange.method, exchange.path, json=exchange.body)

    assert reply.status_code == exchange.status
    assert faults_of(document(client), exchange, reply) == []


@pytest.mark.parametrize(
    "exchange",
    [
        Exchange("post", "/v1/events", "/v1/events", EVENT, 503),
        Exchange("get", "/v1/users/{user_id}/next", "/v1/users/u/next?explain=true", None, 200),
        Exchange("get", "/v1/users/{user_id}/session", "/v1/users/u/session", None, 503),
        Exchange("get", "/v1/users/{user_id}/export", "/v1/users/u/export", None, 503),
        Exchange("delete", "/v1/users/{user_id}", "/v1/users/u", None, 503),
        Exchange("put", LISTENER_BLOCK, "/v1/users/u/blocks/tracks/t1", None, 503),
        Exchange("get", "/readyz", "/readyz", None, 503),
    ],
)
def test_replies_without_redis_are_what_the_document_says(catalogued: Artifact, exchange: Exchange) -> None:
    """The contract also covers replies during failures."""
    with running(catalogued, store=BrokenSessions()) as client:
        reply = client.request(exchange.method, exchange.path, json=exchange.body)
        faults = faults_of(document(client), exchange, reply)

    assert reply.status_code == exchange.status
    assert faults == []


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ({"accepted": "1", "duplicates": 0}, "$.accepted: '1' is not of type 'integer'"),
        ({"accepted": 1}, "$: 'duplicates' is a required property"),
        (
            {"accepted": 1, "duplicates": 0, "more": 0},
            "$: Additional properties are not allowed ('more' was unexpected)",
        ),
    ],
)
def test_a_wrong_reply_would_be_noticed(client: Client, value: object, fault: str) -> None:
    """The check of this file can fail: it reports wrong types, missing fields and undescribed fields."""
    assert check(document(client), {"$ref": "#/components/schemas/Recorded"}, value) == [fault]


def test_a_time_without_an_offset_would_be_noticed(client: Client) -> None:
    """JSON Schema does not check formats unless the validator is told to."""
    entry = {"track_id": "t1", "outcome": "played", "at": "2026-11-30T12:00:00"}
    schema = {"$ref": "#/components/schemas/SessionEntry"}

    assert check(document(client), schema, entry) == ["$.at: '2026-11-30T12:00:00' is not a 'date-time'"]
    assert check(document(client), schema, entry | {"at": "2026-11-30T12:00:00Z"}) == []


def faults_of(document: Mapping[str, Any], exchange: Exchange, reply: Response) -> list[str]:
    """Return how a reply differs from its description."""
    described = document["paths"][exchange.route][exchange.method]["responses"].get(str(reply.status_code))
    if described is None:
        return [f"status {reply.status_code} is not described"]
    if not reply.content:
        return ["content is described"] if described.get("content") else []
    [(media_type, content)] = described["content"].items()
    if reply.headers["content-type"] != media_type:
        return [f"found {reply.headers['content-type']}, described is {media_type}"]
    return check(document, content["schema"], reply.json())


FORMATS = jsonschema.FormatChecker()


@FORMATS.checks("date-time", raises=ValueError)
def _has_offset(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


def check(document: Mapping[str, Any], schema: Mapping[str, Any], value: object) -> list[str]:
    """Return how a value breaks a schema of the document. A field that is not described breaks it too."""
    closed = _closed({**schema, "components": document["components"]})
    validator = jsonschema.Draft202012Validator(closed, format_checker=FORMATS)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


def _closed(schema: Any) -> Any:
    """Return a schema whose objects may only have described fields, unless it allows others itself."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(part) for name, part in schema.items()}
    return {"additionalProperties": False, **closed} if isinstance(schema.get("properties"), dict) else closed
