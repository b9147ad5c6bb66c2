"""The whole way: simulate, train, export, serve, post events, ask. The service and the trainer give the same lists."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from model.artifact import load
from tests.service.processes import free_port, process
from training.__main__ import main
from training.data.log import open_log
from training.replaying.replay import replay

RECIPE = """\
name = "small"
[network]
width = 16
layers = 1
feed_forward = 32
gaps = true
wanted_head = true
[loss]
feedback = 0.5
[fit]
epochs = 2
batch = 64
valid_cases = 300
[calibration]
wanted = [3.0, 10.0]
theta = [0.2]
hit_loss = 0.9
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a simulated log and an artifact trained on it. Its path has a space, as real paths do."""
    folder = tmp_path_factory.mktemp("a world")
    (folder / "small.toml").write_text(RECIPE)
    log, out = str(folder / "log"), str(folder / "artifacts")
    assert main(["simulate", "--out", log, "--listeners", "120", "--tracks", "300", "--artists", "40"]) == 0
    recipe = ["--recipe", str(folder / "small.toml"), "--run", str(folder / "run")]
    assert main(["run", log, *recipe, "--cases", "300", "--out", out, "--force"]) == 0
    return folder


@contextmanager
def served(folder: Path, artifacts: str = "artifacts", **settings: object) -> Iterator[str]:
    """Run the service as a process with its own Valkey. Yields its address."""
    port = free_port()
    parts = {"artifact": folder / artifacts / "current", "state_dir": folder / "state", **settings}
    with process("-m", "service", port=port, log=folder / "service.log", queue_patience=30, **parts):
        yield f"http://127.0.0.1:{port}"


def test_online_and_offline_lists_agree_on_every_case(world: Path) -> None:
    """With their events posted one by one, held-out listeners get exactly the lists that the evaluation ranked."""
    console = Console(file=StringIO(), width=120)
    with served(world) as url:
        replayed = replay(open_log(world / "log"), world / "artifacts" / "current", url, listeners=12, console=console)

    manifest = load(world / "artifacts" / "current").manifest
    assert manifest.wanted_weight in (3.0, 10.0)
    assert {"gaps", "wanted_weight"} < set(manifest.inputs)
    assert replayed.online.counts["cases"] > 50
    assert (replayed.same, replayed.degraded) == (1.0, 0), replayed.differences
    assert replayed.online.values == pytest.approx(replayed.offline.values)


def test_lists_agree_where_the_history_is_the_session(world: Path) -> None:
    """It also holds for a model that reads only the session and has a session memory. Sessions are still going on when
    asked.
    """
    recipe = (
        RECIPE.replace("epochs = 2", "epochs = 1").replace("gaps = true", "gaps = false")
        + '[history]\nscope = "session"\n[session_memory]\nweights = [5]\n'
    )
    (world / "session.toml").write_text(recipe)
    log, out = str(world / "log"), str(world / "of-session")
    options = ["--recipe", str(world / "session.toml"), "--run", str(world / "run-session"), "--cases", "100", "--out", out]
    assert main(["run", log, *options]) == 0

    with served(world, "of-session", exclude_played=False) as url:
        replayed = replay(open_log(world / "log"), world / "of-session" / "current", url, listeners=12)

    assert replayed.online.counts["cases"] > 50
    assert (replayed.same, replayed.degraded) == (1.0, 0), replayed.differences
    assert replayed.online.values == pytest.approx(replayed.offline.values)


def test_skipped_track_is_not_proposed_again_and_a_restart_forgets_nothing(world: Path) -> None:
    """After a restart of the service, a listener's session is still there."""
    with served(world) as url:
        first = httpx.get(f"{url}/v1/users/ann/next").json()
        best = first["tracks"][0]["track_id"]
        events = [
            {"event_id": f"e-{kind}", "user_id": "ann", "track_id": best, "type": kind, "request_id": first["request_id"]}
            for kind in ("play", "skip")
        ]
        assert httpx.post(f"{url}/v1/events", json={"events": events}).json() == {"accepted": 2, "duplicates": 0}
    with served(world) as url:
        session = httpx.get(f"{url}/v1/users/ann/session").json()
        second = httpx.get(f"{url}/v1/users/ann/next?count=100").json()
        again = httpx.post(f"{url}/v1/events", json={"events": events}).json()

    assert session["skipped"] == [best]
    assert second["source"] == "model"
    assert best not in [track["track_id"] for track in second["tracks"]]
    assert again == {"accepted": 0, "duplicates": 2}
