"""The log's writer, on pipes and files that stall, break and fill up."""

import os
import threading
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest

from service.observing.log_writer import LogWriter

DROPPED = "log lines were dropped: they came faster than stdout took them, or it failed"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Make a pipe that is closed in the end. A test may close its ends before."""
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


def fill(writing: int) -> int:
    """Write to a pipe until it is full. Returns the number of bytes."""
    os.set_blocking(writing, False)
    written = 0
    try:
        while True:
            written += os.write(writing, b"-" * 4096)
    except BlockingIOError:
        os.set_blocking(writing, True)
    return written


def read(reading: int, size: int) -> bytes:
    """Read exactly this many bytes."""
    found = b""
    while len(found) < size:
        found += os.read(reading, size - len(found))
    return found


def test_lines_leave_in_order_and_whole(pipe: tuple[int, int]) -> None:
    """There are short lines, text, and a line that is longer than one write."""
    writer = LogWriter(pipe[1])
    lines = [b"first\n", b"second\nthird\n", b"x" * 10_000 + b"\n", b"last\n"]
    for line in lines:
        writer.put(line)
    writer.write("täxt\n")
    writer.drain(1_000)

    assert read(pipe[0], sum(map(len, lines)) + 6) == b"".join(lines) + "täxt\n".encode()


def test_stalled_reader_blocks_nobody_and_lines_beyond_the_queue_are_counted(
    pipe: tuple[int, int], logged: list[MutableMapping[str, Any]]
) -> None:
    """Once the reader continues, it gets the queued lines, and a line with the number of missing ones."""
    filled = fill(pipe[1])
    counted: list[int] = []
    writer = LogWriter(pipe[1], limit_bytes=100)
    writer.report_to(counted.append)
    for number in range(30):
        writer.put(b"line %04d\n" % number)
    found = read(pipe[0], filled + 100)[filled:]
    writer.drain(1_000)

    assert found.splitlines() == [b"line %04d" % number for number in range(10)]
    assert sum(counted) == 20
    assert [(line["event"], line["lines"]) for line in logged] == [(DROPPED, 20)]


def test_drain_ends_within_its_bound_when_nobody_reads(pipe: tuple[int, int]) -> None:
    """A second call, or a line after it, waits no longer. The lines leave once somebody reads."""
    filled = fill(pipe[1])
    writer = LogWriter(pipe[1])
    writer.put(b"line\n")
    done = threading.Event()

    def end() -> None:
        writer.drain(0.01)
        writer.put(b"one more\n")
        writer.drain(1_000)
        done.set()

    threading.Thread(target=end, daemon=True).start()

    assert done.wait(30)
    assert read(pipe[0], filled + 14)[filled:] == b"line\none more\n"


def test_reader_that_has_gone_costs_lines_and_nothing_else(pipe: tuple[int, int]) -> None:
    """A broken pipe counts as lost lines, also those lost before anybody asked."""
    os.close(pipe[0])
    counted: list[int] = []
    writer = LogWriter(pipe[1])
    writer.put(b"line\n")
    writer.drain(1_000)
    writer.report_to(counted.append)
    writer.put(b"two\nlines\n")

    assert counted == [1, 2]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_full_disk_costs_lines_and_nothing_else(logged: list[MutableMapping[str, Any]]) -> None:
    """While every write fails, the loss cannot be reported."""
    counted: list[int] = []
    with Path("/dev/full").open("wb") as full:
        writer = LogWriter(full.fileno())
        writer.report_to(counted.append)
        writer.put(b"line\n")
        writer.drain(1_000)

    assert (counted, logged) == ([1], [])


def test_line_after_one_that_was_cut_begins_on_its_own(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch, logged: list[MutableMapping[str, Any]]
) -> None:
    """The disk becomes full within a line. The next line is not appended to the half one, and the loss is reported."""
    real, sizes = os.write, [3, None]

    def write(descriptor: int, data: bytes) -> int:
        size = sizes.pop(0) if sizes else len(data)
        if size is None:
            raise OSError("No space left on device")
        return real(descriptor, data[:size])

    writer = LogWriter(pipe[1])
    writer.put(b"")  # writes nothing; afterwards the thread is known to be idle
    writer.drain(1_000)
    monkeypatch.setattr("os.write", write)
    for line in (b"first\n", b"second\n"):
        writer.put(line)

    assert read(pipe[0], 11) == b"fir\nsecond\n"
    assert [line["lines"] for line in logged] == [1]


def test_descriptor_that_somebody_made_non_blocking_loses_nothing(pipe: tuple[int, int]) -> None:
    """Terminals are shared with other programs, some of which make them non-blocking."""
    filled = fill(pipe[1])
    os.set_blocking(pipe[1], False)
    writer = LogWriter(pipe[1])
    writer.put(b"line\n")

    assert read(pipe[0], filled + 5)[filled:] == b"line\n"


def test_metric_that_fails_fails_no_log_call(pipe: tuple[int, int]) -> None:
    """Lines are still dropped when the queue is full."""

    def fail(_: int) -> None:
        raise OSError("no space for metrics either")

    writer = LogWriter(pipe[1], limit_bytes=3)
    writer.report_to(fail)

    writer.put(b"line\n")
