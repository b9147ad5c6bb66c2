"""`python -m tests.load.peers LOG --recipe RECIPE`: trains RecTools' SASRec and eSASRec and ours on the same work.

All rows share one split, one history rule, the full catalogue, our metrics, and the number of threads. They run one after the
other, each in a process of its own. Each writes a JSON line: HR@20, NDCG@10, MRR@20, sequences a second, seconds of training
to the best validation score, and peak memory. All learn from the training part alone, so our recipes do not refit here. The
rows:

    RECIPE              ours, as its recipe says
    sasrec, ours        our network in RecTools' shape (no outcomes, no biases; width, blocks, dropout), trained as RECIPE is
    sasrec, ours alike  the same, trained like RecTools: its loss, batch, rate and windows, so the same sequences
    sasrec, rectools    RecTools' SASRec
    esasrec, rectools   the same with LiGR blocks

The last three run once for each of `--rates`. Their row is the run that was best on validation, and `grid` has the validation
figures of all runs. The best of a run's `--epochs` counts, and `--patience` epochs without a better one end the run. If
RecTools cannot be installed, its rows say why.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from tests.load.peers.environment import rectools_python
from tests.load.peers.runs import Shape, Trained, run_ours, run_rectools, same_network, same_training
from tests.load.systems import SystemSkippedError
from training.data.log import open_log
from training.data.sequences import build
from training.data.split import split
from training.machine import processor
from training.recipe import read_recipe


def main() -> None:
    """Run all rows, print them, and save them."""
    options = _options()
    recipe, folder = read_recipe(options.recipe), options.cache / "peers" / options.log.resolve().name
    recipe = replace(recipe, fit=replace(recipe.fit, refit=False))
    shapes = [
        Shape(loss=options.loss, learning_rate=rate, **{name: getattr(options, name) for name in _GIVEN})
        for rate in options.rates
    ]
    work = {"cases": options.cases, "threads": options.threads}

    def ours() -> dict[str, object]:
        return _row(run_ours(recipe, options.log, folder / "ours", **work))

    def ours_as_wide() -> dict[str, object]:
        return _row(run_ours(same_network(recipe, shapes[0]), options.log, folder / "network", **work))

    def ours_alike() -> dict[str, object]:
        def one(shape: Shape) -> Trained:
            return run_ours(same_training(recipe, shape), options.log, folder / f"alike-{shape.learning_rate:g}", **work)

        return _best(shapes, [one(shape) for shape in shapes])

    def rectools(*, ligr: bool) -> dict[str, object]:
        python = rectools_python(options.cache)
        cut = split(build(open_log(options.log), recipe.history), recipe.split)
        place = folder / ("esasrec" if ligr else "sasrec")
        return _best(shapes, [run_rectools(python, cut, recipe, shape, place, ligr=ligr, **work) for shape in shapes])

    rows: dict[str, Callable[[], dict[str, object]]] = {
        "sasrec, rectools": lambda: rectools(ligr=False),
        "sasrec, ours alike": ours_alike,
        "sasrec, ours": ours_as_wide,
        "esasrec, rectools": lambda: rectools(ligr=True),
        recipe.name: ours,
    }
    for name, measure in rows.items():
        if options.only in name:
            try:
                row = measure()
            except SystemSkippedError as error:
                row = {"skipped": str(error)}
            _keep({"system": name, "log": options.log.resolve().name, **work, **row}, options.out)


_GIVEN = ("width", "layers", "heads", "dropout", "negatives", "batch", "epochs", "patience")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m tests.load.peers", description=str(__doc__).partition("\n")[0])
    made.add_argument("log", type=Path, help="folder of an imported or simulated log")
    made.add_argument("--recipe", default="nexttrack", help="our recipe, whose history and split all rows use")
    made.add_argument("--cache", type=Path, default=Path(".nexttrack/load"), help="folder of runs and of RecTools' environment")
    made.add_argument("--out", type=Path, help="file for the JSON lines; default: peers.jsonl in the cache")
    made.add_argument("--threads", type=int, default=2)
    made.add_argument("--cases", type=int, help="most cases of each part, the same for all rows; default: all")
    made.add_argument("--rates", type=float, nargs="+", default=[1e-3, 3e-3], help="learning rates to try for RecTools")
    made.add_argument("--loss", choices=["sampled", "full"], default=Shape().loss, help="RecTools' softmax")
    for name in _GIVEN:
        default = getattr(Shape(), name)
        made.add_argument(f"--{name}", type=type(default), default=default)
    made.add_argument("--only", default="", help="only rows whose name contains this text")
    return made


def _options() -> argparse.Namespace:
    options = parser().parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    options.out = options.out or options.cache / "peers.jsonl"
    return options


def _best(shapes: Sequence[Shape], runs: Sequence[Trained]) -> dict[str, object]:
    """Return the row of the run that was best on validation, with the validation figures of all runs."""
    best = max(range(len(runs)), key=lambda number: runs[number].valid["ndcg@10"])
    grid = [{"learning_rate": shape.learning_rate, **found.valid} for shape, found in zip(shapes, runs, strict=True)]
    return {**_row(runs[best]), "shape": asdict(shapes[best]), "grid": grid}


def _row(found: Trained) -> dict[str, object]:
    return asdict(found)


def _keep(row: dict[str, object], out: Path) -> None:
    row |= {
        "machine": processor(),
        "at": datetime.now(UTC).isoformat(),
    }
    line = json.dumps(row, ensure_ascii=False)
    print(line, flush=True)  # noqa: T201  # a terminal program
    with out.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


if __name__ == "__main__":
    main()
