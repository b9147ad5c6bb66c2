"""The filter behind the best possible score agrees with the rules written out by hand, and with what the generator draws."""

from collections.abc import Iterator
from math import exp

import numpy as np
import pytest

from training.simulator.habits.listening import listen
from training.simulator.habits.truth import Chances, HabitTruth
from training.simulator.habits.world import OFFSETS, Listeners, Rules, World
from training.simulator.moods.world import Floats

TRACKS, CATALOGUE = 6, -1
RULES = Rules(again=0.1, new=0.3, artist=0.4, album=(0.5, 0.3), today=0.4, once=0.5, fade=0.7)

Play = tuple[int, bool, int]
"""A track, whether it was skipped, and the session."""


@pytest.fixture
def world() -> World:
    """Make two moods, two artists and six tracks. Each artist has one album of three tracks."""
    return World(
        rules=RULES,
        artist=np.array([0, 0, 0, 1, 1, 1]),
        follows=np.array([1, 2, -1, 4, 5, -1]),
        by_mood=np.array([[0.5, 0.2, 0.1, 0.1, 0.1, 0.0], [0.0, 0.1, 0.1, 0.2, 0.2, 0.4]]),
        by_artist=np.array([0.6, 0.3, 0.1, 0.2, 0.3, 0.5]),
    )


@pytest.fixture
def listeners() -> Listeners:
    """Make two listeners of different taste, curiosity and patience."""
    return Listeners(taste=np.array([[0.7, 0.3], [0.2, 0.8]]), new=np.array([0.3, 0.6]), patience=np.array([-0.4, 0.8]))


class ByHand:
    """The rules of the world's docstring, one probability at a time, for listener 0."""

    def __init__(self, world: World, listeners: Listeners, plays: list[Play]) -> None:
        self.world, self.listeners = world, listeners
        self.past = [(track, session) for track, skipped, session in plays if not skipped]
        self.plays = plays

    def _accepted(self, track: int, session: int) -> float:
        heard = any(other == track and number == session for other, _, number in self.plays)
        once = sum(other == track for other, _ in self.past) == 1
        return (RULES.today if heard else 1.0) * (RULES.once if once else 1.0)

    def moves(self, source: int | None, session: int) -> Iterator[tuple[int, int, float]]:
        """Yield each next source with its track and probability, given the source of the play before (None: no play)."""
        mine = [play for play in self.plays if play[2] == session]
        last = int(mine[-1][1]) if mine else 0
        leave = 1.0
        if source == CATALOGUE:
            follows = int(self.world.follows[mine[-1][0]])
            if follows >= 0:
                yield CATALOGUE, follows, RULES.album[last]
                leave -= RULES.album[last]
        elif source is not None:
            for offset, weight in zip(OFFSETS.tolist(), self.world.offset_weights().tolist(), strict=True):
                place = source + offset
                if 0 <= place < len(self.past) and self.past[place][1] == self.past[source][1]:
                    chance = RULES.go_on[last] * weight * self._accepted(self.past[place][0], session)
                    yield place, self.past[place][0], chance
                    leave -= chance
        if source is not None:
            yield source, mine[-1][0], leave * RULES.again
            leave *= 1 - RULES.again
        anew = 0.0
        size = len(self.past)
        for place, (track, _) in enumerate(self.past):
            weight = (size - place) ** -RULES.fade / sum(age**-RULES.fade for age in range(1, size + 1))
            chance = (1 - self.listeners.new[0]) * weight * self._accepted(track, session)
            yield place, track, leave * chance
            anew += chance
        kept = [track for track, skipped, _ in mine if not skipped]
        for track in range(TRACKS):
            taste = sum(self.listeners.taste[0, mood] * self.world.by_mood[mood, track] for mood in range(2))
            if kept:
                artist = self.world.artist[kept[-1]]
                same = self.world.by_artist[track] if self.world.artist[track] == artist else 0.0
                taste = RULES.artist * same + (1 - RULES.artist) * taste
            yield CATALOGUE, track, leave * (1 - anew) * taste


def _next_by_enumeration(world: World, listeners: Listeners, before: list[Play], seen: list[Play]) -> Floats:
    """Return P(next track | all plays), summed over every path of sources through the session `seen`."""
    session = before[-1][2] + 1
    paths: list[tuple[int | None, float]] = [(None, 1.0)]
    for count in range(len(seen)):
        rules = ByHand(world, listeners, [*before, *seen[:count]])
        paths = [
            (source, probability * chance)
            for path, probability in paths
            for source, track, chance in rules.moves(path, session)
            if track == seen[count][0] and chance > 0
        ]
    rules = ByHand(world, listeners, [*before, *seen])
    found = np.zeros(TRACKS)
    for path, probability in paths:
        for _, track, chance in rules.moves(path, session):
            found[track] += probability * chance
    result: Floats = found / sum(probability for _, probability in paths)
    return result


BEFORE: list[Play] = [(0, False, 0), (1, False, 0), (4, True, 0), (0, False, 1), (3, False, 1), (1, False, 1), (1, True, 1)]
SEEN: list[Play] = [(0, False, 2), (1, False, 2), (1, True, 2), (2, False, 2), (0, False, 2)]


def test_the_next_track_equals_the_sum_over_all_sources(world: World, listeners: Listeners) -> None:
    """At each place of a session with repeats, skips and an album, the filter equals brute force over all paths of sources."""
    track, skipped, session = (np.array(column) for column in zip(*BEFORE, strict=True))
    chances = Chances(world, listeners, 0, track, skipped=skipped, session=session)
    for count, play in enumerate(SEEN):
        expected = _next_by_enumeration(world, listeners, BEFORE, SEEN[:count])
        np.testing.assert_allclose(chances.played(), expected, rtol=0, atol=1e-12)
        chances.see(play[0], skipped=play[1])

    np.testing.assert_allclose(chances.played(), _next_by_enumeration(world, listeners, BEFORE, SEEN), rtol=0, atol=1e-12)
    assert chances.played().sum() == pytest.approx(1, abs=1e-12)


def test_a_track_is_kept_by_patience_run_and_status(world: World, listeners: Listeners) -> None:
    """After a skip, track 1 was skipped last, track 0 is a habit and track 5 was never heard."""
    track, skipped, session = (np.array(column) for column in zip(*BEFORE, strict=True))
    chances = Chances(world, listeners, 0, track, skipped=skipped, session=session)
    chances.see(3, skipped=True)
    odds = {number: -0.4 + RULES.run[1] + RULES.status[status] for number, status in ((5, 0), (0, 1), (1, 2), (3, 2))}

    for number, value in odds.items():
        assert chances.keep()[number] == pytest.approx(1 / (1 + exp(value)), abs=1e-12)


def test_the_generator_draws_what_the_filter_says(world: World) -> None:
    """Of all plays and tracks that the filter gives about the same probability, this share is played, to 4 standard errors.

    Generator and filter share no code. 500 listeners with four sessions of five plays give 60,000 pairs of play and track.
    """
    rng = np.random.default_rng(1)
    count, sessions, plays = 500, 4, 5
    listeners = Listeners(
        taste=rng.dirichlet((1.0, 1.0), count), new=rng.uniform(0.1, 0.6, count), patience=rng.normal(0, 1, count)
    )
    owner = np.repeat(np.arange(count), sessions)
    made = listen(world, listeners, owner, np.full(len(owner), plays), rng)
    session = np.repeat(np.arange(len(owner)), plays)
    truth = HabitTruth(
        world=world,
        listeners=listeners,
        tracks=np.array([f"t{number}" for number in range(TRACKS)]),
        users=np.array([f"u{number:03d}" for number in range(count)]),
        user=owner[session],
        at_ms=np.arange(len(session)),
        session=session,
        track=made.track,
        skipped=made.skipped,
    )
    every = [
        (chances.played(), chances.keep()[made.track[play]])
        for number in range(len(owner))
        for play, chances in truth.session_chances(number)
    ]
    said, played = np.array([one for one, _ in every]), made.track[:, None] == np.arange(TRACKS)
    keep, kept = np.array([one for _, one in every]), ~made.skipped

    for stated, happened in ((said.ravel(), played.ravel()), (keep, kept)):
        for low, high in ((0, 0.05), (0.05, 0.15), (0.15, 0.3), (0.3, 0.5), (0.5, 1)):
            chosen = (stated >= low) & (stated < high)
            assert chosen.sum() > 100
            error = np.sqrt((stated[chosen] * (1 - stated[chosen])).sum()) / chosen.sum()
            assert happened[chosen].mean() == pytest.approx(stated[chosen].mean(), abs=4 * error)
