"""The registry replaces models as a whole. A refused model changes nothing, and requests in flight are not affected."""

import asyncio
import os
import weakref
from collections.abc import MutableMapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from model.artifact import Artifact, load
from model.versions import switch
from service.errors import ModelRefusedError
from service.observing.metrics import Metrics
from service.recommender import Recommender
from service.rules import Rules
from service.scoring.registry import Arm, ModelRegistry, ServedModel, Starter, share_of
from service.store.recent_masks import RecentMasks
from service.take_downs import TakeDowns
from tests.service import artifacts
from tests.service.fakes import MemorySessions, MemoryTakeDowns, RecordingScorer

pytestmark = pytest.mark.anyio


class Parts:
    """Starts models and records which ones were closed."""

    def __init__(self) -> None:
        self.closed: list[str] = []

    def load(self, folder: Path) -> Starter:
        artifact = load(folder)
        return lambda arm: self.start(artifact, arm)

    async def start(self, artifact: Artifact, arm: Arm) -> ServedModel:
        scorer = RecordingScorer(artifact)
        store, masks = (
            MemorySessions(artifact.manifest.history),
            RecentMasks(artifact.manifest.history.skip, timedelta(seconds=1)),
        )
        recommender = Recommender(
            artifact, scorer, store, masks, TakeDowns(MemoryTakeDowns(), lambda: 1), rules=Rules(), degraded=lambda _: None
        )

        async def close() -> None:
            self.closed.append(artifact.manifest.version)

        metrics = Metrics().of_model("tiny", artifact.manifest.version, arm)
        return ServedModel(artifact=artifact, arm=arm, scorer=scorer, recommender=recommender, metrics=metrics, close=close)


async def started(parts: Parts, root: Path, challenger: Path | None = None, **options: Any) -> ModelRegistry:
    """Start a registry that serves the artifact of `current`."""
    registry = ModelRegistry(parts.load, root / "current", challenger, **options)
    await registry.start(parts.load(root / "current"), (root / "current").resolve())
    return registry


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a folder of two artifacts in which `current` names v1."""
    artifacts.build(tmp_path, version="v2")
    artifacts.build(tmp_path, version="v1")
    return tmp_path


async def test_a_reload_serves_the_artifact_that_current_names(root: Path) -> None:
    parts = Parts()
    registry = await started(parts, root)
    before = registry.of("u").version

    switch(root, "v2")
    await registry.reload()
    await registry.close()

    assert before == "v1"
    assert parts.closed == ["v1", "v2"]


async def test_requests_in_flight_end_on_the_model_that_they_took(root: Path) -> None:
    parts = Parts()
    registry = await started(parts, root)

    with registry.of("u") as held:
        switch(root, "v2")
        await registry.reload()
        while_held = (held.version, registry.of("u").version, list(parts.closed))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert while_held == ("v1", "v2", [])
    assert parts.closed == ["v1"]
    await registry.close()


async def test_memory_is_returned_once_the_retired_model_is_gone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If something still held the model, there would be nothing to return."""
    registry = await started(Parts(), root)
    retired = weakref.ref(registry.current)
    returned = asyncio.Event()

    def trim() -> None:
        assert retired() is None
        loop.call_soon_threadsafe(returned.set)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr("service.scoring.registry.trim", trim)
    switch(root, "v2")
    await registry.reload()

    await asyncio.wait_for(returned.wait(), 20)
    await registry.close()


async def test_a_refused_artifact_changes_nothing(root: Path) -> None:
    parts = Parts()
    registry = await started(parts, root)
    os.truncate(root / "v2" / "weights.bin", 3)
    switch(root, "v2")

    with pytest.raises(ModelRefusedError, match=r"^weights\.bin is damaged"):
        await registry.reload()

    assert registry.of("u").version == "v1"
    assert parts.closed == []
    await registry.close()


async def test_the_watch_follows_current_past_a_damaged_artifact(root: Path) -> None:
    """A damaged artifact is refused once, not at every check. A sound one afterwards is used."""
    refusals, looked = list[int](), asyncio.Event()
    (root / "broken").mkdir()
    (root / "broken" / "manifest.json").write_text("{}")

    def refused() -> None:
        refusals.append(1)
        looked.set()

    registry = await started(Parts(), root, refused=refused)
    watching = asyncio.create_task(registry.watch(0.001))
    switch(root, "broken")
    await looked.wait()
    served = registry.of("u").version
    switch(root, "v2")
    while registry.of("u").version != "v2":  # noqa: ASYNC110  # the watch tells nobody
        await asyncio.sleep(0.001)
    watching.cancel()

    assert (served, len(refusals)) == ("v1", 1)
    await registry.close()


async def test_a_refused_challenger_is_logged_and_counted(root: Path, logged: list[MutableMapping[str, Any]]) -> None:
    """It answers nobody, and the current model is not affected."""
    refusals = list[int]()
    os.truncate(root / "v2" / "weights.bin", 3)

    registry = await started(Parts(), root, root / "v2", share=1.0, refused=lambda: refusals.append(1))
    await registry.close()
    [line] = [line for line in logged if line["log_level"] == "error"]

    assert refusals == [1]
    assert (line["event"], line["arm"]) == ("a new artifact is refused; the model in use goes on", "challenger")


async def test_a_challenger_that_is_not_there_is_warned_about_once(root: Path, logged: list[MutableMapping[str, Any]]) -> None:
    """The log names its folder. Once an artifact is there, it is used."""
    registry = await started(Parts(), root, root / "challenger", share=1.0)
    await registry.reload()
    warnings = [line for line in logged if line["log_level"] == "warning"]
    (root / "challenger").symlink_to("v2")
    await registry.reload()
    version = registry.of("u").version
    await registry.close()

    assert [line["folder"] for line in warnings] == [str(root / "challenger")]
    assert version == "v2"


async def test_a_challenger_answers_its_share_of_listeners_and_always_the_same_ones(root: Path) -> None:
    (root / "challenger").symlink_to("v2")
    registry = await started(Parts(), root, root / "challenger", share=0.3)
    users = [f"user {number}" for number in range(2_000)]

    answered = {user: registry.of(user).version for user in users}

    assert 0.25 < list(answered.values()).count("v2") / len(users) < 0.35
    assert all((share_of(user) < 0.3) == (answered[user] == "v2") for user in users)
    assert registry.of(None).version == "v1"
    await registry.close()


async def test_a_challenger_that_goes_away_leaves_everybody_to_the_current_model(root: Path) -> None:
    parts = Parts()
    (root / "challenger").symlink_to("v2")
    registry = await started(parts, root, root / "challenger", share=1.0)
    before = registry.of("u").version

    (root / "challenger").unlink()
    await registry.reload()
    after = registry.of("u").version
    await registry.close()

    assert (before, after) == ("v2", "v1")
    assert parts.closed.count("v2") == 1


async def test_a_shadow_answers_nobody(root: Path) -> None:
    (root / "challenger").symlink_to("v2")
    registry = await started(Parts(), root, root / "challenger", share=1.0, shadow=True)

    assert registry.of("u").version == "v1"
    assert registry.shadow is not None
    assert registry.shadow.version == "v2"
    await registry.close()
