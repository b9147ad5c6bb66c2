"""Flushes the embedded Valkey's append-only file to the disk each second, so that a power cut costs about the last second.

Valkey's own `appendfsync everysec` does the same, but makes writes and replies depend on it: while a flush takes long, Valkey
keeps acknowledged events in its memory. Here Valkey runs with `appendfsync no`. It writes before each reply and never waits for
a flush, which is a thread of the service. If the service is killed and Valkey lives on, the kernel flushes within about 30 s.
"""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from service.observing.logs import Trouble

FLUSH_S = 1.0
"""The time between two flushes: what a power cut may cost."""
_flush: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


class Flusher:
    """A thread that flushes the append-only files of a folder to the disk every `FLUSH_S` seconds, if they have grown."""

    def __init__(self, folder: Path, *, flush: Callable[[int], None] = _flush) -> None:
        """`flush` is called with a file descriptor."""
        self._folder, self._flush = folder, flush
        self._flushed: dict[Path, int] = {}  # each file's size when it was flushed
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flusher of the embedded Valkey", daemon=True)
        self._trouble = Trouble("the embedded Valkey's events are not flushed to the disk; a power cut may lose them")

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread. Valkey itself flushes everything when it is stopped."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def flush(self) -> None:
        """Flush the files that have grown since their last flush. Raises OSError if the disk refuses."""
        sizes = self._sizes()
        self._flushed = {path: size for path, size in self._flushed.items() if path in sizes}
        for path, size in sizes.items():
            if self._flushed.get(path) == size:
                continue
            with suppress(FileNotFoundError):  # a rewrite has replaced it by a file that Valkey flushed itself
                file = os.open(path, os.O_RDONLY)
                try:
                    self._flush(file)
                finally:
                    os.close(file)
                self._flushed[path] = size

    def _sizes(self) -> dict[Path, int]:
        sizes = {}
        for path in self._folder.glob("*.incr.aof"):
            with suppress(FileNotFoundError):
                sizes[path] = path.stat().st_size
        return sizes

    def _run(self) -> None:
        while not self._stopping.wait(FLUSH_S):
            try:
                self.flush()
            except OSError as error:
                self._trouble(error)
