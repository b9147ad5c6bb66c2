"""The command `python -m service`: reads the settings, checks the artifact, starts Redis if no URL is given, and serves until
it is stopped.
"""

import argparse
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from ipaddress import ip_address
from multiprocessing import resource_tracker
from pathlib import Path
from socket import socket
from types import FrameType
from typing import NoReturn

import msgspec
import structlog
import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from model.artifact import Artifact, ArtifactError, load
from model.batch_memory import map_large_blocks
from model.graphs import Graphs
from service.app import create_app, from_environment, settle
from service.http.access.guard import Access
from service.http.access.keys import AccessError
from service.http.connection import Connection
from service.observing import logs
from service.observing.metrics import MULTIPROCESS
from service.observing.pseudonyms import pseudonyms
from service.observing.recent_trouble import RecentTrouble
from service.settings import CLIENTS_KEY, PREFIX, Settings, describe, unknown
from service.store import embedded_valkey

ACCEPTS = 32
"""Connections that the event loop accepts in one turn. uvloop accepts one for each listening socket. Under load a turn takes
tens of milliseconds. Then new connections waited for seconds, and so did health checks. Each further one costs a lone new
connection about a microsecond.
"""

_ENDING = (signal.SIGINT, signal.SIGTERM)

logger = structlog.get_logger()


def main() -> None:
    """Run the service. The process exits with 1 and a message if the service cannot start, and with 2 if a setting is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m service",
        description="Serve next-track recommendations. Everything is set by environment variables:\n\n" + describe(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args()
    settings = _settings(parser)
    map_large_blocks()
    trouble = RecentTrouble()
    log = logs.configure(settings.log_level, settings.log_format, pseudonyms=pseudonyms(settings.log_user_key), trouble=trouble)
    if not settings.is_locked:
        logger.warning("no API keys are set: anybody who reaches this address can read and write", host=settings.host)
    try:
        Access(settings)  # workers make their own; this one raises before anything is served
        artifact = load(settings.artifact)
        graphs = Graphs(artifact, threads=settings.onnx_threads, wanted_weight=settings.wanted_weight)
        with ExitStack() as stack:
            for one in _ENDING:
                signal.signal(one, _end)
            if settings.redis_url is None:
                url = stack.enter_context(embedded_valkey.running(settings.state_dir))
                settings = settings.model_copy(update={"redis_url": url})
            welcome = partial(log.write, _welcome(settings, artifact)) if settings.log_format == "console" else None
            if settings.workers == 1:
                app = create_app(settings, artifact, graphs, log=log, trouble=trouble)
                del artifact, graphs  # otherwise they would stay in memory after another model has replaced them
                settle()
                serve(settings, app, welcome=welcome)
            else:
                del artifact, graphs  # only needed for the check; each worker loads its own
                _tell_workers(settings)
                serve(settings, f"{from_environment.__module__}:{from_environment.__name__}", welcome=welcome)
    except (AccessError, ArtifactError, embedded_valkey.EmbeddedError) as error:
        sys.exit(f"nexttrack cannot start: {error}")


def serve(settings: Settings, app: FastAPI | str, *, welcome: Callable[[], object] | None = None) -> None:
    """Serve an application until stopped. If `app` is an import path, each worker process makes an application of its own.
    `welcome` is called once the address is bound.

    Ends the process with a message if it cannot listen or if a worker process cannot start.
    """
    config = uvicorn.Config(
        app,
        factory=isinstance(app, str),
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        http=Connection,
        ws="none",
        proxy_headers=False,  # no part of the service uses a client's address
        lifespan="on",
        log_config=None,  # service.observing.logs has set up logging
        access_log=False,  # service.http.middleware logs requests, with their ids
        server_header=False,
        timeout_graceful_shutdown=round(settings.shutdown_grace.total_seconds()),
    )
    listening = _listen(config)
    if welcome is not None:
        welcome()
    sockets = [listening, *(listening.dup() for _ in range(ACCEPTS - 1))]
    if settings.workers == 1:
        _Server(config).run(sockets)
        return
    supervisor = _Supervisor(config, sockets=sockets)
    supervisor.run()
    if any(worker.exitcode == STARTUP_FAILURE for worker in supervisor.processes):
        sys.exit("nexttrack cannot start: a worker process could not; the log says why")


class _Server(uvicorn.Server):
    """A server that always shuts the application down. uvicorn leaves this out after a second Ctrl-C, which is meant to end
    the wait for requests in flight; the application's tasks are then cancelled, with a traceback.
    """

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Stop accepting, wait for requests in flight, and shut the application down."""
        await super().shutdown(sockets)
        if self.force_exit:
            await self.lifespan.shutdown()


class _Supervisor(Multiprocess):
    """A supervisor whose workers do not get Ctrl-C. A terminal sends it to them too, and one that is still being imported would
    end with a traceback. The supervisor stops them by SIGTERM.
    """

    def init_processes(self) -> None:
        """Start the workers. They inherit that the signal is blocked; this process gets it when all are started."""
        resource_tracker.ensure_running()  # otherwise the first worker starts it, which unblocks the signal
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            super().init_processes()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


def _listen(config: uvicorn.Config) -> socket:
    """Bind the socket. Ends the process with a message if the address is not free or not one of this machine."""
    try:
        return config.bind_socket()
    except SystemExit as ended:  # uvicorn has logged the error and ends the process, without the address
        sys.exit(
            f"nexttrack cannot start: it cannot listen on {config.host} port {config.port}: {ended.__context__}. "
            f"If another program uses the port, set {PREFIX}PORT to another one (`make run PORT=9000`)"
        )


def _welcome(settings: Settings, artifact: Artifact) -> str:
    """Return a message for a person at a terminal: what to try first, with a track that the model knows."""
    url = f"http://{settings.host}:{settings.port}"
    track = artifact.vocabulary.track(artifact.popular[0]) if artifact.popular else "t1"
    event = msgspec.json.encode({"event_id": "e1", "user_id": "ann", "track_id": track, "type": "skip"}).decode()
    key = f' -H "Authorization: Bearer ${CLIENTS_KEY}"' if settings.is_locked else ""
    return (
        f"\nnexttrack serves {artifact.manifest.version} on {url} ({url}/docs explains the API). Try:\n\n"
        f"  curl -X POST {url}/v1/events{key} -H 'Content-Type: application/json' -d {shlex.quote(event)}\n"
        f"  curl '{url}/v1/users/ann/next?count=5'{key}\n\n"
    )


def _tell_workers(settings: Settings) -> None:
    """Set the environment variables that worker processes read."""
    os.environ[f"{PREFIX}REDIS_URL"] = str(settings.redis_url)
    os.environ[MULTIPROCESS] = str(_empty_folder(settings.state_dir.resolve() / f"metrics-{settings.port}"))


def _settings(parser: argparse.ArgumentParser) -> Settings:
    faults = unknown(os.environ)
    try:
        settings = Settings()
        faults += _open_address(settings)
    except ValidationError as error:
        faults += [
            f"{PREFIX}{'.'.join(map(str, fault['loc'])).upper()}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors()
        ]
    if faults:
        parser.error("\n  ".join(["a setting is wrong", *faults]))
    return settings


def _open_address(settings: Settings) -> list[str]:
    """Return a warning if other machines can reach the service and it asks for no key; else an empty list."""
    if settings.is_locked or settings.allow_anonymous or _is_loopback(settings.host):
        return []
    return [
        f"{PREFIX}HOST: other machines can reach {settings.host!r}, and no API keys are set. Set {PREFIX}API_KEYS. Or set "
        f"{PREFIX}ALLOW_ANONYMOUS=true if all who reach it may read and write. Or leave {PREFIX}HOST at 127.0.0.1"
    ]


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name, or nothing, which stands for all addresses
        return False


def _empty_folder(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _end(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001  # what signal.signal calls
    """End the process normally, so that the embedded Valkey is stopped. Later signals must not interrupt that.

    While uvicorn serves, it handles the signals itself, and raises them again at its end.
    """
    for one in _ENDING:
        signal.signal(one, signal.SIG_IGN)
    sys.exit(0)
