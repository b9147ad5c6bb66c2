"""`run` has nothing to do if the artifact in use was made from the same log, recipe and code."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from model.versions import switch
from training.data.import_log import import_log
from training.data.log import Log
from training.publication import made_from, record, still_current
from training.recipe import Recipe
from training.run_folder import PUBLISHED, find, prepare, prepare_below

RECIPE = Recipe(name="one")


def log_of(folder: Path, *, title: str = "Song", events: int = 9) -> Log:
    """Write a log into `folder`."""
    rows = "".join(f"u,t{place % 3},{title},{1_700_000_000 + 60 * place},play\n" for place in range(events))
    (folder / "plays.csv").write_text("user_id,track_id,title,at_s,type\n" + rows)
    return import_log("canonical", [str(folder / "plays.csv")], folder / "log", force=True)


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A folder of source files."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "fit.py").write_text("STEPS = 1\n")
    return tmp_path / "code"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of artifacts whose current one is called `new`."""
    for name in ("old", "new"):
        (tmp_path / "artifacts" / name).mkdir(parents=True)
    switch(tmp_path / "artifacts", "new")
    return tmp_path / "artifacts"


def test_an_artifact_from_the_same_log_and_code_is_still_current(tmp_path: Path, root: Path, code: Path) -> None:
    """The log may have been imported again, by the same command or another."""
    record(tmp_path, "new", made_from(log_of(tmp_path), 200, [code]))

    assert still_current(tmp_path, made_from(log_of(tmp_path), 200, [code]), root) == "new"


CHANGES: dict[str, Callable[[Path], object]] = {
    "code": lambda folder: (folder / "code" / "fit.py").write_text("STEPS = 2\n"),
    "a new module": lambda folder: (folder / "code" / "late.py").touch(),
    "a title": lambda folder: log_of(folder, title="Tune"),
    "the artifact in use": lambda folder: switch(folder / "artifacts", "old"),
    "the artifact is gone": lambda folder: (folder / "artifacts" / "new").rmdir(),
    "the record is damaged": lambda folder: (folder / PUBLISHED).write_text("{"),
    "the record is gone": lambda folder: (folder / PUBLISHED).unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_an_artifact_depends_on_makes_it_old(tmp_path: Path, root: Path, code: Path, change: str) -> None:
    """A model is then published again. The test above shows that without a change it is not."""
    log = log_of(tmp_path)
    record(tmp_path, "new", made_from(log, 200, [code]))
    CHANGES[change](tmp_path)

    assert still_current(tmp_path, made_from(log, 200, [code]), root) is None


def test_another_number_of_test_cases_is_another_measurement(tmp_path: Path, root: Path, code: Path) -> None:
    """The artifact carries what was measured."""
    log = log_of(tmp_path)
    record(tmp_path, "new", made_from(log, 200, [code]))

    assert still_current(tmp_path, made_from(log, None, [code]), root) is None


def test_a_run_is_found_by_its_recipe_and_the_content_of_its_log(tmp_path: Path) -> None:
    """It is looked for below the folder of runs, or in the folder that was given."""
    log = log_of(tmp_path)
    below, given = prepare_below(tmp_path / "runs", log, RECIPE).folder, tmp_path / "mine"
    assert find(log, RECIPE, tmp_path / "runs", given) is None
    prepare(log, RECIPE, given)

    assert find(log, RECIPE, tmp_path / "runs") == below
    assert find(log, RECIPE, tmp_path / "runs", given) == given
    assert find(log, replace(RECIPE, seed=2), tmp_path / "runs", given) is None
    assert find(log_of(tmp_path, events=8), RECIPE, tmp_path / "runs") is None
