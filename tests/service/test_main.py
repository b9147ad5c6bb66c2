"""The service as a process: start, refused start, several workers, and stop."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from model.artifact import Artifact
from service.command import main
from service.settings import Settings
from tests.service.processes import answers, environment, free_port, http, of_each_worker, process, stop, until

BATCHED = "nexttrack_batch_requests_sum"
EVENT = {"event_id": "e1", "user_id": "u", "track_id": "t3", "type": "play"}


def run(**settings: object) -> subprocess.CompletedProcess[str]:
    """Run the service as a process until it ends."""
    return subprocess.run(
        [sys.executable, "-m", "service"], env=environment(**settings), capture_output=True, text=True, check=False
    )


Refusal = Callable[..., str]


@pytest.fixture
def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Start the service in this process, with settings that end it with exit code 2. Returns what it writes to stderr."""

    def start(**settings: object) -> str:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["python -m service"])
            for name, value in environment(**settings).items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main()
        assert ended.value.code == 2
        return capsys.readouterr().err

    return start


@pytest.mark.parametrize("workers", [1, 2])
def test_service_remembers_over_a_restart(artifact: Artifact, tmp_path: Path, workers: int) -> None:
    """With only an artifact it serves, stops cleanly, and still knows the listener after a restart; with several workers too.

    Its logs are JSON, and a request's line has the request's id.
    """
    port, state, log = free_port(), tmp_path / "a state", tmp_path / "log"
    settings = {"artifact": artifact.folder, "state_dir": state, "workers": workers}
    with process("-m", "service", port=port, log=log, **settings) as first, http(port) as client:
        assert client.post("/v1/events", json=EVENT, headers={"X-Request-ID": "mine"}).json()["accepted"] == 1
        codes = [stop(first)]
    with process("-m", "service", port=port, log=log, **settings) as second, http(port) as client:
        ready = client.get("/readyz").status_code
        tracks = client.get("/v1/users/u/next?count=1").json()["tracks"]
        codes.append(stop(second))
    lines = [json.loads(line) for line in log.read_text().splitlines()]

    assert codes == [0, 0]
    assert (ready, tracks[0]["track_id"]) == (200, "t7")
    assert [line["path"] for line in lines if line.get("request_id") == "mine"] == ["/v1/events"]
    assert sum("Finished server process" in line["event"] for line in lines) == 2 * workers  # each worker logs two such lines


def test_metrics_add_up_over_workers(artifact: Artifact, tmp_path: Path) -> None:
    """Every worker returns the sum over all workers, up to the last request, for counters and histograms."""
    port, log = free_port(), tmp_path / "log"
    settings = {"artifact": artifact.folder, "state_dir": tmp_path, "workers": 3}
    with process("-m", "service", port=port, log=log, **settings):
        asked = of_each_worker(3, log, port, lambda client: client.get("/v1/users/u/next"))
        counts = set()
        for reply in of_each_worker(3, log, port, lambda client: client.get("/metrics")):
            exposed = reply.text.splitlines()
            counts |= {line.split()[-1] for line in exposed if "requests_total" in line and "/next" in line}
            counts |= {line.split()[-1] for line in exposed if line.startswith(("nexttrack_overhead_seconds_count", BATCHED))}

    assert counts == {str(float(len(asked)))}


def test_workers_end_with_a_parent_that_is_killed(artifact: Artifact, tmp_path: Path) -> None:
    """After kill -9 of the parent, no worker keeps the port, and the Valkey stops."""
    port = free_port()
    settings = {"artifact": artifact.folder, "redis_url": f"unix://{tmp_path}/nobody", "state_dir": tmp_path, "workers": 2}
    with process("-m", "service", port=port, log=tmp_path / "log", **settings) as parent:
        parent.kill()
        until(lambda: not answers(port))

    assert not answers(port)


def test_request_in_flight_is_answered_before_the_service_stops(artifact: Artifact, tmp_path: Path) -> None:
    """SIGTERM closes the port at once, and requests in flight are answered."""
    port, gate, log = free_port(), tmp_path / "gate", tmp_path / "log"
    replies: list[int] = []
    command = ("-m", "tests.service.slow_service", str(artifact.folder), str(port), str(gate))
    with process(*command, port=port, log=log) as service, http(port) as client:
        asking = threading.Thread(target=lambda: replies.append(client.get("/v1/users/u/next").status_code))
        asking.start()
        until(gate.with_suffix(".entered").exists)
        service.send_signal(signal.SIGTERM)
        until(lambda: not answers(port))
        gate.touch()
        asking.join()
        service.wait(30)

    assert replies == [200]


@pytest.mark.parametrize("format", ["json", "console"])
def test_stdout_that_nobody_reads_stops_nothing(artifact: Artifact, tmp_path: Path, format: str) -> None:
    """The pipe is full from the start. The service still starts, answers and stops."""
    port, log, (reading, writing) = free_port(), tmp_path / "log", os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"-" * 4096)
    os.set_blocking(writing, True)
    settings = environment(artifact=artifact.folder, port=port, redis_url=f"unix://{tmp_path}/nobody", log_format=format)
    with log.open("wb") as errors:
        service = subprocess.Popen([sys.executable, "-m", "service"], env=settings, stdout=writing, stderr=errors)
    try:
        until(lambda: answers(port))
        with http(port) as client:
            reply = client.get("/v1/users/u/next").json()
        code = stop(service)
    finally:
        service.kill()
    os.close(reading)
    os.close(writing)

    assert reply["source"] == "popular"  # Redis is unreachable, which is logged, too
    assert (code, log.read_text()) == (0, "")


def test_no_artifact_is_said_in_a_sentence(tmp_path: Path) -> None:
    """The exit code is 1, and the sentence says what was expected and how to make it. There is no traceback."""
    ended = run(artifact=tmp_path / "none")

    assert ended.returncode == 1
    assert "no artifact at" in ended.stderr
    assert "python -m training run" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_wrong_setting_is_said_by_its_name() -> None:
    """The exit code is 2, and the message names the variable."""
    ended = run(port="many")

    assert ended.returncode == 2
    assert "NEXTTRACK_PORT" in ended.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_port_in_use_is_said_with_its_address(artifact: Artifact, tmp_path: Path, workers: int) -> None:
    """The exit code is 1. The message says how to choose another port. Nothing says before that the service runs."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        settings = {"artifact": artifact.folder, "state_dir": tmp_path, "log_format": "console"}
        ended = run(**settings, port=port, workers=workers, redis_url=f"unix://{tmp_path}/nobody")

    assert ended.returncode == 1
    assert "nexttrack serves" not in ended.stdout
    assert f"it cannot listen on 127.0.0.1 port {port}: [Errno {errno.EADDRINUSE}]" in ended.stderr
    assert "set NEXTTRACK_PORT to another one (`make run PORT=9000`)" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(("name", "hint"), [("PROT", "; NEXTTRACK_PORT is meant?"), ("SECRETS", "")])
def test_variable_that_is_no_setting_stops_the_start(refusal: Refusal, name: str, hint: str) -> None:
    """Whoever set it relies on it. The message has the variable and a similar setting if there is one."""
    said = refusal(**{name: "secret"})

    assert said.splitlines()[-1] == f"  NEXTTRACK_{name}: there is no such setting{hint}"


@pytest.mark.parametrize("workers", [1, 2])
def test_wrong_redis_url_is_said_before_anything_is_served(refusal: Refusal, artifact: Artifact, workers: int) -> None:
    """The message has the variable and the fault, with one process and with several."""
    said = refusal(artifact=artifact.folder, workers=workers, redis_url="redis://:secret@127.0.0.1:1?foo=bar")

    assert "NEXTTRACK_REDIS_URL" in said
    assert "'foo'" in said
    assert "secret" not in said


def test_workers_that_do_not_come_up_end_the_service_with_an_error() -> None:
    """A container's restart policy or systemd must see that it failed."""
    command = [sys.executable, "-m", "tests.service.failing_service", str(free_port())]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)

    assert ended.returncode == 1
    assert "nexttrack cannot start: a worker process could not" in ended.stderr


def test_workers_do_not_get_ctrl_c() -> None:
    """A terminal sends it to all. One that is still being imported would end with a traceback. The parent stops them."""
    command = [sys.executable, "-m", "tests.service.failing_service", str(free_port())]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)

    assert ended.stderr.count("blocked: ['SIGINT']") == 2


def test_ctrl_c_while_the_service_is_imported_leaves_no_traceback(tmp_path: Path) -> None:
    """The import takes a second, in which people notice that they wanted something else. Here it never ends."""
    (tmp_path / "fastapi.py").write_text(
        f"import pathlib, signal\npathlib.Path({str(tmp_path)!r}, 'in').touch()\nsignal.pause()"
    )
    settings = {**environment(), "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path.cwd()}"}
    service = subprocess.Popen(
        [sys.executable, "-m", "service"], env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    until((tmp_path / "in").exists)
    service.send_signal(signal.SIGINT)
    said, _ = service.communicate(timeout=30)

    assert (service.returncode, said) == (-signal.SIGINT, b"")


def test_second_ctrl_c_still_stops_the_application_and_the_valkey(artifact: Artifact, tmp_path: Path) -> None:
    """The first Ctrl-C waits for a request whose body never arrives, and the second ends this wait. There is no traceback."""
    port, log = free_port(), tmp_path / "log"
    settings = {"artifact": artifact.folder, "state_dir": tmp_path / "state"}
    with (
        process("-m", "service", port=port, log=log, **settings) as service,
        socket.create_connection(("127.0.0.1", port)) as one,
    ):
        one.sendall(b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{")
        service.send_signal(signal.SIGINT)
        until(lambda: "Waiting for connections to close" in log.read_text())
        service.send_signal(signal.SIGINT)
        code = service.wait(30)
    said = log.read_text()

    assert code == 0
    assert "Application shutdown complete" in said
    assert "Traceback" not in said
    assert not (tmp_path / "state" / "valkey" / "socket").exists()


def test_help_lists_every_setting(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A setting that `--help` does not list cannot be found."""
    monkeypatch.setattr(sys, "argv", ["python -m service", "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().out

    assert ended.value.code == 0
    assert all(f"NEXTTRACK_{name.upper()}" in said for name in Settings.model_fields)


def test_redis_that_is_down_stops_no_start(artifact: Artifact, tmp_path: Path) -> None:
    """The service starts degraded, says why, and answers."""
    port = free_port()
    settings = {"artifact": artifact.folder, "redis_url": f"unix://{tmp_path}/nobody"}
    with process("-m", "service", port=port, log=tmp_path / "log", **settings), http(port) as client:
        ready, proposed = client.get("/readyz"), client.get("/v1/users/u/next")

    assert ready.status_code == 503
    assert ready.json()["reasons"] == ["the list of take-downs has not been read yet", "Redis is out of reach"]
    assert (proposed.status_code, proposed.json()["degraded"]) == (200, True)


ANONYMOUS = "no API keys are set: anybody who reaches this address can read and write"


@pytest.mark.parametrize(
    ("host", "settings", "warned"),
    [
        ("127.0.0.1", {}, True),
        ("0.0.0.0", {"allow_anonymous": "true"}, True),  # noqa: S104  # the point
        ("0.0.0.0", {"api_keys": "web:secret"}, False),  # noqa: S104  # as above
    ],
)
def test_service_without_keys_is_warned_about(
    artifact: Artifact, tmp_path: Path, host: str, settings: dict[str, str], warned: bool
) -> None:
    """On this machine's own address too. With keys there is no warning."""
    port, log = free_port(), tmp_path / "log"
    all_settings = settings | {"artifact": artifact.folder, "host": host, "state_dir": tmp_path}
    with process("-m", "service", port=port, log=log, **all_settings):
        pass
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    warnings = [(line["event"], line["host"]) for line in lines if line["level"] == "warning"]

    assert warnings == ([(ANONYMOUS, host)] if warned else [])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "player.example"])  # noqa: S104  # the point
def test_other_machines_cannot_reach_a_service_without_keys_by_accident(refusal: Refusal, host: str) -> None:
    """The message says what to set. An empty host stands for all addresses."""
    said = refusal(host=host)

    assert f"NEXTTRACK_HOST: other machines can reach {host!r}" in said
    assert "NEXTTRACK_API_KEYS" in said
    assert "NEXTTRACK_ALLOW_ANONYMOUS=true" in said


def test_wrong_keys_are_said_without_a_secret(refusal: Refusal, tmp_path: Path) -> None:
    """In a variable: exit code 2. In a file: exit code 1. No traceback."""
    file = tmp_path / "keys"
    file.write_text("web:sha256:topsecret")
    said = refusal(api_keys="web:,app:topsecret")
    ended = [run(admin_keys_file=file), run(api_keys_file=tmp_path / "none")]

    assert "NEXTTRACK_API_KEYS: key web: the secret is empty" in said
    assert "topsecret" not in said
    assert [one.returncode for one in ended] == [1, 1]
    assert f"nexttrack cannot start: {file}: key web: what follows sha256:" in ended[0].stderr
    assert "none cannot be read: No such file or directory" in ended[1].stderr
    assert not [one for one in ended if "topsecret" in one.stderr + one.stdout or "Traceback" in one.stderr]


def test_commands_of_the_welcome_work_as_printed(artifact: Artifact, tmp_path: Path) -> None:
    """Of a locked service too: they take the key from where all clients keep it."""
    port, log = free_port(), tmp_path / "log"
    settings = {"artifact": artifact.folder, "state_dir": tmp_path, "log_format": "console", "api_keys": "web:secret"}
    with process("-m", "service", port=port, log=log, **settings):
        commands = [line for line in log.read_text().splitlines() if line.startswith("  curl ")]
        shell = os.environ | {"NEXTTRACK_KEY": "secret"}
        ended = [
            subprocess.run(["/bin/sh", "-c", command], env=shell, capture_output=True, text=True, check=True)
            for command in commands
        ]
    told, proposed = [json.loads(one.stdout) for one in ended]

    assert told == {"accepted": 1, "duplicates": 0}
    assert len(proposed["tracks"]) == 5


def test_service_loads_no_torch(artifact: Artifact) -> None:
    """Importing all of the service, and starting an application, loads nothing of the trainer. PyJWT is only loaded if there
    are listener tokens.
    """
    program = f"""
import asyncio, sys
from pathlib import Path
import service.command
from model.artifact import load
from service.app import create_app
from model.graphs import Graphs
from service.settings import Settings
from tests.service.processes import answers, environment, free_port, http, process, stop, until
artifact = load(Path({str(artifact.folder)!r}))
app = create_app(Settings(redis_url="unix:///nobody"), artifact, Graphs(artifact, threads=1))
async def start():
    async with app.router.lifespan_context(app):
        pass
asyncio.run(start())
print(sorted({{"torch", "polars", "onnx", "training", "model.nets", "jwt"}} & set(sys.modules)))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stdout.splitlines()[-1]) == (0, "[]"), ended.stderr
