"""Structured logs on stdout, ours and uvicorn's alike, each line with the request id that is bound while it is handled.

A request's own line, one for each, does not go the general way: `RequestLog` encodes it at once, and writes those of one turn
of the event loop together.
"""

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
import structlog
from starlette.types import Scope
from structlog.typing import EventDict, Processor

logger = structlog.get_logger()
_encoder = msgspec.json.Encoder()
AGAIN_S = 10.0
"""How often a trouble that goes on is told."""


def configure(level: str, format: Literal["json", "console"]) -> None:
    """Set up logging for this process; called once, by whoever starts it."""
    process = os.getpid()

    def add_process(_: object, __: str, line: EventDict) -> EventDict:
        line["pid"] = process
        return line

    shared: list[Processor] = [
        add_process,
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper("iso", utc=True),
    ]
    last: list[Processor] = [structlog.processors.format_exc_info] if format == "json" else []
    last.append(structlog.processors.JSONRenderer(_encode) if format == "json" else structlog.dev.ConsoleRenderer())
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
        )
    )
    logging.basicConfig(handlers=[handler], level=number, force=True)


class Trouble:
    """Warns of something that keeps failing: at once, and then once in `AGAIN_S`, with how often it has failed since."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._times, self._quiet_until = 0, 0.0

    def __call__(self, error: Exception, *, traceback: bool = False) -> None:
        self._times += 1
        now = time.monotonic()
        if now >= self._quiet_until:
            logger.warning(self._what, cause=str(error), times=self._times, exc_info=error if traceback else None)
            self._times, self._quiet_until = 0, now + AGAIN_S


class RequestLog:
    """Writes a line for each request; by structlog where a person reads it."""

    def __init__(self, level: str, format: Literal["json", "console"]) -> None:
        self._silent = logging.getLevelNamesMapping()[level.upper()] > logging.INFO
        self._plain = format == "json"
        self._process = os.getpid()
        self._lines: list[bytes] = []

    def __call__(self, scope: Scope, request_id: bytes, status: int, elapsed_s: float) -> None:
        """Log a request that has ended; `proposal` and `source` are in its scope where it was one for tracks."""
        if self._silent:
            return
        method, path, ms = scope["method"], scope["path"], round(elapsed_s * 1000, 2)
        notes = {name: scope[name] for name in ("proposal", "source") if name in scope}
        if not self._plain:
            logger.info("request", method=method, path=path, status=status, ms=ms, **notes)
            return
        line = {
            "event": "request",
            "method": method,
            "path": path,
            "status": status,
            "ms": ms,
            **notes,
            "pid": self._process,
            "request_id": request_id.decode(),
            "level": "info",
            "timestamp": datetime.now(UTC),
        }
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._flush)
        self._lines.append(_encoder.encode(line))

    def _flush(self) -> None:
        # A full disk, or a reader that went away, costs at most these lines; the next are tried again.
        lines, self._lines = self._lines, []
        with suppress(OSError):
            sys.stdout.buffer.write(b"\n".join([*lines, b""]))
            sys.stdout.buffer.flush()


def _encode(line: dict[str, Any], default: Callable[[Any], Any]) -> str:
    return msgspec.json.encode(line, enc_hook=default).decode()
