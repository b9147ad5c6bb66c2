"""Rules about a list: against brute force and against what they promise, over lists that hypothesis makes up."""

import math
from collections.abc import Sequence
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.rules import Draw, Spacing, arrange, exploring, exploring_places, novelty_shift

labels = st.lists(st.sampled_from(["a", "b", "c", "d", None]), max_size=30)
gaps = st.integers(0, 6)
counts = st.integers(0, 12)


def spacing(size: int, of_ranks: Sequence[str | None], before: Sequence[str | None] = ()) -> Spacing:
    """A spacing of tracks with these labels."""
    return Spacing(size, of_ranks.__getitem__, before)


def by_brute_force(
    of_ranks: Sequence[str | None], count: int, gap: int, before: Sequence[str | None]
) -> tuple[list[int], list[str | None]]:
    """The same list by trying every rank at every place, and the labels of all that was played and is proposed."""
    chosen: list[int] = []
    heard = list(before)
    while len(chosen) < count:
        recent = heard[len(heard) - gap + 1 :] if 1 < gap <= len(heard) else heard if gap > 1 else []
        free = [rank for rank, label in enumerate(of_ranks) if rank not in chosen and (label is None or label not in recent)]
        if not free:
            break
        chosen.append(free[0])
        heard.append(of_ranks[free[0]])
    return chosen, heard


@given(labels, counts, gaps, labels)
def test_each_place_gets_the_best_track_that_may_stand_there(
    of_ranks: list[str | None], count: int, gap: int, before: list[str | None]
) -> None:
    """The same as by brute force, so no label comes twice within the gap, counting the tracks just played."""
    placed = [one.rank for one in arrange(len(of_ranks), count, [spacing(gap, of_ranks, before)])]
    wanted, heard = by_brute_force(of_ranks, count, gap, before)

    assert placed == wanted
    for place, label in enumerate(heard[len(before) :], start=len(before)):
        assert label is None or label not in heard[max(0, place - gap + 1) : place]


@given(labels, labels, counts, gaps, gaps)
def test_two_spacings_hold_at_once(
    artists: list[str | None], albums: list[str | None], count: int, artist_gap: int, album_gap: int
) -> None:
    """Each as if it were alone, and the list ends only if no track that is left may come next."""
    size = min(len(artists), len(albums))
    placed = [one.rank for one in arrange(size, count, [spacing(artist_gap, artists), spacing(album_gap, albums)])]

    def clashes(rank: int, place: int) -> bool:
        return any(
            of_ranks[rank] is not None
            and of_ranks[rank] in [of_ranks[other] for other in placed[max(0, place - gap + 1) : place]]
            for of_ranks, gap in ((artists, artist_gap), (albums, album_gap))
        )

    assert not any(clashes(rank, place) for place, rank in enumerate(placed))
    if len(placed) < count:
        assert all(clashes(rank, len(placed)) for rank in range(size) if rank not in placed)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), counts, st.floats(0, 0.5), st.integers(), labels)
def test_a_draw_takes_tracks_below_the_best_and_keeps_the_spacing(
    scores: list[float], count: int, share: float, seed: int, before: list[str | None]
) -> None:
    """Nothing comes twice, undrawn places hold the best that is left, and the same seed gives the same list."""
    scores = sorted(scores, reverse=True)
    of_ranks = [("a", "b", None)[rank % 3] for rank in range(len(scores))]

    def once() -> list[tuple[int, float | None]]:
        random = Random(seed)
        draw = exploring(scores, count, share, random)
        return [(one.rank, one.probability) for one in arrange(len(scores), count, [spacing(2, of_ranks, before)], draw)]

    placed = once()
    ranks = [rank for rank, _ in placed]
    assert placed == once()
    assert len(set(ranks)) == len(ranks)
    assert all(rank >= count and 0 < probability <= 1 for rank, probability in placed if probability is not None)
    for first, second in pairwise(ranks):
        assert of_ranks[first] is None or of_ranks[first] != of_ranks[second]


def test_probability_of_a_draw_is_how_often_it_happens() -> None:
    """Over many seeds each track of the pool is drawn as often as its logged probability says: the softmax of the scores."""
    scores = [9.0, 1.0, 0.0, -1.0]
    drawn = [arrange(4, 1, [], Draw(scores, range(1, 4), {0}, Random(seed)))[0] for seed in range(4_000)]
    softmax = [math.exp(score) / sum(map(math.exp, scores[1:])) for score in scores[1:]]

    for rank, probability in enumerate(softmax, start=1):
        assert all(one.probability == pytest.approx(probability) for one in drawn if one.rank == rank)
        assert sum(one.rank == rank for one in drawn) / len(drawn) == pytest.approx(probability, abs=0.03)


def test_second_draw_is_from_what_the_first_one_left() -> None:
    """Without replacement: with a pool of two, the last one left has probability 1."""
    placed = arrange(4, 2, [], Draw([3.0, 2.0, 1.0, 0.0], range(2, 4), {0, 1}, Random(1)))

    assert sorted(one.rank for one in placed) == [2, 3]
    assert placed[1].probability == 1.0


def test_an_empty_pool_leaves_the_place_to_the_best() -> None:
    """A short list is not made shorter. A track without a score is in no pool."""
    unscored = Draw([1.0, 0.0, -math.inf], range(2, 3), {0}, Random(1))

    assert [one.rank for one in arrange(3, 2, [], unscored)] == [0, 1]
    assert [one.rank for one in arrange(2, 2, [], Draw([1.0, 0.0], range(2, 2), {0}, Random(1)))] == [0, 1]


@given(st.integers(1, 100), st.floats(0, 0.5))
def test_as_many_places_are_drawn_as_the_share_says(count: int, share: float) -> None:
    """Rounded up or down, so that the mean is exact: a single track is explored now and then, too."""
    numbers = [len(exploring_places(count, share, Random(seed))) for seed in range(50)]

    assert set(numbers) <= {math.floor(count * share), math.floor(count * share) + 1}
    if count * share == int(count * share):
        assert set(numbers) == {int(count * share)}


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_novelty_shift_rises_is_odd_and_is_nothing_at_zero(one: float, other: float) -> None:
    """At the ends it is infinite, so heard tracks never come, or no others do."""
    low, high = sorted((one, other))

    assert novelty_shift(low) <= novelty_shift(high)
    assert novelty_shift(-one) == -novelty_shift(one)
    assert (novelty_shift(0), novelty_shift(1), novelty_shift(-1)) == (0, math.inf, -math.inf)
