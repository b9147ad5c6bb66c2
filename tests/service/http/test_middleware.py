"""The handling of every request: its id, guards, errors, and a client that leaves."""

import asyncio
import gzip
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

import pytest
from fastapi import Response
from httpx import Client
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model.artifact import Artifact
from service.http.connection import ON_END, REFUSAL
from service.http.middleware import Guard, RequestMiddleware
from service.http.problems import problem
from service.observing.logs import RequestLog
from service.observing.metrics import Metrics
from tests.service.applications import running
from tests.service.fakes import MemorySessions


def front(app: ASGIApp) -> RequestMiddleware:
    """Put the outermost layer around `app`."""
    return RequestMiddleware(app, Metrics(), RequestLog("error", "json"))


def http(method: str, **more: object) -> Scope:
    """Make a request's scope."""
    return {"type": "http", "method": method, "path": "/", "headers": [], **more}


async def nothing() -> Message:
    """A `receive` that must not be called."""
    raise AssertionError("nothing is read here")


class BuggySessions(MemorySessions):
    """A store with a programming error."""

    async def forget(self, user_id: str) -> int:
        raise ZeroDivisionError(f"the secret of {user_id}")


@pytest.fixture
def client(artifact: Artifact) -> Iterator[Client]:
    """Yield a client of an application whose store has a programming error."""
    with running(artifact, store=BuggySessions(artifact.manifest.history)) as client:
        yield client


def test_sane_request_id_is_kept_and_another_is_made(client: Client) -> None:
    """A client can follow its request through the logs. An id that could forge log lines is replaced."""
    kept = client.get("/healthz", headers={"X-Request-ID": "abc-123"}).headers["x-request-id"]
    insane = client.get("/healthz", headers={"X-Request-ID": 'x" forged="yes'}).headers["x-request-id"]
    made = {client.get("/healthz").headers["x-request-id"] for _ in range(5)}

    assert kept == "abc-123"
    assert "forged" not in insane
    assert len(made) == 5


def test_mistake_of_ours_is_a_500_that_leaks_nothing(client: Client, logged: list[dict[str, Any]]) -> None:
    """The client gets a problem and an id. The log has the cause under the same id, and the metrics count a 500."""
    reply = client.delete("/v1/users/u", headers={"X-Request-ID": "abc-123"})
    [line] = [line for line in logged if line["log_level"] == "error"]
    exposed = client.get("/metrics").text

    assert (reply.status_code, reply.headers["content-type"]) == (500, "application/problem+json")
    assert "secret" not in reply.text
    assert reply.headers["x-request-id"] == "abc-123"
    assert "ZeroDivisionError" in line["exception"]
    assert line["request_id"] == "abc-123"
    assert 'nexttrack_requests_total{method="DELETE",route="/v1/users/{user_id}",status="500"} 1.0' in exposed


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nowhere", 404), ("PUT", "/v1/next", 405), ("GET", "/v1/events", 405)]
)
def test_errors_of_the_framework_are_problems_too(client: Client, method: str, path: str, status: int) -> None:
    """Every error has the same form."""
    reply = client.request(method, path)

    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json")
    assert reply.json().keys() == {"type", "title", "status", "detail"}


def test_what_the_server_refuses_is_worded_here() -> None:
    """So the refusal has an id, a log line and a metric like every reply. The application never sees the request."""
    reached, sent = list[Scope](), list[Message]()

    async def app(scope: Scope, _: Receive, __: Send) -> None:
        reached.append(scope)

    async def send(message: Message) -> None:
        sent.append(message)

    for status in (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.SERVICE_UNAVAILABLE):
        asyncio.run(front(app)(http("POST", **{REFUSAL: (status, "too much")}), nothing, send))
    large, busy = (dict(message["headers"]) for message in sent if message["type"] == "http.response.start")

    assert reached == []
    assert [message["status"] for message in sent if "status" in message] == [413, 503]
    assert large.keys() >= {b"x-request-id", b"content-type"}
    assert (large.get(b"retry-after"), busy[b"retry-after"]) == (None, b"1")


def test_compressed_body_is_refused_by_name(client: Client) -> None:
    """The service cannot decompress it, and a parser's complaint about its bytes would help nobody."""
    body, typed = gzip.compress(b'{"count": 1}'), {"content-type": "application/json"}
    refused = client.post("/v1/next", content=body, headers=typed | {"content-encoding": "gzip"})
    plain = client.post("/v1/next", json={"count": 1}, headers=typed | {"content-encoding": "identity"})

    assert (refused.status_code, refused.headers["accept-encoding"]) == (415, "identity")
    assert refused.json()["detail"] == "the body's Content-Encoding is gzip; send it without one"
    assert plain.status_code == 200


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "path", "cancelled"),
    [
        ("GET", "/v1/users/u/next", True),
        ("POST", "/v1/next", True),
        ("POST", "/v1/events", False),
        ("DELETE", "/v1/users/u", False),
    ],
)
async def test_client_that_leaves_ends_what_only_reads(method: str, path: str, cancelled: bool) -> None:
    """No error is logged. Events are stored all the same, because a player sends its last one as it closes."""
    leave: list[Callable[[], object]] = []
    finished: list[bool] = []

    async def app(_: Scope, __: Receive, ___: Send) -> None:
        leave[0]()
        await asyncio.sleep(0)
        finished.append(True)

    async def send(_: Message) -> None:
        raise AssertionError("nobody is there to answer")

    await front(app)(http(method, **{"path": path, ON_END: leave.append}), nothing, send)

    assert finished == ([] if cancelled else [True])


@pytest.mark.anyio
async def test_client_that_leaves_after_its_reply_ends_nothing() -> None:
    """The task may still have something to do."""
    leave: list[Callable[[], object]] = []
    finished: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("all of it")(scope, receive, send)
        leave[0]()
        await asyncio.sleep(0)
        finished.append(True)

    async def send(_: Message) -> None:
        return None

    await front(app)(http("GET", **{ON_END: leave.append}), nothing, send)

    assert finished == [True]


def test_guards_stand_before_everything() -> None:
    """They are called in order, and the first one that refuses answers."""
    asked, sent = list[str](), list[Message]()

    def guard(name: str, status: HTTPStatus | None) -> Guard:
        def look(_: Scope, headers: Mapping[bytes, bytes]) -> Response | None:
            asked.append(f"{name} {headers[b'x-a'].decode()}")
            return None if status is None else problem(status, name)

        return look

    async def app(_: Scope, __: Receive, ___: Send) -> None:
        raise AssertionError("a guard refuses")

    async def send(message: Message) -> None:
        sent.append(message)

    guards = [guard("one", None), guard("two", HTTPStatus.FORBIDDEN), guard("three", None)]
    entrance = RequestMiddleware(app, Metrics(), RequestLog("error", "json"), guards)
    asyncio.run(entrance(http("GET", headers=[(b"x-a", b"b")]), nothing, send))

    assert asked == ["one b", "two b"]
    assert sent[0]["status"] == 403


@pytest.mark.anyio
async def test_cancellation_from_elsewhere_is_passed_on() -> None:
    """A server that shuts down cancels requests, and this must not be swallowed."""

    async def wait_forever(_: Scope, __: Receive, ___: Send) -> None:
        await asyncio.Event().wait()

    async def send(_: Message) -> None:
        raise AssertionError("nothing is answered here")

    handled = front(wait_forever)(http("GET"), nothing, send)
    request = asyncio.ensure_future(handled)
    await asyncio.sleep(0)
    request.cancel()

    with pytest.raises(asyncio.CancelledError):
        await request


def test_half_a_reply_is_not_mended() -> None:
    """After an error in the middle of a reply, only the server can end the connection; more bytes would not be a reply."""

    async def half(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        raise ZeroDivisionError

    sent: list[str] = []

    async def send(message: Message) -> None:
        sent.append(message["type"])

    with pytest.raises(ZeroDivisionError):
        asyncio.run(front(half)(http("GET"), nothing, send))

    assert sent == ["http.response.start"]
