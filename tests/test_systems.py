"""Each published system from training to service: its recipe is trained small, exported, served and replayed by the same
code.
"""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from model.artifact import load
from tests.test_end_to_end import served
from training import run
from training.data.log import Log, open_log
from training.recipe import read_recipe
from training.replaying.replay import replay
from training.run_folder import prepare
from training.simulator.simulate import simulate

SMALL = "network.width=16,network.feed_forward=16,network.layers=1,fit.epochs=1,fit.valid_cases=50"


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    """Simulate a small log."""
    return simulate(tmp_path_factory.mktemp("systems") / "log", listeners=40, tracks=120, artists=20)


@pytest.mark.systems
@pytest.mark.parametrize("name", ["seshadri-knees", "seshadri-knees-masked", "mei", "sine", "positives", "nexttrack"])
def test_system_is_served_as_it_was_evaluated(name: str, log: Log, tmp_path: Path) -> None:
    """With their events posted one by one, listeners get exactly the lists that the trainer's own runtime gives."""
    console = Console(file=StringIO())
    heads = ",network.heads=1" if name == "sine" else ",network.heads=2"
    current = prepare(log, read_recipe(f"{name}:{SMALL}{heads}"), tmp_path / "run")
    artifact = run.publish(current, run.train(current, console), {"hr@20": 0.0}, tmp_path / "artifacts")
    with served(tmp_path) as url:
        replayed = replay(open_log(log.folder), artifact, url, listeners=6)

    assert replayed.online.counts["cases"] > 20
    assert (replayed.same, replayed.degraded) == (1.0, 0), replayed.differences


@pytest.mark.systems
def test_new_tracks_are_served_as_they_were_evaluated(log: Log, tmp_path: Path) -> None:
    """Tracks with fewer than 20 plays are new here, by the artist's vector. Histories and targets have them."""
    console = Console(file=StringIO())
    recipe = read_recipe(f"nexttrack:{SMALL},network.heads=2,split.min_count=20,new_tracks=true")
    current = prepare(log, recipe, tmp_path / "run")
    artifact = run.publish(current, run.train(current, console), {"hr@20": 0.0}, tmp_path / "artifacts")
    with served(tmp_path) as url:
        replayed = replay(open_log(log.folder), artifact, url, listeners=6)

    assert len(load(artifact).vocabulary) > len(current.split.vocabulary) + 10
    assert replayed.online.counts["unknown"] == 0
    assert replayed.online.counts["cases"] > 20
    assert (replayed.same, replayed.degraded) == (1.0, 0), replayed.differences
