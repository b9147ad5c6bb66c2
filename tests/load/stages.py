"""`python -m tests.load.stages LOG`: measures what each stage of a whole run costs, from the log to the artifact.

A stage is one of the functions that a run calls: reading the log, training, validation, each choice after it, each ranker of
the report, the export. It prints a JSON line for each: CPU seconds of the process, which other work on the machine does not
lengthen, seconds, and the largest memory of the process so far. A stage inside another counts for both. The last line is the
whole.
"""

import argparse
import json
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import perf_counter, process_time
from typing import Any
from unittest import mock

from training import run, run_folder
from training.__main__ import main as training
from training.fitting import fit

STAGES = (
    (run_folder, "build", "read the log"),
    (fit, "smoothed_vectors", "start of the embeddings"),
    (run, "fit", "training, validation included"),
    (run, "answer", "of it a validation"),
    (run, "choose_calibration", "calibration"),
    (run, "fit_copy_head", "copy head"),
    (run, "choose_session_memory", "session memory"),
    (run, "baseline_rankers", "baselines: counts"),
    (run, "evaluate", "evaluation"),
    (run, "response", "response to a skip"),
    (run, "draw_examples", "examples"),
    (run, "export", "export"),
)
"""Functions to measure: module, name, and what to call it."""


def main() -> None:
    """Measure a run on the log of the command line."""
    options = parser().parse_args()
    sys.exit(measure(options.log, options.recipe, options.threads, options.cases))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m tests.load.stages", description=str(__doc__).partition("\n")[0])
    made.add_argument("log", type=Path, metavar="LOG")
    made.add_argument("--recipe", default="nexttrack")
    made.add_argument("--threads", type=int, default=2)
    made.add_argument("--cases", type=int, help="number of test cases (default: all)")
    return made


def measure(log: Path, recipe: str, threads: int, cases: int | None = None) -> int:
    """Run `training run` on a log in a temporary folder, and print what its stages cost. Returns the exit code."""
    with tempfile.TemporaryDirectory(prefix="stages-") as folder, ExitStack() as stack:
        for module, name, title in STAGES:
            measured = _measured(title, getattr(module, name))
            stack.enter_context(mock.patch.object(module, name, measured))
        with _said("the whole run"):
            words = ["run", str(log), "--recipe", recipe, "--threads", str(threads)]
            words += [] if cases is None else ["--cases", str(cases)]
            return training([*words, "--run", f"{folder}/run", "--out", f"{folder}/artifacts", "--force"])


def _measured(title: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        ranker = f" of {args[0].name}" if title in {"evaluation", "response to a skip"} else ""
        with _said(title + ranker):
            return function(*args, **kwargs)

    return call


@contextmanager
def _said(title: str) -> Iterator[None]:
    """Print what the `with` block costs."""
    cpu, started = process_time(), perf_counter()
    yield
    found = {
        "stage": title,
        "cpu_s": round(process_time() - cpu, 1),
        "s": round(perf_counter() - started, 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }
    print(json.dumps(found), flush=True)  # noqa: T201  # a terminal program


if __name__ == "__main__":
    main()
