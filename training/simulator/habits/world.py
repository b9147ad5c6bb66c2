"""The world of listeners with habits: what they repeat, what is new to them, and what they skip.

Each play has a *source*. It is either a place in the listener's own past, or the world's catalogue. Places are counted over
kept plays, oldest first, j = 0 .. H - 1, and the age of place j is H - j. The next play is drawn in this order:

    1. The listener goes on from the source of the play before.
           own past, place j   with probability go_on(last), place j + d with d drawn from K, if it is accepted
           catalogue           with probability album(last), the next track of the album, if there is one
    2. Else the listener starts anew.
           again                  the track just played; the source stays
           (1 - again) (1 - new)  place j of the own past, drawn in proportion to age^-fade, if it is accepted
           the rest               a track of the catalogue: with probability `artist` of the last kept artist, else by taste

A place is accepted with probability `today` if its track was played in this session, times `once` if the track was kept only
once so far, else 1. A place j + d in another session than j, or not there yet, is never accepted. The first play of a session
has no source before it and cannot be `again`.

K gives d = 1 the probability `straight`. The rest is for places close by, after and before: d^-.55 and .65 |d|^-.5, up to 15.
So sequences are repeated in order or shuffled. What was kept becomes a place of the past and can be repeated. So new tracks
become habits, and habits fade with their age by a power of it, as memories do (Anderson & Schooler 1991).

A play is skipped with the log-odds `patience + run(last) + status(track)`. The status says whether the listener had kept the
track before, and whether its last play was skipped. `new` and `patience` differ between listeners.

Artists, albums and tracks are those of `moods.world`. A taste is a mixture of moods, constant over time. An album is a run
of an artist's tracks in the order of their rows.

Shapes: M moods, V tracks, U listeners, D = 2 * REACH offsets.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from training.simulator.moods import world as moods
from training.simulator.moods.world import Floats, Int64s

REACH = 15
OFFSETS = np.concatenate([np.arange(-REACH, 0), np.arange(1, REACH + 1)])
"""Values of d, [D]."""
UNHEARD, HABIT, TIRED = 0, 1, 2
"""Status of a track for a listener: never kept, kept, skipped at its last play. An index into `Rules.status`."""
MOODS = 12
ALBUM = 10
"""Largest number of tracks of an album."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """Probabilities and log-odds that are the same for all listeners. Pairs are (after a kept track, after a skipped one)."""

    go_on: tuple[float, float] = (0.8, 0.75)
    straight: float = 0.57
    album: tuple[float, float] = (0.3, 0.2)
    again: float = 0.02
    new: float = 0.05  # of the median listener
    new_spread: float = 0.6  # standard deviation of its log-odds
    artist: float = 0.3
    fade: float = 0.2
    today: float = 0.38
    once: float = 0.15
    patience: float = -0.16  # of the median listener
    patience_spread: float = 0.58  # standard deviation
    run: tuple[float, float] = (-1.45, 0.67)
    status: tuple[float, float, float] = (0.2, -0.35, 0.4)


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """Artists, albums and tracks, which all listeners share, and the rules."""

    rules: Rules
    artist: Int64s  # [V], the track's artist
    follows: Int64s  # [V], the next track of the album; -1 after its last
    by_mood: Floats  # [M, V], rows sum to 1
    by_artist: Floats  # [V], sums to 1 over each artist's tracks

    def offset_weights(self) -> Floats:
        """Return K, [D]. It sums to 1."""
        near = np.where(OFFSETS > 0, np.abs(OFFSETS) ** -0.55, 0.65 * np.abs(OFFSETS) ** -0.5)
        near[OFFSETS == 1] = 0
        weights: Floats = (1 - self.rules.straight) * near / near.sum()
        weights[OFFSETS == 1] = self.rules.straight
        return weights


@dataclass(frozen=True, kw_only=True, slots=True)
class Listeners:
    """What differs between listeners."""

    taste: Floats  # [U, M], rows sum to 1
    new: Floats  # [U], the probability of something new where a listener starts anew
    patience: Floats  # [U], log-odds; high for listeners who skip often


def make_world(*, artists: int, tracks: int, rng: np.random.Generator, rules: Rules | None = None) -> World:
    """Draw a random world. Popularity within a mood and within an artist follows Zipf's law with an exponent of 1."""
    drawn = moods.make_world(moods=MOODS, artists=artists, tracks=tracks, rng=rng, steepness=1.0)
    artist = drawn.artist
    opening = moods.opening_tracks(artist, ALBUM)
    last = np.append(opening[1:] != opening[:-1], True)
    return World(
        rules=Rules() if rules is None else rules,
        artist=artist,
        follows=np.where(last, -1, np.arange(1, tracks + 1)),
        by_mood=drawn.by_mood,
        by_artist=drawn.by_artist,
    )


def draw_listeners(world: World, listeners: int, rng: np.random.Generator) -> Listeners:
    """Draw listeners. `new` and `patience` are spread evenly over their distributions, so few listeners differ as many do."""
    rules = world.rules
    taste, _ = moods.draw_tastes(listeners, MOODS, rng)
    evenly = np.array([NormalDist().inv_cdf((number + 0.5) / listeners) for number in range(listeners)])
    usual = np.log(rules.new / (1 - rules.new))
    return Listeners(
        taste=taste,
        new=1 / (1 + np.exp(-usual - rules.new_spread * rng.permutation(evenly))),
        patience=rules.patience + rules.patience_spread * rng.permutation(evenly),
    )
