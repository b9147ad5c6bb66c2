"""Compares the lists of the service with the lists of the trainer, and shows where they differ.

Shapes: C cases, L places of a list.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isclose

import numpy as np
from rich.console import Console

from model.vocabulary import FIRST, Vocabulary
from training.data.sequences import Bools
from training.evaluation.cases import Cases
from training.evaluation.evaluate import Answers, Measured
from training.evaluation.own_history import own_unknown_names
from training.reporting.report import Report, print_table

TOLERANCE = 1e-4
"""Largest difference of tied scores, relative or absolute. Summing in another order explains it."""
SHOWN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A case whose list from the service differs from the trainer's. Both lists have tracks with scores, best first."""

    entry: int  # number in the log
    online: Sequence[tuple[str, float]]
    offline: Sequence[tuple[str, float]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """The result of a replay: metrics of the service and of the trainer on the same cases, share of equal lists, first
    differences.
    """

    online: Measured
    offline: Measured
    same: float
    degraded: int  # replies that did not come from the model
    differences: Sequence[Difference]


def compare(vocabulary: Vocabulary, cases: Cases, *, online: Answers, offline: Answers) -> tuple[float, list[Difference]]:
    """Compare the service's lists with the trainer's. Returns the share of cases with equal lists (NaN without cases), and the
    first `SHOWN` differences.
    """
    same = same_lists(online, offline)

    def named(answers: Answers, case: int) -> list[tuple[str, float]]:
        places = zip(answers.lists[case].tolist(), answers.list_scores[case].tolist(), strict=True)
        own = own_unknown_names(cases, case)
        size = len(vocabulary)
        return [(own[row - size] if row >= size else vocabulary.track(row), score) for row, score in places if row >= FIRST]

    differences = [
        Difference(entry=int(cases.entry[case]), online=named(online, case), offline=named(offline, case))
        for case in np.flatnonzero(~same)[:SHOWN].tolist()
    ]
    return float(same.mean()) if len(same) else float("nan"), differences


def same_lists(one: Answers, other: Answers) -> Bools:
    """Return for each case whether two answers have the same list, [C].

    Tracks with equal scores may change places. A track may be missing if its score equals the last score of the other list.
    """
    same: Bools = (one.lists == other.lists).all(axis=1)
    for case in np.flatnonzero(~same).tolist():
        same[case] = _fits(one, other, case) and _fits(other, one, case)
    return same


def _fits(one: Answers, other: Answers, case: int) -> bool:
    """Return whether each track of the first list has its score in the second list, or, if the second list lacks it, the second
    list's last score.
    """
    theirs = dict(zip(other.lists[case].tolist(), other.list_scores[case].tolist(), strict=True))
    last = other.list_scores[case, -1].item()
    mine = zip(one.lists[case].tolist(), one.list_scores[case].tolist(), strict=True)
    return all(isclose(score, theirs.get(row, last), rel_tol=TOLERANCE, abs_tol=TOLERANCE) for row, score in mine)


def print_replay(replayed: Replayed, console: Console) -> None:
    """Print the metrics of service and trainer, the share of equal lists, and the first lists that differ."""
    print_table(Report(title="Replay", rankers=[replayed.online, replayed.offline]), console)
    console.print(f"{replayed.same:.2%} of {replayed.online.counts['cases']} lists are the same, ties apart")
    if replayed.degraded:
        console.print(f"[yellow]{replayed.degraded} replies came from the fallback, not from the model[/yellow]")
    for difference in replayed.differences:
        lines = (f"entry {difference.entry}: online ", f"{'':<{len(str(difference.entry)) + 7}} offline")
        for line, tracks in zip(lines, (difference.online, difference.offline), strict=True):
            console.print(
                line, _line(tracks), highlight=False, markup=False
            )  # ids are arbitrary strings: [b] does not mean bold


def _line(tracks: Sequence[tuple[str, float]]) -> str:
    return ", ".join(f"{track} {score:.4f}" for track, score in tracks[:10])
