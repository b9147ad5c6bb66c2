"""HTTP/1.1 by uvicorn's httptools protocol, a reply's head and body leaving in one write.

uvicorn writes the head by itself: one system call, one packet and one wake of the client more for each reply. What it costs: a
stream's head waits for the stream's first part.

A reply that is there as a whole may also be given as a whole, by an extension of ASGI: `scope["extensions"][WHOLE]["write"]` is
`write(headers, body) -> bool`, for a 200 with `content-length` among its headers, which are taken as they are. In place of two
messages through two coroutines each, whose every header uvicorn looks through for what must not be there.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

WHOLE = "nexttrack.whole"
Write = Callable[[Sequence[tuple[bytes, bytes]], bytes], bool]
"""Writes headers and body of a 200; False where nothing is done, as the client does not read: then by ASGI's messages."""


class OneWrite(HttpToolsProtocol):
    """uvicorn's protocol over a transport that lets heads wait for what follows."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        self._joining = _Joining(transport)
        super().connection_made(cast("asyncio.Transport", self._joining))

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if (cycle := self.cycle) is not None:  # None: the first request wants to be a web socket
            cycle.scope["extensions"] = {WHOLE: {"write": partial(_write, cycle, self._joining)}}

    def on_response_complete(self) -> None:
        self._joining.flush()  # a reply without a body, to HEAD
        super().on_response_complete()


def _write(cycle: RequestResponseCycle, joining: "_Joining", headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
    """A `Write`: what uvicorn's `send` does with a head and a body that ends the reply."""
    if cycle.flow.write_paused:
        return False
    if cycle.disconnected:
        return True
    lines = [STATUS_LINE[200]]
    for name, value in (*cycle.default_headers, *headers):
        lines += (name, b": ", value, b"\r\n")
    if not cycle.keep_alive:
        lines.append(b"connection: close\r\n")
    lines += (b"\r\n", body)
    cycle.response_started = cycle.response_complete = True
    joining.write_now(b"".join(lines))
    cycle.message_event.set()
    if not cycle.keep_alive:
        joining.close()
    cycle.on_response()
    return True


class _Joining:
    """A transport but for that."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""
        self.write_now = transport.write
        # Asked for at every request; the rest comes through `__getattr__`.
        self.is_closing, self.resume_reading = transport.is_closing, transport.resume_reading

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 1"):  # 100: the client waits for just this
            self._head = data
            return
        self._transport.write(data)

    def flush(self) -> None:
        if self._head:
            self._transport.write(self._head)
            self._head = b""

    def close(self) -> None:
        self.flush()
        self._transport.close()
