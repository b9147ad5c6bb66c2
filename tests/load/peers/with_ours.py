"""Runs our trainer on the same work in a process of its own: `python -m tests.load.peers.with_ours FOLDER`.

It writes the same files as the peer's script: the epochs to `epochs.jsonl`, and the best epoch's figures to `measured.json`.
"""

import json
import sys
from pathlib import Path

import torch
from pydantic import TypeAdapter
from rich.console import Console

from training import run
from training.data.log import open_log
from training.data.split import TEST, VALID
from training.evaluation.cases import select_cases
from training.evaluation.evaluate import evaluate
from training.evaluation.rankers import NetworkRanker
from training.recipe import Recipe
from training.run_folder import prepare


def main(folder: Path) -> None:
    """Train and measure as `settings.json` says."""
    settings = json.loads((folder / "settings.json").read_text("utf-8"))
    torch.set_num_threads(settings["threads"])
    recipe = TypeAdapter(Recipe).validate_python(settings["recipe"])
    current = prepare(open_log(Path(settings["log"])), recipe, folder / "run")
    fitted = run.train(current, Console(stderr=True))
    ranker, length = NetworkRanker.of(recipe.name, fitted.network), recipe.history.length
    measured = {}
    for name, part in (("valid", VALID), ("test", TEST)):
        if part == TEST:
            run.refresh_session_memory(current, fitted.network)
        measured[name] = evaluate(ranker, select_cases(current.split, part, cap=settings["cases"]), length=length).as_dict()
    (folder / "measured.json").write_text(json.dumps(measured), "utf-8")
    each = fitted.sequences / len(fitted.epochs)
    lines = [
        {"epoch": epoch.number, "seconds": epoch.seconds, "sequences": each, "score": epoch.scores[recipe.fit.select]}
        for epoch in fitted.epochs
    ]
    lines[0]["seconds"] += fitted.start_seconds  # the start of embeddings is learned, so its time counts
    (folder / "epochs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
