"""The filter behind the best possible score agrees with the definition of the world written out by hand."""

from itertools import product

import numpy as np
import pytest

from training.simulator.moods.truth import filter_moods, next_kept
from training.simulator.moods.world import (
    ELSEWHERE,
    IN_MOOD,
    IN_TASTE,
    KEPT,
    NOBODY,
    SKIPPED,
    Bools,
    Floats,
    Habits,
    Int64s,
    World,
)
from training.simulator.plays import Plays

MOODS, TRACKS = 3, 5


@pytest.fixture
def world() -> World:
    """Make three moods, two artists and five tracks. Track 2 suits two moods, and artist 1 plays in all of them."""
    by_mood = np.array([[0.6, 0.3, 0.1, 0, 0], [0, 0, 0.2, 0.8, 0], [0, 0, 0, 0, 1.0]])
    return World(
        habits=Habits(),
        artist=np.array([0, 0, 1, 1, 1]),
        in_mood=by_mood > 0,
        by_mood=by_mood,
        by_artist=np.array([0.7, 0.3, 0.2, 0.5, 0.3]),
        overall=np.array([0.3, 0.2, 0.1, 0.3, 0.1]),
    )


TASTE = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
FAVOURITE = np.array([[True, True, False], [False, False, True]])
SESSIONS = (([3, 0, 2, 0, 4, 1], [True, False, False, True, True, False]), ([4, 2, 3], [False, True, False]))


def _proposed(world: World, mood: int, artist: int, last: int, track: int) -> float:
    """Return P(track | mood, artist, last outcome) by the rule of the world's docstring, one case at a time."""
    habits = world.habits
    stray = habits.stray[last]
    same = habits.artist if artist != NOBODY else 0.0
    by_artist = float(world.by_artist[track]) if world.artist[track] == artist else 0.0
    fitting = same * by_artist + (1 - same) * float(world.by_mood[mood, track])
    return stray * float(world.overall[track]) + (1 - stray) * fitting


def _kept(world: World, mood: int, favourite: Bools, last: int, track: int) -> float:
    suits = any(favourite[other] and world.in_mood[other, track] for other in range(MOODS))
    fit = IN_MOOD if world.in_mood[mood, track] else IN_TASTE if suits else ELSEWHERE
    return world.habits.keep[fit][last]


def _path_probability(
    world: World, path: tuple[int, ...], taste: Floats, favourite: Bools, seen: list[tuple[int, bool]]
) -> float:
    """Return P(this path of moods and everything seen before its last place), the product along the path."""
    probability, artist, last = float(taste[path[0]]), NOBODY, KEPT
    for place, (track, skipped) in enumerate(seen):
        mood, following = path[place], path[place + 1]
        kept = _kept(world, mood, favourite, last, track)
        probability *= _proposed(world, mood, artist, last, track) * (1 - kept if skipped else kept)
        last = SKIPPED if skipped else KEPT
        artist = artist if skipped else int(world.artist[track])
        stay = world.habits.stay[last]
        probability *= (stay if mood == following else 0.0) + (1 - stay) * float(taste[following])
    return probability


def _moods_by_enumeration(world: World, taste: Floats, favourite: Bools, seen: list[tuple[int, bool]]) -> Floats:
    """Return P(mood before the next play | everything seen), summed over all possible paths of moods."""
    belief = np.zeros(MOODS)
    for path in product(range(MOODS), repeat=len(seen) + 1):
        belief[path[-1]] += _path_probability(world, path, taste, favourite, seen)
    total: Floats = belief / belief.sum()
    return total


def _filtered(world: World) -> tuple[Floats, Int64s, Int64s]:
    plays = Plays(
        offsets=np.array([0, 6, 9]),
        track=np.concatenate([tracks for tracks, _ in SESSIONS]),
        skipped=np.concatenate([skipped for _, skipped in SESSIONS]),
    )
    return filter_moods(world, plays, TASTE, FAVOURITE)


def test_beliefs_equal_the_sum_over_all_mood_paths(world: World) -> None:
    """The filter is exact: at each place of two sessions it equals brute force over up to 3^6 paths of moods."""
    belief, _, _ = _filtered(world)
    expected = [
        _moods_by_enumeration(world, TASTE[session], FAVOURITE[session], list(zip(tracks, skipped, strict=True))[:place])
        for session, (tracks, skipped) in enumerate(SESSIONS)
        for place in range(len(tracks))
    ]

    np.testing.assert_allclose(belief, expected, rtol=0, atol=1e-12)


def test_scores_equal_the_probability_of_each_next_kept_track(world: World) -> None:
    """P(next = v and kept), with moods enumerated and the world's rule applied track by track, to 1e-12."""
    belief, artist, last = _filtered(world)
    favourite = FAVOURITE[[0] * 6 + [1] * 3]
    scores = next_kept(world, belief, artist=artist, last=last, suits=world.suits_taste(favourite))
    expected = [
        [
            sum(
                belief[place, mood]
                * _proposed(world, mood, artist[place], last[place], track)
                * _kept(world, mood, favourite[place], last[place], track)
                for mood in range(MOODS)
            )
            for track in range(TRACKS)
        ]
        for place in range(len(belief))
    ]

    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-12)


def test_context_is_of_the_session_so_far(world: World) -> None:
    """The last kept artist ignores skips. It and the last outcome start anew with each session."""
    _, artist, last = _filtered(world)

    assert artist.tolist() == [NOBODY, NOBODY, 0, 1, 1, 1, NOBODY, 1, 1]
    assert last.tolist() == [KEPT, SKIPPED, KEPT, KEPT, SKIPPED, SKIPPED, KEPT, KEPT, SKIPPED]
