"""Measures what an artist's vector is worth for new tracks: `python -m tests.load.new_tracks LOG --folder runs/new-tracks`.

A tenth of the tracks of the training part is hidden: no training sees them, but the catalogue has them. One network is trained
without them and one with all tracks. Each is measured on the same test cases, alone and with vectors for the tracks that it
does not know. The table splits the kept targets into hidden tracks, tracks that the training part really lacks, and others.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from model.nets.network import Network
from model.vocabulary import UNKNOWN, Vocabulary
from training import run
from training.data.catalogue import catalogue_of, renumbered, with_new_tracks
from training.data.log import open_log
from training.data.sequences import Bools, Int64s, build
from training.data.split import TEST, Split, kept_apart, split
from training.evaluation import metrics
from training.evaluation.cases import Cases, select_cases
from training.evaluation.evaluate import answer
from training.evaluation.rankers import NetworkRanker
from training.fitting.new_tracks import LOW, add_new_tracks
from training.recipe import read_recipe
from training.run_folder import Run

HIDDEN_SHARE = 0.1
GROUPS = ("hidden", "hidden, never heard", "really new", "others")
FURTHER = ("median rank of hidden", "Refused@20")


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """The split that knows all tracks of the training part, and the same split without the hidden ones."""

    whole: Split
    hidden: Split


def hide(whole: Split, share: float) -> Parts:
    """Hide a share of the tracks, with the lowest SHA-256 of their ids."""
    tracks = whole.vocabulary.tracks
    apart = kept_apart(tracks, share).tolist()
    left = Vocabulary([track for track, hidden in zip(tracks, apart, strict=True) if not hidden])
    return Parts(whole=whole, hidden=renumbered(whole, left))


def groups(parts: Parts, cases: Cases) -> Mapping[str, Bools]:
    """Return which kept targets of the cases belong to each of `GROUPS`, bool [C]."""
    whole, left = parts.whole.row[cases.entry], parts.hidden.row[cases.entry]
    hidden, lacking = (whole != UNKNOWN) & (left == UNKNOWN), whole == UNKNOWN
    members = (hidden, hidden & ~cases.repeat, lacking, left != UNKNOWN)
    return {name: mine & cases.wanted for name, mine in zip(GROUPS, members, strict=True)}


def measure(current: Run, network: Network, parts: Parts, cap: int | None) -> list[str]:
    """Return a table's cells for a network: HR@20 / NDCG@10 of the targets in each group, and the columns `FURTHER`."""
    run.refresh_session_memory(current, network)
    cases = select_cases(current.split, TEST, cap=cap)
    rank = answer(NetworkRanker.of("network", network), cases, length=current.recipe.history.length).rank
    members = groups(parts, cases)
    found = [_figures(rank[mine]) for mine in members.values()]
    return [*found, _median(rank[members[GROUPS[0]]]), f"{metrics.hit_rate(rank[~cases.wanted], 20):.3f}"]


def _figures(rank: Int64s) -> str:
    return f"{metrics.hit_rate(rank, 20):.3f} / {metrics.ndcg(rank, 10):.3f}" if len(rank) else "-"


def _median(rank: Int64s) -> str:
    """Return the median rank in words; none if there are no ranks, or if half of the targets have none."""
    return "-" if not len(rank) or (middle := int(np.median(rank))) > metrics.MISS // 2 else f"{middle:,}"


def with_vectors(current: Run, network: Network, low: float) -> tuple[Run, Network]:
    """Return a run and a copy of its network with vectors for all tracks of the catalogue. `low` is the quantile of biases."""
    current = replace(current, split=with_new_tracks(current.split, current.log))
    catalogue, extended = catalogue_of(current.log, current.split), deepcopy(network)
    if catalogue is None:
        raise SystemExit(f"{current.log.folder} has no catalogue, so nobody knows artists")
    add_new_tracks(extended, catalogue, low=low)
    return current, extended


def table(rows: Mapping[str, Sequence[str]], cases: Mapping[str, Bools]) -> str:
    """Return the table in Markdown. The second line of its head has the number of targets in each group."""
    counts = [f"{int(mine.sum()):,}" for mine in cases.values()]
    head = ["| network | " + " | ".join((*GROUPS, *FURTHER)) + " |", "|---" * (1 + len(GROUPS) + len(FURTHER)) + "|"]
    lines = [
        f"| {name} | {' | '.join(cells)} |" for name, cells in {"targets": [*counts, *(" " for _ in FURTHER)], **rows}.items()
    ]
    return "\n".join([*head, *lines])


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m tests.load.new_tracks", description=str(__doc__).partition("\n")[0])
    made.add_argument("log", type=Path, help="a log with a catalogue that names artists")
    made.add_argument("--recipe", default="nexttrack")
    made.add_argument("--folder", type=Path, required=True, help="keeps the trained networks; the same command continues")
    made.add_argument("--share", type=float, default=HIDDEN_SHARE, help="share of the tracks to hide")
    made.add_argument(
        "--networks",
        choices=("hidden", "whole"),
        nargs="+",
        default=["hidden", "whole"],
        help="networks to train: without the hidden tracks, with all",
    )
    made.add_argument("--quantiles", type=float, nargs="+", default=[LOW], help="quantiles of biases to try")
    made.add_argument("--cases", type=int, help="measure on so many random cases")
    made.add_argument("--threads", type=int, default=1, help="number of torch threads")
    return made


def main() -> None:
    """Train, measure and print the table."""
    given = parser().parse_args()
    torch.set_num_threads(given.threads)
    log, recipe = open_log(given.log), read_recipe(given.recipe)
    whole = split(build(log, recipe.history), recipe.split)
    parts = hide(whole, given.share)
    rows: dict[str, Sequence[str]] = {}
    for name in given.networks:
        current = Run(recipe=recipe, log=log, split=getattr(parts, name), folder=given.folder / name)
        current.folder.mkdir(parents=True, exist_ok=True)
        network = run.train(current, Console(stderr=True)).network
        rows[f"{name}, no vectors"] = measure(current, network, parts, given.cases)
        for low in given.quantiles:
            extended = with_vectors(current, network, low)
            rows[f"{name}, artists' vectors, quantile {low:g}"] = measure(*extended, parts, given.cases)
    sys.stdout.write(table(rows, groups(parts, select_cases(whole, TEST, cap=given.cases))) + "\n")


if __name__ == "__main__":
    main()
