"""Requests that the fast path answers, on real sockets: order, limits, errors, and a client that leaves."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import SimpleNamespace
from typing import cast

import pytest
from fastapi import Response
from starlette.types import Scope

from service.errors import OverloadedError
from service.http import fast_path as module
from service.http.admission import Admission
from service.http.connection import Connection
from service.http.fast_path import FastPath
from service.http.problems import problem
from service.observing.logs import RequestLog
from service.observing.metrics import Metrics
from tests.service.http.sockets import post, serving, until

pytestmark = pytest.mark.anyio

ANN = b"GET /v1/users/ann/next HTTP/1.1\r\nhost: x\r\n\r\n"
EVENT = b'{"event_id": "e1", "user_id": "ann", "track_id": "t1", "type": "play"}'


@dataclass
class Routes:
    """The functions that the fast path calls, in the place of the real ones."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    begun: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    error: Exception | None = None

    async def propose(self, _: Scope, __: object, user_id: str, ___: object) -> bytes:
        """Answer a proposal. `slow` waits for the gate."""
        return await self._answer(user_id)

    async def record(self, _: Scope, told: list[tuple[str, object]], __: object, ___: int, *, many: bool) -> bytes:  # noqa: ARG002
        """Answer posted events."""
        return await self._answer(told[0][0])

    async def _answer(self, user_id: str) -> bytes:
        self.begun.append(user_id)
        if self.error is not None:
            raise self.error
        if user_id == "slow":
            await self.gate.wait()
        self.finished.append(user_id)
        return user_id.encode()


@pytest.fixture
def routes(monkeypatch: pytest.MonkeyPatch) -> Routes:
    """Put other functions in the place of the routes."""
    routes = Routes()
    monkeypatch.setattr(module, "propose", routes.propose)
    monkeypatch.setattr(module, "record", routes.record)
    return routes


SERVICE = SimpleNamespace(clock=lambda: 0)


def fast(metrics: Metrics | None = None, **refused: Response) -> FastPath:
    """Make a fast path whose guard refuses the users in `refused`."""

    def guard(scope: Scope, _: Mapping[bytes, bytes]) -> Response | None:
        return refused.get(scope["path"].split("/")[3]) if scope["method"] == "GET" else None

    return FastPath(metrics or Metrics(), RequestLog("error", "json"), [guard])


def event(user_id: str, *headers: str) -> bytes:
    """Make a post of one event."""
    body = EVENT.replace(b"ann", user_id.encode())
    return post(body, "content-type: application/json", *headers).replace(b"/a ", b"/v1/events ")


async def test_plain_requests_do_not_reach_the_application(routes: Routes) -> None:
    """Requests that are sent ahead of a reply do. All are answered in order."""
    async with serving(fast_path=fast(), service=SERVICE) as server:
        client = await server.client()
        client.send(ANN + event("bob") + post(b"other") + ANN.replace(b"ann", b"cid"))
        replies = [await client.reply() for _ in range(4)]

    assert [reply.body for reply in replies] == [b"ann", EVENT.replace(b"ann", b"bob"), b"other", b""]
    assert [reply.status for reply in replies] == [200] * 4
    assert replies[0].headers.keys() >= {"content-length", "content-type", "x-request-id"}
    assert routes.begun == ["ann"]
    assert [path for path, _ in server.reached] == ["/v1/events", "/a", "/v1/users/cid/next"]
    assert server.connections.admission.in_flight == 0


async def test_body_that_is_not_plain_reaches_the_application_whole(routes: Routes) -> None:
    """However it arrives. The next request of the connection is fast again."""
    async with serving(fast_path=fast(), service=SERVICE) as server:
        client = await server.client()
        whole = event("bob").replace(b'"play"', b'"hum!"')
        client.send(whole[:-20])
        await asyncio.sleep(0.01)
        reply = await client.ask(whole[-20:])
        again = await client.ask(ANN)

    assert (reply.status, reply.body) == (200, whole.partition(b"\r\n\r\n")[2])
    assert server.reached == [("/v1/events", reply.body)]
    assert again.body == b"ann"
    assert routes.begun == ["ann"]
    assert server.connections.bodies_bytes == 0


@pytest.mark.parametrize(
    "request_",
    [
        ANN.replace(b"GET", b"HEAD"),
        ANN.replace(b"next", b"session"),
        ANN.replace(b"next ", b"next?limit=5 "),
        ANN.replace(b"ann", b"ann#bob"),
        ANN.replace(b"next ", b"next?exclude=t1#t2 "),
        ANN.replace(b"HTTP/1.1", b"HTTP/1.0"),
        ANN.replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"host: x", b"connection: keep-alive"),
        ANN.replace(b"ann", b"x" * 65),
        ANN.replace(b"host: x", b"host: x\r\norigin: http://x"),
        ANN.replace(b"host: x", b"host: x\r\nx-b: b\r\nx-b: c"),
        ANN.replace(b"host: x", b"connection: close"),
        event("bob", "content-encoding: identity"),
        event("bob").replace(b"/json", b"/xml"),
        event("bob").replace(b"events ", b"events?a=b "),
    ],
)
async def test_unusual_requests_reach_the_application(routes: Routes, request_: bytes) -> None:
    """Each has something that the fast path does not handle."""
    async with serving(fast_path=fast(), service=SERVICE) as server:
        client = await server.client()
        client.send(request_)
        reply = await client.reply(head=request_.startswith(b"HEAD"))

    assert reply.status == 200
    assert len(server.reached) == 1
    assert routes.begun == []


async def test_errors_are_problems_and_the_connection_goes_on(routes: Routes) -> None:
    """A guard's refusal, an error of the service and a mistake of ours."""
    metrics = Metrics()
    guarded = fast(metrics, eve=problem(HTTPStatus.FORBIDDEN, "no", headers={"x-why": "eve"}))
    async with serving(fast_path=guarded, service=SERVICE) as server:
        client = await server.client()
        replies = [await client.ask(ANN.replace(b"ann", b"eve"))]
        for error in (OverloadedError("full"), ZeroDivisionError("a secret")):
            routes.error = error
            replies.append(await client.ask(ANN))
        routes.error = None
        replies.append(await client.ask(ANN))

    assert [reply.status for reply in replies] == [403, 503, 500, 200]
    assert [reply.headers["content-type"] for reply in replies[:3]] == ["application/problem+json"] * 3
    assert replies[0].headers["x-why"] == "eve"
    assert "retry-after" in replies[1].headers
    assert "secret" not in replies[2].body.decode()
    assert all("x-request-id" in reply.headers for reply in replies)
    exposed = metrics.exposition().decode()
    for status in (403, 503, 500, 200):
        assert f'route="/v1/users/{{user_id}}/next",status="{status}"}} 1.0' in exposed


async def test_client_that_leaves_ends_what_only_reads(routes: Routes) -> None:
    """Its proposal is cancelled. Its event is recorded, because a player sends its last one and closes."""
    metrics = Metrics()
    async with serving(fast_path=fast(metrics), service=SERVICE) as server:
        reading, writing = await server.client(), await server.client()
        reading.send(ANN.replace(b"ann", b"slow"))
        writing.send(event("slow"))
        await until(lambda: len(routes.begun) == 2)
        reading.leave()
        writing.leave()
        await until(lambda: server.connections.admission.in_flight == 1)
        await until(lambda: not server.connections._open)
        routes.gate.set()
        await until(lambda: server.connections.admission.in_flight == 0)

    assert routes.finished == ["slow"]
    assert 'route="/v1/users/{user_id}/next",status="none"} 1.0' in metrics.exposition().decode()


async def test_body_that_does_not_arrive_is_a_408(routes: Routes) -> None:
    async with serving(fast_path=fast(), service=SERVICE, arrive=3) as server:
        client = await server.client()
        reply = await client.ask(event("bob")[:-1])

    assert reply.status == 408
    assert routes.begun == []


async def test_overload_refuses_before_the_fast_path(routes: Routes) -> None:
    admission = Admission(0.1, 1)
    admission.limit = 0
    async with serving(fast_path=fast(), service=SERVICE, admission=admission) as server:
        client = await server.client()
        reply = await client.ask(ANN)

    assert reply.status == 503
    assert json.loads(reply.body)["status"] == 503
    assert routes.begun == []


async def test_bodies_are_bounded_together_with_those_of_other_requests(routes: Routes) -> None:
    """They count while they arrive and until their reply. Memory is free again when a client leaves."""
    padded = post(EVENT + b" " * 230, "content-type: application/json").replace(b"/a ", b"/v1/events ")
    async with serving(fast_path=fast(), service=SERVICE, bodies_bytes=380) as server:
        waiting, arriving, third = [await server.client() for _ in range(3)]
        waiting.send(event("slow"))
        await until(lambda: routes.begun == ["slow"])
        held = server.connections.bodies_bytes
        arriving.send(padded[:-1])
        await until(lambda: server.connections.bodies_bytes > held)
        refused = await third.ask(event("bob"))
        arriving.leave()
        await until(lambda: server.connections.bodies_bytes == held)
        taken = await third.ask(event("bob"))
        routes.gate.set()
        await waiting.reply()

    assert held == len(EVENT) + 1
    assert (refused.status, taken.status) == (503, 200)
    assert routes.finished == ["bob", "slow"]
    assert server.connections.bodies_bytes == 0


async def test_shutdown_answers_what_runs_and_what_arrives(routes: Routes) -> None:
    """Both replies say that the connection closes."""
    async with serving(fast_path=fast(), service=SERVICE) as server:
        running, arriving = await server.client(), await server.client()
        running.send(ANN.replace(b"ann", b"slow"))
        arriving.send(event("bob")[:-1])
        await until(lambda: routes.begun == ["slow"] and server.connections.bodies_bytes)
        for connection in list(server.connections._open):
            cast("Connection", connection).shutdown()
        arriving.send(b"}")
        routes.gate.set()
        replies = [await running.reply(), await arriving.reply()]
        rest = [await running.ended(), await arriving.ended()]

    assert [reply.status for reply in replies] == [200, 200]
    assert [reply.headers["connection"] for reply in replies] == ["close", "close"]
    assert rest == [b"", b""]
