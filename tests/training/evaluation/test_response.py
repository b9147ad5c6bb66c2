"""The response to a skip is right for rankers whose response is known."""

from dataclasses import dataclass

import numpy as np
import pytest

from model.encoding import Encoded
from tests.training.logs import P, S, split_of
from training.data.split import TEST, Split
from training.evaluation import evaluate
from training.evaluation.baselines import markov
from training.evaluation.cases import Cases, select_cases
from training.evaluation.metrics import Floats
from training.evaluation.response import neighbours, response

ROWS = 60


def world() -> Split:
    """A ring of tracks in a fixed order. The cases have histories that end kept and skipped, and one has no history."""
    ring = [("u", f"t{number:02}", P, "train") for number in [*range(ROWS), 0]]
    return split_of([*ring, ("u", "t07", S, "test"), ("u", "t08", P, "test"), ("u", "t30", P, "test"), ("v", "t01", P, "test")])


@dataclass
class Follower:
    """A ranker that proposes the tracks after the last one. If it listens to skips, it proposes distant tracks after a skip."""

    listens: bool
    name: str = "follower"

    def scores(self, batch: Encoded, cases: Cases) -> Floats:
        near = (np.arange(cases.size) - batch.tracks[:, -1:] - 1) % cases.size
        away = self.listens & (batch.outcomes[:, -1:] == S)
        return -np.where(away, (near + cases.size // 2) % cases.size, near).astype(np.float32)


@pytest.mark.parametrize(("listens", "falls"), [(False, 0.0), (True, 1.0)])
def test_neighbours_fall_for_who_listens(*, listens: bool, falls: float) -> None:
    """All neighbours leave the list of a ranker that listens, and none leaves the list of the other, whatever the real outcome
    was.
    """
    split = world()

    assert response(Follower(listens), select_cases(split, TEST), markov(split), length=5) == falls


def test_no_more_scores_are_held_than_the_evaluations_own_bound_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred cases at a time over ten million tracks would take 4 GB. Smaller batches give the same result."""
    split = split_of(
        [*(("u", f"t{number}", P, "train") for number in range(ROWS)), *(("u", "t7", S, "test") for _ in range(40))]
    )
    cases, sizes = select_cases(split, TEST), []

    class Counting(Follower):
        def scores(self, batch: Encoded, cases: Cases) -> Floats:
            sizes.append(len(cases))
            return super().scores(batch, cases)

    whole = response(Follower(True), cases, markov(split), length=5)
    monkeypatch.setattr(evaluate, "SCORES", 9 * cases.size)

    assert response(Counting(True), cases, markov(split), length=5) == whole
    assert max(sizes) == 9


def test_neighbours_are_what_followed_most_often() -> None:
    """B followed twice, c once. Rows count from 2 in the order of first hearing."""
    split = split_of([("u", track, P, "train") for track in "abacab"] + [("u", "a", P, "test")])

    assert neighbours(markov(split), 2).tolist() == [3, 4]


def test_nothing_to_answer_is_not_a_number() -> None:
    """No case has a history, so the response is NaN."""
    split = split_of([("u", "a", P, "train"), ("v", "a", P, "test")])

    assert np.isnan(response(Follower(True), select_cases(split, TEST), markov(split), length=5))
