"""The simulated world: moods, artists and tracks, and the rules by which a listener plays, skips and changes mood.

A play depends on the mood z of the session, on whether the last play was skipped, and on a, the artist of the last kept track:

    with probability stray(last)        a popular track of any mood: the player guessed wrong
    else, with probability `artist`     another track of artist a
    else                                a track of mood z
    skipped with probability 1 - keep[fit, last], where fit says whether the track suits the mood, the taste or neither
    then the mood stays with probability stay(outcome), else a new one is drawn from the taste

Popularity within a mood and within an artist follows Zipf's law with an exponent of 1.5. This is steep enough that some
hundred plays show which tracks belong to a mood. The numbers of `Habits` imitate real listening: 18.5 % of plays are left
within 30 s, 59 % after a skip and 9 % after a kept track.

Shapes: M moods, A artists, V tracks, U listeners.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NOBODY = -1
"""Stands for the last artist if no track of the session was kept yet."""

KEPT, SKIPPED = 0, 1
"""How the last play ended: an index into the pairs of `Habits`. The first play of a session counts as following a kept one."""

IN_MOOD, IN_TASTE, ELSEWHERE = 0, 1, 2
"""How a track suits the listener at this moment: an index into `Habits.keep`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Habits:
    """Probabilities that are the same for all listeners. Pairs are (after a kept track, after a skipped one)."""

    stray: tuple[float, float] = (0.055, 0.57)
    artist: float = 0.07
    stay: tuple[float, float] = (0.96, 0.8)
    keep: tuple[tuple[float, float], ...] = ((0.947, 0.76), (0.35, 0.18), (0.1, 0.05))  # in mood, in taste, elsewhere


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """Moods, artists and tracks, which all listeners share."""

    habits: Habits
    artist: Int64s  # [V], the track's artist
    in_mood: Bools  # [M, V]
    by_mood: Floats  # [M, V], rows sum to 1: the probability of each track in a mood
    by_artist: Floats  # [V], sums to 1 over each artist's tracks
    overall: Floats  # [V], sums to 1: the probability of each track as a stray

    def suits_taste(self, favourite: Bools) -> Bools:
        """Return which tracks belong to one of each listener's favourite moods: [U, M] -> [U, V]."""
        return (favourite.astype(np.float64) @ self.in_mood) > 0


def make_world(*, moods: int, artists: int, tracks: int, rng: np.random.Generator, steepness: float = 1.5) -> World:
    """Draw a random world. Each artist has a home mood; one track in four suits a second mood as well.

    `steepness` is the exponent of Zipf's law.
    """
    artist = np.sort(np.concatenate([np.arange(min(artists, tracks)), _zipf_draw(artists, max(0, tracks - artists), rng)]))
    home = rng.permutation(np.arange(artists) % moods)[artist]
    second = (home + rng.integers(1, max(2, moods), tracks)) % moods
    in_mood = np.zeros((moods, tracks), np.bool_)
    in_mood[home, np.arange(tracks)] = True
    both = rng.random(tracks) < 0.25
    in_mood[second[both], np.flatnonzero(both)] = True
    fame = np.zeros(tracks)
    for mood in range(moods):
        members = rng.permutation(np.flatnonzero(home == mood))
        fame[members] = 1 / (np.arange(len(members)) + 4) ** steepness
    by_mood = np.where(in_mood, fame, 0.0) * np.where(home == np.arange(moods)[:, None], 1.0, 0.5)
    by_mood /= by_mood.sum(axis=1, keepdims=True)
    by_artist = fame / np.bincount(artist, fame, minlength=artists)[artist]
    return World(
        habits=Habits(), artist=artist, in_mood=in_mood, by_mood=by_mood, by_artist=by_artist, overall=fame / fame.sum()
    )


def draw_tastes(listeners: int, moods: int, rng: np.random.Generator, *, favourites: int = 3) -> tuple[Floats, Bools]:
    """Draw tastes [U, M], rows that sum to 1, and favourite moods, a mask [U, M]. Some moods have more followers."""
    following = 1 / np.sqrt(1 + np.arange(moods))
    ranks = np.argsort(rng.gumbel(size=(listeners, moods)) + np.log(following), axis=1)[:, ::-1]
    favourite = np.zeros((listeners, moods), np.bool_)
    np.put_along_axis(favourite, ranks[:, :favourites], True, axis=1)
    weight = np.where(favourite, rng.gamma(2.0, size=(listeners, moods)) + 0.3, 0.0)
    taste = 0.97 * weight / weight.sum(axis=1, keepdims=True) + 0.03 / moods
    return taste, favourite


def opening_tracks(artist: Int64s, size: int) -> Int64s:
    """Return for each track the first track of its album, [V]. `artist` [V] is sorted.

    An album is `size` tracks of an artist in a row. An artist's last album may have fewer.
    """
    first = artist.searchsorted(artist)
    return first + (np.arange(len(artist)) - first) // size * size


def _zipf_draw(kinds: int, count: int, rng: np.random.Generator) -> Int64s:
    weight = 1 / (np.arange(kinds) + 20)
    return rng.choice(kinds, count, p=weight / weight.sum())
