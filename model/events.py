"""What a player tells us, and what it amounts to.

A player posts *events* (`Event`): a play started, a skip, an end, a like, a dislike. What a model reads is a *history*:
one `Entry` a play, with its `Outcome`. `fold` makes the second from the first and is the only place that does, for the
service and for the trainer. It is a pure function of the *set* of events, so neither their order of arrival nor a
repetition changes its result. It knows nothing about users, rows, Redis or tensors.

To fold anew at each request costs time by the event; the gain is that no state can go wrong. So that a long life costs no more
than a short one, `recent` leaves out first what can no longer make a difference.
"""

import math
from collections.abc import Callable, Iterable, Sequence
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


# Looked up once: an enum's members are slow to find, and `fold` asks for some at every event.
_PLAY, _COMPLETE, _LIKE = EventType.PLAY, EventType.COMPLETE, EventType.LIKE
_PLAYED, _SKIPPED, _LIKED, _DISLIKED = Outcome.PLAYED, Outcome.SKIPPED, Outcome.LIKED, Outcome.DISLIKED

_OUTCOME_AT, _SKIPPED_AT = 1, 3  # places of `Entry`'s fields


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
        return tuple([entry for entry in self.entries if entry.session == self.last_session])


def fold(events: Iterable[Event], rule: HistoryRule) -> History:
    """The history that a set of events of one listener amounts to.

    A session is the player's own where an event names one, else it ends with a gap of more than the rule's. A play counts
    as played until a skip of the same track in the same session turns it into a skip; an end without an open play is an
    entry of its own, and so is a like or dislike of a track not heard in that session.
    """
    drafts: list[list[Any]] = []  # an entry's fields each, as long as later events may still change them
    open_plays: dict[tuple[int, str], list[Any]] = {}
    newest: dict[tuple[int, str], list[Any]] = {}
    named: dict[str, int] = {}  # a named session may be interrupted and go on
    count, session, at_ms, last_ms = 0, -1, 0, -math.inf
    before: Event | None = None
    for event in _in_order(events):
        if event == before:
            continue
        before = event
        at_ms, type, _, track_id, played_ms, track_ms, session_id, _ = event
        if session_id is not None:
            session = named.setdefault(session_id, count)
            count = max(count, session + 1)
        elif at_ms - last_ms > rule.gap_ms:
            session, count = count, count + 1
        last_ms = at_ms
        key = (session, track_id)
        draft = newest.get(key) if type > _COMPLETE else None if type is _PLAY else open_plays.pop(key, None)
        if draft is None:
            draft = newest[key] = [track_id, _PLAYED, at_ms, False, session]
            drafts.append(draft)
        if type is _PLAY:
            open_plays[key] = draft
        elif type > _COMPLETE:
            draft[_OUTCOME_AT] = _LIKED if type is _LIKE else _DISLIKED
        elif rule.skip.skipped(type, played_ms, track_ms):
            draft[_SKIPPED_AT] = True
            if draft[_OUTCOME_AT] is _PLAYED:
                draft[_OUTCOME_AT] = _SKIPPED
    return History(entries=tuple(map(Entry._make, drafts)), last_at_ms=at_ms, last_session=session)


def recent(events: Iterable[Event], rule: HistoryRule, known: Callable[[str], bool]) -> Sequence[Event]:
    """Of a listener's different events those that tell what to play next: the newest sessions, in order.

    They are whole and hold `rule.length` plays of `known` tracks or more, or are all there are. What they fold to is the end
    of what all fold to; only sessions are numbered from the first that is left. A session that is named again later keeps all
    since its beginning.
    """
    ordered = _in_order(events)
    wanted, earliest = rule.length, len(ordered)
    if len(ordered) <= wanted:
        return ordered
    begins: dict[str | None, int] = {}
    for place in range(len(ordered) - 1, 0, -1):
        at_ms, type, _, track_id, _, _, session_id, _ = ordered[place]
        if type is _PLAY and known(track_id):
            wanted -= 1
        if session_id is not None:
            begins = begins or {event.session_id: first for first, event in reversed(list(enumerate(ordered)))}
            earliest = min(earliest, begins[session_id])
        if wanted <= 0 and place <= earliest and (session_id is not None or at_ms - ordered[place - 1].at_ms > rule.gap_ms):
            return ordered[place:]
    return ordered


def _in_order(events: Iterable[Event]) -> list[Event]:
    """Events in canonical order: equal ones stand together."""
    events = list(events)
    try:
        return sorted(events)
    except TypeError:  # two that differ only in a field that one of them leaves out
        return sorted(events, key=_none_first)


def _none_first(event: Event) -> tuple[Any, ...]:
    return tuple((value is not None, value) for value in event)
