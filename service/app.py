"""Connects all parts: settings and parts in, an ASGI application out. Importing this module does nothing."""

import asyncio
import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from model.artifact import Artifact, ArtifactError, load
from model.batch_memory import map_large_blocks
from model.graphs import Graphs
from model.pauses import rest
from service.blocks import without_effect
from service.http import documentation, openapi, pages, problems
from service.http.access.guard import Access
from service.http.admission import Admission
from service.http.browsers import allow_origins
from service.http.connections import Connections, Limits, allowed
from service.http.fast_path import FastPath
from service.http.head import HeadAsGet
from service.http.middleware import RequestMiddleware
from service.http.parameters import refuse_unknown_parameters
from service.http.routes import ROUTERS
from service.observing import logs
from service.observing.log_writer import LogWriter
from service.observing.metrics import Metrics
from service.observing.pseudonyms import pseudonyms
from service.observing.recent_traffic import EVERY_S, RecentTraffic
from service.observing.recent_trouble import RecentTrouble
from service.recommender import Recommender
from service.repeating import repeat
from service.rules import rules_of
from service.scoring.batcher import BatchingScorer, BatchRunner
from service.scoring.pace import LoopTime, Pace
from service.scoring.registry import Arm, ModelRegistry, ServedModel, Starter
from service.scoring.shadow import Shadow
from service.settings import Settings
from service.state import State
from service.store.connections import connect
from service.store.forgotten import ForgottenListeners
from service.store.outcome_counters import OutcomeCounters
from service.store.recent_masks import RecentMasks
from service.store.sessions import RedisSessions, SessionStore
from service.store.take_downs import RedisTakeDowns, TakeDownStore
from service.take_downs import POLL_S, TakeDowns

SWITCH_S = 0.0005
"""Python's switch interval in seconds, a tenth of the default.

`python -m tests.load --only "full, 100000 tracks, closed loop, 64"`, in turns, medians of three on two cores: 2,564 requests a
second, instead of 2,053 with Python's default, at the same processor time. A fiftieth of the default answered the bare call at
16 connections 1.09 times as often as a tenth, for 1.2 times the processor time.
"""
NEW_OBJECTS = 10_000
"""How many more objects start a garbage collection.

With Python's default of 700, the objects of 64 requests in flight start one again and again, and it frees almost none of them.
The event loop's time for a proposal went from 198 to 188 µs (64 connections, medians of six turns).
"""


def create_app(
    settings: Settings,
    artifact: Artifact,
    runner: BatchRunner,
    *,
    store: SessionStore | None = None,
    take_downs: TakeDownStore | None = None,
    clock: Callable[[], int] | None = None,
    log: LogWriter | None = None,
    trouble: RecentTrouble | None = None,
) -> FastAPI:
    """Make the application from a verified artifact and a runner of its graphs.

    The application can be started once. It refers to the artifact and the runner only until another model replaces them.
    Without a `store` and `take_downs`, sessions and take-downs are in Redis at `settings.redis_url`, which must be set then.
    `clock` gives Unix time in milliseconds. Requests are logged to `log`, which is drained as the application ends. `trouble`
    has the recent warnings and errors of the log. Raises AccessError if keys or their files cannot be used.
    """
    metrics, access = Metrics(), Access(settings)
    if log is not None:
        log.report_to(metrics.log_dropped.inc)
    request_log = logs.RequestLog(settings.log_level, settings.log_format, log, pseudonyms(settings.log_user_key))

    def entrance(framework: ASGIApp) -> ASGIApp:
        routes = HeadAsGet(framework)
        inside = RequestMiddleware(routes, metrics, request_log, [access])
        return allow_origins(inside, settings.cors_origins) if settings.cors_origins else inside

    app = _Application(
        entrance=entrance,
        title="nexttrack",
        summary="What to play next: from what the listener did in this session, never a track just skipped",
        version=_version(),
        openapi_url=None,  # service.http.openapi and service.http.documentation have these pages
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,  # the names of functions in generated clients
        lifespan=partial(
            _lifespan,
            settings,
            [(artifact, runner)],
            store,
            take_downs,
            metrics,
            access,
            FastPath(metrics, request_log, [access]) if settings.fast_path else None,
            clock or _now_ms,
            log,
            trouble or RecentTrouble(),
        ),
    )
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router, dependencies=[Depends(refuse_unknown_parameters)])
    openapi.install(app)
    documentation.install(app)
    pages.install(app)
    return app


class _Application(FastAPI):
    """FastAPI's application, behind the layers that every request passes which `FastPath` has not answered.

    These layers come before FastAPI's `__call__`, which checks each request for OpenTelemetry: 6 µs of CPU time a request.
    """

    def __init__(self, *, entrance: Callable[[ASGIApp], ASGIApp], **options: Any) -> None:
        super().__init__(**options)
        self._entrance = entrance(super().__call__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._entrance(scope, receive, send)


def from_environment() -> FastAPI:
    """Make the application of a worker process, from the environment's settings."""
    map_large_blocks()
    threading.Thread(target=_end_with_parent, name="parent watch", daemon=True).start()
    settings = Settings()
    trouble = RecentTrouble()
    log = logs.configure(settings.log_level, settings.log_format, pseudonyms=pseudonyms(settings.log_user_key), trouble=trouble)
    artifact = load(settings.artifact)
    graphs = Graphs(artifact, threads=settings.onnx_threads, wanted_weight=settings.wanted_weight)
    app = create_app(settings, artifact, graphs, log=log, trouble=trouble)
    settle()
    return app


def settle() -> None:
    """Adjust the Python interpreter for serving, after the parts are loaded.

    Objects that exist now are excluded from garbage collection. Scanning them again and again took 795 µs of processor time a
    request instead of 645, at 64 connections. Later objects are scanned after `NEW_OBJECTS` more. A thread that waits for the
    interpreter asks for it after `SWITCH_S`. Otherwise the scorer's thread would wait for up to five milliseconds after a batch
    while the event loop is busy.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS)
    sys.setswitchinterval(SWITCH_S)


@asynccontextmanager
async def _lifespan(  # noqa: PLR0917  # FastAPI passes the last one by position
    settings: Settings,
    first: list[tuple[Artifact, BatchRunner]],
    store: SessionStore | None,
    take_down_store: TakeDownStore | None,
    metrics: Metrics,
    access: Access,
    fast_path: FastPath | None,
    clock: Callable[[], int],
    log: LogWriter | None,
    trouble: RecentTrouble,
    _: FastAPI,
) -> AsyncIterator[Mapping[str, object]]:
    async with AsyncExitStack() as stack:

        def beside(work: Coroutine[Any, Any, None]) -> None:
            """Run `work` in a task beside the requests, until the application ends."""
            stack.callback(asyncio.create_task(work).cancel)

        if log is not None:
            stack.callback(log.drain, logs.DRAIN_S)
        artifact, runner = first.pop()
        rule, counters = artifact.manifest.history, None
        masks = RecentMasks(rule.skip, settings.redis_timeout)
        if store is None or take_down_store is None:
            if settings.redis_url is None:
                raise ValueError("no redis_url; `python -m service` starts an embedded Valkey and sets it")
            link = connect(settings.redis_url, settings.redis_timeout)
            stack.push_async_callback(link.close)
            counters = OutcomeCounters(link, settings.outcomes_ttl)
            await stack.enter_async_context(counters.flushing())
            store = RedisSessions(
                link,
                settings,
                rule,
                metrics.redis_timer,
                counters=counters,
                counted=metrics.outcome,
                unreadable=lambda kind, reason: metrics.unreadable.labels(kind, reason).inc(),
            )
            take_down_store = RedisTakeDowns(link)
            forgotten = ForgottenListeners(link, masks.forget, masks.forget_all)
            beside(repeat(forgotten.refresh, POLL_S, failed="forgotten listeners cannot be read from Redis"))
        take_downs = TakeDowns(take_down_store, clock)
        await take_downs.refresh()
        beside(repeat(take_downs.refresh, POLL_S, failed="take-downs cannot be read from Redis"))
        start = partial(_start_model, settings, metrics, store, masks, take_downs, LoopTime())
        models = ModelRegistry(
            partial(_load_model, settings, take_downs, start),
            settings.artifact,
            settings.challenger,
            share=settings.challenger_share,
            shadow=settings.challenger_shadow,
            refused=metrics.models_refused.inc,
        )
        stack.push_async_callback(models.close)
        await models.start(partial(start, artifact, runner), artifact.folder)
        del artifact, runner  # otherwise they would stay in memory after another model has replaced them
        if interval_s := settings.model_watch.total_seconds():
            beside(models.watch(interval_s))
        beside(access.follow_files())
        recent = RecentTraffic(metrics.families, clock)
        read = partial(asyncio.to_thread, recent.read)
        beside(repeat(read, EVERY_S, failed="the metrics cannot be read for the dashboard", now=True))
        state = State(
            models=models,
            shadow=Shadow(metrics),
            store=store,
            masks=masks,
            take_downs=take_downs,
            metrics=metrics,
            outcomes=counters,
            trouble=trouble,
            recent=recent,
            clock=clock,
        )
        limits = Limits(connections=allowed(settings.max_connections))
        connections = Connections(limits, Admission(settings.max_delay.total_seconds(), settings.max_batch), metrics.refused)
        connections.start()
        stack.callback(connections.stop)
        yield {"service": state, "connections": connections, "fast_path": fast_path}


def _load_model(
    settings: Settings, take_downs: TakeDowns, start: Callable[..., Awaitable[ServedModel]], folder: Path
) -> Starter:
    """Verify the artifact in a folder, check that it can apply all take-downs, and open its graphs. It takes about a second and
    may run in any thread.
    """
    artifact = load(folder, rest)
    if fault := without_effect(artifact, take_downs.blocks):
        raise ArtifactError(f"{artifact.folder}: {fault}")
    graphs = Graphs(artifact, threads=settings.onnx_threads, wanted_weight=settings.wanted_weight)
    return partial(start, artifact, graphs)


async def _start_model(  # noqa: PLR0917  # `partial` fills them in from the left
    settings: Settings,
    metrics: Metrics,
    store: SessionStore,
    masks: RecentMasks,
    take_downs: TakeDowns,
    loop_time: LoopTime,
    artifact: Artifact,
    runner: BatchRunner,
    arm: Arm,
) -> ServedModel:
    """Start the scorer and the recommender of a verified artifact. `arm` names its part in a split of the listeners."""
    of_model = metrics.of_model(artifact.manifest.name, artifact.manifest.version, arm)
    parts = AsyncExitStack()
    parts.callback(of_model.retire)
    scorer = await parts.enter_async_context(BatchingScorer(runner, settings, of_model, pace=Pace(loop_time)))
    recommender = Recommender(
        artifact,
        scorer,
        store,
        masks,
        take_downs,
        rules=rules_of(settings),
        degraded=lambda reason: of_model.degraded_of(reason).inc(),
    )
    return ServedModel(artifact=artifact, arm=arm, scorer=scorer, recommender=recommender, metrics=of_model, close=parts.aclose)


def _end_with_parent() -> None:
    """End this worker if its parent process ends, even if it was killed. Otherwise the worker would serve the port for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _version() -> str:
    try:
        return version("nexttrack")
    except PackageNotFoundError:  # run from a folder without an installation
        return "0+unknown"
