"""Writes a reply to the socket in one piece.

uvicorn writes the head and the body one after the other, and uvloop passes each write to the kernel at once. So each reply cost
two system calls, and woke its client twice. uvicorn also checks each header by itself, which takes longer than the rest of it.
"""

from collections.abc import Awaitable

from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, HTTPResponseStartEvent, Scope
from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE, STATUS_LINE, RequestResponseCycle

_FRAMING = frozenset({b"connection", b"transfer-encoding"})


class WholeReply:
    """ASGI layer that sends the reply of one request. It holds the head back until the first part of the body.

    If this part is the whole body, both are written together. All other replies are uvicorn's: streams, replies without a
    body, and replies that HTTP forbids.
    """

    __slots__ = ("_app", "_cycle", "_send", "_start")

    def __init__(self, app: ASGI3Application, cycle: RequestResponseCycle) -> None:
        """`cycle` is the request, as uvicorn has read it."""
        self._app, self._cycle = app, cycle
        self._start: HTTPResponseStartEvent | None = None

    def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> Awaitable[None]:
        """Let the application answer the request. `send` is uvicorn's."""
        self._send = send
        return self._app(scope, receive, self.send)

    async def send(self, message: ASGISendEvent) -> None:
        """Send a message of ASGI. Raises RuntimeError for a message or header that HTTP does not allow here."""
        cycle = self._cycle
        if message["type"] == "http.response.start" and not cycle.response_started:
            self._start = message
            return
        if (start := self._start) is not None:
            self._start = None
            if cycle.flow.write_paused and not cycle.disconnected:
                await cycle.flow.drain()
            if (reply := _encoded(cycle, start, message)) is not None:
                _write(cycle, reply)
                return
            await self._send(start)
        await self._send(message)


def _encoded(cycle: RequestResponseCycle, start: HTTPResponseStartEvent, message: ASGISendEvent) -> bytes | None:
    """Return the bytes of a reply; None if `message` is not its whole body, or if a header needs uvicorn's attention."""
    if message["type"] != "http.response.body" or message.get("more_body", False) or cycle.scope["method"] == "HEAD":
        return None
    body = message.get("body", b"")
    headers = [*cycle.default_headers, *start["headers"]]
    names, values = zip(*headers, strict=True)
    if (b"content-length", b"%d" % len(body)) not in headers or not _FRAMING.isdisjoint(names):
        return None
    if HEADER_RE.search(b"".join(names)) or HEADER_VALUE_RE.search(b"".join(values)):
        return None
    if not cycle.keep_alive:
        headers.append((b"connection", b"close"))
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    return b"%b%b\r\n%b" % (STATUS_LINE[start["status"]], lines, body)


def _write(cycle: RequestResponseCycle, reply: bytes) -> None:
    """Write a reply and end the request, as uvicorn does after the last part of a body."""
    if cycle.disconnected:
        return
    cycle.response_started = cycle.response_complete = True
    cycle.transport.write(reply)
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
