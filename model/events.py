"""Turns what a player reported into the history that a model reads.

A player posts *events* (`Event`): a play started, a skip, an end, a like, a dislike. A model reads a *history*: one `Entry`
for each play, with its `Outcome`. `fold` makes the history from the events, for the service and for the trainer, and no other
function does. It is a pure function of the *set* of events. So neither their order of arrival nor a repetition changes its
result. It knows nothing about users, rows, Redis or tensors.

Folding again at each request costs time for each event. In return, no stored state can go wrong. `recent` first drops the old
events that cannot change the next proposal, so that a listener's cost does not grow with their past.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from itertools import groupby
from operator import eq, itemgetter
from typing import Any, Literal, NamedTuple

KEPT_EVENTS, KEPT_PLAYS, KEPT_OPINIONS = 256, 1_000, 1_000
"""What the service keeps of a listener by default: newest events, older plays, and tracks with a like or dislike."""

LATE_MS = 24 * 60 * 60 * 1000
"""An event that the service received later than this after it happened is a late report. It revives no session."""

AHEAD_MS = 5 * 60 * 1000
"""How far a player's clock may run ahead of the service's."""


class EventType(IntEnum):
    """What a player can report. The number orders events of the same millisecond, so that a play comes before its end."""

    PLAY = 0
    SKIP = 1
    COMPLETE = 2
    LIKE = 3
    DISLIKE = 4


class Outcome(IntEnum):
    """How a play ended, as the number that the network reads. 0 is padding."""

    PLAYED = 1
    SKIPPED = 2
    LIKED = 3
    DISLIKED = 4

    @property
    def wanted(self) -> bool:
        """Return whether the listener kept the track: neither skipped nor disliked it. A next-track model should propose such
        tracks.
        """
        return self in (Outcome.PLAYED, Outcome.LIKED)


class Event(NamedTuple):
    """One report of a player. Tuples compare field by field, so sorting events puts them in canonical order.

    `at_ms` is Unix time in milliseconds on the player's clock. `delay_ms` is how much later the service received the event, by
    its own clock; 0 if it was not later, or if nobody knows. `played_ms` and `track_ms` are how much was heard and how long the
    track is, if the player said so. A `private` event counts in the current session only.
    """

    at_ms: int
    type: EventType
    event_id: str
    track_id: str
    delay_ms: int = 0
    played_ms: int | None = None
    track_ms: int | None = None
    session_id: str | None = None
    request_id: str | None = None
    private: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class SkipRule:
    """Decides when an ended play counts as skipped: heard for less than `limit_ms` and less than `end_share` of the track.

    Music services count a play from 30 seconds on. The share prevents that a short interlude, heard to its end, counts as
    skipped. Without `played_ms` the event's own type decides.
    """

    limit_ms: int = 30_000
    end_share: float = 0.9

    def skipped(self, type: EventType, played_ms: int | None, track_ms: int | None) -> bool:
        """Return whether an event of `type` SKIP or COMPLETE ends its play as skipped."""
        if played_ms is None:
            return type is EventType.SKIP
        if played_ms >= self.limit_ms:
            return False
        if track_ms is None:
            return type is EventType.SKIP
        return played_ms < self.end_share * track_ms


@dataclass(frozen=True, kw_only=True, slots=True)
class HistoryRule:
    """Which plays of a listener a model reads. The recipe sets this rule, and the artifact's manifest passes it on to the
    service.
    """

    length: int = 50  # number of entries
    scope: Literal["user", "session"] = "user"  # user: the history goes back beyond the start of the session
    gap_ms: int = 30 * 60 * 1000  # a session without a name ends after this long without an event
    named_gap_ms: int = 24 * 60 * 60 * 1000  # the same for a session that the player named
    skip: SkipRule = SkipRule()

    def __post_init__(self) -> None:
        """Raise ValueError for a rule that leaves every history empty."""
        if self.length < 1 or self.gap_ms < 0 or self.named_gap_ms < 0:
            raise ValueError(
                f"found length {self.length}, gap_ms {self.gap_ms} and named_gap_ms {self.named_gap_ms};"
                " expected at least 1, 0 and 0"
            )


# Module-level names, because looking up an enum's member is slow and `fold` needs several for each event.
_PLAY, _COMPLETE, _LIKE = EventType.PLAY, EventType.COMPLETE, EventType.LIKE
_PLAYED, _SKIPPED, _LIKED, _DISLIKED = Outcome.PLAYED, Outcome.SKIPPED, Outcome.LIKED, Outcome.DISLIKED

_OUTCOME_AT, _SKIPPED_AT = 1, 3  # positions of `Entry`'s fields
_at_of, _delay_of, _name_of, _private_of = (
    itemgetter(Event._fields.index(name)) for name in ("at_ms", "delay_ms", "session_id", "private")
)


class Entry(NamedTuple):
    """One play in a history.

    `outcome` is the newest report: an explicit like or dislike replaces how the play ended. `skipped` is whether it was left
    early, whatever the opinion. `session` numbers the listener's sessions from 0. `at_ms` is when it started.
    """

    track_id: str
    outcome: Outcome
    at_ms: int
    skipped: bool
    session: int


entry_of = partial(tuple.__new__, Entry)
"""Makes an entry of a sequence of its fields, in a third of the time of `Entry._make`."""


class Span(NamedTuple):
    """The times of a session: its last event, and its end if no further event arrives. It also says whether the player named
    the session.
    """

    seen_ms: int
    until_ms: int
    named: bool = False


class Revision(NamedTuple):
    """A late report: it changed an entry's outcome after a newer entry had begun.

    `entry` is an index into the history's entries. `before` is the outcome that this entry had until there were `since`
    entries.
    """

    entry: int
    since: int
    before: Outcome


class History(NamedTuple):
    """A listener's plays, oldest first. It also has the span of each session by its number, and late reports in the order of
    arrival.
    """

    entries: tuple[Entry, ...] = ()
    spans: tuple[Span, ...] = ()
    revisions: tuple[Revision, ...] = ()

    def session(self, now_ms: int) -> tuple[Entry, ...]:
        """Return the entries of the current session. Among the sessions open at `now_ms` it is the one with the latest event.

        Sessions without a name that are open at the same time count as one, because only a clock that was slow or was corrected
        can have separated them. If a session's last event is in the future, our own clock was set back. A session with a past
        event then takes precedence.
        """
        going_on = self._going_on(now_ms)
        if not going_on:
            return ()
        spans, latest_ms = self.spans, now_ms + AHEAD_MS
        newest = max(going_on, key=lambda number: (spans[number].seen_ms <= latest_ms, spans[number].seen_ms, number))
        current = {newest} if spans[newest].named else {number for number in going_on if not spans[number].named}
        return tuple([entry for entry in self.entries if entry.session in current])

    def skipped(self, now_ms: int) -> Sequence[str]:
        """Return the tracks skipped in any session that is open at `now_ms`. There may be several, because a listener may use
        two players.
        """
        going_on = self._going_on(now_ms)
        return list(dict.fromkeys(entry.track_id for entry in self.entries if entry.skipped and entry.session in going_on))

    def opinions(self, now_ms: int) -> Mapping[str, Outcome]:
        """Return the tracks liked or disliked in any session that is open at `now_ms`, each with its newest opinion."""
        going_on = self._going_on(now_ms)
        return {
            entry.track_id: entry.outcome for entry in self.entries if entry.session in going_on and entry.outcome >= _LIKED
        }

    def _going_on(self, now_ms: int) -> set[int]:
        return {number for number, span in enumerate(self.spans) if now_ms <= span.until_ms}


def fold(events: Iterable[Event], rule: HistoryRule, *, now_ms: int | None = None) -> History:
    """Make the history of one listener from the set of their events.

    A play counts as played until a skip of the same track in the same session turns it into a skip. An end without an open play
    is an entry of its own. So is a like or dislike of a track that was not heard in that session.

    An event that names a session belongs to it. One without a name belongs to the session of the event before it. A gap between
    the events' own times ends a session. With `now_ms`, private events of sessions that have ended by then are left out.
    """
    ordered = _in_order(events)
    if any(map(eq, ordered, ordered[1:])):
        ordered = [event for event, _ in groupby(ordered)]
    return _fold_ordered(ordered, rule, now_ms)


def fold_recent(events: Iterable[Event], rule: HistoryRule, known: Callable[[str], bool], *, now_ms: int) -> History:
    """Make the history from those of the distinct `events` that `recent` returns. They are enough for a proposal at
    `now_ms`.
    """
    return _fold_ordered(recent(events, rule, known, now_ms=now_ms), rule, now_ms)


def _fold_ordered(ordered: Sequence[Event], rule: HistoryRule, now_ms: int | None) -> History:
    history = _fold(ordered, rule)
    if now_ms is None or not any(map(_private_of, ordered)):
        return history
    return _fold(ordered, rule, {number for number, span in enumerate(history.spans) if now_ms > span.until_ms})


class _Session:
    """The state of a session while its events are folded: its times, and for each track its newest entry and its open play."""

    __slots__ = ("by_name_ms", "named_at_ms", "newest", "number", "open_plays", "seen_ms")

    def __init__(self, number: int) -> None:
        self.number = number
        self.seen_ms = 0
        self.named_at_ms, self.by_name_ms = -math.inf, -math.inf
        self.newest: dict[str, list[Any]] = {}
        self.open_plays: dict[str, list[Any]] = {}

    def span(self, rule: HistoryRule) -> Span:
        until_ms = max(self.seen_ms + rule.gap_ms, self.by_name_ms + rule.named_gap_ms)
        return Span(self.seen_ms, int(until_ms), self.by_name_ms >= 0)


def _fold(  # noqa: C901, PLR0912  # calls and attributes in this loop would cost each request a third more
    ordered: Sequence[Event], rule: HistoryRule, ended: Collection[int] = ()
) -> History:
    """Make the history from events in canonical order, without the private events of the sessions in `ended`."""
    drafts: list[list[Any]] = []  # the fields of each entry, while later events may change them
    revised: list[tuple[list[Any], int, Outcome]] = []  # the draft, the number of drafts at that time, the outcome before
    sessions: list[_Session] = []
    named: dict[str, _Session] = {}
    session, last_ms = _Session(-1), -math.inf
    gap_ms, named_gap_ms, skipped = rule.gap_ms, rule.named_gap_ms, rule.skip.skipped
    for at_ms, type, _, track_id, delay_ms, played_ms, track_ms, name, _, private in ordered:
        seen_ms = at_ms + delay_ms if delay_ms <= LATE_MS else at_ms
        if name is not None:
            found = named.get(name)
            if found is None or at_ms - found.named_at_ms > named_gap_ms:
                found = named[name] = _Session(len(sessions))
                sessions.append(found)
            session, found.named_at_ms = found, at_ms
            if seen_ms > session.by_name_ms:  # noqa: PLR1730  # `max` costs four times as much
                session.by_name_ms = seen_ms
        elif at_ms - last_ms > gap_ms:
            session = _Session(len(sessions))
            sessions.append(session)
        last_ms = at_ms
        if seen_ms > session.seen_ms:  # noqa: PLR1730  # as above
            session.seen_ms = seen_ms
        if private and session.number in ended:
            continue
        if type is _PLAY:
            draft = None
        elif type > _COMPLETE:
            draft = session.newest.get(track_id)
        else:
            draft = session.open_plays.pop(track_id, None)
        if draft is None:
            draft = session.newest[track_id] = [track_id, _PLAYED, at_ms, False, session.number]
            drafts.append(draft)
        if type is _PLAY:
            session.open_plays[track_id] = draft
        elif type > _COMPLETE:
            if draft is not drafts[-1]:
                revised.append((draft, len(drafts), draft[_OUTCOME_AT]))
            draft[_OUTCOME_AT] = _LIKED if type is _LIKE else _DISLIKED
        elif skipped(type, played_ms, track_ms):
            draft[_SKIPPED_AT] = True
            if draft[_OUTCOME_AT] is _PLAYED:
                if draft is not drafts[-1]:
                    revised.append((draft, len(drafts), _PLAYED))
                draft[_OUTCOME_AT] = _SKIPPED
    places = {id(draft): place for place, draft in enumerate(drafts)} if revised else {}
    return History(
        entries=tuple(map(entry_of, drafts)),
        spans=tuple([one.span(rule) for one in sessions]),
        revisions=tuple([Revision(places[id(draft)], since, outcome) for draft, since, outcome in revised]),
    )


def recent(events: Iterable[Event], rule: HistoryRule, known: Callable[[str], bool], *, now_ms: int) -> Sequence[Event]:
    """Return the newest events of a listener that matter for a proposal at `now_ms`, in canonical order.

    The result holds whole sessions: all that are open at `now_ms`, and older ones until there are at least `rule.length` plays
    of `known` tracks. Folded, these events give the same newest entries as all events. Only session numbers differ: they start
    at the first of these sessions. Plays later than `now_ms` do not count towards the length. After a clock was set back, they
    would displace current plays.
    """
    ordered = _in_order(events)
    wanted = rule.length
    if len(ordered) <= wanted:
        return ordered
    earliest = len(ordered)
    begins: dict[str | None, int] = {}
    for place in range(len(ordered) - 1, 0, -1):
        at_ms, type, _, track_id, _, _, _, name, _, _ = ordered[place]
        if type is _PLAY and at_ms <= now_ms and known(track_id):
            wanted -= 1
        if name is not None:
            begins = begins or dict(zip(map(_name_of, reversed(ordered)), range(len(ordered) - 1, -1, -1), strict=True))
            earliest = min(earliest, begins[name])
        if wanted <= 0 and place <= earliest and (name is not None or at_ms - ordered[place - 1].at_ms > rule.gap_ms):
            earliest = min(earliest, _ended(ordered, place, rule, now_ms))
            if place <= earliest:
                return ordered[place:]
    return ordered


def _ended(ordered: Sequence[Event], place: int, rule: HistoryRule, now_ms: int) -> int:
    """Return how many of the oldest events before `place` belong to sessions that have ended at `now_ms`."""
    widest_ms = max(rule.gap_ms, rule.named_gap_ms)
    if ordered[place - 1].at_ms < now_ms - widest_ms - LATE_MS:
        return place
    longest_ms = min(LATE_MS, max(map(_delay_of, ordered)))
    for first in range(bisect_left(ordered, now_ms - widest_ms - longest_ms, 0, place, key=_at_of), place):
        at_ms, _, _, _, delay_ms, _, _, name, _, _ = ordered[first]
        seen_ms = at_ms + delay_ms if delay_ms <= LATE_MS else at_ms
        if now_ms <= seen_ms + (rule.gap_ms if name is None else rule.named_gap_ms):
            return first
    return place


def _in_order(events: Iterable[Event]) -> list[Event]:
    """Sort events into canonical order. Equal events are then neighbours."""
    events = list(events)
    try:
        return sorted(events)
    except TypeError:  # two events differ only in a field that is None in one of them
        return sorted(events, key=_none_first)


def _none_first(event: Event) -> tuple[Any, ...]:
    return tuple((value is not None, value) for value in event)
