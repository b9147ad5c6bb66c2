"""Models in a running service are replaced without a gap, refused with a reason, split between listeners, and shadowed."""

import asyncio
import gc
import threading
import weakref
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from model.artifact import load
from model.graphs import Graphs
from model.versions import switch
from service.app import create_app
from service.recommender import Query
from service.scoring.registry import ModelRegistry, share_of
from service.settings import Settings
from tests.service import artifacts
from tests.service.applications import NOW_MS, running
from tests.service.fakes import MemorySessions, MemoryTakeDowns
from tests.service.processes import free_port, http, of_each_worker, process, until


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a folder of two artifacts in which `current` names v1."""
    artifacts.build(tmp_path, version="v2")
    artifacts.build(tmp_path, version="v1")
    return tmp_path


def test_every_worker_follows_current_and_no_request_fails(root: Path) -> None:
    """Real worker processes get requests over new connections all the time."""
    port, versions, faults, stopped = free_port(), set[str](), list[str](), threading.Event()

    def ask() -> None:
        while not stopped.is_set():
            try:
                with http(port) as client:
                    reply = client.get("/v1/users/u/next").raise_for_status()
                versions.add(reply.json()["model"]["version"])
            except httpx.HTTPError as error:
                faults.append(repr(error))

    def all_answer(version: str) -> bool:
        found = of_each_worker(2, root / "log", port, lambda client: client.get("/v1/model").json()["version"])
        return set(found) == {version}

    settings = {"artifact": root / "current", "state_dir": root / "state", "workers": 2, "model_watch": 0.05}
    with process("-m", "service", port=port, log=root / "log", **settings):
        asking = threading.Thread(target=ask)
        asking.start()
        until(lambda: versions == {"v1"})
        switch(root, "v2")
        until(lambda: "v2" in versions)
        until(lambda: all_answer("v2"))
        switch(root, "v1")
        until(lambda: all_answer("v1"))
        stopped.set()
        asking.join()

    assert faults == []


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux lists what a process has mapped")
def test_process_unmaps_the_first_model_after_a_swap(root: Path) -> None:
    """Otherwise each process would hold two models from its first swap on."""
    settings = {"artifact": root / "current", "state_dir": root / "state", "model_watch": 0.05}
    with process("-m", "service", port=free_port(), log=root / "log", **settings) as service:
        maps = Path(f"/proc/{service.pid}/maps")
        before = maps.read_text()
        switch(root, "v2")
        until(lambda: str(root / "v1" / "weights.bin") not in maps.read_text())
        after = maps.read_text()

    assert str(root / "v1" / "weights.bin") in before
    assert str(root / "v2" / "weights.bin") in after


@pytest.mark.anyio
async def test_first_model_is_freed_after_a_swap_without_garbage_collection(root: Path) -> None:
    """The service excludes from garbage collection what it has loaded before it serves."""
    app, freed = _application(root)
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        async with app.router.lifespan_context(app) as state:
            models: ModelRegistry = (state or {})["service"].models
            await models.current.recommender.for_listener("u", Query(rules={"explain": True, "artist_gap": 3}), NOW_MS)
            switch(root, "v2")
            await models.reload()
            async with asyncio.timeout(60):
                await asyncio.gather(*(part.wait() for part in freed))
            version = models.current.version
    finally:
        if was_enabled:
            gc.enable()

    assert version == "v2"


def _application(root: Path) -> tuple[FastAPI, Sequence[asyncio.Event]]:
    """Make an application of the current artifact. Returns it, and for each large part an event that its end sets."""
    artifact = load(root / "current")
    graphs = Graphs(artifact, threads=1)
    app = create_app(
        Settings(artifact=root / "current"),
        artifact,
        graphs,
        store=MemorySessions(artifact.manifest.history),
        take_downs=MemoryTakeDowns(),
    )
    parts = {part: asyncio.Event() for part in (artifact.vocabulary, artifact.catalogue_index.artists, graphs)}
    for part, freed in parts.items():
        weakref.finalize(part, freed.set)
    return app, [*parts.values()]


def test_reload_uses_what_current_names_or_says_why_not(root: Path, logged: list[MutableMapping[str, Any]]) -> None:
    """The reason names the file but no folder; the log names both. The refusal is counted. The model in use stays."""
    with running(load(root / "current"), current=root / "current", model_watch=0) as client:
        switch(root, "v2")
        taken = client.post("/v1/model/reload")
        (root / "v1" / "weights.bin").write_bytes(b"short")
        switch(root, "v1")
        refused = client.post("/v1/model/reload")
        served = client.get("/v1/users/u/next").json()["model"]["version"]
        ready = client.get("/readyz").status_code
        exposed = client.get("/metrics").text
    [line] = [line for line in logged if line["log_level"] == "error"]

    assert line["reason"].startswith(f"{root / 'v1' / 'weights.bin'} is damaged")
    assert "nexttrack_models_refused_total 1.0" in exposed
    assert (taken.status_code, taken.json()["version"]) == (200, "v2")
    assert refused.status_code == 409
    assert refused.json()["detail"].startswith("weights.bin is damaged: found 5 bytes")
    assert str(root) not in refused.text
    assert (served, ready) == ("v2", 200)


def test_an_artifact_that_disappears_leaves_the_model_in_use(root: Path) -> None:
    with running(load(root / "current"), current=root / "current", model_watch=0) as client:
        (root / "current").unlink()
        refused = client.post("/v1/model/reload")
        served = client.get("/v1/users/u/next").json()["model"]["version"]

    assert refused.status_code == 409
    assert served == "v1"


def test_a_share_of_listeners_gets_the_challenger_and_every_reply_says_so(root: Path) -> None:
    users = [f"user{number}" for number in range(30)]
    with running(load(root / "current"), challenger=root / "v2", challenger_share=0.5) as client:
        replies = {user: client.get(f"/v1/users/{user}/next").json() for user in users}
        anonymous = client.post("/v1/next", json={"history": []}).json()
        exposed = client.get("/metrics").text

    for user, reply in replies.items():
        expected = ("challenger", "v2") if share_of(user) < 0.5 else ("current", "v1")
        assert (reply["request_id"].split(".", 3)[1::2], reply["model"]["version"]) == (list(expected), expected[1])
    challenged = sum(share_of(user) < 0.5 for user in users)
    assert 0 < challenged < len(users)
    assert anonymous["model"]["version"] == "v1"
    assert f'nexttrack_proposals_total{{arm="challenger",source="model",version="v2"}} {challenged}.0' in exposed


def test_a_shadow_is_compared_and_never_served(root: Path) -> None:
    """Both artifacts are equal, so all served tracks are shared."""
    with running(load(root / "current"), challenger=root / "v2", challenger_shadow=True) as client:
        versions = {client.get(f"/v1/users/u{number}/next").json()["model"]["version"] for number in range(5)}
        until(lambda: 'nexttrack_shadow_overlap_count{version="v2"} 5.0' in client.get("/metrics").text)
        exposed = client.get("/metrics").text

    assert versions == {"v1"}
    assert 'nexttrack_shadow_overlap_sum{version="v2"} 5.0' in exposed
