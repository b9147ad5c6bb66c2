"""Computes the best possible ranking of a log of listeners with habits, from knowledge that only the simulator has.

Everything is known but the source of each play: a track of the past may come from any place where it was kept, or from the
catalogue. Each session starts without a source. So a forward filter over the plays of the session gives the exact probability
of each source, given all plays. From these follows the probability that each track is played next, and that it is kept.

Shapes: U listeners, N plays of all, n plays of a listener, H kept plays before the next play, V tracks, B cases, D offsets.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from training.simulator.habits.world import HABIT, OFFSETS, TIRED, UNHEARD, Listeners, Rules, World
from training.simulator.moods.world import KEPT, NOBODY, SKIPPED, Bools, Floats, Int64s
from training.simulator.plays import LastPlay, places


@dataclass(frozen=True, kw_only=True, slots=True)
class HabitTruth:
    """The simulator's knowledge about a log: the world, the listeners and the plays."""

    world: World
    listeners: Listeners
    tracks: npt.NDArray[np.str_]  # [V], their ids
    users: npt.NDArray[np.str_]  # [U], sorted
    user: Int64s  # [N], sorted; indexes users
    at_ms: Int64s  # [N], sorted within a listener
    session: Int64s  # [N], ascending
    track: Int64s  # [N]
    skipped: Bools  # [N]

    def next_kept(self, users: Sequence[str], at_ms: Int64s, supposed: LastPlay | None = None) -> Floats:
        """Return the probability [B, V] that the next play of each case is each track and is kept; see `Truth`."""
        asked = places(self.users, self.user, self.at_ms, users, at_ms)
        imagined = np.array([track is not None for track in supposed.tracks] if supposed else [False] * len(asked), np.bool_)
        kept = np.zeros((len(asked), len(self.tracks)))
        for session in np.unique(self.session[asked]).tolist():
            mine = np.flatnonzero(self.session[asked] == session)
            for place, chances in self.session_chances(session, upto=int(asked[mine].max())):
                kept[mine[(asked[mine] == place) & ~imagined[mine]]] = chances.played() * chances.keep()
                after = mine[(asked[mine] == place + 1) & imagined[mine]]
                if supposed is not None and len(after):
                    other = chances.supposing(int(self.track[place]), skipped=supposed.skipped)
                    kept[after] = other.played() * other.keep()
        return kept

    def session_chances(self, session: int, *, upto: int | None = None) -> Iterator[tuple[int, "Chances"]]:
        """Yield each play of a session, as an index [N], with the chances before it. `upto` is the last play to yield."""
        start, stop = np.searchsorted(self.session, (session, session + 1)).tolist()
        user = int(self.user[start])
        first = int(np.searchsorted(self.user, user))
        before = slice(first, start)
        chances = Chances(
            self.world, self.listeners, user, self.track[before], skipped=self.skipped[before], session=self.session[before]
        )
        for play in range(start, stop if upto is None else upto + 1):
            yield play, chances
            chances.see(int(self.track[play]), skipped=bool(self.skipped[play]))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return everything as plain arrays by name."""
        parts = {"world": self.world, "listeners": self.listeners}
        inner = {f"{part}_{name}": value for part, record in parts.items() for name, value in _arrays(record).items()}
        rules = {f"rules_{name}": np.array(value) for name, value in asdict(self.world.rules).items()}
        return {**_arrays(self), **inner, **rules}

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> "HabitTruth":
        """Make the truth from its arrays."""
        rules = Rules(**{name: _plain(value) for name, value in _named(arrays, "rules_").items()})
        own = {field.name for field in fields(cls)} - {"world", "listeners"}
        return cls(
            world=World(rules=rules, **_named(arrays, "world_")),
            listeners=Listeners(**_named(arrays, "listeners_")),
            **{name: value for name, value in arrays.items() if name in own},
        )


class _Ahead(NamedTuple):
    """The probability of each source of the next play and of its track."""

    place: Floats  # [H], places of the past, without the same track again
    catalogue: float  # the catalogue, without the next track of the album
    follows: float  # the next track of the album
    again_place: Floats  # the same track again, from each place that may be the source
    again_catalogue: float  # the same track again, from the catalogue


class Chances:
    """What comes next in a session of one listener: the past, and the probability of each source of the play before."""

    def __init__(
        self, world: World, listeners: Listeners, user: int, track: Int64s, *, skipped: Bools, session: Int64s
    ) -> None:
        """Begin a session of listener `user` after the plays `track` [n] of earlier sessions."""
        self._world, self._rules = world, world.rules
        self._new, self._patience = float(listeners.new[user]), float(listeners.patience[user])
        self._by_taste = listeners.taste[user] @ world.by_mood
        self._near = world.offset_weights()
        self._past, self._session = track[~skipped], session[~skipped]  # of each place
        self._number = int(session.max(initial=-1)) + 1
        size = len(world.artist)
        self._kept = np.bincount(self._past, minlength=size)
        self._status = np.full(size, UNHEARD)
        self._status[track] = np.where(skipped, TIRED, HABIT)  # the last play of a track counts
        self._heard = np.zeros(size, np.bool_)
        self._places, self._of_place = np.zeros(0, np.int64), np.zeros(0)  # places that may be the source; their probability
        self._of_catalogue = 0.0
        self._track, self._artist, self._last = -1, NOBODY, KEPT
        self._ahead = self._look_ahead()

    def see(self, track: int, *, skipped: bool) -> None:
        """Add a play of the session, and update the probability of each source."""
        ahead = self._ahead
        of_place = np.where(self._past == track, ahead.place, 0.0)
        of_catalogue = ahead.catalogue * self._from_catalogue(track)
        if track == self._follows():
            of_catalogue += ahead.follows
        if track == self._track:  # the source may have stayed
            of_place[self._places] += ahead.again_place
            of_catalogue += ahead.again_catalogue
        total = of_place.sum() + of_catalogue
        self._places = np.flatnonzero(of_place)
        self._of_place, self._of_catalogue = of_place[self._places] / total, float(of_catalogue / total)
        self._status[track] = TIRED if skipped else HABIT
        if not skipped:
            self._past, self._session = np.append(self._past, track), np.append(self._session, self._number)
            self._kept[track] += 1
            self._artist = int(self._world.artist[track])
        self._heard[track] = True
        self._track, self._last = track, SKIPPED if skipped else KEPT
        self._ahead = self._look_ahead()

    def supposing(self, track: int, *, skipped: bool) -> "Chances":
        """Return the chances after a supposed play, and leave these as they are."""
        other = copy(self)
        other._status, other._kept, other._heard = self._status.copy(), self._kept.copy(), self._heard.copy()
        other.see(track, skipped=skipped)
        return other

    def played(self) -> Floats:
        """Return the probability that each track is played next, [V]."""
        ahead = self._ahead
        chance: Floats = (1 - self._same_artist()) * ahead.catalogue * self._by_taste
        mine = self._of_artist()
        chance[mine] += self._same_artist() * ahead.catalogue * self._world.by_artist[mine]
        np.add.at(chance, self._past, ahead.place)
        if self._follows() >= 0:
            chance[self._follows()] += ahead.follows
        if self._track >= 0:
            chance[self._track] += ahead.again_place.sum() + ahead.again_catalogue
        return chance

    def keep(self) -> Floats:
        """Return the probability that each track is kept if it is played next, [V]."""
        odds = self._patience + self._rules.run[self._last] + np.array(self._rules.status)
        kept: Floats = (1 / (1 + np.exp(odds)))[self._status]
        return kept

    def _look_ahead(self) -> "_Ahead":
        rules, playing = self._rules, self._track >= 0
        onward, stays = self._onward()
        album = rules.album[self._last] if self._follows() >= 0 else 0.0
        leaving_place, leaving_catalogue = self._of_place * (1 - stays), self._of_catalogue * (1 - album)
        again = rules.again if playing else 0.0
        anew = (1 - again) * (leaving_place.sum() + leaving_catalogue) if playing else 1.0
        remembered = self._remembered()
        return _Ahead(
            place=onward + anew * remembered,
            catalogue=anew * (1 - remembered.sum()),
            follows=self._of_catalogue * album,
            again_place=again * leaving_place,
            again_catalogue=again * leaving_catalogue,
        )

    def _follows(self) -> int:
        """Return the next track of the album of the last play; -1 if there is none."""
        return int(self._world.follows[self._track]) if self._track >= 0 else -1

    def _onward(self) -> tuple[Floats, Floats]:
        """Return the probability that the listener goes on to each place [H], and from each place that may be the source."""
        beside = self._places[:, None] + OFFSETS
        inside = (beside >= 0) & (beside < len(self._past))
        beside = np.where(inside, beside, 0)
        if not beside.size:
            return np.zeros(len(self._past)), np.zeros(0)
        inside &= self._session[beside] == self._session[self._places][:, None]
        chance = np.where(inside, self._rules.go_on[self._last] * self._near * self._accepted(self._past[beside]), 0.0)
        onward = np.zeros(len(self._past))
        np.add.at(onward, beside, self._of_place[:, None] * chance)
        return onward, chance.sum(axis=1)

    def _remembered(self) -> Floats:
        """Return the probability of each place [H] for a listener who starts anew with another track."""
        weight: Floats = np.arange(len(self._past), 0, -1.0) ** -self._rules.fade
        if len(self._past):
            weight *= (1 - self._new) / weight.sum() * self._accepted(self._past)
        return weight

    def _from_catalogue(self, track: int) -> float:
        """Return the probability of a track, given that it is taken from the catalogue anew."""
        same = self._same_artist()
        of_artist = float(self._world.by_artist[track]) if self._world.artist[track] == self._artist else 0.0
        return same * of_artist + (1 - same) * float(self._by_taste[track])

    def _same_artist(self) -> float:
        """Return the probability that a track from the catalogue is of the last kept artist."""
        return 0.0 if self._artist == NOBODY else self._rules.artist

    def _of_artist(self) -> slice:
        """Return the rows of the last kept artist; tracks are sorted by artist."""
        return slice(*np.searchsorted(self._world.artist, (self._artist, self._artist + 1)).tolist())

    def _accepted(self, tracks: Int64s) -> Floats:
        """Return the probability that a place with each of `tracks` is played, of the same shape."""
        heard = np.where(self._heard[tracks], self._rules.today, 1.0)
        accepted: Floats = heard * np.where(self._kept[tracks] == 1, self._rules.once, 1.0)
        return accepted


class Imagined:
    """A simulated listener who has played nothing yet, in a session that the log does not have."""

    def __init__(self, truth: HabitTruth, user: str) -> None:
        """Begin a session. ValueError if the log has no such listener."""
        number = int(truth.users.searchsorted(user))
        if number == len(truth.users) or truth.users[number] != user:
            raise ValueError(f"no listener {user!r} in this log")
        self._tracks = truth.tracks
        self._numbers = {track: index for index, track in enumerate(truth.tracks.tolist())}
        nothing = np.zeros(0, np.int64)
        self._chances = Chances(
            truth.world, truth.listeners, number, nothing, skipped=nothing.astype(np.bool_), session=nothing
        )

    def play(self, track: str, *, skipped: bool) -> None:
        """Continue with a play of `track`."""
        self._chances.see(self._numbers[track], skipped=skipped)

    def ranked(self) -> list[str]:
        """Return all tracks, the one that is most probably played next and kept first."""
        kept = self._chances.played() * self._chances.keep()
        return [str(track) for track in self._tracks[np.argsort(-kept, kind="stable")]]


def _arrays(record: object) -> dict[str, npt.NDArray[Any]]:
    return {
        name: value
        for name in type(record).__slots__  # type: ignore[attr-defined] # frozen dataclasses with slots
        if isinstance(value := getattr(record, name), np.ndarray)
    }


def _named(arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> dict[str, npt.NDArray[Any]]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def _plain(value: npt.NDArray[Any]) -> Any:
    plain = value.tolist()
    return tuple(plain) if isinstance(plain, list) else plain
