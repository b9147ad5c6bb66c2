"""The flusher writes new data to the disk each second, and reports trouble with the disk."""

import os
import threading
from collections import Counter
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest

from service.store import flusher
from service.store.flusher import Flusher
from tests.service.processes import until


def test_each_file_is_flushed_when_it_has_grown(tmp_path: Path) -> None:
    """A file is flushed once for each growth, whatever other files are in the folder. A file that a rewrite removed is no
    error.
    """
    flushed = Counter[int]()
    flushing = Flusher(tmp_path, flush=lambda file: flushed.update([os.fstat(file).st_ino]))
    first, second = tmp_path / "appendonly.aof.1.incr.aof", tmp_path / "appendonly.aof.2.incr.aof"
    (tmp_path / "appendonly.aof.1.base.rdb").write_bytes(b"base")
    first.write_bytes(b"event")
    for _ in range(2):
        flushing.flush()
    first.write_bytes(b"event, event")
    second.write_bytes(b"event")
    flushing.flush()
    files = [first.stat().st_ino, second.stat().st_ino]
    first.unlink()
    flushing.flush()

    assert flushed == {files[0]: 2, files[1]: 1}


def test_flushes_go_on_after_the_disk_has_refused_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[MutableMapping[str, Any]]
) -> None:
    """The log says once that a power cut may lose events. Later flushes are tried all the same."""
    monkeypatch.setattr(flusher, "FLUSH_S", 0.001)
    tries, enough = Counter[str](), threading.Event()

    def refuse(_: int) -> None:
        tries["flush"] += 1
        if tries["flush"] == 3:
            enough.set()
        raise OSError("input/output error")

    (tmp_path / "appendonly.aof.1.incr.aof").write_bytes(b"event")
    flushing = Flusher(tmp_path, flush=refuse)
    flushing.start()
    until(enough.is_set)
    flushing.stop()

    assert [(line["log_level"], line["cause"]) for line in logged] == [("warning", "input/output error")]
