"""Simulated plays, and how to find them again in a log.

Shapes: S sessions, N plays of all sessions end to end, B cases.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from training.simulator.moods.world import Bools, Int64s

LONGEST = 200
"""Largest number of plays in a session: half a day of music. So a session ends before the next day's begins."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plays:
    """The plays of all sessions end to end. Session s has plays `offsets[s]` to `offsets[s + 1] - 1`."""

    offsets: Int64s  # [S + 1]
    track: Int64s  # [N]
    skipped: Bools  # [N]


class LastPlay(NamedTuple):
    """A supposition about the play before each case: `skipped` instead of what really happened.

    `tracks` are the played tracks; None for a case that begins a session, which no earlier play changes.
    """

    tracks: Sequence[str | None]  # [B]
    skipped: bool


def session_lengths(count: int, rng: np.random.Generator, *, median: float, spread: float) -> Int64s:
    """Draw the number of plays of `count` sessions: log-normal, where `spread` is the standard deviation of the logarithm."""
    lengths = np.exp(rng.normal(np.log(median), spread, count))
    return np.clip(np.rint(lengths), 1, LONGEST).astype(np.int64)


def places(names: npt.NDArray[np.str_], user: Int64s, at_ms: Int64s, users: Sequence[str], asked_ms: Int64s) -> Int64s:
    """Return the index of the play that each of `users` [B] started at `asked_ms` [B].

    Play n is of listener `names[user[n]]` and started at `at_ms[n]`; plays are sorted by both. ValueError if there is no such
    play.
    """
    number = np.minimum(names.searchsorted(np.asarray(users, str)), len(names) - 1)
    first = at_ms.min(initial=0)
    span = int(at_ms.max(initial=0) - first) + 1
    keys = user * span + (at_ms - first)
    place: Int64s = np.minimum(keys.searchsorted(number * span + (asked_ms - first)), len(keys) - 1)
    found = (names[number] == np.asarray(users, str)) & (user[place] == number) & (at_ms[place] == asked_ms)
    if not found.all():
        wrong = int(np.flatnonzero(~found)[0])
        raise ValueError(
            f"no play of {users[wrong]!r} starts at {asked_ms[wrong]} in this log. Does truth.npz belong to another log?"
        )
    return place
