"""What happens to every request before a route sees it. Plain ASGI: a reply passes through unread.

Outermost first: `metrics.Measured`, `Identified` (request id, log line, the 500 that leaks nothing), `Abandoned` (a
client that has gone), `Limited` (bodies), `EncodedPath` (ids with a slash), `direct.Direct` (the busy routes).
"""

import asyncio
import random
import re
import time
from http import HTTPStatus

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import errors

_SANE_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
WATCH_AFTER_S = 0.05
"""When a request starts to be watched for its client going away: most are answered before, and watching costs a task."""

logger = structlog.get_logger()


class Identified:
    """Gives each request an id (the client's own where it is sane), in the reply and in every log line."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = given if _SANE_ID.fullmatch(given) else b"%016x" % random.getrandbits(64)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id.decode())
        started = time.perf_counter()
        status = 0

        async def identify(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
            await send(message)

        try:
            await self._app(scope, receive, identify)
        except Exception:
            logger.exception("request failed", method=scope["method"], path=scope["path"])
            if status:
                raise  # half a reply is out: the server closes the connection
            detail = "something went wrong here, not in the request; the log has it under this reply's X-Request-ID"
            await errors.problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail)(scope, receive, identify)
        finally:
            elapsed_ms = round((time.perf_counter() - started) * 1000, 2)
            logger.info("request", method=scope["method"], path=scope["path"], status=status, ms=elapsed_ms)
        return None


class Abandoned:
    """Cancels the work on a request whose client has gone, where it takes long enough to matter: under load."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        task = asyncio.current_task()
        body_read = scope["method"] != "POST"
        gone = False

        async def remember() -> Message:
            nonlocal body_read
            message = await receive()
            body_read = not message.get("more_body", False)
            return message

        async def watch() -> None:
            nonlocal gone
            if not body_read:  # reading it notices by itself
                return
            while (await receive())["type"] != "http.disconnect":
                pass
            gone = True
            if task is not None:
                task.cancel()

        loop = asyncio.get_running_loop()
        watchers: list[asyncio.Task[None]] = []
        timer = loop.call_later(WATCH_AFTER_S, lambda: watchers.append(loop.create_task(watch())))
        try:
            await self._app(scope, remember, send)
        except asyncio.CancelledError:
            if task is None or not gone or task.uncancel():
                raise
        finally:
            timer.cancel()
            for watcher in watchers:
                watcher.cancel()
        return None


class Limited:
    """Refuses bodies over `limit` bytes, announced or not."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        if announced.isdigit():  # the server's parser sees to it that it is true
            if int(announced) <= self._limit:
                return await self._app(scope, receive, send)
            refusal = self._refusal()
            return await errors.problem(HTTPStatus(refusal.status_code), refusal.detail)(scope, receive, send)
        received = 0

        async def count() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise self._refusal()
            return message

        return await self._app(scope, count, send)

    def _refusal(self) -> HTTPException:
        # The framework's own class: any other, raised while it reads a body, it would call a 400.
        return HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is over {self._limit} bytes; send less at once")


class EncodedPath:
    """Lets routes see the path of a user's id as it was sent: `a%2Fb` is one id, not two steps of a path."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw: bytes = scope.get("raw_path") or b""
        if raw.startswith(b"/v1/users/"):
            scope["path"] = raw.decode("latin-1")
        await self._app(scope, receive, send)
