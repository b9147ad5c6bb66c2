"""The contents of a session memory, and its chosen weight, agree with brute force."""

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
from training.data.split import TEST, TRAIN, VALID, Split
from training.evaluation.cases import select_cases
from training.evaluation.evaluate import evaluate
from training.evaluation.rankers import NetworkRanker
from training.fitting.session_memory import build_session_memory, choose_session_memory, tables, with_half_of_valid
from training.recipe import SessionMemoryRule

P, S, L = Outcome.PLAYED, Outcome.SKIPPED, Outcome.LIKED
RULE = SessionMemoryRule(weights=(0.5, 50.0))


def two_listeners() -> Split:
    """One listener with refused, unknown and repeated tracks, and a later one with entries of both parts."""
    first = [(2, P, TRAIN), (3, S, TRAIN), (4, L, TRAIN), (UNKNOWN, P, TRAIN), (2, P, TRAIN)]
    return split_of([first, [(5, P, TRAIN), (6, P, TRAIN), (7, P, VALID)]], rows=8)


def network(rows: int, *, repeats: bool = True) -> Network:
    """Make an untrained network."""
    torch.manual_seed(0)
    recipe = small_recipe()
    return build(replace(recipe.network, repeats=repeats), rows, recipe.history.length).eval()


def test_tables_are_the_sessions_newest_first() -> None:
    """Each track occurs once in a session, at its last place. Each track's places are listed with the newest session first."""
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
    """Refused and unknown tracks and other parts are not stored. The newest listener's session comes first."""
    memory = build_session_memory(two_listeners(), RULE, parts=parts)
    real = memory.rows > 0
    found = [memory.rows[real & (memory.sessions == number)].tolist() for number in range(len(sessions))]

    assert found == sessions


def test_only_the_newest_sessions_are_kept() -> None:
    """The rule sets their number."""
    memory = build_session_memory(two_listeners(), replace(RULE, sessions=1))

    assert memory.rows[memory.rows > 0].tolist() == [5, 6]


def test_every_second_session_of_the_validation_part_is_remembered() -> None:
    """Whole sessions are added, of one listener or of several. Other parts are not affected."""
    first = [(2, P, TRAIN), (3, P, VALID), (4, P, VALID), (5, P, VALID), (6, P, VALID), (7, P, TEST)]
    plain = split_of([first, [(2, P, VALID), (3, P, VALID)], [(4, P, VALID), (5, P, TEST)]], rows=8)
    sessions = np.array([0, 0, 1, 1, 2, 2, 0, 0, 0, 0], np.int32)
    half = with_half_of_valid(replace(plain, sequences=replace(plain.sequences, session=sessions)))

    assert half.part.tolist() == [TRAIN, VALID, TRAIN, TRAIN, VALID, TEST, TRAIN, TRAIN, VALID, TEST]
    assert plain.part.tolist() == [TRAIN, VALID, VALID, VALID, VALID, TEST, VALID, VALID, VALID, TEST]


@pytest.mark.parametrize("repeats", [True, False], ids=["repeats", "no repeats"])
def test_the_weight_that_scores_best_is_taken(*, repeats: bool) -> None:
    """Scores equal the evaluation's own, on cases whose sessions the memory does not hold. The network itself gets no
    memory.
    """
    split = rings_split()
    cases, rows = select_cases(split, VALID), FIRST + 2 * RING
    first, second, third, fourth = np.unique(cases.user)
    asked = cases.take(np.flatnonzero(np.isin(cases.user, (first, third))))
    seen = np.isin(np.repeat(split.sequences.user, np.diff(split.sequences.offsets)), (second, fourth))
    half = replace(split, part=np.where(seen, TRAIN, split.part).astype(np.int8))
    asked_of = network(rows, repeats=repeats)
    tried = choose_session_memory(asked_of, split, cases, RULE, length=8)
    by_hand: dict[float, Mapping[str, float]] = {}
    for weight in RULE.weights:
        other = network(rows, repeats=repeats)
        other.session_memory = build_session_memory(half, RULE, weight=weight)
        by_hand[weight] = evaluate(NetworkRanker.of("other", other), asked, length=8).values

    assert len(tried) == len(by_hand)
    for one in tried:
        assert one.scores == pytest.approx({name: by_hand[one.memory][name] for name in one.scores})
    best = max(by_hand, key=lambda weight: by_hand[weight]["ndcg@10"])
    assert by_hand[0.5]["ndcg@10"] != by_hand[50.0]["ndcg@10"]
    assert tried[0].memory == best
    assert asked_of.session_memory is None


@pytest.mark.parametrize(("turn", "weight"), [(1, 50.0), (0, 0.0)], ids=["what the others show", "what is over"])
def test_the_weight_minds_what_the_other_validation_sessions_show(turn: int, weight: float) -> None:
    """In training one track followed each track; in the validation sessions another one follows.

    A memory helps if its validation sessions contain the new track, and misleads if they contain the old one. Then the weight 0
    is chosen, which means no memory.
    """
    heads, tails = np.arange(FIRST, FIRST + RING), np.arange(FIRST + RING, FIRST + 2 * RING)

    def heard(turn: int, part: int) -> list[list[tuple[int, Outcome, int]]]:
        return [[(int(head), P, part), (int(tail), P, part)] for head, tail in zip(heads, np.roll(tails, -turn), strict=True)]

    held_out = [session for both in zip(heard(1, VALID), heard(turn, VALID), strict=True) for session in both]
    split = split_of([*heard(0, TRAIN), *held_out], rows=FIRST + 2 * RING)
    cases, rule = select_cases(split, VALID), SessionMemoryRule(weights=(0.0, 50.0))

    assert choose_session_memory(network(FIRST + 2 * RING), split, cases, rule, length=8)[0].memory == weight


def test_what_was_heard_together_is_found_without_training() -> None:
    """An untrained network with a memory continues rings that no gradient has taught it."""
    split = rings_split()
    cases = select_cases(split, VALID)
    plain, remembering = network(FIRST + 2 * RING), network(FIRST + 2 * RING)
    remembering.session_memory = build_session_memory(split, RULE, weight=50.0)
    scores = [evaluate(NetworkRanker.of("one", one), cases, length=8).values["hr@1"] for one in (plain, remembering)]

    assert scores[1] > scores[0] + 0.2


def test_without_weights_nothing_is_remembered() -> None:
    """There is none either if there are no cases to choose by."""
    split, plain = rings_split(), network(FIRST + 2 * RING)
    cases = select_cases(split, VALID)

    assert choose_session_memory(plain, split, cases, SessionMemoryRule(), length=8) == []
    assert choose_session_memory(plain, split, cases.take(slice(0, 0)), RULE, length=8) == []
    assert choose_session_memory(plain, split, cases.take(np.flatnonzero(cases.user == 61)), RULE, length=8) == []
    assert plain.session_memory is None
