"""Runs one training in a process of its own, ours or the peer's, and collects its figures."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from model.nets.config import NetworkConfig
from tests.load.peers.exchange import read_lists, write_split
from tests.load.systems import SystemSkippedError
from training.data.split import TEST, VALID, Split
from training.evaluation.cases import select_cases
from training.recipe import CalibrationRule, FitRule, LossRule, Recipe, SessionMemoryRule

QUALITIES = ("hr@20", "ndcg@10", "mrr@20")


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """The shape and the training settings of a SASRec of either side."""

    width: int = 64
    layers: int = 2
    heads: int = 2
    dropout: float = 0.2
    loss: Literal["sampled", "full"] = "sampled"  # kind of softmax
    negatives: int = 256  # for the sampled softmax: RecTools draws them for each position, we for a batch
    batch: int = 128
    learning_rate: float = 1e-3
    epochs: int = 5
    patience: int = 5  # epochs without a better one before a run ends


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """The figures of a run's best epoch on both parts, and its costs."""

    valid: Mapping[str, float]
    test: Mapping[str, float]
    epochs: int
    best_epoch: int  # counted from 1
    sequences_per_second: float  # of training steps over all epochs; for ours with the start before the first
    seconds_to_best: float  # seconds of the same until the end of the best epoch
    peak_mb: float  # resident memory of the whole process, evaluation included


def same_network(recipe: Recipe, shape: Shape) -> Recipe:
    """Return our network in the peer's shape, blind to outcomes like the peer, trained as the recipe says. Nothing is
    calibrated.
    """
    blind = NetworkConfig(
        width=shape.width,
        layers=shape.layers,
        heads=shape.heads,
        feed_forward=shape.width,
        dropout=shape.dropout,
        outcomes=False,
        artists=False,
        item_bias=False,
    )
    return replace(
        recipe,
        name="sasrec, ours",
        network=blind,
        loss=LossRule(main=recipe.loss.main, negatives=recipe.loss.negatives, targets="all"),
        fit=replace(recipe.fit, select="ndcg@10"),
        calibration=CalibrationRule(),
        session_memory=SessionMemoryRule(),
    )


def same_training(recipe: Recipe, shape: Shape) -> Recipe:
    """Return the same network trained like the peer: the newest window of each listener, and a constant learning rate.

    Our warm-up is longer than a whole short run, so it is off.
    """
    return replace(
        same_network(recipe, shape),
        loss=LossRule(main=shape.loss, negatives=shape.negatives, targets="all"),
        fit=FitRule(
            windows="newest",
            batch=shape.batch,
            learning_rate=shape.learning_rate,
            warmup=0,
            epochs=shape.epochs,
            patience=shape.patience,
            select="ndcg@10",
            valid_cases=recipe.fit.valid_cases,
        ),
    )


def run_ours(recipe: Recipe, log: Path, folder: Path, *, cases: int | None, threads: int) -> Trained:
    """Train one of our recipes from its first step. Results of an earlier call in the folder are not used."""
    shutil.rmtree(folder / "run", ignore_errors=True)
    settings = {"recipe": recipe.as_dict(), "log": str(log.resolve()), "cases": cases, "threads": threads}
    peak_mb = _run([sys.executable, "-m", "tests.load.peers.with_ours", str(folder)], folder, settings)
    measured = json.loads((folder / "measured.json").read_text("utf-8"))
    return _trained(folder, peak_mb, *(measured[part]["values"] for part in ("valid", "test")))


def run_rectools(
    python: Path, split: Split, recipe: Recipe, shape: Shape, folder: Path, *, ligr: bool, cases: int | None, threads: int
) -> Trained:
    """Train RecTools' SASRec on an exported split, or its eSASRec with `ligr`."""
    valid, test = (select_cases(split, part, cap=cases) for part in (VALID, TEST))
    folder.mkdir(parents=True, exist_ok=True)
    write_split(split, valid, test, folder)
    settings = {**asdict(shape), "ligr": ligr, "length": recipe.history.length, "seed": recipe.seed, "threads": threads}
    script = Path(__file__).parent / "with_rectools.py"
    peak_mb = _run([str(python), str(script), str(folder)], folder, {**settings, "rows": len(split.vocabulary)})
    lists = [
        read_lists("rectools", asked, folder / f"{part}-lists.npz").values for part, asked in (("valid", valid), ("test", test))
    ]
    return _trained(folder, peak_mb, *lists)


def _run(command: Sequence[str], folder: Path, settings: Mapping[str, Any]) -> float:
    """Run a command to its end and return its peak memory in MB. SystemSkippedError, with its last line, if it fails or ends
    too early.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "epochs.jsonl").unlink(missing_ok=True)
    (folder / "settings.json").write_text(json.dumps(settings), "utf-8")
    threads = str(settings["threads"])
    with (folder / "output.txt").open("wb") as output:
        # like our trainer: spinning threads would take the cores from other work on the machine
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OMP_WAIT_POLICY": "passive"}
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        last = (folder / "output.txt").read_text("utf-8", errors="replace").strip().rpartition("\n")[2]
        raise SystemSkippedError(f"{command[-2]} ended with code {process.returncode}: {last}")
    if not (folder / "epochs.jsonl").exists():  # Lightning exits with code 0 when it is interrupted
        raise SystemSkippedError(f"{command[-2]} ended before its first epoch was over")
    return usage.ru_maxrss / 1000


def _trained(folder: Path, peak_mb: float, valid: Mapping[str, float], test: Mapping[str, float]) -> Trained:
    epochs = [json.loads(line) for line in (folder / "epochs.jsonl").read_text("utf-8").splitlines()]
    best = max(range(len(epochs)), key=lambda place: epochs[place]["score"])
    return Trained(
        valid={key: valid[key] for key in QUALITIES},
        test={key: test[key] for key in QUALITIES},
        epochs=len(epochs),
        best_epoch=best + 1,
        sequences_per_second=sum(epoch["sequences"] for epoch in epochs) / sum(epoch["seconds"] for epoch in epochs),
        seconds_to_best=sum(epoch["seconds"] for epoch in epochs[: best + 1]),
        peak_mb=peak_mb,
    )
