"""Simulates lives of listeners with habits, by the rules of `training.simulator.habits.world`.

A play depends on all plays before it, so listeners are simulated one after another and play by play. This takes some 10 us a
play.

Shapes: U listeners, S sessions, N plays of all sessions end to end, V tracks, D offsets.
"""

from bisect import bisect_right
from collections.abc import Callable
from itertools import pairwise
from math import exp

import numpy as np

from training.simulator.habits.world import HABIT, OFFSETS, TIRED, UNHEARD, Listeners, World
from training.simulator.moods.world import KEPT, NOBODY, SKIPPED, Int64s
from training.simulator.plays import Plays

_CATALOGUE = -1
"""Stands for the catalogue as the source of a play. Other sources are places of the own past."""


def listen(
    world: World,
    listeners: Listeners,
    owner: Int64s,
    lengths: Int64s,
    rng: np.random.Generator,
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> Plays:
    """Simulate sessions of `lengths` [S], whose listeners are `owner` [S], ascending.

    `progress` is called with the number of new plays after each listener.
    """
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    track, skipped = np.zeros(offsets[-1], np.int64), np.zeros(offsets[-1], np.bool_)
    firsts = np.searchsorted(owner, np.arange(len(listeners.new) + 1))
    shared = _Shared(world, most=int(np.bincount(owner, lengths).max(initial=0)))
    for user, (first, stop) in enumerate(pairwise(firsts.tolist())):
        life = _Life(shared, listeners, user, rng)
        at = offsets[first]
        for length in lengths[first:stop].tolist():
            life.open_session()
            for _ in range(length):
                track[at], skipped[at] = life.play()
                at += 1
        progress(int(at - offsets[first]))
    return Plays(offsets=offsets, track=track, skipped=skipped)


class _Shared:
    """The world in the form that single draws read fastest: lists of running totals."""

    def __init__(self, world: World, *, most: int) -> None:
        self.world, self.rules = world, world.rules
        self.artist, self.follows = world.artist.tolist(), world.follows.tolist()
        self.offset, self.upto_offset = OFFSETS.tolist(), np.cumsum(world.offset_weights()).tolist()
        self.by_artist = np.cumsum(world.by_artist).tolist()  # tracks are sorted by artist, so one list serves all artists
        self.upto_age = np.cumsum(np.arange(1, most + 1) ** -world.rules.fade).tolist()  # from age 1 on


class _Life:
    """One listener's past and the state between two plays."""

    def __init__(self, shared: _Shared, listeners: Listeners, user: int, rng: np.random.Generator) -> None:
        self._shared, self._draw = shared, rng.random
        self._new, self._patience = float(listeners.new[user]), float(listeners.patience[user])
        self._by_taste = np.cumsum(listeners.taste[user] @ shared.world.by_mood).tolist()
        self._past: list[int] = []  # kept tracks, oldest first
        self._session: list[int] = []  # the session of each
        self._status: dict[int, int] = {}
        self._once, self._kept = set[int](), set[int]()
        self._number = -1  # of the session
        self.open_session()

    def open_session(self) -> None:
        """Start a session: nothing was played, kept or skipped in it yet."""
        self._number, self._heard = self._number + 1, set[int]()
        self._source, self._track, self._artist, self._last = _CATALOGUE, -1, NOBODY, KEPT

    def play(self) -> tuple[int, bool]:
        """Draw the next track and whether it is skipped."""
        found = self._go_on() if self._track >= 0 else None
        self._source, track = self._start_anew() if found is None else found
        rules, status = self._shared.rules, self._status.get(track, UNHEARD)
        skipped = self._draw() < 1 / (1 + exp(-self._patience - rules.run[self._last] - rules.status[status]))
        if skipped:
            self._status[track] = TIRED
        else:
            self._status[track] = HABIT
            if track in self._kept:
                self._once.discard(track)
            else:
                self._kept.add(track)
                self._once.add(track)
            self._past.append(track)
            self._session.append(self._number)
            self._artist = self._shared.artist[track]
        self._track, self._last = track, SKIPPED if skipped else KEPT
        self._heard.add(track)
        return track, skipped

    def _go_on(self) -> tuple[int, int] | None:
        """Draw the next source and track from the present source; None to start anew."""
        shared, rules = self._shared, self._shared.rules
        if self._source == _CATALOGUE:
            follows = shared.follows[self._track]
            return (_CATALOGUE, follows) if follows >= 0 and self._draw() < rules.album[self._last] else None
        if self._draw() >= rules.go_on[self._last]:
            return None
        place = self._source + shared.offset[_draw_from(shared.upto_offset, self._draw())]
        inside = 0 <= place < len(self._past) and self._session[place] == self._session[self._source]
        return (place, self._past[place]) if inside and self._accepts(place) else None

    def _start_anew(self) -> tuple[int, int]:
        shared, rules = self._shared, self._shared.rules
        if self._track >= 0 and self._draw() < rules.again:
            return self._source, self._track
        if self._past and self._draw() >= self._new:
            size, upto = len(self._past), shared.upto_age
            place = size - 1 - bisect_right(upto, self._draw() * upto[size - 1], 0, size - 1)
            if self._accepts(place):
                return place, self._past[place]
        if self._artist != NOBODY and self._draw() < rules.artist:
            return _CATALOGUE, _draw_from(shared.by_artist, self._artist + self._draw())
        return _CATALOGUE, _draw_from(self._by_taste, self._draw())

    def _accepts(self, place: int) -> bool:
        """Decide whether a place is played: always, unless its track was played in this session or was kept only once."""
        track, rules = self._past[place], self._shared.rules
        chance = (rules.today if track in self._heard else 1.0) * (rules.once if track in self._once else 1.0)
        return chance == 1.0 or self._draw() < chance


def _draw_from(upto: list[float], at: float) -> int:
    """Return the first entry of running totals above `at`."""
    return min(bisect_right(upto, at), len(upto) - 1)
