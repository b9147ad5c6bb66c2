"""A folder belongs to one run, which is recognised by its recipe and by the content of its log."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from tests.training.worlds import small_recipe
from training.__main__ import main
from training.data.import_log import import_log
from training.data.log import Log
from training.fitting.checkpoint import CHECKPOINT, RunError
from training.run_folder import CALIBRATION, CURRENT, REFIT, REPORT, RUN, prepare, prepare_below, prune, resume

RECIPE = small_recipe("one")


def log_of(folder: Path, *, skips: bool = False, plays: int = 12, artist: str = "Ann", title: str = "Song") -> Log:
    """Import a small log into `folder / log`, and replace one that is there."""
    kinds = ["complete", "skip"] if skips else ["complete"]
    rows = [
        {
            "user_id": f"u{user}",
            "track_id": f"t{(user + play) % 5}",
            "at_s": 1_767_225_600 + user * 977 + play * 200,
            "type": kinds[play % len(kinds)],
            "title": f"{title} {(user + play) % 5}",
            "artist": f"{artist} {(user + play) % 2}",
        }
        for user in range(6)
        for play in range(plays)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows).write_csv(folder / "plays.csv")
    return import_log("canonical", [str(folder / "plays.csv")], folder / "log", force=True)


def refusal(log: Log, folder: Path) -> str:
    """Return the error of `prepare` for a run's folder."""
    with pytest.raises(RunError) as caught:
        prepare(log, RECIPE, folder)
    return str(caught.value)


def test_same_log_imported_again_or_moved_is_the_same_run(tmp_path: Path) -> None:
    """Neither the path nor the time of the import counts. `run.json` names the log's current place."""
    prepare(log_of(tmp_path / "here"), RECIPE, tmp_path / "run")
    prepare(log_of(tmp_path / "here"), RECIPE, tmp_path / "run")
    moved = prepare(log_of(tmp_path / "there"), RECIPE, tmp_path / "run")

    assert json.loads((tmp_path / "run" / RUN).read_text())["log"] == str(tmp_path / "there" / "log")
    assert resume(tmp_path / "run").log.folder == moved.log.folder


def test_mended_log_of_the_same_size_is_another_run(tmp_path: Path) -> None:
    """Half of the plays became skips. Events, listeners, tracks and windows are as many as before."""
    prepare(log_of(tmp_path), RECIPE, tmp_path / "run")
    said = refusal(log_of(tmp_path, skips=True), tmp_path / "run")

    assert "holds another run: it learned from other events: 72 events of 6 listeners up to 2026-01-01T" in said
    assert f"`python -m training train {tmp_path}/log --run {tmp_path}/run --anew`" in said
    with pytest.raises(RunError, match="it learned from other events"):
        resume(tmp_path / "run")


def test_other_artists_are_another_run_and_other_titles_are_not(tmp_path: Path) -> None:
    """A model learns from artists. Titles are only shown."""
    prepare(log_of(tmp_path), RECIPE, tmp_path / "run")
    prepare(log_of(tmp_path, title="Tune"), RECIPE, tmp_path / "run")

    assert "it learned from other events" in refusal(log_of(tmp_path, artist="Ben"), tmp_path / "run")


def test_another_recipe_is_named_by_the_keys_that_differ(tmp_path: Path) -> None:
    """At most five of them are named."""
    log = log_of(tmp_path)
    prepare(log, RECIPE, tmp_path / "run")
    two = replace(RECIPE, loss=replace(RECIPE.loss, pair=0.5), fit=replace(RECIPE.fit, batch=8))
    many = replace(two, fit=replace(two.fit, epochs=9, patience=9, clip=9.0, warmup=9, decay=0.9))

    with pytest.raises(RunError, match=r"recipe has loss\.pair = 0\.0, not 0\.5; its recipe has fit\.batch = 32, not 8\. Name"):
        prepare(log, two, tmp_path / "run")
    with pytest.raises(RunError, match=r"; 2 more keys of its recipe differ\. Name"):
        prepare(log, many, tmp_path / "run")


def test_starting_anew_deletes_the_old_run_and_nothing_else(tmp_path: Path) -> None:
    """A folder may also hold a person's own files."""
    run = tmp_path / "run"
    prepare(log_of(tmp_path), RECIPE, run)
    (run / REFIT).mkdir()
    for name in (CHECKPOINT, "best-3.pt", CALIBRATION, REPORT, f"{REFIT}/{CHECKPOINT}", "notes.txt"):
        (run / name).write_text("old")
    prepare(log_of(tmp_path, skips=True), RECIPE, run, anew=True)

    assert sorted(path.name for path in run.iterdir()) == ["notes.txt", RUN]
    assert resume(run).log.folder == tmp_path / "log"


def test_checkpoint_without_its_identity_is_refused(tmp_path: Path) -> None:
    """Without `run.json`, nothing says which log the checkpoint is from."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / CHECKPOINT).write_text("")

    assert "has a checkpoint but no run.json" in refusal(log_of(tmp_path), tmp_path / "run")


def test_log_that_has_grown_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    """The same command continues the run with the same content. `current`, and so the folder above, means the run used last."""
    runs = tmp_path / "runs"
    first = prepare_below(runs, log_of(tmp_path), RECIPE)
    again = prepare_below(runs, log_of(tmp_path), RECIPE)
    grown = prepare_below(runs, log_of(tmp_path, plays=13), RECIPE)
    other = prepare_below(runs, log_of(tmp_path, plays=13), RECIPE.with_seed(2))

    assert first.folder == again.folder
    assert first.folder.parent == grown.folder.parent == runs / "log-one-1"
    assert first.folder != grown.folder
    assert other.folder.parent == runs / "log-one-2"
    assert resume(runs / "log-one-1").folder == grown.folder.resolve()
    log = log_of(tmp_path)
    assert prepare_below(runs, log, RECIPE).folder == first.folder
    assert (runs / "log-one-1" / CURRENT).resolve() == first.folder.resolve()


def test_oldest_runs_are_deleted_until_as_many_as_asked_for_are_left(tmp_path: Path) -> None:
    """The run in use stays whatever its age, and so do folders that are no runs."""
    runs = tmp_path / "runs"
    run = prepare_below(runs, log_of(tmp_path), RECIPE)
    parent = run.folder.parent
    for day in ("20250101", "20250102", "20990101"):
        shutil.copytree(run.folder, parent / f"{day}T000000-aaaaaa")
    (parent / "20240101T000000-notes").mkdir()
    deleted = prune(runs, run, 2)

    assert [path.name for path in deleted] == ["20250101T000000-aaaaaa", "20250102T000000-aaaaaa"]
    assert {path.name for path in parent.iterdir()} == {
        run.folder.name,
        "20990101T000000-aaaaaa",
        "20240101T000000-notes",
        CURRENT,
    }
    assert [path.name for path in prune(runs, run, 0)] == ["20990101T000000-aaaaaa"]
    assert (run.folder / RUN).exists()


def test_run_in_a_folder_of_its_own_choice_deletes_nothing(tmp_path: Path) -> None:
    """It is unknown whether the folders beside it are old runs of the same name."""
    prepare(log_of(tmp_path), RECIPE, tmp_path / "runs" / "old")
    run = prepare(log_of(tmp_path), RECIPE, tmp_path / "runs" / "new")

    assert prune(tmp_path / "other", run, 1) == []
    assert (tmp_path / "runs" / "old" / RUN).exists()


def test_commands_refuse_the_run_of_a_log_that_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It holds for `train`, `evaluate` and `export`. `--anew` trains a network on the new log."""
    recipe = tmp_path / "small.toml"
    recipe.write_text('name = "small"\n[network]\nwidth = 8\nlayers = 1\nheads = 2\n[fit]\nepochs = 1\nbatch = 8\n')
    train = ["train", str(log_of(tmp_path).folder), "--recipe", str(recipe), "--run", str(tmp_path / "run"), "--threads", "1"]
    assert main(train) == 0
    before = (tmp_path / "run" / CHECKPOINT).read_bytes()
    log_of(tmp_path, skips=True)
    for command in (train, ["evaluate", str(tmp_path / "run")], ["export", str(tmp_path / "run")]):
        capsys.readouterr()
        assert main(command) == 1
        assert "it learned from other events" in capsys.readouterr().err
    assert (tmp_path / "run" / CHECKPOINT).read_bytes() == before

    assert main([*train, "--anew"]) == 0
    assert (tmp_path / "run" / CHECKPOINT).read_bytes() != before
