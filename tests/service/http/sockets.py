"""A server on a real socket around an application that records its requests, and clients that send it bytes."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from service.http.admission import Admission
from service.http.connection import COSTS, ON_END, REFUSAL, Connection
from service.http.connections import Connections, Limits
from service.http.fast_path import FastPath
from service.http.problems import problem

GET = b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"


@dataclass
class Reply:
    """A reply as the client read it."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def detail(self) -> str:
        """Return the `detail` of a problem."""
        assert self.headers["content-type"] == "application/problem+json"
        said: str = json.loads(self.body)["detail"]
        return said


class Client:
    """A client that sends bytes and reads replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        """Send without waiting."""
        self.writer.write(data)

    async def reply(self, *, head: bool = False) -> Reply:
        """Read the next reply; without its body if the request was HEAD."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:-2])}
        body = b"" if head else await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Reply(int(lines[0].split()[1]), headers, body)

    async def ask(self, data: bytes) -> Reply:
        """Send bytes and read one reply."""
        self.send(data)
        return await self.reply()

    async def ended(self) -> bytes:
        """Read until the server closes the connection."""
        rest = b""
        try:
            while data := await self.reader.read(65536):
                rest += data
        except ConnectionError:
            pass
        return rest

    def leave(self) -> None:
        """Close the connection at once."""
        self.writer.transport.abort()


@dataclass
class Server:
    """A listening server around an application that records the requests that reach it."""

    port: int = 0
    connections: Connections = field(default_factory=lambda: Connections(Limits(connections=100), Admission(0.1, 32)))
    reached: list[tuple[str, bytes]] = field(default_factory=list)  # paths and bodies
    left: list[str] = field(default_factory=list)  # paths whose client left before the reply
    gate: asyncio.Event = field(default_factory=asyncio.Event)  # requests for /wait are answered once it is set
    refused: list[tuple[int, int]] = field(default_factory=list)
    clients: list[Client] = field(default_factory=list)

    async def client(self) -> Client:
        """Open a new connection."""
        self.clients.append(Client(*await asyncio.open_connection("127.0.0.1", self.port)))
        return self.clients[-1]

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reply with the request's body. Refusals get the text of the real application."""
        if REFUSAL in scope:
            return await problem(*scope[REFUSAL])(scope, receive, send)
        path, body = scope["path"], (await receive())["body"]
        self.reached.append((path, body))
        assert (b"x-a", b"b") not in scope["headers"]  # this was a trailer
        scope[ON_END](lambda: self.left.append(path))
        if path == "/batch" and not scope[COSTS](int(body)):
            return await problem(HTTPStatus.SERVICE_UNAVAILABLE, "too many")(scope, receive, send)
        if path in ("/wait", "/batch"):
            await self.gate.wait()
        return await PlainTextResponse(body * 20 if path == "/large" else body)(scope, receive, send)


def configuration(app: ASGIApp) -> uvicorn.Config:
    """Make uvicorn's configuration for an application."""
    config = uvicorn.Config(app, log_config=None, access_log=False, ws="none", interface="asgi3", proxy_headers=False)
    config.load()
    return config


@asynccontextmanager
async def serving(
    *, admission: Admission | None = None, fast_path: FastPath | None = None, service: object = None, **limits: Any
) -> AsyncIterator[Server]:
    """Run a server with other limits than the real ones, and short ticks. A `fast_path` calls the routes with `service`."""
    server, loop = Server(), asyncio.get_running_loop()
    given = Limits(**{"connections": 100, "tick_s": 0.01, "retry_after_s": 0.01} | limits)
    server.connections = Connections(
        given, admission or Admission(0.1, 32), lambda status, requests: server.refused.append((status, requests))
    )
    server.connections.start()
    config, state = configuration(server.app), ServerState()
    parts = {"connections": server.connections, "fast_path": fast_path, "service": service}
    listening = await loop.create_server(lambda: Connection(config, state, parts, loop), "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        server.connections.stop()
        server.gate.set()
        for client in server.clients:
            client.leave()
        listening.close()
        for connection in list(state.connections):
            connection.transport.abort()
        while state.tasks:  # noqa: ASYNC110  # uvicorn has no event for it
            await asyncio.sleep(0)
        await asyncio.sleep(0)


async def until(done: Callable[[], object]) -> None:
    """Run the loop until a condition holds."""
    async with asyncio.timeout(30):
        while not done():  # noqa: ASYNC110  # any condition
            await asyncio.sleep(0.001)


def post(body: bytes, *headers: str) -> bytes:
    """Make a request with a body."""
    lines = ["POST /a HTTP/1.1", "host: x", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body
