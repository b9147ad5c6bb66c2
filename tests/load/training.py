"""`python -m tests.load.training`: measures how fast a log becomes a model: seconds, rate and peak memory of each step.

The steps are the import (CSV and Parquet), folding events into histories, training steps of a recipe, and evaluation, all on
made-up events. Each step runs in a process of its own, so that peak memory belongs to it. `--profile` also shows where the
time goes: Python's functions by their own time, and torch's operations for training.
"""

import argparse
import cProfile
import json
import os
import pstats
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from io import StringIO
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

if TYPE_CHECKING:
    from training.data.split import Split

TOP = 12
"""Lines of a profile."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """The amount of made-up data, and the numbers of tracks and threads for training."""

    events: int = 1_000_000
    tracks: int = 100_000
    threads: int = 1
    windows: int = 4_000
    recipe: str = "nexttrack"


Step = Callable[[Size, Path], tuple[str, int, float]]
"""A step works in a folder. It returns the unit of its work, the amount, and the seconds."""


def main() -> None:
    """Measure all steps, or one step in a child process."""
    options = parser().parse_args()
    size = Size(events=options.events, windows=options.windows, recipe=options.recipe)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_events(size, folder)
        for step in ("import_csv", "import_parquet", "fold"):
            _show(step, run(step, size, folder, profile=options.profile))
        for tracks in options.tracks:
            for threads in options.threads:
                sized = replace(size, tracks=tracks, threads=threads)
                _show(f"train, {tracks:,} tracks, {threads} threads", run("train", sized, folder, profile=options.profile))
            _show(
                f"evaluate, {tracks:,} tracks", run("evaluate", replace(size, tracks=tracks), folder, profile=options.profile)
            )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m tests.load.training", description=str(__doc__).partition("\n")[0])
    made.add_argument("--events", type=int, default=1_000_000, help="size of the imported log")
    made.add_argument("--tracks", type=int, nargs="+", default=[10_000, 100_000], help="catalogue sizes to train over")
    made.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers of torch threads")
    made.add_argument("--windows", type=int, default=4_000, help="sequences to train on, each a full history long")
    made.add_argument("--recipe", default="nexttrack")
    made.add_argument("--profile", action="store_true", help="also show where the time goes")
    return made


def run(step: str, size: Size, folder: Path, *, profile: bool = False) -> Mapping[str, str | float]:
    """Run a step in a process of its own. Returns unit, amount, seconds, peak memory in MB, and the profile."""
    order = {"step": step, "folder": str(folder), "profile": profile, "size": {n: getattr(size, n) for n in Size.__slots__}}
    environment = {**os.environ, "OMP_NUM_THREADS": str(size.threads), "OMP_WAIT_POLICY": "passive"}
    code = f"from tests.load.training import child; child({json.dumps(json.dumps(order))})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"{step} failed: {done.stderr.strip()[-2000:]}")
    found: dict[str, str | float] = json.loads(done.stdout.rpartition("\n")[2])
    return found


def child(text: str) -> None:
    """Run one order in the child process, and print its result as a JSON line."""
    order = json.loads(text)
    size, folder = Size(**order["size"]), Path(order["folder"])
    for module in (
        "training.data.import_log",
        "training.data.sequences",
        "training.recipe",
        "training.fitting.fit",
        "training.evaluation.evaluate",
    ):
        import_module(module)  # import before the clock starts
    profiler = cProfile.Profile()
    if order["profile"]:
        profiler.enable()
    unit, amount, seconds = STEPS[order["step"]](size, folder)
    profiler.disable()
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1e-6 if sys.platform == "darwin" else 1024e-6)
    where = _functions(profiler) if order["profile"] else ""
    if order["profile"] and order["step"] == "train":
        where += _operations(size, folder)
    found = {"unit": unit, "amount": amount, "seconds": seconds, "peak_mb": peak_mb, "profile": where}
    sys.stdout.write("\n" + json.dumps(found))


def write_events(size: Size, folder: Path) -> None:
    """Write `events.csv` and `events.parquet`: listeners who hear about a hundred tracks each, in the order of posting."""
    random = np.random.default_rng(0)
    plays = size.events // 2
    user, track = random.integers(0, max(1, plays // 100), plays), _tracks(random, plays, size.tracks)
    at_ms = 1_767_571_200_000 + np.sort(random.integers(0, 28 * 86_400_000, plays))
    skipped, heard = random.random(plays) < 0.3, random.integers(30_000, 240_000, plays)
    played = pl.DataFrame({"user_id": user, "track_id": track, "at_ms": at_ms}).with_columns(
        pl.format("u{}", "user_id").alias("user_id"), pl.format("t{}", "track_id").alias("track_id")
    )
    ended = played.with_columns(
        at_ms=pl.col("at_ms") + pl.Series(np.where(skipped, heard // 10, heard)),
        type=pl.Series(np.where(skipped, "skip", "complete")),
        played_ms=pl.Series(np.where(skipped, heard // 10, heard)),
    )
    events = pl.concat([played.with_columns(type=pl.lit("play")), ended], how="diagonal").sort("at_ms")
    events.write_csv(folder / "events.csv")
    events.write_parquet(folder / "events.parquet")


def _import(kind: str) -> Step:
    def step(size: Size, folder: Path) -> tuple[str, int, float]:
        from training.data.import_log import import_log

        started = perf_counter()
        import_log("canonical", [str(folder / f"events.{kind}")], folder / "log", force=True)
        return "events", size.events, perf_counter() - started

    return step


def _fold(size: Size, folder: Path) -> tuple[str, int, float]:
    from training.data.log import open_log
    from training.data.sequences import build
    from training.recipe import read_recipe

    started = perf_counter()
    build(open_log(folder / "log"), read_recipe(size.recipe).history)
    return "events", size.events, perf_counter() - started


def _train(size: Size, folder: Path) -> tuple[str, int, float]:
    import torch

    from training.fitting.fit import fit
    from training.recipe import read_recipe

    torch.set_num_threads(size.threads)
    recipe = read_recipe(size.recipe)
    recipe = replace(recipe, fit=replace(recipe.fit, epochs=1))
    with tempfile.TemporaryDirectory(dir=folder) as run_folder:
        fitted = fit(recipe, _split(size), lambda _: {recipe.fit.select: 0.0}, folder=Path(run_folder))
    return "sequences", fitted.sequences, fitted.seconds


def _evaluate(size: Size, _: Path) -> tuple[str, int, float]:
    import torch

    from model.nets import build
    from training.data.split import TEST
    from training.evaluation.cases import select_cases
    from training.evaluation.evaluate import evaluate
    from training.evaluation.rankers import NetworkRanker
    from training.recipe import read_recipe

    torch.set_num_threads(size.threads)
    recipe, split = read_recipe(size.recipe), _split(size)
    network = build(recipe.network, len(split.vocabulary), recipe.history.length)
    cases = select_cases(split, TEST, cap=2_000)
    started = perf_counter()
    evaluate(NetworkRanker.of("model", network), cases, length=recipe.history.length)
    return "cases", len(cases), perf_counter() - started


STEPS: Mapping[str, Step] = {
    "import_csv": _import("csv"),
    "import_parquet": _import("parquet"),
    "fold": _fold,
    "train": _train,
    "evaluate": _evaluate,
}


def _split(size: Size) -> "Split":
    """Make listeners with ten entries more than a history holds. Every track occurs, popular ones more often."""
    from training.data.sequences import Sequences
    from training.data.split import split
    from training.recipe import SplitRule

    random, each = np.random.default_rng(0), 60
    total = size.windows * each
    track = _tracks(random, total, size.tracks).astype(np.int32)
    met = min(size.tracks, total)
    track[random.choice(total, met, replace=False)] = np.arange(met)
    sequences = Sequences(
        tracks=[f"t{number}" for number in range(size.tracks)],
        users=[f"u{number}" for number in range(size.windows)],
        offsets=np.arange(size.windows + 1) * each,
        user=np.arange(size.windows, dtype=np.int32),
        track=track,
        outcome=random.choice(np.array([1, 1, 2], np.int8), total),
        at_ms=1_767_571_200_000 + np.tile(np.arange(each) * 60_000, size.windows),
        session=np.zeros(total, np.int32),
        asked=np.ones(total, np.bool_),
        part=np.full(total, -1, np.int8),
    )
    return split(sequences, SplitRule())


def _tracks(random: np.random.Generator, count: int, size: int) -> npt.NDArray[np.int64]:
    """Draw tracks: track n with a probability of about 1 / (n + 1)."""
    numbers: npt.NDArray[np.int64] = np.exp(random.random(count) * np.log(size + 1)).astype(np.int64) - 1
    return np.minimum(numbers, size - 1)


def _functions(profiler: cProfile.Profile) -> str:
    text = StringIO()
    pstats.Stats(profiler, stream=text).strip_dirs().sort_stats("tottime").print_stats(TOP)
    return text.getvalue().partition("ncalls")[2]


def _operations(size: Size, folder: Path) -> str:
    """Profile torch's operations in another run of the training."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as found:
        _train(size, folder)
    return str(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=TOP, max_name_column_width=40))


def _show(name: str, found: Mapping[str, str | float]) -> None:
    amount, seconds = float(found["amount"]), float(found["seconds"])
    rate = f"{amount / seconds:,.0f} {found['unit']} a second"
    shown = f"{name:<36} {seconds:8.2f} s  {rate:<28} peak {float(found['peak_mb']):,.0f} MB"
    print(shown, flush=True)  # noqa: T201  # a terminal program
    if found["profile"]:
        print(found["profile"])  # noqa: T201  # as above


if __name__ == "__main__":
    main()
