"""The one entrance for requests: request id, guards, log line, metrics, cancellation if the client leaves, and the reply to
unexpected exceptions.

Everything that protects the service is a guard. Every way into it passes the guards: here, or in `FastPath`. All of this is one
layer, because the coroutine and the closure of a layer cost several times its work.
"""

import asyncio
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import cast

import structlog
from fastapi import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import UnavailableError
from service.http import problems
from service.http.access.paths import routed
from service.http.connection import ON_END, REFUSAL
from service.observing.logs import RequestLog, name_request
from service.observing.metrics import Metrics

Guard = Callable[[Scope, Mapping[bytes, bytes]], Response | None]
"""Looks at a request and its headers, and returns the reply that refuses it, or None."""

_SANE_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")

logger = structlog.get_logger()


class RequestMiddleware:
    """The outermost layer of the application.

    It sets the path that guards, routes and the log read. It gives each request an id, in the reply and in every log line. The
    client may send a valid id of its own. It replies to refused requests, and to unexpected exceptions with a 500 without
    details. It logs, counts and times the request. If the client leaves, it cancels a request that only reads; one that writes
    goes on, since a player may send its last event and close.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, log: RequestLog, guards: Sequence[Guard] = ()) -> None:
        """`guards` are called in order. The first one that returns a reply refuses the request."""
        self._app, self._metrics, self._log = app, metrics, log
        self._guards = (refused_by_server, refuse_encoded, *guards)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = dict(scope["headers"])
        scope["path"] = routed(scope)
        exchange = _Exchange(scope, headers, send)
        name_request(exchange.request_id)
        if ON_END in scope:
            scope[ON_END](exchange.client_left)
        try:
            for guard in self._guards:
                if (refusal := guard(scope, headers)) is not None:
                    return await refusal(scope, receive, exchange.send)
            await self._app(scope, receive, exchange.send)
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
            elapsed_s = time.perf_counter() - exchange.started
            self._metrics.answered(scope, exchange.status, elapsed_s)
            self._log(scope, exchange.request_id, exchange.status, elapsed_s)
        return None


def request_id_of(headers: Mapping[bytes, bytes]) -> bytes:
    """Return the request id that the client sends, or a new one if it sends none or one that is not valid."""
    given = headers.get(b"x-request-id")
    return given if given is not None and _SANE_ID.fullmatch(given) else b"%016x" % random.getrandbits(64)


def refused_by_server(scope: Scope, _: Mapping[bytes, bytes]) -> Response | None:
    """Make the reply to a request that `connection.Connection` has refused: its body is too large or late, or there are too
    many requests.
    """
    if REFUSAL not in scope:
        return None
    status, detail = scope[REFUSAL]
    return problems.problem(status, detail, headers=UnavailableError.headers if status is UnavailableError.status else None)


def refuse_encoded(_: Scope, headers: Mapping[bytes, bytes]) -> Response | None:
    """Refuse a request whose body is compressed, because the service decompresses nothing."""
    given = headers.get(b"content-encoding")
    if given is None or (encoding := given.strip().lower()) == b"identity":
        return None
    detail = f"the body's Content-Encoding is {encoding.decode('latin-1')}; send it without one"
    return problems.problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, headers={"Accept-Encoding": "identity"})


class _Exchange:
    """One request, and how much of its reply was sent so far."""

    __slots__ = ("_only_reads", "_send", "complete", "gone", "request_id", "started", "status", "task")

    def __init__(self, scope: Scope, headers: Mapping[bytes, bytes], send: Send) -> None:
        self._send = send
        self._only_reads = scope["method"] in ("GET", "HEAD") or scope["path"].startswith("/v1/next")
        self.started = time.perf_counter()
        self.task = cast("asyncio.Task[object]", asyncio.current_task())  # we are in one
        self.status = 0
        self.complete = self.gone = False
        self.request_id = request_id_of(headers)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), (b"x-request-id", self.request_id)]
        elif not message.get("more_body", False):
            self.complete = True
        await self._send(message)

    def client_left(self) -> None:
        if self._only_reads and not self.complete:
            self.gone = True
            self.task.cancel()
