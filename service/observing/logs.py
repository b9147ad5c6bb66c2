"""Structured logs on stdout, for our lines and uvicorn's. Each line has the id of its request.

No log call raises or waits: `LogWriter` queues the lines, and a line that cannot be rendered is dropped and counted. Control
characters from listeners or clients are escaped, so that they cannot affect a terminal.

A request's own line is encoded without structlog by `RequestLog`, which is faster.
"""

import atexit
import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

import msgspec
import structlog
from starlette.types import Scope
from structlog.typing import EventDict, ExcInfo, Processor

from service.observing.log_writer import LogWriter
from service.observing.pseudonyms import Pseudonyms
from service.observing.recent_trouble import RecentTrouble

AGAIN_S = 10.0
"""Seconds between log lines about a failure that continues."""
DRAIN_S = 2.0
"""Longest wait for queued lines when the process ends."""
NOTES = ("caller", "proposal", "source", "requests", "degraded", "explored")
"""What a scope notes for the log: who called; of one reply its id and source; of a batch its size and its degraded replies.

`explored` has, by the id of a reply, the tracks that were drawn and the probability of each draw."""
FRAMES, TRACEBACK_CHARACTERS = 12, 16_000
"""Number of newest frames of each exception in the log, and of last characters of a traceback."""

_encoder = msgspec.json.Encoder()
_request_id = ContextVar[bytes | None]("request_id", default=None)
logger = structlog.get_logger()


def configure(
    level: str,
    format: Literal["json", "console"],
    descriptor: int | None = None,
    *,
    pseudonyms: Pseudonyms | None = None,
    trouble: RecentTrouble | None = None,
) -> LogWriter:
    """Set up logging for this process, to stdout unless another descriptor is given. Call it once, at the start of the process.

    `pseudonyms` replace user ids in all lines but a request's own, which `RequestLog` writes. `trouble` stores warnings and
    errors. Returns the writer, which other parts of the start may write to as well.
    """
    writer = LogWriter(_stdout() if descriptor is None else descriptor)
    process = os.getpid()

    def add_process(_: object, __: str, line: EventDict) -> EventDict:
        line["pid"] = process
        return line

    shared: list[Processor] = [
        add_process,
        structlog.contextvars.merge_contextvars,
        add_request_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper("iso", utc=True),
    ]
    if pseudonyms is not None:
        shared.append(partial(_hide_users, pseudonyms))
    if trouble is not None:
        shared.append(trouble)
    exceptions = structlog.processors.ExceptionRenderer(_format_traceback)
    last: list[Processor] = [exceptions, *_renderers(format, writer)]
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[_guarded([*shared, *last], writer)],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(writer),  # type: ignore[arg-type]  # of a text file it needs these methods
        cache_logger_on_first_use=True,
    )
    handler = _Handler(writer)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
        )
    )
    logging.basicConfig(handlers=[handler], level=number, force=True)
    atexit.register(writer.drain, DRAIN_S)
    return writer


def name_request(request_id: bytes) -> None:
    """Give all further log lines of the running task this request id. structlog's own function for this takes longer."""
    _request_id.set(request_id)


def add_request_id(_: object, __: str, line: EventDict) -> EventDict:
    """Add the request id of the running task to a log line. This is a structlog processor."""
    request_id = _request_id.get()
    if request_id is not None:
        line.setdefault("request_id", request_id.decode())
    return line


class Trouble:
    """Logs a warning about a failure at once, and then every `AGAIN_S` while it continues, with the number of failures
    since.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._times, self._quiet_until = 0, 0.0

    def __call__(self, error: Exception, *, traceback: bool = False, times: int = 1) -> None:
        self._times += times
        now = time.monotonic()
        if now >= self._quiet_until:
            logger.warning(self._what, cause=str(error), times=self._times, exc_info=error if traceback else None)
            self._times, self._quiet_until = 0, now + AGAIN_S


class _RequestLine(msgspec.Struct, omit_defaults=True):
    """A request's line in JSON, and after it the `NOTES` in their order. A note that the request does not have is left out."""

    event: str
    method: str
    path: str
    status: int
    ms: float
    pid: int
    request_id: str
    level: str
    timestamp: datetime
    caller: str | None = None
    proposal: str | None = None
    source: str | None = None
    requests: int | None = None
    degraded: int | None = None
    explored: Mapping[str, Mapping[str, float]] | None = None


class RequestLog:
    """Logs one line for each request. JSON lines are encoded here, lines for people by structlog. Without a writer it logs
    nothing.
    """

    def __init__(
        self,
        level: str,
        format: Literal["json", "console"],
        writer: LogWriter | None = None,
        pseudonyms: Pseudonyms | None = None,
    ) -> None:
        self._pseudonyms = pseudonyms
        self._writer = None if logging.getLevelNamesMapping()[level.upper()] > logging.INFO else writer
        self._plain = format == "json"
        self._process = os.getpid()

    def __call__(self, scope: Scope, request_id: bytes, status: int, elapsed_s: float) -> None:
        """Log a request that has ended, with the `NOTES` in its scope."""
        if self._writer is None:
            return
        method, path, ms = scope["method"], scope["path"], round(elapsed_s * 1000, 2)
        if not self._plain:
            notes = {name: scope[name] for name in NOTES if name in scope}
            logger.info("request", method=method, path=path, status=status, ms=ms, **notes)
            return
        line = _RequestLine(
            "request",
            method,
            path if self._pseudonyms is None else self._pseudonyms.path(path),
            status,
            ms,
            self._process,
            request_id.decode(),
            "info",
            datetime.now(UTC),
            *map(scope.get, NOTES),
        )
        try:
            plain = path.isprintable() and line.explored is None  # the only texts that clients choose
            encoded = _encoder.encode(line) if plain else _encode(msgspec.to_builtins(line), repr).encode()
        except Exception:  # whatever it is, the request has been answered
            self._writer.drop(1)
            return
        self._writer.put(encoded + b"\n")


def _hide_users(pseudonyms: Pseudonyms, _: object, __: str, line: EventDict) -> EventDict:
    """Replace user ids by pseudonyms in all fields of a log line that contain one. This is a structlog processor."""
    if "user_id" in line:
        line["user_id"] = pseudonyms.user(str(line["user_id"]))
    if "path" in line:
        line["path"] = pseudonyms.path(str(line["path"]))
    return line


class _Handler(logging.StreamHandler[LogWriter]):
    """A `logging` handler that passes lines to the writer. It counts a line that cannot be rendered, and prints nothing on
    stderr.
    """

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802  # the name and argument of `logging`
        self.stream.drop(1)


def _stdout() -> int:
    """Return the descriptor of stdout. If the process has no stdout, return one of /dev/null, since a socket may have got the
    same number.
    """
    return os.open(os.devnull, os.O_WRONLY) if sys.stdout is None else 1


def _guarded(processors: Sequence[Processor], writer: LogWriter) -> Processor:
    """Combine all processors into one that drops and counts a line if one of them fails."""

    def process(logger: object, method: str, line: EventDict) -> Any:
        try:
            rendered: Any = line
            for processor in processors:
                rendered = processor(logger, method, rendered)
        except Exception as error:
            writer.drop(1)
            raise structlog.DropEvent from error
        return rendered

    return process


def _renderers(format: Literal["json", "console"], writer: LogWriter) -> list[Processor]:
    if format == "json":
        return [structlog.processors.JSONRenderer(_encode)]
    plain = structlog.dev.plain_traceback  # not rich's format, which shows local variables
    return [_escape_controls, structlog.dev.ConsoleRenderer(colors=writer.is_terminal(), exception_formatter=plain)]


def _escape_controls(_: object, __: str, line: EventDict) -> EventDict:
    """Escape control characters for terminals. Values that are not strings are shown by `repr`, which escapes as well."""
    for name, value in line.items():
        if isinstance(value, str) and not value.isprintable():
            line[name] = "\n".join(map(_escaped, value.split("\n"))) if name in {"exception", "stack"} else _escaped(value)
    return line


def _escaped(text: str) -> str:
    r"""Return the text with non-printable characters in JSON's notation (`\u001b`)."""
    return "".join(letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in text)


def _format_traceback(exc_info: ExcInfo) -> str:
    """Return a traceback of the newest frames, without local variables."""
    text = "".join(traceback.TracebackException(*exc_info, limit=-FRAMES, compact=True).format()).rstrip("\n")
    return text[-TRACEBACK_CHARACTERS:]


def _encode(line: EventDict, default: Callable[[Any], Any]) -> str:
    """Encode a line as JSON with printable characters only."""
    try:
        text = msgspec.json.encode(line, enc_hook=default).decode()
    except UnicodeEncodeError:  # a lone surrogate, which JSON allows and UTF-8 does not
        text = json.dumps(line, default=default)
    return text if text.isprintable() else _escaped(text)
