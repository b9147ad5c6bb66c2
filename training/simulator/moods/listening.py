"""Simulates sessions of listeners with moods: what they play and what they skip.

Given a listener's taste, sessions are independent of each other. So all sessions advance together, one track at a time. The
number of numpy passes is the length of the longest session, whatever the number of listeners.

Shapes: S sessions, N plays of all sessions end to end, n sessions that are not over, M moods, V tracks.
"""

from collections.abc import Callable

import numpy as np

from training.simulator.moods.world import ELSEWHERE, IN_MOOD, IN_TASTE, KEPT, NOBODY, SKIPPED, Bools, Floats, Int64s, World
from training.simulator.plays import Plays


def listen(
    world: World,
    lengths: Int64s,
    rng: np.random.Generator,
    *,
    taste: Floats,
    favourite: Bools,
    progress: Callable[[int], None] = lambda _: None,
) -> Plays:
    """Simulate sessions of `lengths` [S], given the taste and favourite moods [S, M] of each session's listener.

    `progress` is called with the number of new plays after each step.
    """
    habits = world.habits
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    track, skipped = np.zeros(offsets[-1], np.int64), np.zeros(offsets[-1], np.bool_)
    draw, moods_of = _Sampler(world), np.ascontiguousarray(world.in_mood.T)
    mood = _draw_lines(taste, rng)
    artist = np.full(len(lengths), NOBODY)
    last = np.full(len(lengths), KEPT)
    for place in range(int(lengths.max(initial=0))):
        now = np.flatnonzero(lengths > place)
        played = draw(mood[now], artist[now], last[now], rng)
        suits = (moods_of[played] & favourite[now]).any(axis=1)
        fit = np.where(moods_of[played, mood[now]], IN_MOOD, np.where(suits, IN_TASTE, ELSEWHERE))
        left = rng.random(len(now)) >= np.array(habits.keep)[fit, last[now]]
        track[offsets[now] + place], skipped[offsets[now] + place] = played, left
        last[now] = np.where(left, SKIPPED, KEPT)
        artist[now] = np.where(left, artist[now], world.artist[played])
        moving = now[rng.random(len(now)) >= np.array(habits.stay)[last[now]]]
        mood[moving] = _draw_lines(taste[moving], rng)
        progress(len(now))
    return Plays(offsets=offsets, track=track, skipped=skipped)


class _Sampler:
    """Draws the next track of many sessions at once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._overall = _Bags(world.overall[None, :])
        self._by_mood = _Bags(world.by_mood)
        self._by_artist = np.cumsum(world.by_artist)  # tracks are sorted by artist, so one array serves all artists

    def __call__(self, mood: Int64s, artist: Int64s, last: Int64s, rng: np.random.Generator) -> Int64s:
        """Draw one track for each session by the rule in `training.simulator.moods.world`."""
        habits = self._world.habits
        stray = rng.random(len(mood)) < np.array(habits.stray)[last]
        same = ~stray & (artist != NOBODY) & (rng.random(len(mood)) < habits.artist)
        drawn = self._by_mood.draw(mood, rng)
        drawn[stray] = self._overall.draw(np.zeros(stray.sum(), np.int64), rng)
        before = self._by_artist.searchsorted(artist[same] + rng.random(same.sum()), side="right")
        drawn[same] = np.minimum(before, len(self._by_artist) - 1)
        return drawn


class _Bags:
    """Weighted sets of tracks. One binary search serves all draws."""

    def __init__(self, weight: Floats) -> None:
        bag, self._track = np.nonzero(weight)
        inside = np.cumsum(weight, axis=1)[bag, self._track] / weight.sum(axis=1)[bag]
        self._upto = bag + np.minimum(inside, 1.0)
        self._last = np.cumsum(np.bincount(bag, minlength=len(weight))) - 1

    def draw(self, bag: Int64s, rng: np.random.Generator) -> Int64s:
        """Draw one track from each of the given bags."""
        place = self._upto.searchsorted(bag + rng.random(len(bag)), side="right")
        drawn: Int64s = self._track[np.minimum(place, self._last[bag])]
        return drawn


def _draw_lines(weight: Floats, rng: np.random.Generator) -> Int64s:
    upto = np.cumsum(weight, axis=1)
    found: Int64s = (rng.random((len(weight), 1)) * upto[:, -1:] >= upto).sum(axis=1)
    return found
