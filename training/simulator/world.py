"""The world that listeners listen in: moods, artists, tracks, and how a play comes about.

One play, given the mood z of the session, whether the last play was skipped, and a, the artist of the last track kept in it:

    with probability stray(last)        a popular track of any mood: the player guessed wrong
    else, with probability `artist`     another track of artist a
    else                                a track of mood z
    skipped with probability 1 - keep[fit, last], fit being how the track suits the mood, else the listener's taste
    then the mood stays with probability stay(outcome), else it is drawn anew from the taste

Popularity within a mood and within an artist follows Zipf's law, with an exponent of 1.5: steep enough that some hundred plays
show what belongs to a mood. The numbers of `Habits` are set so that the plays look like real listening: 18.5 % of plays left
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
"""The last artist where no track of the session was kept yet."""

KEPT, SKIPPED = 0, 1
"""How the last play ended, as the index of the pairs in `Habits`; the first play of a session follows a kept one."""

IN_MOOD, IN_TASTE, ELSEWHERE = 0, 1, 2
"""How a track suits the moment, as the index into `Habits.keep`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Habits:
    """How everyone listens. Pairs are (after a kept track, after a skipped one)."""

    stray: tuple[float, float] = (0.055, 0.57)
    artist: float = 0.07
    stay: tuple[float, float] = (0.96, 0.8)
    keep: tuple[tuple[float, float], ...] = ((0.947, 0.76), (0.35, 0.18), (0.1, 0.05))  # in mood, in taste, elsewhere


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """Moods, artists and tracks; whatever a listener of it shares with all others."""

    habits: Habits
    artist: Int64s  # [V], whose track it is
    in_mood: Bools  # [M, V]
    by_mood: Floats  # [M, V], lines sum to 1: what is heard in a mood
    by_artist: Floats  # [V], sums to 1 over each artist's tracks
    overall: Floats  # [V], sums to 1: what strays are drawn from

    def suits_taste(self, favourite: Bools) -> Bools:
        """Which tracks belong to a favourite mood; [U, M] -> [U, V]."""
        return (favourite.astype(np.float64) @ self.in_mood) > 0


def make_world(*, moods: int, artists: int, tracks: int, rng: np.random.Generator) -> World:
    """Draw a world. Artists have a home mood; one track in four suits a second one as well."""
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
        fame[members] = 1 / (np.arange(len(members)) + 4) ** 1.5
    by_mood = np.where(in_mood, fame, 0.0) * np.where(home == np.arange(moods)[:, None], 1.0, 0.5)
    by_mood /= by_mood.sum(axis=1, keepdims=True)
    by_artist = fame / np.bincount(artist, fame, minlength=artists)[artist]
    return World(
        habits=Habits(), artist=artist, in_mood=in_mood, by_mood=by_mood, by_artist=by_artist, overall=fame / fame.sum()
    )


def draw_tastes(listeners: int, moods: int, rng: np.random.Generator, *, favourites: int = 3) -> tuple[Floats, Bools]:
    """Tastes [U, M], lines that sum to 1, and which moods are favourites: a few, some moods with more followers than others."""
    following = 1 / np.sqrt(1 + np.arange(moods))
    ranks = np.argsort(rng.gumbel(size=(listeners, moods)) + np.log(following), axis=1)[:, ::-1]
    favourite = np.zeros((listeners, moods), np.bool_)
    np.put_along_axis(favourite, ranks[:, :favourites], True, axis=1)
    weight = np.where(favourite, rng.gamma(2.0, size=(listeners, moods)) + 0.3, 0.0)
    taste = 0.97 * weight / weight.sum(axis=1, keepdims=True) + 0.03 / moods
    return taste, favourite


def _zipf_draw(kinds: int, count: int, rng: np.random.Generator) -> Int64s:
    weight = 1 / (np.arange(kinds) + 20)
    return rng.choice(kinds, count, p=weight / weight.sum())
