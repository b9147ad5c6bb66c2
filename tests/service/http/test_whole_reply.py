"""A whole reply is one write, and all replies are byte for byte those of uvicorn."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from service.http.whole_reply import WholeReply

LENGTH = (b"content-length", b"3")
Messages = Sequence[dict[str, Any]]
Layer = Callable[[Any, RequestResponseCycle], Any]


class Written(asyncio.Transport):
    """A transport that notes each write."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Note what would be one system call."""
        self.parts.append(bytes(data))

    def is_closing(self) -> bool:
        """Whether `close` was called."""
        return self.closed

    def close(self) -> None:
        """Note it."""
        self.closed = True


def reply(
    messages: Messages, layer: Layer, method: str = "GET", *, keep_alive: bool = True, disconnected: bool = False
) -> Written:
    """Send the messages of a reply through `layer`. Returns what was written."""

    async def app(_: Scope, __: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        for message in messages:
            await send(message)  # type: ignore[arg-type]  # uvicorn has a type for each kind of message

    async def answer() -> Written:
        transport = Written()
        cycle = RequestResponseCycle(
            scope={"type": "http", "method": method},  # type: ignore[typeddict-item]  # all that a reply reads
            transport=transport,
            flow=FlowControl(transport),
            logger=logging.getLogger("of uvicorn"),
            access_logger=logging.getLogger("of uvicorn"),
            access_log=False,
            default_headers=[(b"date", b"now")],
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=keep_alive,
            on_response=lambda: ended.append(True),
        )
        cycle.disconnected = disconnected
        await cycle.run_asgi(layer(app, cycle))
        assert len(ended) == cycle.response_complete
        return transport

    ended: list[bool] = []
    return asyncio.run(answer())


def bare(app: Callable[..., Awaitable[None]], _: RequestResponseCycle) -> Callable[..., Awaitable[None]]:
    """Leave the reply to uvicorn."""
    return app


def start(*headers: tuple[bytes, bytes], status: int = 200) -> dict[str, Any]:
    """Make the first message of a reply."""
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(part: bytes, *, more: bool = False) -> dict[str, Any]:
    """Make a message with a part of the body."""
    return {"type": "http.response.body", "body": part, "more_body": more}


def test_whole_reply_is_one_write() -> None:
    """So it costs one system call and wakes the client once."""
    written = reply([start(LENGTH), body(b"abc")], WholeReply)

    assert written.parts == [b"HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 3\r\n\r\nabc"]


@pytest.mark.parametrize(
    "messages",
    [
        [start(LENGTH, status=404), body(b"abc")],
        [start((b"content-length", b"0")), body(b"")],
        [start(LENGTH), body(b"a", more=True), body(b"bc")],
        [start(), body(b"a", more=True), body(b"bc")],
        [start(), body(b"abc")],
        [start(status=204), body(b"")],
        [start(LENGTH, (b"connection", b"close")), body(b"abc")],
        [start(LENGTH), {"type": "http.response.body"}],
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("keep_alive", [True, False])
def test_replies_are_those_of_uvicorn(messages: Messages, method: str, *, keep_alive: bool) -> None:
    """Also of streams, of replies without a body, and of connections that end."""
    ours, its = (reply(messages, layer, method, keep_alive=keep_alive) for layer in (WholeReply, bare))

    assert (b"".join(ours.parts), ours.closed) == (b"".join(its.parts), its.closed)


@pytest.mark.parametrize("wrong", [(b"x-id", b"a\r\nset-cookie: b"), (b"x\n", b"a"), (b"x-id", b"a\x00")])
def test_header_that_could_forge_another_is_not_sent(wrong: tuple[bytes, bytes]) -> None:
    """The client gets an error instead."""
    written = reply([start(LENGTH, wrong), body(b"abc")], WholeReply)

    assert b"set-cookie" not in b"".join(written.parts)
    assert written.closed


def test_nothing_is_written_to_a_client_that_has_left() -> None:
    """Its socket belongs to nobody any more."""
    assert reply([start(LENGTH), body(b"abc")], WholeReply, disconnected=True).parts == []
