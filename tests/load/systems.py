"""What is measured: our service, the framework's ceiling, and rivals, each as processes of their own on loopback.

A rival runs in an environment of its own under the cache, made at the first use from the package index that pip is set up
with; one that cannot be made is skipped, and its rows say why.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from model.artifact import MODEL

START_S, STOP_S = 60.0, 15.0
RIVALS: Mapping[str, Sequence[str]] = {
    "plain_fastapi": ("fastapi", "uvicorn", "uvloop", "httptools"),
    "with_mosec": ("mosec",),
    "with_litserve": ("litserve",),
}
"""File under `rivals/` -> what its environment needs besides numpy and this environment's own release of ONNX Runtime."""


class SystemSkippedError(Exception):
    """A system that cannot be measured here; the text says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class System:
    """A running system: its port, its process and how long it took from start to ready."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    ready_s: float

    def processes(self) -> list[int]:
        """Its processes, children included."""
        parents: dict[int, list[int]] = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text(encoding="utf-8").rpartition(")")[2].split()
            except OSError:  # it ended while we looked
                continue
            parents.setdefault(int(fields[1]), []).append(int(path.parent.name))
        found = [self.process.pid]
        for process in found:
            found += parents.get(process, [])
        return found

    def memory_mb(self) -> float:
        """Resident memory of its largest process, what it shares with others included."""
        sizes = [0.0]
        for process in self.processes():
            path = Path(f"/proc/{process}/statm")
            if path.exists():
                sizes.append(int(path.read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6)
        return max(sizes)


@contextmanager
def service(artifact: Path, redis_url: str, *, workers: int = 1) -> Iterator[System]:
    """Our service with its settings as they come, `workers` apart."""
    settings = {"ARTIFACT": str(artifact), "REDIS_URL": redis_url, "WORKERS": str(workers)}
    environment = {f"NEXTTRACK_{name}": value for name, value in settings.items()}
    with _running("nexttrack", [sys.executable, "-m", "service"], environment, port_variable="NEXTTRACK_PORT") as system:
        yield system


@contextmanager
def ceiling(redis_url: str) -> Iterator[System]:
    """FastAPI and one read from Redis."""
    with _running("ceiling", [sys.executable, "-m", "tests.load.ceiling", "PORT", redis_url]) as system:
        yield system


@contextmanager
def rival(name: str, artifact: Path, cache: Path) -> Iterator[System]:
    """One of `RIVALS` around the artifact's graph; SystemSkippedError where it cannot be had."""
    python = _environment(name, cache)
    script = Path(__file__).parent / "rivals" / f"{name}.py"
    with _running(name, [str(python), str(script), "PORT", str(artifact / MODEL)]) as system:
        yield system


def _environment(name: str, cache: Path) -> Path:
    folder = cache / "rivals" / name
    python = folder / "bin" / "python"
    if (folder / "complete").exists():
        return python
    import numpy
    import onnxruntime

    pinned = [f"onnxruntime=={onnxruntime.__version__}", f"numpy=={numpy.__version__}"]
    shutil.rmtree(folder, ignore_errors=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *pinned, *RIVALS[name]]
        subprocess.run(install, check=True, capture_output=True, timeout=600)
    except (subprocess.SubprocessError, OSError) as error:
        output = getattr(error, "stderr", None) or b""
        reason = output.decode(errors="replace").strip().rpartition("\n")[2] or str(error)
        raise SystemSkippedError(f"{name} does not install here: {reason}") from error
    (folder / "complete").touch()
    return python


@contextmanager
def _running(
    name: str, command: Sequence[str], environment: Mapping[str, str] | None = None, *, port_variable: str | None = None
) -> Iterator[System]:
    port = _free_port()
    filled = [str(port) if word == "PORT" else word for word in command]
    given = {port_variable: str(port)} if port_variable else {}
    started = time.monotonic()
    process = subprocess.Popen(
        filled,
        env={**os.environ, **(environment or {}), **given},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # so that all of it can be stopped at once
    )
    try:
        while not _listens(port):
            if process.poll() is not None:
                raise SystemSkippedError(f"{name} ended with code {process.returncode} at its start")
            if time.monotonic() > started + START_S:
                raise SystemSkippedError(f"{name} did not listen within {START_S:.0f} s")
            time.sleep(0.01)
        yield System(name=name, port=port, process=process, ready_s=time.monotonic() - started)
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
        with suppress(ProcessLookupError):  # workers that their parent has left behind, or all of it
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
