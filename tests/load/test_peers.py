"""The comparison with a peer: exchanged files, figures of its lists, and no lost row if it cannot run."""

import json
import shutil
from math import log2
from pathlib import Path

import numpy as np
import pytest

from tests.load.peers import __main__ as peers
from tests.load.peers.exchange import read_lists, write_split
from tests.load.peers.runs import Shape, run_ours, run_rectools, same_network, same_training
from tests.load.systems import SystemSkippedError
from tests.training.logs import L, P, S, split_of
from training.data.split import TEST, VALID, Split
from training.evaluation.cases import select_cases
from training.recipe import read_recipe
from training.simulator.simulate import simulate

LINES = [("u", "a", P, "train"), ("u", "b", S, "train"), ("v", "c", L, "train"), ("v", "a", P, "train")]


def _split() -> Split:
    held_out = [("x", "a", P, "valid"), ("x", "b", P, "valid"), ("y", "c", P, "test"), ("y", "new", P, "test")]
    return split_of([*LINES, *held_out, ("y", "b", P, "test"), ("y", "a", S, "test")])


def test_peer_is_given_every_known_entry_of_the_training_part_and_the_evaluations_own_histories(tmp_path: Path) -> None:
    """A blind network reads every play, whatever its outcome. An unknown track is in no history but stays a target."""
    split = _split()
    row = split.vocabulary.row
    test = select_cases(split, TEST)

    write_split(split, select_cases(split, VALID), test, tmp_path)

    train, cases = np.load(tmp_path / "train.npz"), np.load(tmp_path / "test.npz")
    assert train["rows"].tolist() == [row("a"), row("b"), row("c"), row("a")]
    assert train["offsets"].tolist() == [0, 2, 4]
    histories = [cases["rows"][start:stop].tolist() for start, stop in zip(cases["starts"], cases["stops"], strict=True)]
    assert histories == [[], [row("c")], [row("c")], [row("c"), row("b")]]
    assert cases["target"].tolist() == [row("c"), row("new"), row("b"), row("a")]
    assert cases["wanted"].tolist() == [True, True, True, False]


def test_lists_become_figures_by_our_own_rules(tmp_path: Path) -> None:
    """By hand: first place, an unknown target, and a tie that counts against the target. The refused target is in no hit
    rate.
    """
    split = _split()
    cases, row = select_cases(split, TEST), split.vocabulary.row
    lists = [[row("c"), row("a"), row("b")]] * 2 + [[row("a"), row("b"), row("c")]] * 2
    np.savez(tmp_path / "lists.npz", lists=lists, scores=[[3.0, 2.0, 1.0]] * 2 + [[2.0, 2.0, 1.0]] * 2)

    found = read_lists("peer", cases, tmp_path / "lists.npz")

    assert found.values["hr@20"] == pytest.approx(2 / 3)
    assert found.values["ndcg@10"] == pytest.approx((1 + 0 + 1 / log2(3)) / 3)
    assert found.values["mrr@20"] == pytest.approx((1 + 0 + 1 / 2) / 3)
    assert found.values["refused@20"] == 1.0


def test_lists_of_other_cases_are_refused(tmp_path: Path) -> None:
    """A missing list would shift all that follow, so it is an error."""
    np.savez(tmp_path / "lists.npz", lists=np.zeros((3, 20), np.int32), scores=np.zeros((3, 20), np.float32))

    with pytest.raises(ValueError, match="3 cases; wanted 4"):
        read_lists("peer", select_cases(_split(), TEST), tmp_path / "lists.npz")


def test_peer_that_does_not_install_is_a_row_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a package index pip finds nothing. Both rows say so, and the run ends with code 0."""
    simulate(tmp_path / "log", listeners=20, tracks=40, artists=12)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    arguments = [str(tmp_path / "log"), "--cache", str(tmp_path / "cache"), "--only", "rectools"]
    monkeypatch.setattr("sys.argv", ["peers", *arguments])

    peers.main()

    rows = [json.loads(line) for line in (tmp_path / "cache" / "peers.jsonl").read_text().splitlines()]
    assert [row["system"] for row in rows] == ["sasrec, rectools", "esasrec, rectools"]
    assert all("No matching distribution found for rectools" in row["skipped"] for row in rows)


def test_peer_that_was_stopped_before_its_first_epoch_is_skipped(tmp_path: Path) -> None:
    """A run that ends early fails, although its code is 0. Results of an earlier run in the folder do not count."""
    (tmp_path / "epochs.jsonl").write_text('{"epoch": 0, "seconds": 1.0, "sequences": 2, "score": 0.5}\n')

    with pytest.raises(SystemSkippedError, match="before its first epoch"):
        run_rectools(
            Path(shutil.which("true") or ""),
            _split(),
            read_recipe("sasrec"),
            Shape(),
            tmp_path,
            ligr=False,
            cases=None,
            threads=1,
        )


def test_our_side_in_the_peers_shape_trains_in_a_process_and_is_measured(tmp_path: Path) -> None:
    """A blind network of the asked width trains for two epochs, whatever ran in the folder before.

    Its figures belong to the same cases, and its costs to its own process.
    """
    simulate(tmp_path / "log", listeners=20, tracks=40, artists=12)
    recipe = same_training(read_recipe("nexttrack"), Shape(width=8, layers=1, heads=1, negatives=20, epochs=2))
    (tmp_path / "run" / "run").mkdir(parents=True)
    (tmp_path / "run" / "run" / "run.json").write_text("{}")  # the run of another recipe

    found = run_ours(recipe, tmp_path / "log", tmp_path / "run", cases=50, threads=1)

    assert (found.epochs, 1 <= found.best_epoch <= 2) == (2, True)
    assert 0 <= found.test["mrr@20"] <= found.test["hr@20"] <= 1
    assert found.sequences_per_second > 0
    assert 0 < found.seconds_to_best < 60
    assert found.peak_mb > 50


def test_our_side_in_the_peers_shape_is_trained_as_the_peer_is() -> None:
    """None of our recipe's own schedule is left: the peer's loss, the newest windows, one learning rate, a random start."""
    shape = Shape(learning_rate=2e-3, epochs=4, patience=2, loss="full")
    alike = same_training(read_recipe("nexttrack:fit.start='cooccurrence'"), shape)
    fit = alike.fit

    assert not alike.network.outcomes
    assert (alike.loss.main, fit.windows) == ("full", "newest")
    assert (fit.learning_rate, fit.warmup, fit.decay, fit.weight_decay, fit.start) == (2e-3, 0, 1.0, 0.0, "random")
    assert (fit.epochs, fit.patience) == (4, 2)


def test_our_side_trained_our_way_differs_in_training_alone() -> None:
    """The network still has the peer's shape, and nothing is added to its scores afterwards."""
    recipe, shape = read_recipe("nowplaying"), Shape(width=32)
    ours = same_network(recipe, shape)

    assert ours.network == same_training(recipe, shape).network
    assert (ours.fit.start, ours.fit.tables, ours.fit.windows) == ("cooccurrence", "sparse", "all")
    assert not ours.session_memory.weights
