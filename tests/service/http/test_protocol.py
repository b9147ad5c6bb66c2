"""Replies as they reach the socket: whole, in order, in one write."""

import asyncio
from typing import cast

import pytest
import uvicorn
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from service.http.protocol import WHOLE, OneWrite, Write

pytestmark = pytest.mark.anyio


class Wire(asyncio.Transport):
    """A transport that remembers each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        return None

    def resume_reading(self) -> None:
        return None


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Echoes a body, streams, breaks in the middle, or replies by the extension."""
    if scope["path"] == "/whole":
        written = scope["extensions"][WHOLE]["write"]([(b"content-length", b"2"), (b"x-request-id", b"a")], b"hi")
        assert written
        return None
    if scope["path"] == "/stream":
        return await StreamingResponse(iter(["one", "two"]))(scope, receive, send)
    if scope["path"] == "/half":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        raise ZeroDivisionError
    body = (await receive())["body"].decode() if scope["method"] == "POST" else "hello"
    return await PlainTextResponse(body)(scope, receive, send)


async def writes(request: bytes, wire: Wire | None = None) -> list[bytes]:
    """What is written in answer to a request, once there is nothing more to come."""
    config = uvicorn.Config(app, log_config=None, access_log=False)
    config.load()
    state, wire = ServerState(), wire or Wire()
    protocol = OneWrite(config, state, {}, asyncio.get_running_loop())
    protocol.connection_made(wire)
    protocol.data_received(request)
    while state.tasks:  # a request behind another one becomes a task when that has its reply
        await asyncio.gather(*state.tasks, return_exceptions=True)
    protocol.connection_lost(None)

    return wire.writes


async def test_reply_is_one_write() -> None:
    """Head and body together."""
    [written] = await writes(b"GET / HTTP/1.1\r\n\r\n")

    assert written.startswith(b"HTTP/1.1 200 OK\r\n")
    assert written.endswith(b"\r\n\r\nhello")


async def test_reply_without_a_body_is_not_held_back() -> None:
    """HEAD is answered by the head alone."""
    [written] = await writes(b"HEAD / HTTP/1.1\r\n\r\n")

    assert written.endswith(b"content-length: 5\r\ncontent-type: text/plain; charset=utf-8\r\n\r\n")


async def test_client_is_told_to_go_on_at_once() -> None:
    """`100 Continue` is written by itself: the client waits for it before it sends more."""
    told, answered = await writes(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi")

    assert told == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answered.endswith(b"\r\n\r\nhi")


async def test_stream_goes_out_as_it_comes() -> None:
    """Only the head waits, for the first part."""
    first, second, end = await writes(b"GET /stream HTTP/1.1\r\n\r\n")

    assert first.endswith(b"\r\n\r\n3\r\none\r\n")
    assert (second, end) == (b"3\r\ntwo\r\n", b"0\r\n\r\n")


async def test_whole_reply_is_written_as_uvicorn_would() -> None:
    """By the extension: one write, and the next request on the connection is answered too."""
    twice = await writes(2 * b"GET /whole HTTP/1.1\r\n\r\n")

    assert twice == 2 * [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-request-id: a\r\n\r\nhi"]


@pytest.mark.parametrize("request_line", [b"GET /whole HTTP/1.0\r\n", b"GET /whole HTTP/1.1\r\nConnection: close\r\n"])
async def test_whole_reply_ends_a_connection_that_is_not_kept(request_line: bytes) -> None:
    """And says so."""
    wire = Wire()
    [written] = await writes(request_line + b"\r\n", wire)

    assert b"\r\nconnection: close\r\n" in written
    assert wire.closed


async def test_whole_reply_waits_with_a_client_that_does_not_read() -> None:
    """It is left to the way that waits for the client; and to one that has gone nothing is written."""
    config = uvicorn.Config(app, log_config=None, access_log=False)
    config.load()
    wire = Wire()
    protocol = OneWrite(config, ServerState(), {}, asyncio.get_running_loop())
    protocol.connection_made(wire)
    protocol.data_received(b"GET / HTTP/1.1\r\n\r\n")
    write = cast("Write", (protocol.cycle.scope["extensions"] or {})[WHOLE]["write"])
    protocol.pause_writing()
    paused = write([], b"")
    protocol.resume_writing()
    protocol.connection_lost(None)
    gone = write([], b"")

    assert (paused, gone, wire.writes) == (False, True, [])


async def test_half_a_reply_leaves_before_the_connection_closes() -> None:
    """A client sees that there was a reply, and that it was cut."""
    [written] = await writes(b"GET /half HTTP/1.1\r\n\r\n")

    assert written.startswith(b"HTTP/1.1 200 OK\r\n")
