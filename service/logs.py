"""Structured logs on stdout, ours and uvicorn's alike, each line with the request id that is bound while it is handled.

It knows nothing about what is logged. A line is encoded by msgspec and written as bytes,
which is what it costs.
"""

import logging
import os
import sys
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import structlog
from structlog.typing import EventDict, Processor


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


def _encode(line: dict[str, Any], default: Callable[[Any], Any]) -> str:
    return msgspec.json.encode(line, enc_hook=default).decode()
