"""Writes log lines from a thread of its own, so that a log call neither waits nor fails.

A reader of stdout may stall or end, or the disk may be full. None of this may affect a request. Lines wait in a queue of
limited size. If it is full, or if a write fails, lines are dropped and counted. Once a write succeeds again, a line reports how
many were dropped.

The standard library's `QueueHandler` is not suitable. It needs a `LogRecord` for each line, and its queue limits the number of
lines and not their size. It prints a traceback for each line that finds the queue full.
"""

import os
import select
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress

import structlog

LIMIT_BYTES = 4 * 1024 * 1024
"""Size of the queue: about 20,000 lines of requests."""
GATHER_S = 0.02
"""Pause in seconds before the queue is written. Waking the thread for each line would interrupt the event loop."""
_AT_ONCE = select.PIPE_BUF
"""Largest size in bytes of one write. The kernel does not split such a write, even if worker processes share a pipe."""

logger = structlog.get_logger()


class LogWriter:
    """A queue of lines, and the thread that writes them to a file descriptor.

    structlog and `logging` use its `write` and `flush` as those of a text file.
    """

    def __init__(self, descriptor: int, limit_bytes: int = LIMIT_BYTES) -> None:
        self._descriptor, self._limit = descriptor, limit_bytes
        self._lock = threading.RLock()  # reentrant: a signal handler may log
        self._lines: list[bytes] = []
        self._bytes = 0  # queued or being written
        self._dropped = self._told = 0
        self._report: Callable[[int], object] | None = None
        self._cut = False  # the last write ended within a line
        self._deadline: float | None = None
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._work, name="log", daemon=True)
        self._thread.start()

    def is_terminal(self) -> bool:
        """Say whether the output is a terminal."""
        return os.isatty(self._descriptor)

    def put(self, line: bytes) -> None:
        """Queue one or more whole lines, or drop them if there is no room."""
        with self._lock:
            fits = self._bytes + len(line) <= self._limit
            if fits:
                self._lines.append(line)
                self._bytes += len(line)
        if not fits:
            self.drop(line.count(b"\n"))
        elif not self._wake.is_set():
            self._wake.set()
        if self._deadline is not None and threading.current_thread() is not self._thread:
            self._wait(self._deadline)

    def write(self, text: str) -> int:
        """Queue text that ends with a line break."""
        self.put(text.encode("utf-8", "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        """Do nothing, because the thread writes by itself."""

    def drop(self, lines: int) -> None:
        """Count lines that are lost."""
        with self._lock:
            self._dropped += lines
        if self._report is not None:
            with suppress(Exception):  # a metric must not fail a log call
                self._report(lines)

    def report_to(self, report: Callable[[int], object]) -> None:
        """Call `report` with the number of dropped lines: at once if there were any so far, and later whenever more are
        dropped.
        """
        with self._lock:
            self._report, before = report, self._dropped
        if before:
            report(before)

    def drain(self, within_s: float) -> None:
        """Wait until the queue is written, for at most `within_s` seconds. Later calls do not wait beyond this first
        deadline.
        """
        self._deadline = self._deadline or time.monotonic() + within_s
        self._wait(self._deadline)

    def _wait(self, deadline: float) -> None:
        while self._bytes and time.monotonic() < deadline:
            time.sleep(0.002)

    def _work(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._deadline is None:
                time.sleep(GATHER_S)
            with self._lock:
                lines, self._lines = self._lines, []
            for some in _grouped(lines):
                self._write_group(some)
            del lines

    def _write_group(self, lines: Sequence[bytes]) -> None:
        data = b"".join(lines)
        try:
            self._write_whole(b"\n" + data if self._cut else data)
        except OSError:
            self.drop(data.count(b"\n"))
        else:
            self._tell()
        with self._lock:
            self._bytes -= len(data)

    def _write_whole(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                written = os.write(self._descriptor, view)
            except BlockingIOError:  # another program that shares the descriptor made it non-blocking
                select.select([], [self._descriptor], [])
                continue
            view = view[written:]
            self._cut = len(view) > 0

    def _tell(self) -> None:
        """Log how many lines were dropped since the last such report."""
        with self._lock:
            lines, self._told = self._dropped - self._told, self._dropped
        if lines:
            logger.warning("log lines were dropped: they came faster than stdout took them, or it failed", lines=lines)


def _grouped(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield the lines in groups of at most `_AT_ONCE` bytes. A longer line is a group of its own."""
    group: list[bytes] = []
    size = 0
    for line in lines:
        if group and size + len(line) > _AT_ONCE:
            yield group
            group, size = [], 0
        group.append(line)
        size += len(line)
    if group:
        yield group
