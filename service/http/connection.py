"""HTTP/1.1 connections with bounds on the cost of a client. They extend uvicorn's httptools protocol.

Heads, bodies, deadlines and the number of connections are limited (`connections.Limits`). A request is refused early while more
are in flight than are answered in time (`admission`). The application gets whole requests only: a task starts when the body is
complete. The application hears at once when its client leaves. uvicorn tells this to the newest request of a connection only.

Plain requests for the busy routes do not reach the application: `fast_path` answers them, without a scope and messages of ASGI.

No other server had all of this in November 2026:

- uvicorn's h11 protocol limits heads, at several times the CPU time. hypercorn uses the same parser.
- granian limits heads and their time. But it refuses without a problem document, accepts no connection once all are in use, and
  keeps an idle one for at most 60 s.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine, MutableMapping, Sequence
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service.http import problems
from service.http.connections import Connections, Limits
from service.http.head_with_body import HeadWithBody

if TYPE_CHECKING:
    from service.http.fast_path import Asked, FastPath  # which imports this module

ON_END = "nexttrack.on_end"
"""In `scope`: takes a function, which is called if the client leaves before its reply."""
REFUSAL = "nexttrack.refusal"
"""In `scope`: status and detail of the problem with which the application must answer."""
COSTS = "nexttrack.costs"
"""In `scope`: takes how many ordinary requests this one costs. False: there are too many in flight, so it must be refused."""
ALWAYS_ANSWERED = frozenset({b"/healthz", b"/readyz", b"/metrics"})
"""Paths that are answered under any load, so that operators see what happens."""
_BODY = "nexttrack.body_bytes"


class Connection(HttpToolsProtocol):
    """One HTTP/1.1 connection. `app_state["connections"]` is the `Connections` object that all connections of the process
    share, and `app_state["fast_path"]` their `FastPath`, if there is one.

    The parser receives one message at a time. One of the received messages is being answered (`_running`), or waits for its
    body (`_waiting`, or `_asked` if the fast path has recognised it). The messages behind it are in `pipeline`.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._all: Connections = app_state["connections"]
        self._limits: Limits = self._all.limits
        self._admission = self._all.admission
        self._fast_path: FastPath | None = app_state.get("fast_path")
        self.deadline, self.unread_deadline, self.idle_since = math.inf, math.inf, math.inf
        self._has_place = True
        self._in_message = self._in_head = False
        self._dropping = False  # discard the rest of this message
        self._leaving = False  # after a refusal: discard all that arrives
        self._received = 0  # bytes of this message, without the chunk in which it began
        self._chunk = 0  # bytes that are parsed now
        self._refusal = (HTTPStatus.BAD_REQUEST, "this is no HTTP/1.1 request")
        self._waiting: tuple[RequestResponseCycle, ASGI3Application] | None = None
        self._asked: Asked | None = None
        self._running: RequestResponseCycle | FastCycle | None = None
        self._task: asyncio.Task[None] | None = None  # of the running request
        self._in_flight = 0  # how many requests the admission counts it as
        self._on_end: Callable[[], object] | None = None

    # Called by the transport.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._become_idle()
        self._has_place = self._all.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.remove(self)
        gone = [cycle for cycle, _ in self.pipeline]
        self.pipeline.clear()
        if self._asked is not None:
            self._release_body(self._asked.scope)
            self._asked = None
        if self._waiting is not None:
            gone.append(self._waiting[0])
            self._waiting = None
        if isinstance(self._running, FastCycle):
            self._running.leave(self._task)
            self._release_body(self._running.scope)
        elif self._running is not None:
            gone.append(self._running)
        for cycle in gone:
            cycle.disconnected = True
            cycle.message_event.set()
            self._release_body(_scope(cycle))
        if self._on_end is not None:
            self._on_end()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._leaving:
            self._received += len(data)
            if self._received > self._limits.linger_bytes:
                self.flow.pause_reading()
            return
        if self._in_message:
            self._received += len(data)
        self._chunk = len(data)
        while data and not self._leaving:
            data = self._parse(data)
        if self._in_head and self._received > self._limits.head_bytes:
            self._refuse(*self._too_large())
        elif self._received > self._limits.message_bytes:
            self.drop()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._leave()  # the client is slow, not the service
        self.unread_deadline = self._after(self._limits.unread)

    def resume_writing(self) -> None:
        super().resume_writing()
        self.unread_deadline = math.inf

    # Called by `Connections`.

    def expire(self) -> None:
        if self._asked is not None:
            self._pass_on(self._asked)
        if self._leaving or self.unread_deadline <= self._all.tick:
            self.drop()
        elif self._in_head:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"the head did not arrive within {self._limits.arrive} s")
        elif self._waiting is not None:
            self._waiting[0].keep_alive = False
            self._refuse_body(HTTPStatus.REQUEST_TIMEOUT, f"the body did not arrive within {self._limits.arrive} s")
        elif self._running is not None:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "the body of a request sent ahead did not arrive")
        else:
            self.transport.close()

    def resume(self) -> None:
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def drop(self) -> None:
        self.transport.abort()

    # Called by the parser. An exception here ends it, and the request is refused with `_refusal`.

    def on_message_begin(self) -> None:
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._in_message = self._in_head = True
        self._received = 0
        self.deadline = self._after(self._limits.arrive)

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._received + self._chunk > self._limits.head_bytes and self._head_bytes() > self._limits.head_bytes:
            self._refusal = self._too_large()
            raise ValueError(self._refusal)
        headers, self.headers = self.headers, []  # trailers go to a list that nobody reads
        busy = self._running is not None
        if busy and len(self.pipeline) >= self._limits.ahead:
            self._refusal = (HTTPStatus.TOO_MANY_REQUESTS, f"more than {self._limits.ahead} requests are sent ahead of replies")
            raise ValueError(self._refusal)
        overloaded = not busy and self._overloaded()
        if overloaded and not any(name == b"origin" for name, _ in headers):
            self._refuse_in_passing()
            return
        self.idle_since, self.deadline = math.inf, self._after(self._limits.arrive)
        if not (busy or overloaded) and (asked := self._recognised(headers)) is not None:
            self._asked = asked
            return
        self._start_cycle(headers)
        if not self._has_place:
            self.cycle.keep_alive = False
        if overloaded:  # by a page of another origin: it can read a reply only with the application's CORS headers
            self._refuse_body(*_OVERLOAD)
        elif _announced(headers) > self._limits.body_bytes:
            self._refuse_body(*self._body_too_large())
        elif busy:
            self.flow.resume_reading()  # uvicorn pauses; but then the client could leave unnoticed
        elif self.expect_100_continue:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        if self._dropping:
            return
        if self._asked is not None:  # it is short, as its head says
            self._asked.body += body
            if not self._hold_body(self._asked.scope, len(body)):
                self._pass_on(self._asked)  # the application refuses it
            return
        cycle = self.cycle
        cycle.body += body
        fits = self._hold_body(_scope(cycle), len(body))
        if len(cycle.body) > self._limits.body_bytes:
            self._refuse_body(*self._body_too_large())
        elif not fits:
            self._refuse_body(HTTPStatus.SERVICE_UNAVAILABLE, "the bodies of too many requests wait; send this one again")

    def on_message_complete(self) -> None:
        self._in_message = False
        if self._asked is not None and self._fast_path is not None:
            asked, make = self._asked, self._asked.read(bytes(self._asked.body))
            if make is not None:
                asked.body.clear()
                self._asked, self.deadline = None, math.inf
                cycle = FastCycle(self, asked)
                self.cycle = cast("RequestResponseCycle", cycle)
                self._run(cycle, self._fast_path.answer(asked, make, cycle.write))
                return
            self._pass_on(asked)
        if self._dropping:
            self._dropping = False
            if self._running is None and not self._leaving:
                self._become_idle()
            return
        super().on_message_complete()
        self.deadline = math.inf
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            self._start_asgi_task(*waiting)

    # Called by uvicorn's own parts.

    def shutdown(self) -> None:
        if self._asked is not None:  # uvicorn closes a connection without a cycle
            self._pass_on(self._asked)
        super().shutdown()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if cycle.more_body:
            self._waiting = (cycle, app)
            return
        if cycle.transport is self.transport:
            cycle.transport = cast("asyncio.Transport", HeadWithBody(self.transport))
        scope = _scope(cycle)
        scope[ON_END], scope[COSTS] = self._call_on_end, self._costs
        self._run(cycle, cycle.run_asgi(app))

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self._running is not None:
            self._release_body(_scope(self._running))
            if not isinstance(self._running, FastCycle) and isinstance(self._running.transport, HeadWithBody):
                self._running.transport.flush()
        self._running = self._on_end = None
        self._leave()
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif not self._leaving:
            self._become_idle()
            if self._in_message:
                self.deadline = self._after(self._limits.arrive)

    # Steps of the above.

    def _parse(self, data: bytes) -> bytes:
        """Feed the parser with data. Returns the bytes that the parser left unread."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:  # not wanted here, so that what follows is HTTP/1.1 all the same
            self.parser = httptools.HttpRequestParser(self)
            return data[int(upgrade.args[0]) :]
        except httptools.HttpParserError:
            self._refuse(*self._refusal)
        return b""

    def _recognised(self, headers: Sequence[tuple[bytes, bytes]]) -> "Asked | None":
        """Return the request whose head is complete if the fast path may answer it."""
        if (
            self._fast_path is None
            or self.root_path
            or not (self._has_place and self.parser.should_keep_alive() and self.parser.get_http_version() == "1.1")
            or self.flow.write_paused
        ):
            return None
        return self._fast_path.recognise(self.parser.get_method(), self.url, headers, self.app_state)

    def _start_cycle(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Give the request whose head is complete to uvicorn, which makes its scope."""
        url, expects = self.url, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers = self.scope["headers"] = headers
        super().on_headers_complete()
        self.headers = []  # trailers go to a list that nobody reads
        self.cycle.waiting_for_100_continue = False

    def _pass_on(self, asked: "Asked") -> None:
        """Give a request that was recognised to the application after all: its body is not plain, or does not arrive."""
        self._asked = None
        self._release_body(asked.scope)
        self._start_cycle(list(asked.scope["headers"]))
        if asked.body:
            self.on_body(bytes(asked.body))

    def _run(self, cycle: "RequestResponseCycle | FastCycle", work: Coroutine[Any, Any, None]) -> None:
        self._running, self._on_end = cycle, None
        self._in_flight = 1
        self._admission.enter()
        self._task = self.loop.create_task(work)
        self._task.add_done_callback(self._ended)
        self.tasks.add(self._task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if task is self._task:
            self._leave()

    def _leave(self) -> None:
        if self._in_flight:
            in_flight, self._in_flight = self._in_flight, 0
            self._admission.leave(in_flight)

    def _costs(self, requests: int) -> bool:
        """Count the running request as `requests` requests. Returns False if too many are in flight."""
        if not self._admission.weigh(requests):
            return False
        self._in_flight = requests
        return True

    def _call_on_end(self, callback: Callable[[], object]) -> None:
        if self.parser is None:  # the client has left before the task began
            callback()
        self._on_end = callback

    def _become_idle(self) -> None:
        self.idle_since, self.deadline = self._all.tick, self._after(self._limits.idle)

    def _after(self, ticks: int) -> float:
        return self._all.tick + ticks + 1  # the present tick has begun already

    def _hold_body(self, scope: MutableMapping[str, Any], more_bytes: int) -> bool:
        """Count bytes of a request's body that arrived. Returns False if the bodies of all requests together are too large."""
        scope[_BODY] = scope.get(_BODY, 0) + more_bytes
        self._all.bodies_bytes += more_bytes
        return self._all.bodies_bytes <= self._limits.bodies_bytes

    def _release_body(self, scope: MutableMapping[str, Any]) -> None:
        self._all.bodies_bytes -= scope.pop(_BODY, 0)

    def _overloaded(self) -> bool:
        return self.url not in ALWAYS_ANSWERED and not (self._has_place and self._admission.admits())

    def _refuse_in_passing(self) -> None:
        """Refuse a request with 503 before its body is read, at a sixth of the cost of an answer. The connection is not read
        again until the client may retry.
        """
        self._dropping = True
        close = not (self._has_place and self.parser.should_keep_alive())
        body = b"" if self.parser.get_method() == b"HEAD" else _OVERLOADED
        self.transport.write(
            _head(HTTPStatus.SERVICE_UNAVAILABLE, len(_OVERLOADED), close=close, wait_s=self._limits.retry_after_s) + body
        )
        if close:
            self.linger()
        else:
            self.flow.pause_reading()
        self._all.turn_away(self)

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Refuse a message that cannot be read to its end, and close the connection. If earlier replies are still due, it
        closes after them and sends no error.
        """
        if self._leaving:
            return
        self._all.refused(status, 1)
        if self.pipeline and self.pipeline[0][0].more_body:  # this message, which could not be answered
            self._release_body(_scope(self.pipeline.popleft()[0]))
        due = self.pipeline[0][0] if self.pipeline else self._running
        if due is not None:
            due.keep_alive = False
            self._leaving, self.deadline = True, math.inf
            return
        body = problems.encode(status, detail)
        self.transport.write(_head(status, len(body), close=True) + body)
        self.linger()

    def linger(self) -> None:
        """Close the write side of the connection, but read on for a moment. A client that is still sending would lose the reply
        otherwise.
        """
        self._leaving, self._received = True, 0
        self.transport.write_eof()
        self.deadline = self._after(self._limits.linger)

    def _refuse_body(self, status: HTTPStatus, detail: str) -> None:
        """Let the application answer the newest request with this error, and discard the rest of the request's body."""
        cycle = self.cycle
        _scope(cycle)[REFUSAL] = (status, detail)
        self._release_body(_scope(cycle))
        cycle.body.clear()
        cycle.more_body = False
        cycle.message_event.set()
        cycle.transport = cast("asyncio.Transport", _ClosesGently(self))
        self._dropping = True
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            self._start_asgi_task(*waiting)

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _too_large(self) -> tuple[HTTPStatus, str]:
        if len(self.url) > self._limits.head_bytes // 2:
            detail = f"the URL is longer than this service reads; {self._limits.head_bytes} bytes of head are the limit. "
            return HTTPStatus.REQUEST_URI_TOO_LONG, detail + "POST /v1/next takes long lists in its body"
        return (
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"the head is over {self._limits.head_bytes} bytes; send fewer headers",
        )

    def _body_too_large(self) -> tuple[HTTPStatus, str]:
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is over {self._limits.body_bytes} bytes; send less at once"


class FastCycle:
    """A request that the fast path answers, in the place where uvicorn keeps a cycle."""

    __slots__ = ("_asked", "_connection", "disconnected", "keep_alive", "message_event", "response_complete", "scope")

    def __init__(self, connection: Connection, asked: "Asked") -> None:
        self._connection, self._asked, self.scope = connection, asked, asked.scope
        self.keep_alive, self.disconnected, self.response_complete = True, False, False
        self.message_event = _NOBODY_WAITS

    def write(self, head: bytes, body: bytes) -> None:
        """Send the whole reply, and end the request."""
        connection = self._connection
        if self.disconnected or self.response_complete:
            return
        self.response_complete = True
        lines = [b"%b: %b\r\n" % header for header in connection.server_state.default_headers]
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        connection.transport.write(b"".join((head, *lines, b"\r\n", body)))
        if not self.keep_alive:
            connection.transport.close()
        connection.on_response_complete()

    def leave(self, task: asyncio.Task[None] | None) -> None:
        """Note that the client has left. A request that only reads is cancelled; one that writes goes on."""
        self.disconnected = True
        if self._asked.only_reads and task is not None and not self._asked.client_left:
            self._asked.client_left = True
            if self._asked.has_begun:
                task.cancel()


class _NobodyWaits:
    """The event of a request that was read before it began."""

    def set(self) -> None:
        """Do nothing."""


_NOBODY_WAITS = _NobodyWaits()


class _ClosesGently:
    """The transport for a reply that is sent before the request's body has arrived in full. Its `close` is
    `Connection.linger`.
    """

    def __init__(self, connection: Connection) -> None:
        self.write, self.is_closing, self.close = connection.transport.write, connection.transport.is_closing, connection.linger


_OVERLOAD = (HTTPStatus.SERVICE_UNAVAILABLE, "more requests arrive than are answered in time; try again")
_OVERLOADED = problems.encode(*_OVERLOAD)


@cache
def _head(status: HTTPStatus, length: int, *, close: bool, wait_s: float = 0) -> bytes:
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"content-type: {problems.PROBLEM}",
        f"content-length: {length}",
        *([f"retry-after: {math.ceil(wait_s)}"] if wait_s else []),
        *(["connection: close"] if close else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def _announced(headers: Sequence[tuple[bytes, bytes]]) -> int:
    """Return the length of the body that a head announces, in bytes; 0 if it announces none."""
    for name, value in headers:
        if name == b"content-length":
            return int(value)
    return 0


def _scope(cycle: RequestResponseCycle | FastCycle) -> dict[str, Any]:
    return cast("dict[str, Any]", cycle.scope)
