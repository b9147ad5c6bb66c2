"""What a memory is filled with, and which weight it is given, beside brute force."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.events import Outcome
from model.nets import build
from model.nets.network import Network
from model.vocabulary import FIRST, UNKNOWN
from tests.training.worlds import RING, rings_split, small_recipe, split_of
from training.data.split import TRAIN, VALID, Split
from training.evaluation.cases import select_cases
from training.evaluation.evaluate import evaluate
from training.evaluation.rankers import NetworkRanker
from training.fitting.remember import remember, tables, weigh_memory
from training.recipe import MemoryRule

P, S, L = Outcome.PLAYED, Outcome.SKIPPED, Outcome.LIKED
RULE = MemoryRule(weights=(0.5, 50.0))


def two_listeners() -> Split:
    """One with refused, unknown and repeated tracks, the later one with entries of both parts."""
    first = [(2, P, TRAIN), (3, S, TRAIN), (4, L, TRAIN), (UNKNOWN, P, TRAIN), (2, P, TRAIN)]
    return split_of([first, [(5, P, TRAIN), (6, P, TRAIN), (7, P, VALID)]], rows=8)


def network(rows: int) -> Network:
    """Untrained."""
    torch.manual_seed(0)
    recipe = small_recipe()
    return build(recipe.network, rows, recipe.history.length).eval()


def test_tables_are_the_sessions_newest_first() -> None:
    """Each track once in a session, where it was heard last, and for each track its places, newest session first."""
    row, number = np.array([2, 3, 2, 4, 3]), np.array([1, 1, 1, 0, 0])
    found = tables(row, number, np.array([86_400_000 * 3, 86_400_000]), 5)

    assert found.rows_P.tolist() == [4, 3, 3, 2]
    assert found.sessions_P.tolist() == [0, 0, 1, 1]
    assert found.starts_V.tolist() == [0, 0, 0, 1, 3, 4]
    assert found.places_P.tolist() == [3, 1, 2, 0]
    assert found.ages_S.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("parts", "sessions"), [((TRAIN,), [[5, 6], [4, 2]]), ((TRAIN, VALID), [[5, 6, 7], [4, 2]])], ids=["train", "both"]
)
def test_wanted_known_tracks_of_the_parts_are_remembered(parts: tuple[int, ...], sessions: list[list[int]]) -> None:
    """And no others: the newest listener's session first."""
    memory = remember(two_listeners(), RULE, parts=parts)
    real = memory.rows > 0
    found = [memory.rows[real & (memory.sessions == number)].tolist() for number in range(len(sessions))]

    assert found == sessions


def test_only_the_newest_sessions_are_kept() -> None:
    """As many as the rule says."""
    memory = remember(two_listeners(), replace(RULE, sessions=1))

    assert memory.rows[memory.rows > 0].tolist() == [5, 6]


def test_the_weight_that_scores_best_is_taken() -> None:
    """Each one's score is the evaluation's own, and the network is left with the first one's memory."""
    split = rings_split()
    cases, rows = select_cases(split, VALID), FIRST + 2 * RING
    weighed = network(rows)
    tried = weigh_memory(weighed, split, cases, RULE, length=8)
    by_hand: dict[float, Mapping[str, float]] = {}
    for weight in RULE.weights:
        other = network(rows)
        other.memory = remember(split, RULE, weight=weight)
        by_hand[weight] = evaluate(NetworkRanker.of("other", other), cases, length=8).values

    assert len(tried) == len(by_hand)
    for one in tried:
        assert one.scores == pytest.approx({name: by_hand[one.memory][name] for name in one.scores})
    best = max(by_hand, key=lambda weight: by_hand[weight]["ndcg@10"])
    assert by_hand[0.5]["ndcg@10"] != by_hand[50.0]["ndcg@10"]
    assert tried[0].memory == best
    assert weighed.memory is not None
    assert weighed.memory.weight.item() == best


def test_what_was_heard_together_is_found_without_training() -> None:
    """An untrained network with a memory finds rings that it has never seen a gradient of."""
    split = rings_split()
    cases = select_cases(split, VALID)
    plain, remembering = network(FIRST + 2 * RING), network(FIRST + 2 * RING)
    remembering.memory = remember(split, RULE, weight=50.0)
    scores = [evaluate(NetworkRanker.of("one", one), cases, length=8).values["hr@1"] for one in (plain, remembering)]

    assert scores[1] > scores[0] + 0.2


def test_without_weights_nothing_is_remembered() -> None:
    """Nor where there is nothing to choose by."""
    split, plain = rings_split(), network(FIRST + 2 * RING)
    cases = select_cases(split, VALID)

    assert weigh_memory(plain, split, cases, MemoryRule(), length=8) == []
    assert weigh_memory(plain, split, cases.take(slice(0, 0)), RULE, length=8) == []
    assert plain.memory is None
