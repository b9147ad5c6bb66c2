"""Computes the best possible ranking of a log of listeners with moods, from knowledge that only the simulator has.

A listener's mood is hidden, but everything else about the world is known here. The forward filter of a hidden Markov model
therefore gives the exact probability of each mood before each play. From these follows the probability that each track is
played next and kept. Ranking by it is optimal for every metric of the next kept track's rank. So no model can be expected to do
better. The filter knows each listener's taste and the starts of sessions; a model must infer both.

Shapes: N plays, U listeners, M moods, V tracks of the world, B cases.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

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
from training.simulator.plays import LastPlay, Plays, places


@dataclass(frozen=True, kw_only=True, slots=True)
class MoodTruth:
    """The simulator's knowledge about a log: the world, the listeners' tastes, and the state before each play."""

    world: World
    tracks: npt.NDArray[np.str_]  # [V], their ids
    users: npt.NDArray[np.str_]  # [U], sorted
    favourite: Bools  # [U, M]
    user: Int64s  # [N], sorted; indexes users
    at_ms: Int64s  # [N], sorted within a listener
    belief: Floats  # [N, M], the probability of each mood before the play
    artist: Int64s  # [N], of the last track kept in the session, or NOBODY
    last: Int64s  # [N], KEPT or SKIPPED: the play before

    def next_kept(self, users: Sequence[str], at_ms: Int64s, supposed: LastPlay | None = None) -> Floats:
        """Return the probability [B, V] that the next play of each case is each track and is kept; see `Truth`."""
        place = places(self.users, self.user, self.at_ms, users, at_ms)
        state = _State(self.belief[place], self.artist[place], self.last[place])
        if supposed is not None:
            number = {track: index for index, track in enumerate(self.tracks.tolist())}
            before = np.array([number.get(track or "", -1) for track in supposed.tracks])
            state = _supposed(self, place, before, supposed.skipped)
        suits = self.world.suits_taste(self.favourite[self.user[place]])
        return next_kept(self.world, state.belief, artist=state.artist, last=state.last, suits=suits)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return everything as plain arrays by name."""
        world = {f"world_{name}": value for name, value in _arrays(self.world).items()}
        habits = {f"habits_{name}": np.array(value) for name, value in asdict(self.world.habits).items()}
        return {**_arrays(self), **world, **habits}

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> "MoodTruth":
        """Make the truth from its arrays."""
        habits = {name.removeprefix("habits_"): value for name, value in arrays.items() if name.startswith("habits_")}
        world = {name.removeprefix("world_"): value for name, value in arrays.items() if name.startswith("world_")}
        rest = {name: value for name, value in arrays.items() if not name.startswith(("world_", "habits_"))}
        stray, stay, keep = habits["stray"], habits["stay"], habits["keep"]
        return cls(
            world=World(
                habits=Habits(
                    stray=(float(stray[0]), float(stray[1])),
                    artist=float(habits["artist"]),
                    stay=(float(stay[0]), float(stay[1])),
                    keep=tuple((float(line[0]), float(line[1])) for line in keep),
                ),
                **world,
            ),
            **rest,
        )


class _State(NamedTuple):
    """All that the world's next play depends on, for each of B cases."""

    belief: Floats  # [B, M]
    artist: Int64s  # [B]
    last: Int64s  # [B]


class Imagined:
    """A simulated listener in a session that the log does not have. Scores are the best possible, as in `best_scores`."""

    def __init__(self, truth: MoodTruth, user: str) -> None:
        """Begin a session. ValueError if the log has no such listener."""
        number = int(truth.users.searchsorted(user))
        first = int(truth.user.searchsorted(number))
        if first == len(truth.user) or truth.users[truth.user[first]] != user:
            raise ValueError(f"no listener {user!r} in this log")
        self._truth = truth
        self._numbers = {track: index for index, track in enumerate(truth.tracks.tolist())}
        self._taste, self._favourite = truth.belief[[first]], truth.favourite[[number]]
        self._state = _State(self._taste, np.array([NOBODY]), np.array([KEPT]))

    def play(self, track: str, *, skipped: bool) -> None:
        """Continue with a play of `track`."""
        self._state = _after(
            self._truth.world,
            self._state,
            np.array([self._numbers[track]]),
            np.array([skipped]),
            taste=self._taste,
            favourite=self._favourite,
        )

    def ranked(self) -> list[str]:
        """Return all tracks, the one that is most probably played next and kept first."""
        state, world = self._state, self._truth.world
        suits = world.suits_taste(self._favourite)
        [kept] = next_kept(world, state.belief, artist=state.artist, last=state.last, suits=suits)
        return [str(track) for track in self._truth.tracks[np.argsort(-kept, kind="stable")]]


def next_kept(world: World, belief: Floats, *, artist: Int64s, last: Int64s, suits: Bools) -> Floats:
    """Return P(the next track is v and it is kept) [B, V], given beliefs [B, M].

    `suits` [B, V] says whether the track suits the listener's taste.
    """
    from_anywhere, from_mood = _proposal(world, artist, last)
    keep = np.array(world.habits.keep)[:, last][..., None]
    same_artist = np.where(world.artist == artist[:, None], world.by_artist, 0.0)
    anywhere = from_anywhere[:, :1] * world.overall + from_anywhere[:, 1:] * same_artist
    otherwise = np.where(suits, keep[IN_TASTE], keep[ELSEWHERE])
    in_mood = belief @ world.in_mood
    expected_keep = otherwise + in_mood * (keep[IN_MOOD] - otherwise)
    kept: Floats = anywhere * expected_keep + from_mood[:, None] * (belief @ world.by_mood) * keep[IN_MOOD]
    return kept


def filter_moods(world: World, plays: Plays, taste: Floats, favourite: Bools) -> tuple[Floats, Int64s, Int64s]:
    """Compute the state before each play: beliefs about the mood [N, M], the last kept artist [N], the last outcome [N].

    `taste` and `favourite` [S, M] belong to each session's listener.
    """
    beliefs = np.zeros((len(plays.track), taste.shape[1]))
    artists, lasts = np.zeros(len(plays.track), np.int64), np.zeros(len(plays.track), np.int64)
    belief, artist, last = taste.copy(), np.full(len(taste), NOBODY), np.full(len(taste), KEPT)
    lengths = np.diff(plays.offsets)
    for place in range(int(lengths.max(initial=0))):
        now = np.flatnonzero(lengths > place)
        at = plays.offsets[now] + place
        beliefs[at], artists[at], lasts[at] = belief[now], artist[now], last[now]
        before = _State(belief[now], artist[now], last[now])
        belief[now], artist[now], last[now] = _after(
            world, before, plays.track[at], plays.skipped[at], taste=taste[now], favourite=favourite[now]
        )
    return beliefs, artists, lasts


def _supposed(truth: MoodTruth, place: Int64s, track: Int64s, skipped: bool) -> _State:
    """Return the state before the plays at `place` as if `track` had been played before each and had ended as `skipped` says.
    Cases with a negative `track` keep their real state.
    """
    belief, artist, last = truth.belief[place], truth.artist[place], truth.last[place]
    mine = np.flatnonzero(track >= 0)
    before, user = place[mine] - 1, truth.user[place[mine]]
    belief[mine], artist[mine], last[mine] = _after(
        truth.world,
        _State(truth.belief[before], truth.artist[before], truth.last[before]),
        track[mine],
        np.full(len(mine), skipped),
        taste=truth.belief[truth.user.searchsorted(user)],  # the belief before a listener's first play
        favourite=truth.favourite[user],
    )
    return _State(belief, artist, last)


def _after(world: World, before: _State, track: Int64s, skipped: Bools, *, taste: Floats, favourite: Bools) -> _State:
    """Return the state after a play of `track` with its outcome."""
    seen = before.belief * _likelihood(world, favourite, track=track, skipped=skipped, artist=before.artist, last=before.last)
    seen /= seen.sum(axis=1, keepdims=True)
    last = np.where(skipped, SKIPPED, KEPT)
    stays = np.array(world.habits.stay)[last][:, None]
    return _State(
        belief=stays * seen + (1 - stays) * taste,
        artist=np.where(skipped, before.artist, world.artist[track]),
        last=last,
    )


def _likelihood(
    world: World,
    favourite: Bools,
    *,
    track: Int64s,
    skipped: Bools,
    artist: Int64s,
    last: Int64s,
) -> Floats:
    """Return P(track and its outcome | mood) [n, M]."""
    by_mood, in_mood = world.by_mood.T[track], world.in_mood.T[track]
    from_anywhere, from_mood = _proposal(world, artist, last)
    same_artist = np.where(world.artist[track] == artist, world.by_artist[track], 0.0)
    anywhere = from_anywhere[:, 0] * world.overall[track] + from_anywhere[:, 1] * same_artist
    keep = np.array(world.habits.keep)[:, last]
    otherwise = np.where((in_mood & favourite).any(axis=1), keep[IN_TASTE], keep[ELSEWHERE])
    kept = np.where(in_mood, keep[IN_MOOD][:, None], otherwise[:, None])
    outcome = np.where(skipped[:, None], 1 - kept, kept)
    likelihood: Floats = (anywhere[:, None] + from_mood[:, None] * by_mood) * outcome
    return likelihood


def _proposal(world: World, artist: Int64s, last: Int64s) -> tuple[Floats, Floats]:
    """Return the probabilities that the next track is drawn from (all tracks, the same artist) [n, 2] and from the mood [n]."""
    stray = np.array(world.habits.stray)[last]
    same = np.where(artist == NOBODY, 0.0, world.habits.artist) * (1 - stray)
    return np.stack([stray, same], axis=1), 1 - stray - same


def _arrays(record: MoodTruth | World) -> dict[str, npt.NDArray[Any]]:
    return {name: value for name in record.__slots__ if isinstance(value := getattr(record, name), np.ndarray)}
