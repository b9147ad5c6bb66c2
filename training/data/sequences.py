"""From a log's events to everyone's histories, laid end to end.

A *sequence* is what one history is cut from: all of a listener's entries, or one session of theirs where the recipe's
history is the session. `model.events.fold`, the service's own function, decides what an entry is. Columns, not
objects, and long ones on disk: an entry takes 19 bytes there, and memory holds the ids of listeners and tracks alone.

Shapes: S sequences, N entries of all sequences together, U listeners.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from model.events import Entry, Event, EventType, HistoryRule, fold
from training.data.columns import Column
from training.data.log import PARTS, TYPES, Log

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
Int8s = npt.NDArray[np.int8]
Bools = npt.NDArray[np.bool_]

NO_PART = -1
_CODES = {name: EventType[name.upper()] for name in TYPES}
_PARTS = {name: code for code, name in enumerate(PARTS)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Sequences:
    """Entries of all sequences end to end; sequence s is entries `offsets[s]` up to `offsets[s + 1]`, not included.

    `tracks` are the log's track ids; `track` [N] indexes them. `part` [N] is 0 train, 1 valid, 2 test where the log brings
    its own split, else `NO_PART`. `asked` [N] is False for entries that are context only.
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

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def starts(self) -> Int64s:
        """Where the sequence of each entry starts, [N]."""
        return np.repeat(self.offsets[:-1], np.diff(self.offsets))

    @property
    def sequence(self) -> Int32s:
        """The sequence of each entry, [N]."""
        return np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self.offsets))

    def lots(self, size: int = 1 << 20) -> Iterator[slice]:
        """The sequences in lots of about `size` entries each, to be worked through one at a time."""
        starts = np.unique(np.searchsorted(self.offsets[:-1], np.arange(0, max(1, self.offsets[-1]), size)))
        for first, last in zip(starts, [*starts[1:], len(self)], strict=True):
            yield slice(int(first), int(last))


def build(log: Log, rule: HistoryRule) -> Sequences:
    """Fold a log's events into sequences, by the recipe's history rule. Reads the log in slices, listener by listener."""
    draft = _Draft()
    for user_id, entries, flags in _listeners(log.events(), rule):
        if rule.scope == "session":
            by_session = sorted(entries, key=_session)
            for _, session in groupby(by_session, key=_session):
                draft.add(user_id, list(session), flags)
        else:
            draft.add(user_id, entries, flags)
    return draft.finish()


_Flags = dict[tuple[int, str], tuple[bool, int]]
"""(time, track) -> (asked, part), of the events of one listener that differ from the default."""

_SLICE = 100_000  # events held as Python objects at a time
_COLUMNS = ("user_id", "at_ms", "type", "track_id", "played_ms", "track_ms", "session_id", "asked", "part")


def _session(entry: Entry) -> int:
    return entry.session


def _rows(events: pl.LazyFrame) -> Iterator[tuple[Any, ...]]:
    total: int = events.select(pl.len()).collect().item()
    for start in range(0, total, _SLICE):
        part = events.select(_COLUMNS).slice(start, _SLICE).collect()
        yield from zip(*(part[name].to_list() for name in _COLUMNS), strict=True)


def _listeners(events: pl.LazyFrame, rule: HistoryRule) -> Iterator[tuple[str, Sequence[Entry], _Flags]]:
    for user_id, rows in groupby(_rows(events), key=itemgetter(0)):
        mine: list[Event] = []
        flags: _Flags = {}
        for _, at_ms, kind, track_id, played_ms, track_ms, session_id, asked, part in rows:
            mine.append(Event(at_ms, _CODES[kind], "", track_id, played_ms, track_ms, session_id))
            if part is not None or not asked:
                flags.setdefault((at_ms, track_id), (asked, _PARTS.get(part, NO_PART)))
        yield user_id, fold(mine, rule).entries, flags


class _Draft:
    """Columns that grow listener by listener."""

    def __init__(self) -> None:
        self.tracks: dict[str, int] = {}
        self.users: dict[str, int] = {}
        self.lengths = array("q")
        self.user = array("i")
        self.track, self.outcome, self.at_ms = Column(np.int32), Column(np.int8), Column(np.int64)
        self.session, self.asked, self.part = Column(np.int32), Column(np.int8), Column(np.int8)

    def add(self, user_id: str, entries: Sequence[Entry], flags: _Flags) -> None:
        tracks = self.tracks
        self.lengths.append(len(entries))
        self.user.append(self.users.setdefault(user_id, len(self.users)))
        self.track.extend([tracks.setdefault(entry.track_id, len(tracks)) for entry in entries])
        self.outcome.extend([entry.outcome for entry in entries])
        self.at_ms.extend([entry.at_ms for entry in entries])
        self.session.extend([entry.session for entry in entries])
        special = (
            [flags.get((entry.at_ms, entry.track_id), _DEFAULT) for entry in entries] if flags else [_DEFAULT] * len(entries)
        )
        self.asked.extend([asked for asked, _ in special])
        self.part.extend([part for _, part in special])

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
        )


_DEFAULT = (True, NO_PART)
