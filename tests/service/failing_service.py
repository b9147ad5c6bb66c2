"""A service with two workers that both fail to start: `python -m tests.service.failing_service PORT`.

Each worker writes to stderr which signals are blocked.
"""

import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from service.command import serve
from service.settings import Settings


def application() -> FastAPI:
    """The factory of each worker, which fails before it serves."""
    return FastAPI(lifespan=_fail)


@asynccontextmanager
async def _fail(_: FastAPI) -> AsyncIterator[None]:
    sys.stderr.write(f"blocked: {[signal.Signals(one).name for one in signal.pthread_sigmask(signal.SIG_BLOCK, ())]}\n")
    raise RuntimeError("not today")
    yield


if __name__ == "__main__":
    serve(Settings(port=int(sys.argv[1]), workers=2), "tests.service.failing_service:application")
