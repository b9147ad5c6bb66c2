"""The busy routes answer the same without the framework as with it; what is not plain and sound goes on to it as it came."""

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from service.http.fast_path import FastPath
from tests.service import artifacts
from tests.service.applications import running

JSON = "application/json"
FRAMEWORKS = "application/json; charset=utf-8"  # as sound, but not plain: so it goes the framework's way


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """An application where one listener has a session."""
    with running(artifacts.load(tmp_path_factory.mktemp("artifact"))) as made:
        heard = {"event_id": "e1", "user_id": "ann", "track_id": "t0", "type": "skip"}
        assert made.post("/v1/events", json=heard).json()["accepted"] == 1
        yield made


def without_id(reply: httpx.Response) -> tuple[int, Any, list[str]]:
    """A reply but for the ids that are new each time."""
    body = reply.json()
    body.pop("request_id", None)
    return reply.status_code, body, sorted(reply.headers)


@pytest.mark.parametrize("user", ["ann", "nobody", "a%2Fb", "%C3%A9t%C3%A9", "%00", "%FF", "x" * 257])
@pytest.mark.parametrize(
    "query", ["count=5", "count=100", "exclude=t1&exclude=t%202", "count=0", "count=x", "exclude=", "count=1&count=2"]
)
def test_listeners_get_the_same_proposals_either_way(client: httpx.Client, user: str, query: str) -> None:
    """A parameter that nobody knows changes nothing but the way."""
    path = f"/v1/users/{user}/next?{query}"

    assert without_id(client.get(path)) == without_id(client.get(f"{path}&way=framework"))


@pytest.mark.parametrize(
    "body",
    [
        '{"history": [{"track_id": "t1"}, {"track_id": "t2", "outcome": "skipped"}], "count": 3}',
        '{"user_id": "ann", "exclude": ["t5"]}',
        '{"candidates": ["t1", "t9", "new"]}',
        '{"count": 101}',
        '{"count": 1.0}',
        '{"count": "5"}',
        '{"user_id": "\\ud800"}',
        '{"user_id": "\\u0000"}',
        '{"history": NaN}',
        '{"unknown": 1}',
        '{"count": 3, "count": 4}',
        "[]",
        "{",
        "",
    ],
)
def test_bodies_get_the_same_proposals_either_way(client: httpx.Client, body: str) -> None:
    """Sound ones, and each kind of unsound."""
    ways = [client.post("/v1/next", content=body.encode(), headers={"Content-Type": type}) for type in (JSON, FRAMEWORKS)]

    assert without_id(ways[0]) == without_id(ways[1])


@pytest.mark.parametrize(
    "body",
    [
        '{"event_id": "%s", "user_id": "bob", "track_id": "t1", "type": "play", "at": "2027-01-15T07:59:00.5Z"}',
        '{"events": [{"event_id": "%s", "user_id": "bob", "track_id": "t1", "type": "complete", "played_ms": 5}]}',
        '{"event_id": "%s", "user_id": "bob", "track_id": "t1", "type": "play", "at": "2027-01-16T08:00:00Z"}',
        '{"event_id": "%s", "user_id": "bob", "track_id": "t1", "type": "hum"}',
        '{"events": []}',
        '{"event_id": "%s"}',
        "null",
    ],
)
def test_events_are_taken_the_same_either_way(client: httpx.Client, body: str) -> None:
    """Accepted, refused for the future, refused for their form: each way an event of its own."""
    ways = [
        client.post("/v1/events", content=body.replace("%s", f"{number}{abs(hash(body))}"), headers={"Content-Type": type})
        for number, type in enumerate((JSON, FRAMEWORKS))
    ]

    assert without_id(ways[0]) == without_id(ways[1])


PASSED_ON = {
    "another route": ("GET", b"/v1/users/ann/session", b"", {}),
    "an unknown parameter": ("GET", b"/v1/users/ann/next", b"limit=5", {}),
    "a wrong count": ("GET", b"/v1/users/ann/next", b"count=1000", {}),
    "a long id": ("GET", b"/v1/users/" + b"x" * 65 + b"/next", b"", {}),
    "another method": ("HEAD", b"/v1/users/ann/next", b"", {}),
    "no type": ("POST", b"/v1/next", b"", {b"content-length": b"2"}),
    "no length": ("POST", b"/v1/next", b"", {b"content-type": b"application/json"}),
    "a wrong body": ("POST", b"/v1/events", b"", {b"content-type": b"application/json", b"content-length": b"2"}),
}


@pytest.mark.parametrize(("method", "path", "query", "headers"), PASSED_ON.values(), ids=PASSED_ON)
def test_what_is_not_plain_goes_on_with_its_whole_body(
    method: str, path: bytes, query: bytes, headers: dict[bytes, bytes]
) -> None:
    """A body that was looked at can be read again."""
    bodies: list[bytes] = []

    async def framework(_: Scope, receive: Receive, __: Send) -> None:
        more = True
        while more:
            message = await receive()
            bodies.append(message["body"])
            more = message["more_body"]

    parts: Iterator[Message] = iter(
        [
            {"type": "http.request", "body": b"{", "more_body": True},
            {"type": "http.request", "body": b"}", "more_body": False},
        ]
    )

    async def receive() -> Message:
        return next(parts)

    async def send(_: Message) -> None:
        raise AssertionError("the framework was to answer")

    state = {"service": SimpleNamespace(clock=lambda: 0)}
    scope = {"type": "http", "method": method, "raw_path": path, "query_string": query, "state": state}
    scope["headers"] = list(headers.items())
    asyncio.run(FastPath(framework)(scope, receive, send))

    assert bodies == [b"{", b"}"]
