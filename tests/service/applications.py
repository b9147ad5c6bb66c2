"""Runs applications for tests: the real wiring, with parts that a test replaces."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal
from starlette.types import ASGIApp, Receive, Scope, Send

from model.artifact import Artifact
from model.graphs import Graphs
from service.app import create_app
from service.http.fast_path import FastPath
from service.observing.log_writer import LogWriter
from service.scoring.batcher import BatchRunner
from service.settings import Settings
from service.store.sessions import SessionStore
from service.store.take_downs import TakeDownStore
from tests.service.fakes import MemorySessions, MemoryTakeDowns

NOW_MS = 1_800_000_000_000
"""The time of these applications' clock: 2027-01-15T08:00:00Z."""


_QUIET = {"log_level": "error", "queue_patience": 60, "redis_timeout": 20}
"""Settings of these applications: no log line for each request, and a long patience, because a busy machine may score slowly.
"""


class Clock:
    """A clock that changes only when a test sets it."""

    now_ms = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


class Seconds:
    """A clock in seconds that changes only when a test sets it."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def bearer(secret: str) -> dict[str, str]:
    """Return the header with a key or token."""
    return {"Authorization": f"Bearer {secret}"}


@contextmanager
def running(
    artifact: Artifact,
    *,
    store: SessionStore | None = None,
    take_downs: TakeDownStore | None = None,
    runner: BatchRunner | None = None,
    clock: Clock | None = None,
    reached_framework: list[str] | None = None,
    current: Path | None = None,
    log: LogWriter | None = None,
    **settings: object,
) -> Iterator[httpx.Client]:
    """Yield a client of a running application. Parts that are not given are the real graphs and a store in memory, or in
    Redis if the settings have its URL.

    `current` is the link that the application follows; by default it stays with the given artifact. The paths of requests
    that reach FastAPI are added to `reached_framework`. Requests are logged to `log`.
    """
    app = create_app(
        Settings.model_validate(_QUIET | {"artifact": current or artifact.folder} | settings),
        artifact,
        runner or Graphs(artifact, threads=1),
        store=store or (None if "redis_url" in settings else MemorySessions(artifact.manifest.history)),
        take_downs=take_downs or (None if "redis_url" in settings else MemoryTakeDowns()),
        clock=clock or Clock(),
        log=log,
    )
    if reached_framework is not None:
        app.add_middleware(_Watching, seen=reached_framework)
    with start_blocking_portal() as portal:
        lifespan = portal.wrap_async_context_manager(app.router.lifespan_context(app))
        with lifespan as state:

            async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
                await app({**scope, "state": dict(state or {})}, receive, send)

            with httpx.Client(transport=_Transport(portal, with_state, state or {}), base_url="http://nexttrack") as client:
                yield client


class _Watching:
    """Middleware of the framework that records the paths of its requests."""

    def __init__(self, app: ASGIApp, seen: list[str]) -> None:
        self._app, self._seen = app, seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._seen.append(scope["path"])
        await self._app(scope, receive, send)


class _Transport(httpx.BaseTransport):
    """Sends the requests of an ordinary client to an application that runs in another thread's event loop. It asks the fast
    path first, as `Connection` does.
    """

    def __init__(self, portal: BlockingPortal, app: ASGIApp, state: Mapping[str, Any]) -> None:
        self._portal, self._inner, self._state = portal, httpx.ASGITransport(app), state

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._portal.call(self._send, request)

    async def _send(self, request: httpx.Request) -> httpx.Response:
        body = request.read()
        fast_path: FastPath | None = self._state.get("fast_path")
        if fast_path is not None:
            headers = [(name.lower(), value) for name, value in request.headers.raw]
            asked = fast_path.recognise(request.method.encode(), request.url.raw_path, headers, self._state)
            if asked is not None and (make := asked.read(body)) is not None:
                replies: list[httpx.Response] = []
                await fast_path.answer(asked, make, lambda head, content: replies.append(_parsed(head, content)))
                return replies[0]
        forwarded = httpx.Request(request.method, request.url, headers=request.headers, content=body)
        reply = await self._inner.handle_async_request(forwarded)
        return httpx.Response(reply.status_code, headers=reply.headers, content=await reply.aread())


def _parsed(head: bytes, content: bytes) -> httpx.Response:
    status, *lines = head.decode("latin-1").splitlines()
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    return httpx.Response(int(status.split()[1]), headers=headers, content=content)
