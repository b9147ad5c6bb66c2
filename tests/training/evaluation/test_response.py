"""The response to a skip is right for rankers whose response is known."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from model.encoding import Encoded
from model.events import HistoryRule, Outcome
from tests.training.logs import P, S, split_of
from training.data.sequences import build, is_wanted
from training.data.split import TEST, Split
from training.data.split import split as split_log
from training.evaluation import evaluate
from training.evaluation.baselines import markov
from training.evaluation.cases import Cases, select_cases
from training.evaluation.metrics import Floats
from training.evaluation.rankers import BestPossible
from training.evaluation.response import neighbours, of_artist, response
from training.recipe import SplitRule
from training.simulator.simulate import simulate
from training.simulator.truth import read_truth

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
    was. Then the whole list is another one, too.
    """
    split = world()

    found = response(Follower(listens), select_cases(split, TEST), markov(split), length=5)

    assert found == {"response@20": falls, "changed@20": falls}


def test_the_share_of_an_artists_tracks_that_leaves_is_counted() -> None:
    """Each artist has 16 tracks in a row. The case is after t07, whose artist has t00 to t15. After a play, 8 of its 15 others
    are among the next 20. The list after a skip begins half a ring later, so none is.
    """
    split = world()
    artists = np.array([0, 0, *(1 + row // 16 for row in range(ROWS))])
    cases = select_cases(split, TEST)
    after_first = cases.take(np.flatnonzero(cases.lengths == ROWS + 2))

    found = response(Follower(True), after_first, markov(split), artists, length=5)

    assert found["response_artist@20"] == pytest.approx(8 / 15)


def test_tracks_of_an_artist_are_its_most_played_others() -> None:
    """Artist 1 has rows 2, 3 and 5; row 3 is asked about. Row 4 has no artist, and so no others."""
    artists, counts = np.array([0, 0, 1, 1, 0, 1]), np.array([0, 0, 3, 9, 9, 5])

    assert of_artist(artists, counts, 3).tolist() == [5, 2]
    assert of_artist(artists, counts, 4).tolist() == []


def test_only_a_known_last_play_counts() -> None:
    """The listener's play before the case is of a track that the vocabulary lacks. Its outcome changes nothing that is read."""
    split = split_of(
        [("u", "a", P, "train"), ("u", "b", P, "train"), ("u", "a", P, "train"), ("u", "new", S, "test"), ("u", "b", P, "test")]
    )
    cases = select_cases(split, TEST)

    assert response(Follower(True), cases.take(np.array([1])), markov(split), length=5) == {}
    assert response(Follower(True), cases.take(np.array([0])), markov(split), length=5) != {}


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


def test_nothing_to_answer_gives_no_figure() -> None:
    """No case has a history, so there is no figure."""
    split = split_of([("u", "a", P, "train"), ("v", "a", P, "test")])

    assert response(Follower(True), select_cases(split, TEST), markov(split), length=5) == {}


def test_best_possible_ranking_answers_within_a_session_only(tmp_path: Path) -> None:
    """It supposes the outcome that the cases suppose. A session's first play does not depend on the session before."""
    log = simulate(tmp_path / "log", listeners=60, tracks=200, artists=20)
    split = split_log(build(log, HistoryRule()), SplitRule())
    truth = read_truth(log.folder)
    assert truth is not None
    best, cases = BestPossible(truth, split), select_cases(split, TEST)
    plain, kept, skipped = (
        best.scores(cases.encode(1), replace(cases, last_outcome=outcome))
        for outcome in (None, Outcome.PLAYED, Outcome.SKIPPED)
    )
    sequences = split.sequences
    begins = (cases.entry == cases.first) | (sequences.session[cases.entry - 1] != sequences.session[cases.entry])
    was_kept = is_wanted(sequences.outcome[cases.entry - 1])

    np.testing.assert_array_equal(kept[begins], skipped[begins])
    assert (kept[~begins] != skipped[~begins]).any(axis=1).all()
    np.testing.assert_allclose(np.where((begins | was_kept)[:, None], kept, skipped), plain, rtol=1e-5)
    assert response(best, cases, markov(split), length=5)["response@20"] > 0
