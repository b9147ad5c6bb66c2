"""What a player tells us, and what it amounts to.

A player posts *events* (`Event`): a play started, a skip, an end, a like, a dislike. What a model reads is a *history*:
one `Entry` a play, with its `Outcome`. `fold` makes the second from the first and is the only place that does, for the
service and for the trainer. It is a pure function of the *set* of events, so neither their order of arrival nor a
repetition changes its result. It knows nothing about users, rows, Redis or tensors.

The cost of folding anew at each request is about a microsecond an event; the gain is that no state can go wrong.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal, NamedTuple


class EventType(IntEnum):
    """What a player can report. The order decides between events of one millisecond: a play comes before its end."""

    PLAY = 0
    SKIP = 1
    COMPLETE = 2
    LIKE = 3
    DISLIKE = 4


class Outcome(IntEnum):
    """How a play ended, as the number that the network reads; 0 is left to padding."""

    PLAYED = 1
    SKIPPED = 2
    LIKED = 3
    DISLIKED = 4

    @property
    def wanted(self) -> bool:
        """Whether the listener kept the track: what a next-track model should propose."""
        return self in (Outcome.PLAYED, Outcome.LIKED)


class Event(NamedTuple):
    """One report of a player. Tuples compare field by field, so sorting events puts them in canonical order.

    `at_ms` is Unix time in milliseconds on the player's clock; `played_ms` and `track_ms` are how much was heard and how
    long the track is, where the player said so.
    """

    at_ms: int
    type: EventType
    event_id: str
    track_id: str
    played_ms: int | None = None
    track_ms: int | None = None
    session_id: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SkipRule:
    """When an ended play counts as skipped: heard for less than `limit_ms` and for less than `end_share` of the track.

    30 seconds is what music services count as a play; the share keeps a short interlude, heard to its end, from counting
    as skipped. Without `played_ms` there is nothing to decide from, and the event's own type stands.
    """

    limit_ms: int = 30_000
    end_share: float = 0.9

    def skipped(self, type: EventType, played_ms: int | None, track_ms: int | None) -> bool:
        """Whether an event of `type` SKIP or COMPLETE ends its play as skipped."""
        if played_ms is None:
            return type is EventType.SKIP
        if played_ms >= self.limit_ms:
            return False
        if track_ms is None:
            return type is EventType.SKIP
        return played_ms < self.end_share * track_ms


@dataclass(frozen=True, kw_only=True, slots=True)
class HistoryRule:
    """What a model reads of a listener. The recipe sets it, the artifact's manifest carries it, the service follows it."""

    length: int = 50  # entries
    scope: Literal["user", "session"] = "user"  # whether the history goes back past the session's start
    gap_ms: int = 30 * 60 * 1000  # a session without a name ends after this long without an event
    skip: SkipRule = SkipRule()

    def __post_init__(self) -> None:
        """Refuse a rule by which nobody has a history."""
        if self.length < 1 or self.gap_ms < 0:
            raise ValueError(f"found length {self.length} and gap_ms {self.gap_ms}; wanted at least 1 and 0")


class Entry(NamedTuple):
    """One play in a history.

    `outcome` is the latest word on it: an explicit like or dislike stands over how the play ended. `skipped` says that it
    was left early whatever the opinion, `session` numbers the listener's sessions from 0, `at_ms` is when it started.
    """

    track_id: str
    outcome: Outcome
    at_ms: int
    skipped: bool
    session: int


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """A listener's plays, oldest first, and where the newest event stands."""

    entries: tuple[Entry, ...] = ()
    last_at_ms: int = 0  # the newest event's time; 0 without events
    last_session: int = -1  # the newest event's session; -1 without events

    def session(self, now_ms: int, gap_ms: int) -> tuple[Entry, ...]:
        """The entries of the session still going on at `now_ms`: none where `gap_ms` has passed since the last event."""
        if now_ms - self.last_at_ms > gap_ms:
            return ()
        return tuple(entry for entry in self.entries if entry.session == self.last_session)


def fold(events: Iterable[Event], rule: HistoryRule) -> History:
    """The history that a set of events of one listener amounts to.

    A session is the player's own where an event names one, else it ends with a gap of more than the rule's. A play counts
    as played until a skip of the same track in the same session turns it into a skip; an end without an open play is an
    entry of its own, and so is a like or dislike of a track not heard in that session.
    """
    entries: list[_Draft] = []
    open_plays: dict[tuple[int, str], _Draft] = {}
    newest: dict[tuple[int, str], _Draft] = {}
    sessions = _Sessions(rule.gap_ms)
    at_ms, session = 0, -1
    before: Event | None = None
    for event in _in_order(events):
        if event == before:
            continue
        before = event
        at_ms, type, _, track_id, played_ms, track_ms, session_id, _ = event
        session = sessions.place(at_ms, session_id)
        key = (session, track_id)
        if type <= EventType.COMPLETE:
            draft = None if type is EventType.PLAY else open_plays.pop(key, None)
            if draft is None:
                draft = newest[key] = _Draft(track_id, at_ms, session)
                entries.append(draft)
            if type is EventType.PLAY:
                open_plays[key] = draft
            else:
                draft.skipped = rule.skip.skipped(type, played_ms, track_ms)
        else:
            draft = newest.get(key)
            if draft is None:
                draft = newest[key] = _Draft(track_id, at_ms, session)
                entries.append(draft)
            draft.opinion = Outcome.LIKED if type is EventType.LIKE else Outcome.DISLIKED
    return History(entries=tuple(map(_Draft.entry, entries)), last_at_ms=at_ms, last_session=session)


def _in_order(events: Iterable[Event]) -> list[Event]:
    """Events in canonical order: equal ones stand together."""
    events = list(events)
    try:
        return sorted(events)
    except TypeError:  # two that differ only in a field that one of them leaves out
        return sorted(events, key=_none_first)


def _none_first(event: Event) -> tuple[Any, ...]:
    return tuple((value is not None, value) for value in event)


class _Draft:
    """An entry that later events may still change."""

    __slots__ = ("at_ms", "opinion", "session", "skipped", "track_id")

    def __init__(self, track_id: str, at_ms: int, session: int) -> None:
        self.track_id, self.at_ms, self.session = track_id, at_ms, session
        self.skipped = False
        self.opinion: Outcome | None = None

    def entry(self) -> Entry:
        outcome = self.opinion or (Outcome.SKIPPED if self.skipped else Outcome.PLAYED)
        return Entry(self.track_id, outcome, self.at_ms, self.skipped, self.session)


class _Sessions:
    """Numbers sessions from 0 as events pass in time order; a named session may be interrupted and go on."""

    def __init__(self, gap_ms: int) -> None:
        self._gap_ms = gap_ms
        self._named: dict[str, int] = {}
        self._count = 0
        self._current = -1
        self._last_at_ms: int | None = None

    def place(self, at_ms: int, session_id: str | None) -> int:
        """The number of the session that an event at `at_ms` belongs to."""
        if session_id is not None:
            if session_id not in self._named:
                self._named[session_id] = self._count
                self._count += 1
            self._current = self._named[session_id]
        elif self._last_at_ms is None or at_ms - self._last_at_ms > self._gap_ms:
            self._current = self._count
            self._count += 1
        self._last_at_ms = at_ms
        return self._current
