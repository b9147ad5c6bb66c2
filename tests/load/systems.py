"""The measured systems: our service, the framework's limit, and rivals, each in processes of its own on loopback.

A rival has an environment of its own in the cache. It is made at the first use from pip's package index. A rival that cannot
be installed is skipped, and its rows say why.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from model.artifact import MODEL
from tests.load.traffic import Kind, World, requests

START_S, STOP_S = 300.0, 15.0
"""Time for a start and a stop. Ten million tracks are verified byte by byte before they are served, on a busy machine too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rival:
    """Packages of a rival's environment beside our release of ONNX Runtime, and the kind of requests that it gets."""

    needs: Sequence[str]
    numpy: str | None = None  # a requirement; None: our release
    python: str = sys.executable
    kind: Kind = "rows"


_SYSTEM_PYTHON = "/usr/bin/python3"
RIVALS: Mapping[str, Rival] = {
    "plain_fastapi": Rival(needs=("fastapi", "uvicorn", "uvloop", "httptools")),
    "with_mosec": Rival(needs=("mosec",)),
    "with_litserve": Rival(needs=("litserve",)),
    "with_bentoml": Rival(needs=("bentoml",), kind="asks"),
    # Triton's Python backend is linked to the system's Python, and lays tensors out as numpy 1 does.
    "with_pytriton": Rival(needs=("nvidia-pytriton",), numpy="numpy<2", python=_SYSTEM_PYTHON, kind="kserve"),
}
"""Rivals by their file in `rivals/`."""


class SystemSkippedError(Exception):
    """A system cannot be measured here. The text says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class System:
    """A running system: its port, its process, and the time from start to first answer."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    ready_s: float
    kind: Kind | None = None  # the kind of request that it gets, instead of the row's own

    def processes(self) -> list[int]:
        """Return the process ids of the system, children included."""
        parents: dict[int, list[int]] = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text(encoding="utf-8").rpartition(")")[2].split()
            except OSError:  # the process ended in the meantime
                continue
            parents.setdefault(int(fields[1]), []).append(int(path.parent.name))
        found = [self.process.pid]
        for process in found:
            found += parents.get(process, [])
        return found

    def memory_mb(self) -> float:
        """Return the resident memory of the largest process, shared pages included."""
        sizes = [0.0]
        for process in self.processes():
            path = Path(f"/proc/{process}/statm")
            if path.exists():
                sizes.append(int(path.read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6)
        return max(sizes)


@contextmanager
def service(
    artifact: Path,
    redis_url: str,
    *,
    workers: int = 1,
    threads: int = 1,
    fast_path: bool = True,
    module: str = "service",
    arguments: Sequence[str] = (),
    checkout: Path | None = None,
    key: str = "",
) -> Iterator[System]:
    """Run our service, or `module` in its place, with default settings except the given ones, until `/readyz` says ready.

    `checkout` is the folder of another version of it. With `key`, each request must present it.
    """
    settings = {
        "ARTIFACT": str(artifact.resolve()),
        "REDIS_URL": redis_url,
        "WORKERS": str(workers),
        "ONNX_THREADS": str(threads),
        **({} if fast_path else {"FAST_PATH": "False"}),  # earlier versions do not have it
        **({"API_KEYS": f"bench:{key}"} if key else {}),
    }
    with tempfile.TemporaryDirectory() as state:
        environment = {f"NEXTTRACK_{name}": value for name, value in {**settings, "STATE_DIR": state}.items()}
        command, probe = [sys.executable, "-m", module, *arguments], b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with _running("nexttrack", command, probe, environment, port_variable="NEXTTRACK_PORT", folder=checkout) as system:
            yield system


@contextmanager
def ceiling(redis_url: str) -> Iterator[System]:
    """Run FastAPI with one read from Redis."""
    probe = next(requests("next", World(), run="probe"))
    with _running("ceiling", [sys.executable, "-m", "tests.load.ceiling", "PORT", redis_url], probe) as system:
        yield system


@contextmanager
def rival(name: str, artifact: Path, cache: Path) -> Iterator[System]:
    """Run one of `RIVALS` with the artifact's graph. SystemSkippedError if it cannot run."""
    python, kind = _environment(name, cache), RIVALS[name].kind
    script = Path(__file__).parent / "rivals" / f"{name}.py"
    probe = next(requests(kind, World(), run="probe"))
    with _running(name, [str(python), str(script), "PORT", str((artifact / MODEL).resolve())], probe) as system:
        yield replace(system, kind=kind)


def _environment(name: str, cache: Path) -> Path:
    folder, needed = (cache / "rivals" / name).resolve(), RIVALS[name]
    python = folder / "bin" / "python"
    if (folder / "complete").exists():
        return python
    import numpy
    import onnxruntime

    pinned = [f"onnxruntime=={onnxruntime.__version__}", needed.numpy or f"numpy=={numpy.__version__}"]
    shutil.rmtree(folder, ignore_errors=True)
    try:
        subprocess.run([needed.python, "-m", "venv", str(folder)], check=True, capture_output=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *pinned, *needed.needs]
        subprocess.run(install, check=True, capture_output=True, timeout=600)
    except (subprocess.SubprocessError, OSError) as error:
        output = getattr(error, "stderr", None) or b""
        reason = output.decode(errors="replace").strip().rpartition("\n")[2] or str(error)
        raise SystemSkippedError(f"{name} does not install here: {reason}") from error
    (folder / "complete").touch()
    return python


@contextmanager
def _running(
    name: str,
    command: Sequence[str],
    probe: bytes,
    environment: Mapping[str, str] | None = None,
    *,
    port_variable: str | None = None,
    folder: Path | None = None,
) -> Iterator[System]:
    port = _free_port()
    filled = [str(port) if word == "PORT" else word for word in command]
    given = {port_variable: str(port)} if port_variable else {}
    started = time.monotonic()
    process = subprocess.Popen(
        filled,
        env={**os.environ, **(environment or {}), **given},
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # so that all of its processes can be stopped at once
    )
    try:
        while not answers(port, probe):
            if process.poll() is not None:
                raise SystemSkippedError(f"{name} ended with code {process.returncode} at its start")
            if time.monotonic() > started + START_S:
                raise SystemSkippedError(f"{name} did not answer within {START_S:.0f} s")
            time.sleep(0.01)
        yield System(name=name, port=port, process=process, ready_s=time.monotonic() - started)
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
        with suppress(ProcessLookupError):  # workers that outlived their parent, or the whole system
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(port: int, probe: bytes) -> bool:
    """Say whether a request is answered with 200. An open port is not enough: some servers listen before they can answer."""
    with socket.socket() as client, suppress(OSError):
        client.settimeout(5)
        client.connect(("127.0.0.1", port))
        client.sendall(probe)
        return client.recv(64)[9:12] == b"200"
    return False


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
