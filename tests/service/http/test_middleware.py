"""What happens to every request: its id, its limits, its client going away."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from httpx import Client
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model.artifact import Artifact
from service.http.middleware import RequestMiddleware
from service.observing.logs import RequestLog
from service.observing.metrics import Metrics
from tests.service.applications import running
from tests.service.fakes import MemorySessions


def front(app: ASGIApp) -> RequestMiddleware:
    """The outermost layer around `app`, with a limit of 100 bytes."""
    return RequestMiddleware(app, Metrics(), RequestLog("error", "json"), 100)


def http(method: str) -> Scope:
    """A request's scope."""
    return {"type": "http", "method": method, "path": "/", "headers": []}


class BuggySessions(MemorySessions):
    """A store with a mistake of ours in it."""

    async def forget(self, user_id: str) -> int:
        raise ZeroDivisionError(f"the secret of {user_id}")


@pytest.fixture
def client(artifact: Artifact) -> Iterator[Client]:
    """A client of an application whose store has a mistake in it."""
    with running(artifact, store=BuggySessions(artifact.manifest.history)) as client:
        yield client


def test_sane_request_id_is_kept_and_another_is_made(client: Client) -> None:
    """A client can follow its request through the logs; nobody can write lines of their own into them."""
    kept = client.get("/healthz", headers={"X-Request-ID": "abc-123"}).headers["x-request-id"]
    insane = client.get("/healthz", headers={"X-Request-ID": 'x" forged="yes'}).headers["x-request-id"]
    made = {client.get("/healthz").headers["x-request-id"] for _ in range(5)}

    assert kept == "abc-123"
    assert "forged" not in insane
    assert len(made) == 5


def test_mistake_of_ours_is_a_500_that_leaks_nothing(client: Client, logged: list[dict[str, Any]]) -> None:
    """The client gets a problem and an id, the log the cause under the same id, the metrics a 500."""
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
    """One shape for everything that is not a success."""
    reply = client.request(method, path)

    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json")
    assert reply.json().keys() == {"type", "title", "status", "detail"}


@pytest.mark.parametrize("announced", [True, False])
def test_body_over_the_limit_is_refused(client: Client, announced: bool) -> None:
    """1 MiB is taken, a byte more is not, whether its length is announced or it comes in chunks."""

    def send(size: int) -> int:
        body = json.dumps({"count": 1}).encode().ljust(size)
        content = body if announced else (body[start : start + 65536] for start in range(0, size, 65536))
        return client.post("/v1/next", content=content, headers={"content-type": "application/json"}).status_code

    assert send(1024 * 1024) == 200
    assert send(1024 * 1024 + 1) == 413


@pytest.mark.anyio
async def test_endless_body_is_not_read_to_its_end() -> None:
    """Chunks without a length are counted as they come: reading stops at the limit."""
    taken = 0
    refused: list[int] = []

    async def receive() -> Message:
        nonlocal taken
        taken += 1
        return {"type": "http.request", "body": b"x" * 10, "more_body": True}

    async def read_all(_: Scope, receive: Receive, __: Send) -> None:
        try:
            while (await receive())["more_body"]:
                pass
        except HTTPException as refusal:
            refused.append(refusal.status_code)

    async def send(_: Message) -> None:
        raise AssertionError("nothing is answered here")

    await front(read_all)(http("POST"), receive, send)

    assert (taken, refused) == (11, [413])


@pytest.mark.anyio
async def test_work_for_a_client_that_has_gone_is_cancelled() -> None:
    """A request in the queue ends when its connection does, quietly; nothing is cancelled while the client waits."""
    gone, cancelled = asyncio.Event(), asyncio.Event()

    async def receive() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def wait_forever(_: Scope, __: Receive, ___: Send) -> None:
        gone.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def send(_: Message) -> None:
        raise AssertionError("nobody is there to answer")

    await front(wait_forever)(http("GET"), receive, send)

    assert cancelled.is_set()


@pytest.mark.anyio
async def test_cancellation_from_elsewhere_is_passed_on() -> None:
    """A server that shuts down cancels in earnest; that is not swallowed."""

    async def wait_forever(_: Scope, __: Receive, ___: Send) -> None:
        await asyncio.Event().wait()

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError("the client never says anything")

    async def send(_: Message) -> None:
        raise AssertionError("nothing is answered here")

    handled = front(wait_forever)(http("GET"), receive, send)
    request = asyncio.ensure_future(handled)
    await asyncio.sleep(0)
    request.cancel()

    with pytest.raises(asyncio.CancelledError):
        await request


def test_half_a_reply_is_not_mended() -> None:
    """A mistake after the head is out is the server's to end: what follows would not be a reply."""

    async def half(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        raise ZeroDivisionError

    async def nothing() -> Message:
        raise AssertionError("nothing is read here")

    sent: list[str] = []

    async def send(message: Message) -> None:
        sent.append(message["type"])

    with pytest.raises(ZeroDivisionError):
        asyncio.run(front(half)(http("GET"), nothing, send))

    assert sent == ["http.response.start"]
