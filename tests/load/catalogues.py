"""`python -m tests.load.catalogues`: measures the cost of training by catalogue size, with sparse and dense tables.

Each size runs in a process of its own, so that peak memory belongs to it. The log is invented: a million events of 20,000
listeners, with tracks by Zipf's law. Every track is in the vocabulary, whether it was played or not. The recipe is one epoch of
`nexttrack` in batches of 64, cut to a number of steps. It prints a JSON line for each size. Times are CPU seconds, which other
work on the machine does not lengthen.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from io import StringIO
from itertools import islice
from pathlib import Path
from time import perf_counter, process_time
from unittest import mock

import numpy as np
import torch
from rich.console import Console

from model.events import Outcome
from model.nets.network import Network
from model.vocabulary import FIRST, Vocabulary
from training.data.sequences import Sequences
from training.data.split import TEST, TRAIN, VALID, Split
from training.evaluation.cases import select_cases
from training.evaluation.evaluate import evaluate
from training.evaluation.rankers import NetworkRanker
from training.fitting.batches import Batch, Windows
from training.fitting.checkpoint import CHECKPOINT
from training.fitting.fit import fit
from training.recipe import read_recipe

LISTENERS, PLAYS = 20_000, 50


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m tests.load.catalogues", description=str(__doc__).partition("\n")[0])
    made.add_argument("--tracks", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    made.add_argument("--tables", nargs="+", default=["sparse", "dense"], choices=["sparse", "dense"])
    made.add_argument("--steps", type=int, default=50)
    made.add_argument("--cases", type=int, default=64, help="number of cases to validate on")
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--here", action="store_true", help="measure the first size and kind of tables in this process")
    return made


def main() -> None:
    """Measure each size and kind of tables in a process of its own, or one in this process with `--here`."""
    options = parser().parse_args()
    if options.here:
        print(json.dumps(measure(options)))  # noqa: T201  # a terminal program
        return
    for tracks in options.tracks:
        for tables in options.tables:
            rest = [f"--{name}={getattr(options, name)}" for name in ("steps", "cases", "threads")]
            words = [sys.executable, "-m", "tests.load.catalogues", "--here", f"--tracks={tracks}", f"--tables={tables}", *rest]
            subprocess.run(words, check=False)


def measure(options: argparse.Namespace) -> Mapping[str, object]:
    """Train the given number of steps, validate, and write a checkpoint. Returns figures by name."""
    torch.set_num_threads(options.threads)
    tracks, tables = options.tracks[0], options.tables[0]
    split = made_up(tracks)
    log_mb = _peak_mb()
    recipe = read_recipe("nexttrack")
    recipe = replace(recipe, fit=replace(recipe.fit, tables=tables, epochs=1, batch=64))
    cases = select_cases(split, VALID, cap=options.cases)
    validated: list[float] = []

    def validate(network: Network) -> Mapping[str, float]:
        started = perf_counter()
        values = evaluate(NetworkRanker.of("made up", network), cases, length=recipe.history.length).values
        validated.append(perf_counter() - started)
        return values

    batches, clock = Windows.batches, list[float]()

    def few(windows: Windows, *args: int, **kwargs: int) -> Iterator[Batch]:
        for batch in islice(batches(windows, *args, **kwargs), options.steps + 1):
            clock.append(process_time())  # the first step creates the optimiser's state, so timing starts at its end
            yield batch

    started = perf_counter()
    with tempfile.TemporaryDirectory(prefix="catalogues-") as name, mock.patch.object(Windows, "batches", few):
        fitted = fit(recipe, split, validate, folder=Path(name), console=Console(file=StringIO()))
        left = sum(file.stat().st_size for file in Path(name).iterdir())
        checkpoint = (Path(name) / CHECKPOINT).stat().st_size
    whole = perf_counter() - started
    return {
        "tracks": tracks,
        "tables": tables,
        "cpu_ms_a_step": round(1000 * (clock[-1] - clock[1]) / (len(clock) - 2), 1),
        "peak_mb": _peak_mb(),
        "of_it_log_and_vocabulary_mb": log_mb,
        "checkpoint_mb": checkpoint >> 20,
        "with_best_weights_mb": left >> 20,
        "ms_a_validation_case": round(1000 * validated[0] / len(cases), 1),
        "s_for_the_rest": round(whole - fitted.seconds - validated[0], 1),
    }


def made_up(tracks: int) -> Split:
    """Make a million plays: the first 45 of each listener to train on, then three to validate and two to test."""
    random = np.random.default_rng(1)
    size = LISTENERS * PLAYS
    row = (FIRST + np.exp(random.random(size) * np.log(tracks)) - 1).astype(np.int32)
    names = [f"track:{number:022d}" for number in range(tracks)]
    part = np.tile(np.repeat(np.array([TRAIN, VALID, TEST], np.int8), (PLAYS - 5, 3, 2)), LISTENERS)
    sequences = Sequences(
        tracks=names,
        users=[f"u{number}" for number in range(LISTENERS)],
        offsets=np.arange(LISTENERS + 1, dtype=np.int64) * PLAYS,
        user=np.arange(LISTENERS, dtype=np.int32),
        track=row - FIRST,
        outcome=np.where(random.random(size) < 0.3, Outcome.SKIPPED, Outcome.PLAYED).astype(np.int8),
        at_ms=np.tile(np.arange(PLAYS, dtype=np.int64) * 200_000, LISTENERS),
        session=np.zeros(size, np.int32),
        asked=np.ones(size, np.bool_),
        part=part,
    )
    return Split(sequences=sequences, vocabulary=Vocabulary(names), part=part, row=row)


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


if __name__ == "__main__":
    main()
