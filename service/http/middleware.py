"""What happens to every request before and after the rest sees it: id, log line, metrics, limits, a client that goes away.

One layer, not one for each of these: a layer costs a coroutine, a closure for what it sends and another for what it receives,
several times what it does itself. Plain ASGI; a reply passes through unread.

It stands outside of the framework's own layers, so that `fast_path.FastPath` inside can answer the busy routes without them.
"""

import asyncio
import random
import re
import time
from http import HTTPStatus
from typing import cast

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http import problems
from service.observing.logs import RequestLog
from service.observing.metrics import Metrics

_SANE_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
WATCH_AFTER_S = 0.05
"""When a request starts to be watched for its client going away: most are answered before, and watching costs a task."""

logger = structlog.get_logger()


class RequestMiddleware:
    """The outermost layer.

    It gives each request an id (the client's own where it is sane), in the reply and in every log line; logs, counts and times
    it; refuses bodies over `limit` bytes, announced or not; cancels the work on one whose client has gone, where it takes long
    enough to matter; and answers our own mistakes with a 500 that leaks nothing.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, log: RequestLog, limit: int) -> None:
        self._app, self._metrics, self._log, self._limit = app, metrics, log, limit
        self._under_way: set[_Exchange] = set()
        self._round: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        exchange = _Exchange(scope, receive, send, self._limit)
        structlog.contextvars.bind_contextvars(request_id=exchange.request_id.decode())
        self._under_way.add(exchange)
        if self._round is None:
            self._round = asyncio.get_running_loop().call_later(WATCH_AFTER_S, self._look_round)
        try:
            if exchange.announced > self._limit:
                await exchange.refuse()
            else:
                await self._app(scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:
            if not exchange.gone or exchange.task.uncancel():
                raise
        except Exception:
            logger.exception("request failed", method=scope["method"], path=scope["path"])
            if exchange.status and not exchange.complete:
                raise  # half a reply is out: the server closes the connection
            if not exchange.status:
                await problems.mistake()(scope, receive, exchange.send)
        finally:
            self._under_way.discard(exchange)
            exchange.end()
            elapsed_s = time.perf_counter() - exchange.started
            self._metrics.answered(scope, exchange.status, elapsed_s)
            self._log(scope, exchange.request_id, exchange.status, elapsed_s)
        return None

    def _look_round(self) -> None:
        """Watch those who are under way for long; a round for all, where a timer for each would be paid by each."""
        self._round = None
        if self._under_way:
            self._round = asyncio.get_running_loop().call_later(WATCH_AFTER_S, self._look_round)
            since = time.perf_counter() - WATCH_AFTER_S
            for exchange in self._under_way:
                if exchange.started <= since:
                    exchange.watch()


class _Exchange:
    """One request and its reply, as far as they have come."""

    __slots__ = (
        "_body_read",
        "_limit",
        "_receive",
        "_received",
        "_scope",
        "_send",
        "_watcher",
        "announced",
        "complete",
        "gone",
        "request_id",
        "started",
        "status",
        "task",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        self._scope, self._receive, self._send, self._limit = scope, receive, send, limit
        self.started = time.perf_counter()
        self.task = cast("asyncio.Task[object]", asyncio.current_task())  # we are in one
        self.status = 0
        self.complete = self.gone = False
        self._body_read = scope["method"] != "POST"
        self._received = 0
        self._watcher: asyncio.Task[None] | None = None
        self.announced, given = 0, b""
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit():  # the server's parser sees to it that it is true
                self.announced = int(value)
            elif name == b"x-request-id":
                given = value
        self.request_id = given if _SANE_ID.fullmatch(given) else b"%016x" % random.getrandbits(64)

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._body_read = not message.get("more_body", False)
            self._received += len(message.get("body", b""))
            if self._received > self._limit:
                # The framework's own class: any other, raised while it reads a body, it would call a 400.
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._too_large())
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), (b"x-request-id", self.request_id)]
        elif not message.get("more_body", False):
            self.complete = True
        await self._send(message)

    async def refuse(self) -> None:
        reply = problems.problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._too_large())
        await reply(self._scope, self._receive, self.send)

    def watch(self) -> None:
        """Cancel the work once the client has gone. While a body is read, reading it notices by itself."""
        if self._watcher is None and self._body_read:
            self._watcher = asyncio.get_running_loop().create_task(self._wait_for_end())

    def end(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()

    async def _wait_for_end(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self.task.cancel()

    def _too_large(self) -> str:
        return f"the body is over {self._limit} bytes; send less at once"
