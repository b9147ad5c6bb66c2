"""Rules about a list of proposals: how tracks that have scores are put in order.

The service applies these functions to a reply. The trainer applies the same ones to measure what they cost in hits.

    spacing     no label (an artist, an album, a recording) twice within so many tracks
    draw        some places go to tracks that are drawn below the best ones
    novelty     tracks that the listener has heard move up or down

Tracks are numbered by rank: 0 is the track with the best score.
"""

import math
from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from model.catalogue_index import NameIndex

NOVELTY_SCALE = 2.0
"""The exponent of `novelty_shift`."""
POOL = 100
"""How many ranks below the list may be drawn."""
MOST_SCORED = 5_000
"""Where tracks have to be spaced, a list is made of at most so many of the best ones."""
DAY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class ListRules:
    """The rules that decide which tracks are in a list, and in which order. The fields have their names in the HTTP API."""

    artist_gap: int = 0
    album_gap: int = 0
    """No artist and no album twice within so many tracks, counting the tracks just played."""
    not_heard_days: float = 0.0
    """Leave out what this listener heard within so many days."""
    replay: bool = False
    """Whether tracks played in this session may be proposed."""
    novelty: float = 0.0
    """From -1, familiar tracks only, to 1, new ones only."""
    explore: float = 0.0
    """The share of places for less certain tracks."""


class Spacing(NamedTuple):
    """A rule that no label occurs twice within `size` tracks, counting the tracks just played. Tracks without a label are free.

    `label` returns the label of a rank. `before` has the labels of the tracks just played, the newest last.
    """

    size: float
    label: Callable[[int], Hashable | None]
    before: Sequence[Hashable | None] = ()


class Draw(NamedTuple):
    """Fills some `places` of a list with tracks drawn at random from `ranks`, by the softmax of their `scores`, without
    repeats.

    A score of -inf is never drawn.
    """

    scores: Sequence[float]
    ranks: range
    places: Collection[int]
    random: Random


class Placed(NamedTuple):
    """A rank that has got a place, and the probability with which it was drawn; None if it was not drawn but the best one
    left.
    """

    rank: int
    probability: float | None = None


def arrange(size: int, count: int, spacings: Sequence[Spacing], draw: Draw | None = None) -> list[Placed]:
    """Fill `count` places of a list, each with the best of `size` ranks that the spacings allow there, or with a drawn one. The
    list is shorter if no rank is allowed.

    A rank that is not allowed at a place is tried again at the next one. A draw leaves out ranks that are not allowed.
    """
    if draw is None and not spacings:
        return [Placed(rank) for rank in range(min(size, count))]
    board = _Board(size, spacings)
    placed: list[Placed] = []
    for place in range(count):
        one = None
        if draw is not None and place in draw.places:
            one = _drawn(board, place, draw)
        if one is None and (best := board.best(place)) is not None:
            one = Placed(best)
        if one is None:
            break
        board.put(one.rank, place)
        placed.append(one)
    return placed


def spacing(size: float, index: NameIndex, rows: Sequence[int], just_played: Iterable[int] = ()) -> Spacing:
    """Return the rule that no name of `index` occurs twice within `size` tracks. `rows` has the row of each rank, and
    `just_played` the rows of the tracks just played, the newest last.
    """
    return Spacing(size, lambda rank: index.label(rows[rank]), [index.label(row) for row in just_played])


def exploring(scores: Sequence[float], count: int, share: float, random: Random) -> Draw | None:
    """Plan random draws for a share of the `count` places of a list, from the `POOL` ranks after the list. None if no place is
    drawn.
    """
    places = exploring_places(count, share, random)
    return Draw(scores, range(count, min(len(scores), count + POOL)), places, random) if places else None


def exploring_places(count: int, share: float, random: Random) -> frozenset[int]:
    """Choose at random which of `count` places are drawn. On average it is the given share, and all places are equally
    likely.
    """
    wanted = count * share
    number = int(wanted) + (random.random() < wanted % 1)
    return frozenset(random.sample(range(count), number))


def novelty_shift(novelty: float) -> float:
    """Return by how much to lower the scores of heard tracks at a novelty from -1 to 1. It rises with novelty, is 0 at 0, and
    infinite at both ends.

    The scores are logits. So a novelty n multiplies the odds of heard tracks against new ones by ((1 - n) / (1 + n)) to the
    power of `NOVELTY_SCALE`. In a model with a copy head this is a shift of its gate, divided by its temperature.
    """
    if abs(novelty) >= 1:
        return math.copysign(math.inf, novelty)
    return 2 * NOVELTY_SCALE * math.atanh(novelty)


def _drawn(board: "_Board", place: int, draw: Draw) -> Placed | None:
    scores = draw.scores
    pool = [rank for rank in draw.ranks if scores[rank] > -math.inf and board.may_stand(rank, place)]
    if not pool:
        return None
    best = max(scores[rank] for rank in pool)
    weights = [math.exp(scores[rank] - best) for rank in pool]
    [chosen] = draw.random.choices(range(len(pool)), weights)
    return Placed(pool[chosen], weights[chosen] / math.fsum(weights))


class _Board:
    """Stores which ranks have no place yet, and at which place each label occurred last. The newest track just played is at
    place -1.
    """

    def __init__(self, size: int, spacings: Sequence[Spacing]) -> None:
        self.size, self._spacings = size, spacings
        self._last: list[dict[Hashable, int]] = []
        for spacing in spacings:
            last: dict[Hashable, int] = {}
            for back, label in enumerate(reversed(spacing.before), start=1):
                last.setdefault(label, -back)
            self._last.append(last)
        self._put: set[int] = set()
        self._seen = 0
        self._waiting: dict[tuple[Hashable | None, ...], deque[int]] = {}  # seen and passed over, by labels, best first

    def may_stand(self, rank: int, place: int) -> bool:
        return rank not in self._put and self._fits(self._labels(rank), place)

    def best(self, place: int) -> int | None:
        heads = [queue[0] for labels, queue in self._waiting.items() if self._without_put(queue) and self._fits(labels, place)]
        if heads:
            return min(heads)
        while self._seen < self.size:
            rank = self._seen
            self._seen += 1
            if rank in self._put:
                continue
            labels = self._labels(rank)
            self._waiting.setdefault(labels, deque()).append(rank)
            if self._fits(labels, place):
                return rank
        return None

    def put(self, rank: int, place: int) -> None:
        self._put.add(rank)
        for last, label in zip(self._last, self._labels(rank), strict=True):
            if label is not None:
                last[label] = place

    def _without_put(self, queue: deque[int]) -> bool:
        """Remove ranks that already have a place from the head of a queue. Returns whether any rank is left."""
        while queue and queue[0] in self._put:
            queue.popleft()
        return bool(queue)

    def _labels(self, rank: int) -> tuple[Hashable | None, ...]:
        return tuple([spacing.label(rank) for spacing in self._spacings])

    def _fits(self, labels: tuple[Hashable | None, ...], place: int) -> bool:
        return all(
            label is None or place - last.get(label, -math.inf) >= spacing.size
            for spacing, last, label in zip(self._spacings, self._last, labels, strict=True)
        )
