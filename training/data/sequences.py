"""Folds a log's events into the histories of all listeners, laid end to end.

A history is cut from a *sequence*: all entries of a listener, or of one session where the recipe's history is the session.
`model.events.fold`, the service's own function, decides what an entry is. Entries are columns, not objects, and long columns
are on disk. An entry takes 19 bytes there. Only the ids of listeners and tracks are in memory.

Shapes: S sequences, N entries of all sequences together, M outcomes reported late, U listeners.
"""

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, islice
from operator import attrgetter, itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from rich.console import Console

from model.events import Entry, Event, EventType, History, HistoryRule, Outcome, Revision, fold
from training.data.columns import Column
from training.data.log import TYPES, Log
from training.progress import progress

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
Int8s = npt.NDArray[np.int8]
Bools = npt.NDArray[np.bool_]

NO_PART = -1
_CODES = [EventType[name.upper()] for name in TYPES]
_event = partial(tuple.__new__, Event)  # takes the fields as one tuple; `Event(*fields)` takes four times as long


_WANTED = [outcome for outcome in Outcome if outcome.wanted]


def is_wanted(outcomes: npt.NDArray[np.integer]) -> Bools:
    """Return which outcomes say that the listener kept the track, in an array of the same shape. Padding does not."""
    return np.isin(outcomes, _WANTED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sequences:
    """Entries of all sequences end to end. Sequence s is entries `offsets[s]` up to `offsets[s + 1]`, not included.

    `tracks` are the log's track ids; `track` [N] indexes them. `part` [N] is 0 train, 1 valid, 2 test where the log brings
    its own split, else `NO_PART`. `asked` [N] is False for entries that are context only.

    `outcome` [N] is the last word on each entry. If it was reported after the next entry of the sequence began, a service did
    not know it in between. Until entry `late_from[m]` began, the outcome of entry `late_entry[m]` was `late_before[m]`.
    """

    tracks: Sequence[str]
    users: Sequence[str]
    offsets: Int64s  # [S + 1]
    user: Int32s  # [S], indexes users
    track: Int32s  # [N]
    outcome: Int8s  # [N], model.events.Outcome
    at_ms: Int64s  # [N]
    session: Int32s  # [N], numbered within a listener
    asked: Bools  # [N]
    part: Int8s  # [N]
    late_entry: Int64s = field(default_factory=lambda: np.zeros(0, np.int64))  # [M], ascending, indexes entries
    late_from: Int64s = field(default_factory=lambda: np.zeros(0, np.int64))  # [M], ascending for each entry, indexes entries
    late_before: Int8s = field(default_factory=lambda: np.zeros(0, np.int8))  # [M]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def starts(self) -> Int64s:
        """Return for each entry the index at which its sequence starts, [N]."""
        return np.repeat(self.offsets[:-1], np.diff(self.offsets))

    @property
    def sequence(self) -> Int32s:
        """Return the number of each entry's sequence, [N]."""
        return np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self.offsets))

    def outcomes_at(self, first: int, entry: int) -> Int8s:
        """Return the outcomes of the entries from `first` up to `entry`, not included, as they were known when `entry`
        began.
        """
        outcomes = np.array(self.outcome[first:entry])
        late = slice(*np.searchsorted(self.late_entry, (first, entry)))
        unknown = (self.late_from[late] > entry)[::-1]  # the earliest change of an entry goes last, and stands
        outcomes[self.late_entry[late][::-1][unknown] - first] = self.late_before[late][::-1][unknown]
        return outcomes

    def lots(self, size: int = 1 << 20) -> Iterator[slice]:
        """Yield the sequences in lots of about `size` entries, to be processed one at a time."""
        starts = np.unique(np.searchsorted(self.offsets[:-1], np.arange(0, max(1, self.offsets[-1]), size)))
        for first, last in zip(starts, [*starts[1:], len(self)], strict=True):
            yield slice(int(first), int(last))


def unknown_yet(late_place: Int64s, late_from: Int64s, starts: Int64s, stops: Int64s, entry: Int64s) -> tuple[Int64s, Int64s]:
    """Find the late outcomes that were not known yet when the given entries began.

    History c is places `starts[c]` up to `stops[c]`, and is read as entry `entry[c]` begins. Outcome m is of place
    `late_place[m]`, ascending, and known from entry `late_from[m]` on. Returns the history c and the outcome m of each that was
    not known. If a place has several, the one that changed first comes last, so that it wins in an assignment by index.
    """
    first = np.searchsorted(late_place, starts)
    counts = np.maximum(np.searchsorted(late_place, stops) - first, 0)
    late, history = ranges(first, counts), np.repeat(np.arange(len(starts)), counts)
    pending = np.flatnonzero(late_from[late] > entry[history])[::-1]
    return history[pending], late[pending]


def ranges(first: Int64s, counts: Int64s) -> Int64s:
    """Return the numbers `first[i], first[i] + 1, …`, `counts[i]` of them, for all i end to end."""
    begins = np.cumsum(counts) - counts
    numbers: Int64s = np.arange(int(counts.sum()), dtype=np.int64) + np.repeat(first - begins, counts)
    return numbers


def build(log: Log, rule: HistoryRule, *, console: Console | None = None) -> Sequences:
    """Fold a log's events into sequences, by the recipe's history rule. Reads the log in slices, listener by listener.

    Progress is shown on `console`.
    """
    draft = _Draft()
    with progress("reading the log", log.about["users"], console, transient=True) as steps:
        for user_id, events, flags in _listeners(log.events()):
            history = fold(events, rule)
            if rule.scope == "session":
                for session in _by_session(history):
                    draft.add(user_id, session, flags)
            else:
                draft.add(user_id, history, flags)
            steps.advance()
    return draft.finish()


_Flags = dict[tuple[int, str], tuple[bool, int]]
"""(time, track) -> (asked, part), of the events of one listener that differ from the default."""

_SLICE = 100_000  # events read at a time


def _by_session(history: History) -> Iterator[History]:
    """Split a history into one history for each session, in the order of their numbers."""
    entries = history.entries
    revisions = defaultdict[int, list[Revision]](list)
    for revision in history.revisions:
        revisions[entries[revision.entry].session].append(revision)
    by_session = sorted(range(len(entries)), key=lambda place: entries[place].session)
    for number, group in groupby(by_session, key=lambda place: entries[place].session):
        places = list(group)
        late = [
            Revision(bisect_left(places, one.entry), bisect_left(places, one.since), one.before) for one in revisions[number]
        ]
        yield History(
            entries=tuple([entries[place] for place in places]),
            revisions=tuple([one for one in late if one.since > one.entry + 1]),
        )


def _listeners(events: pl.LazyFrame) -> Iterator[tuple[str, list[Event], _Flags]]:
    """Yield all events of each listener, put together again if they lie in several slices of the log."""
    for user_id, parts in groupby(_parts(events), key=itemgetter(0)):
        mine: list[Event] = []
        flags: _Flags = {}
        for _, more, further in parts:
            mine += more
            flags = further | flags  # the first value counts
        yield user_id, mine, flags


def _parts(events: pl.LazyFrame) -> Iterator[tuple[str, list[Event], _Flags]]:
    """Yield the events that each slice of the log has of each listener.

    A slice is columns, and only one listener's events are objects at a time. Otherwise the garbage collector would go through a
    hundred thousand objects again and again.
    """
    total: int = events.select(pl.len()).collect().item()
    for start in range(0, total, _SLICE):
        part = events.slice(start, _SLICE).collect()
        rows = map(_event, zip(*_event_columns(part), strict=True))
        places, flags = _flagged(part)
        stop = 0
        for user_id, length in part.select(pl.col("user_id").rle()).unnest("user_id").select("value", "len").iter_rows():
            first, stop = stop, stop + length
            mine = islice(flags, bisect_left(places, stop) - bisect_left(places, first))
            yield user_id, list(islice(rows, length)), dict(reversed(list(mine)))


def _event_columns(part: pl.DataFrame) -> list[list[Any]]:
    """Return a list for each field of `Event`, in their order, with defaults for fields that a log does not have."""
    known = {name: part[name].to_list() for name in ("at_ms", "track_id", "played_ms", "track_ms", "session_id")}
    known["type"] = list(map(_CODES.__getitem__, part["type"].to_physical().to_list()))
    known["event_id"], known["request_id"] = [""] * len(part), [None] * len(part)
    known["delay_ms"], known["private"] = [0] * len(part), [False] * len(part)
    return [known[name] for name in Event._fields]


def _flagged(part: pl.DataFrame) -> tuple[list[int], Iterator[tuple[tuple[int, str], tuple[bool, int]]]]:
    """Return the places of a slice's rows that differ from the default, and the item of `_Flags` for each."""
    rows = part.with_row_index("place").filter(pl.col("part").is_not_null() | ~pl.col("asked"))
    parts = rows["part"].to_physical().cast(pl.Int8).fill_null(NO_PART)
    keys = zip(rows["at_ms"].to_list(), rows["track_id"].to_list(), strict=True)
    return rows["place"].to_list(), zip(keys, zip(rows["asked"].to_list(), parts.to_list(), strict=True), strict=True)


class _Draft:
    """Columns that grow listener by listener."""

    def __init__(self) -> None:
        self.tracks: dict[str, int] = {}
        self.users: dict[str, int] = {}
        self.lengths = array("q")
        self.user = array("i")
        self.track, self.outcome, self.at_ms = Column(np.int32), Column(np.int8), Column(np.int64)
        self.session, self.asked, self.part = Column(np.int32), Column(np.int8), Column(np.int8)
        self.late_entry, self.late_from, self.late_before = Column(np.int64), Column(np.int64), Column(np.int8)
        self.entries = 0

    def add(self, user_id: str, history: History, flags: _Flags) -> None:
        entries, tracks = history.entries, self.tracks
        late = sorted(history.revisions, key=_entry_of)
        self.late_entry.extend([self.entries + one.entry for one in late])
        self.late_from.extend([self.entries + one.since for one in late])
        self.late_before.extend([one.before for one in late])
        self.entries += len(entries)
        names, outcomes, times, _, sessions = zip(*entries, strict=True) if entries else ((),) * len(Entry._fields)
        self.lengths.append(len(entries))
        self.user.append(self.users.setdefault(user_id, len(self.users)))
        self.track.extend([tracks.setdefault(name, len(tracks)) for name in names])
        self.outcome.extend(outcomes)
        self.at_ms.extend(times)
        self.session.extend(sessions)
        special = [flags.get(key, _DEFAULT) for key in zip(times, names, strict=True)] if flags else [_DEFAULT] * len(entries)
        asked, part = zip(*special, strict=True) if special else ((), ())
        self.asked.extend(asked)
        self.part.extend(part)

    def finish(self) -> Sequences:
        return Sequences(
            tracks=list(self.tracks),
            users=list(self.users),
            offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths, dtype=np.int64)]),
            user=np.array(self.user, np.int32),
            track=self.track.finish(),
            outcome=self.outcome.finish(),
            at_ms=self.at_ms.finish(),
            session=self.session.finish(),
            asked=self.asked.finish().view(np.bool_),
            part=self.part.finish(),
            late_entry=self.late_entry.finish(),
            late_from=self.late_from.finish(),
            late_before=self.late_before.finish(),
        )


_DEFAULT = (True, NO_PART)
_entry_of = attrgetter("entry")
