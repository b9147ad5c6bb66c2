"""The content and form of the log. No log call fails, whatever it is given."""

import json
import logging
import os
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, Literal

import pytest
import structlog
from starlette.types import Scope

from service.observing import logs
from service.observing.log_writer import LogWriter
from service.observing.logs import AGAIN_S, RequestLog, Trouble

Read = Callable[[], str]
Format = Literal["json", "console"]
Configure = Callable[[Format], tuple[LogWriter, Read]]
ESCAPES = "\x1b]0;owned\x07 \x9b31m \u202eabc \ud800 a\nfake line"


class Odd:
    """A value that cannot be converted to text."""

    def __repr__(self) -> str:
        raise ZeroDivisionError("no representation")


def http(method: str, path: str = "/") -> Scope:
    """Make a request's scope."""
    return {"type": "http", "method": method, "path": path, "headers": []}


@pytest.fixture
def configured() -> Iterator[Configure]:
    """Set up logging to a pipe. Yields its writer and a function that reads the log so far, and restores the old set-up."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, structlog.get_config())
    ends = os.pipe()
    os.set_blocking(ends[0], False)

    def configure(format: Format) -> tuple[LogWriter, Read]:
        writer = logs.configure("info", format, ends[1])
        structlog.configure(**structlog.get_config() | {"cache_logger_on_first_use": False})  # otherwise it cannot be restored

        def read() -> str:
            writer.drain(1_000)
            return os.read(ends[0], 1 << 20).decode()

        return writer, read

    yield configure
    root.handlers[:], root.level = before[:2]
    structlog.configure(**before[2])
    for end in ends:
        os.close(end)


def fail(depth: int) -> None:
    """Fail at this depth of calls, with local variables that must not be logged."""
    listener = "listener ann"
    if depth:
        fail(depth - 1)
    raise ValueError(f"{len(listener)} \x1b[31m\nfake line")


def caught(depth: int) -> ValueError:
    """Return the error of `fail`."""
    try:
        fail(depth)
    except ValueError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize("format", ["json", "console"])
def test_control_characters_are_escaped(configured: Configure, format: Format) -> None:
    """It holds in values, events, exceptions and lines of `logging`. The only control characters in a terminal's output are
    line ends.
    """
    writer, read = configured(format)
    logger = structlog.get_logger()
    logger.error("failed", path=ESCAPES, paths=[ESCAPES], exc_info=caught(1))
    logger.error(ESCAPES)
    logging.getLogger("uvicorn.error").error("bad %s", ESCAPES)
    RequestLog("info", format, writer)(http("GET", ESCAPES), b"id", 404, 0.1)
    text = read()

    assert all(line.isprintable() for line in text.splitlines())
    assert not [line for line in text.splitlines() if line.strip().startswith("fake") and format == "json"]
    assert text.count("u001b") >= 5


def test_json_keeps_what_it_escapes(configured: Configure) -> None:
    """A program that reads the line gets the exact text, even a lone surrogate, in our lines, `logging`'s and requests'."""
    writer, read = configured("json")
    structlog.get_logger().error("failed", path=ESCAPES)
    logging.getLogger("uvicorn.error").error("%s", ESCAPES)
    RequestLog("info", "json", writer)(http("GET", ESCAPES), b"id", 404, 0.1)
    first, second, third = (json.loads(line) for line in read().splitlines())

    assert (first["path"], second["event"], third["path"]) == (ESCAPES,) * 3
    assert {"event", "level", "timestamp", "pid"} <= first.keys() & second.keys() & third.keys()


@pytest.mark.parametrize("format", ["json", "console"])
def test_traceback_is_short_and_without_local_variables(configured: Configure, format: Format) -> None:
    """It holds although rich is installed by the trainer. Its tracebacks show all variables and take seconds."""
    _, read = configured(format)
    structlog.get_logger().error("failed", exc_info=caught(100))
    text = read()

    assert "ValueError: 12" in text
    assert text.count("in fail") <= logs.FRAMES
    assert "listener ann" not in text
    assert len(text) < 2_000


@pytest.mark.parametrize("format", ["json", "console"])
def test_line_that_cannot_be_rendered_is_counted_and_raises_nothing(
    configured: Configure,
    format: Format,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It holds for our lines and for `logging`, which would print a traceback on stderr."""
    writer, read = configured(format)
    dropped: list[int] = []
    writer.report_to(dropped.append)
    structlog.get_logger().error("failed", value=Odd())
    logging.getLogger("uvicorn.error").error("%s", Odd())
    logging.getLogger("uvicorn.error").error("%d", "no number")
    RequestLog("info", "json", writer)({**http("GET"), "proposal": Odd()}, b"id", 200, 0.1)
    structlog.get_logger().error("the next")
    text = read()

    assert sum(dropped) == 4
    assert "the next" in text
    assert capsys.readouterr().err == ""


def test_console_has_no_colours_when_it_is_no_terminal(
    configured: Configure,
) -> None:
    """A file that a person opens later is no terminal."""
    _, read = configured("console")
    structlog.get_logger().error("failed", path="/")

    assert "\x1b" not in read()


def test_line_of_a_request_carries_its_id_and_notes(
    configured: Configure,
) -> None:
    """Times are in milliseconds. The status is 0 if there was no reply."""
    writer, read = configured("json")
    log = RequestLog("info", "json", writer)
    log({**http("GET"), "proposal": "p1", "source": "model"}, b"id-1", 200, 0.0015)
    log(http("POST"), b"id-2", 0, 2.0)
    RequestLog("warning", "json", writer)(http("GET"), b"id-3", 200, 0.1)
    first, second = (json.loads(line) for line in read().splitlines())

    assert (first["request_id"], first["proposal"], first["status"], first["ms"]) == ("id-1", "p1", 200, 1.5)
    assert (second["request_id"], second["method"], second["status"]) == ("id-2", "POST", 0)


def test_lines_of_requests_for_people_take_the_general_way(
    configured: Configure,
) -> None:
    """On a terminal, a request's line looks like all other lines."""
    writer, _ = configured("console")
    with structlog.testing.capture_logs() as logged:
        RequestLog("info", "console", writer)({**http("GET"), "source": "popular"}, b"id-1", 200, 0.0015)

    assert [(line["event"], line["path"], line["source"], line["ms"]) for line in logged] == [("request", "/", "popular", 1.5)]


def test_trouble_is_told_at_once_and_then_now_and_again(
    logged: list[MutableMapping[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has the cause, and the number of times since the last message."""
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    trouble = Trouble("the cellar is wet")
    for cause in ("rain", "rain", "snow"):
        trouble(OSError(cause))
    now += AGAIN_S
    trouble(OSError("flood"))

    assert [(line["event"], line["cause"], line["times"]) for line in logged] == [
        ("the cellar is wet", "rain", 1),
        ("the cellar is wet", "flood", 3),
    ]
