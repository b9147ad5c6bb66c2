"""From scores to metrics: the full catalogue is ranked, exclusions are masked, and figures are summed."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from model.encoding import Encoded
from model.nets import build
from model.nets.config import NetworkConfig
from model.nets.copy_head import CopyHead
from tests.training.logs import D, Line, P, S, split_of
from training.data.split import TEST
from training.evaluation import evaluate as module
from training.evaluation.cases import Cases, select_cases
from training.evaluation.evaluate import (
    BLOCK,
    Measured,
    answer,
    evaluate,
    frozen_scores,
    largest_scores,
    share_of_best,
    with_share_of_best,
)
from training.evaluation.metrics import MISS, Floats
from training.evaluation.rankers import PLAYS_AT_ONCE, NetworkRanker


@dataclass
class Fixed:
    """A ranker with the same scores for every case."""

    values: list[float]
    name: str = "fixed"

    def scores(self, batch: Encoded, cases: Cases) -> Floats:
        assert len(batch.tracks) == len(cases)
        return np.broadcast_to(np.array(self.values, np.float32), (len(cases), len(self.values)))


@dataclass
class Random:
    """A ranker whose scores depend on the entry alone, so that they are the same in batches of any size."""

    name: str = "random"

    def scores(self, batch: Encoded, cases: Cases) -> Floats:  # noqa: ARG002 (a Ranker's signature)
        lines = [np.random.default_rng(entry).random(cases.size) for entry in cases.entry.tolist()]
        return np.array(lines, np.float32)


TRAINED = [("u", track, P, "train") for track in "abcd"]  # rows 2 to 5


def test_padding_unknown_and_disliked_are_never_proposed() -> None:
    """It holds whatever scores the ranker gives them. A disliked target is a miss."""
    split = split_of([*TRAINED, ("u", "b", D, "train"), ("u", "b", P, "test"), ("u", "c", P, "test")])

    answers = answer(Fixed([9, 9, 1, 8, 2, 3]), select_cases(split, TEST), length=5)

    assert answers.rank.tolist() == [MISS, 2]
    assert answers.lists.tolist() == [[5, 4, 2] + [0] * 17] * 2


def test_heard_tracks_are_not_masked() -> None:
    """Music repeats, so the track just played can be the right answer."""
    split = split_of([*TRAINED, ("u", "a", P, "test")])

    assert evaluate(Fixed([0, 0, 9, 1, 1, 1]), select_cases(split, TEST), length=5).values["hr@1"] == 1


def test_network_without_repeats_proposes_nothing_that_it_read_and_misses_what_comes_again() -> None:
    """A target that was heard before stays a case, and such a network misses it."""
    split = split_of([*TRAINED, ("u", "d", P, "test"), ("v", "a", P, "train"), ("v", "c", P, "test")])
    network = build(NetworkConfig(width=8, repeats=False), 6, 5)
    answers = answer(NetworkRanker.of("fresh", network), select_cases(split, TEST), length=5)

    assert answers.rank[0] == MISS
    assert not answers.lists[0].any()
    assert set(answers.lists[1].tolist()) == {0, 3, 4, 5}
    assert answers.rank[1] <= 3


def test_figures_by_hand() -> None:
    """The cases are of one listener: two wanted targets, one at rank 1 and one unknown, and two refused ones at ranks 1 and
    2.
    """
    lines = [("u", "a", P, "test"), ("u", "new", P, "test"), ("u", "a", S, "test"), ("u", "b", D, "test")]
    split = split_of([*TRAINED, *lines])

    found = evaluate(Fixed([0, 0, 9, 5, 1, 1]), select_cases(split, TEST), length=5)

    assert found.values["hr@1"] == found.values["hr@20"] == found.values["mrr@20"] == 0.5
    assert found.values["refused@20"] == 1
    assert found.values["refused_mrr@20"] == 0.75
    assert found.values["auc"] == 0.75  # the wanted 9 ties with the refused 9 and beats 5; the unknown target has no score
    assert found.values["pairwise"] == 0.5
    assert (found.values["hr@20_repeat"], found.values["hr@20_new"]) == (1, 0)
    assert (found.counts["cases"], found.counts["unknown"]) == (4, 1)
    assert [(bucket["from"], bucket["cases"]) for bucket in found.by_length] == [(1, 1), (5, 1)]


def test_hits_after_a_skip_are_counted_apart() -> None:
    """After a skip, a dislike and a skip the listener keeps a, a and a track that nobody can propose. The other
    cases follow a play.
    """
    ends = (("b", S), ("a", P), ("c", D), ("a", P), ("b", S), ("new", P))
    split = split_of([*TRAINED, *(("u", track, outcome, "test") for track, outcome in ends)])

    found = evaluate(Fixed([0, 0, 9, 5, 1, 1]), select_cases(split, TEST), length=5)

    assert found.values["hr@20_after_skip"] == 2 / 3


def test_what_could_not_be_measured_is_left_out() -> None:
    """Without refused targets there is no AUC, and JSON has no NaN."""
    found = evaluate(Fixed([0, 0, 1, 2, 3, 4]), select_cases(split_of([*TRAINED, ("u", "a", P, "test")]), TEST), length=5)

    assert {"auc", "refused@20", "hr@20_new"}.isdisjoint(found.values)
    assert not any(np.isnan(value) for value in found.values.values())


def test_size_of_batches_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory limit sets the size of batches, and must not change the result."""
    outcomes = [P, S, D]
    lines = [("u", "abcd"[number % 4], outcomes[number % 3], "test") for number in range(50)]
    cases = select_cases(split_of([*TRAINED, *lines]), TEST)
    whole = evaluate(Random(), cases, length=5)

    monkeypatch.setattr(module, "SCORES", 7 * cases.size)

    assert evaluate(Random(), cases, length=5) == whole


def test_nan_is_an_error() -> None:
    """A broken network must not pass as a bad one."""
    split = split_of([*TRAINED, ("u", "a", P, "test")])

    with pytest.raises(ValueError, match="fixed scored a track with NaN"):
        answer(Fixed([0, 0, 1, 2, float("nan"), 0]), select_cases(split, TEST), length=5)


@pytest.mark.parametrize("width", [30, 20 * BLOCK, 21 * BLOCK, 50 * BLOCK + 7])
def test_largest_scores_are_those_of_a_sort(width: int) -> None:
    """They may lie in one block, in many, or after the last whole block. Rows without a score and ties occur too."""
    random = np.random.default_rng(1)
    scores_BV = random.integers(0, 10 * width, (5, width)).astype(np.float32)
    scores_BV[0, :20] += 20 * width
    scores_BV[1, -20:] += 20 * width
    scores_BV[2, 3:] = -np.inf
    best, rows = largest_scores(torch.from_numpy(scores_BV), 20)

    assert best.tolist() == (-np.sort(-scores_BV, axis=1)[:, :20]).tolist()
    assert best.tolist() == np.take_along_axis(scores_BV, rows.numpy(), axis=1).tolist()
    assert all(len(set(line)) == 20 for line in rows.tolist())


def test_a_score_that_is_no_number_comes_first() -> None:
    """So the check of the best scores finds it, in whichever block it is."""
    scores_BV = torch.zeros(1, 50 * BLOCK)
    scores_BV[0, 4 * BLOCK + 3] = torch.nan

    assert largest_scores(scores_BV, 20)[0][0, 0].isnan()


def test_share_of_best_is_the_way_from_popular() -> None:
    """Half way is .5. If popularity reaches the best possible value, there is no share."""
    low, middle, high = (
        Measured(name="", values={"hr@20": value, "ndcg@10": 0.3}, counts={}, by_length=[]) for value in (0.1, 0.2, 0.3)
    )

    assert share_of_best(middle, low, high) == {"hr@20_of_best": pytest.approx(0.5)}


def test_rows_get_their_share_of_best_only_where_the_best_is_known() -> None:
    """A real log has no best possible ranker, so no share is added."""
    rows = [
        Measured(name=name, values={"hr@20": value}, counts={}, by_length=[])
        for name, value in (("best possible", 0.5), ("sasrec", 0.4), ("popular", 0.1))
    ]

    found = [row.values.get("hr@20_of_best") for row in with_share_of_best(rows)]

    assert found == [1, pytest.approx(0.75), 0]
    assert with_share_of_best(rows[1:]) == rows[1:]


def test_no_cases_give_no_figures() -> None:
    """An empty part is no error in this function."""
    cases = select_cases(split_of([*TRAINED, ("u", "a", P, "test")]), TEST).take(slice(0))

    assert evaluate(Fixed([0] * 6), cases, length=5).counts["cases"] == 0


@dataclass
class Moody:
    """A ranker that scores everything 1 after a kept track and 0 after a refused one. It knows nothing of tracks."""

    name: str = "moody"

    def scores(self, batch: Encoded, cases: Cases) -> Floats:
        return np.repeat((batch.outcomes[:, -1:] == P).astype(np.float32), cases.size, axis=1)


def test_frozen_auc_sees_through_a_ranker_that_knows_no_tracks() -> None:
    """If skips come in runs, its ordinary AUC is high. In one state all tracks tie."""
    outcomes = [P, P, P, P, S, S, S, S] * 2
    lines = [("u", "abcd"[number % 4], outcome, "test") for number, outcome in enumerate(outcomes)]

    found = evaluate(Moody(), select_cases(split_of([*TRAINED, *lines]), TEST), length=5).values

    assert found["auc"] > 0.7
    assert found["auc_frozen"] == 0.5


def test_frozen_scores_are_those_of_the_first_state() -> None:
    """Each listener has a state of their own, whatever the size of batches. An unknown target has no score."""
    lines = [
        ("u", "b", P, "test"),
        ("u", "new", S, "test"),
        ("u", "c", P, "test"),
        ("v", "a", P, "test"),
        ("v", "d", S, "test"),
    ]
    cases = select_cases(split_of([*TRAINED, *lines]), TEST)
    first = Random().scores(cases.encode(5), cases)[[0, 0, 0, 3, 3]]

    found = frozen_scores(Random(), cases, length=5)

    assert np.isnan(found[1])
    known = [0, 2, 3, 4]
    assert found[known].tolist() == first[known, cases.target[known]].tolist()


def test_what_there_is_to_read_is_counted() -> None:
    """Listener v has nothing before the first case and one refused track before the second. Listener u always has kept
    tracks.
    """
    lines = [("u", "b", P, "test"), ("v", "a", S, "test"), ("v", "d", P, "test")]
    counts = evaluate(Random(), select_cases(split_of([*TRAINED, *lines]), TEST), length=5).counts

    assert (counts["read_cases"], counts["kept_cases"]) == (2, 1)
    assert (counts["read_users"], counts["kept_users"]) == (2, 1)


def test_a_copy_head_reads_a_part_of_the_cases_at_a_time() -> None:
    """With a head so long that each case is read alone, scores are those of all cases together, request-local rows included."""
    lines: list[Line] = [("u", "a", P, "train"), ("u", "b", P, "train"), ("u", "new", P, "valid"), ("u", "b", P, "valid")]
    split = split_of([*lines, *[("u", track, P, "test") for track in ("newer", "a", "new", "b")]])
    cases = select_cases(split, TEST)
    network = build(NetworkConfig(width=4, layers=1, heads=1), cases.size, 5)
    network.copy_head = CopyHead(cases.size, PLAYS_AT_ONCE)
    ranker, batch = NetworkRanker.of("copies", network), cases.encode(5)

    found = ranker.scores(batch, cases)

    together = ranker.score(batch, cases.long_histories(PLAYS_AT_ONCE))
    assert found.shape == together.shape == (4, cases.size + 2)
    assert found == pytest.approx(together, abs=1e-5)
