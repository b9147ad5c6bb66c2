"""Split a log by time into the parts that train a model, choose its settings, and measure it.

Each entry belongs to one part. Its history may reach into earlier parts, as it does online. The vocabulary is counted on the
training part alone. So a track that was released later is unknown, and a case about it counts as a miss.

Three rules hold entries out. The last shares of the whole log measure what a service meets tomorrow. The last shares of each
listener (`shares_of = "listener"`) test all listeners alike, however long ago they stopped. With `listeners` above 0 a share of
the listeners is never trained on, and the test part holds the newest entries of those listeners alone. Their older entries are
histories to read and belong to no part, as do the newest entries of the others.

Shapes: N entries, R rows, U listeners.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.long_history import LongHistories, Plays, encode_long
from model.vocabulary import FIRST, UNKNOWN, Vocabulary
from training.counts import counted
from training.data.columns import Column
from training.data.log import LogError
from training.data.sequences import Bools, Int8s, Int32s, Int64s, Sequences, unknown_yet
from training.recipe import SplitRule

TRAIN, VALID, TEST, UNUSED = 0, 1, 2, 3
"""The part of an entry. `UNUSED` entries are read in histories, but never learned from or measured."""
FEW_LISTENERS, MUCH_UNKNOWN = 100, 0.25
"""`doubts` warns about a test part of fewer listeners, or of a larger share of unknown tracks."""
_OWN_TIMES = (
    ". The listeners kept apart have no plays at the end of the log; "
    'split.shares_of = "listener" tests the newest plays of each listener, whenever they were'
)
_LOT = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Sequences, with a part and a vocabulary row for each entry."""

    sequences: Sequences
    vocabulary: Vocabulary
    part: Int8s  # [N]: TRAIN, VALID, TEST, UNUSED
    row: npt.NDArray[np.int32]  # [N]: the entry's row, UNKNOWN if it is too rare in the training part

    @property
    def counts(self) -> Int64s:
        """Return how often each row occurs in the training part, [R]."""
        return np.bincount(self.row[self.part == TRAIN], minlength=len(self.vocabulary))

    def known(self, parts: Collection[int] = (TRAIN,)) -> Bools:
        """Return which entries lie in one of `parts` and have a track with a row, bool [N]."""
        known: Bools = np.isin(self.part, list(parts)) & (self.row != UNKNOWN)
        return known

    def digest(self) -> str:
        """Return the SHA-256 of the vocabulary and of every entry. A checkpoint is valid for exactly these."""
        digest = hashlib.sha256()
        columns = [getattr(self.sequences, field.name) for field in fields(self.sequences)]
        for column in (self.vocabulary.tracks, *columns, self.part, self.row):
            if isinstance(column, np.ndarray):
                digest.update(np.ascontiguousarray(column).data)
            else:
                for start in range(0, len(column), _LOT):
                    digest.update(repr(list(column[start : start + _LOT])).encode())
        return digest.hexdigest()


class Asked(NamedTuple):
    """When a case asks for tracks. Its long history is read as of then.

    `at_ms` is one time for all cases. None means that each case asks when its own entry begins. `in_session` says whether the
    entry's session is still going on at that time. If it is False, all sessions are over.
    """

    at_ms: int | None = None
    in_session: bool = True


AT_ENTRY = Asked()


def split(sequences: Sequences, rule: SplitRule) -> Split:
    """Assign each entry to a part, and make the vocabulary from the training part.

    LogError if the training or the test part is empty, or if the log's own split covers some entries only.
    """
    part = _without_trained(sequences, _parts(sequences, rule), rule.listeners)
    sizes = np.bincount(part, minlength=3)
    if not sizes[TRAIN] or not sizes[TEST]:
        raise LogError(
            f"found {sizes[TRAIN]} entries in the training part and {sizes[TEST]} in the test part; both need some"
            + (_OWN_TIMES if rule.listeners and rule.shares_of == "log" else "")
        )
    counts = np.bincount(sequences.track[part == TRAIN], minlength=len(sequences.tracks))
    kept = np.flatnonzero(counts >= max(1, rule.min_count))
    if not kept.size:
        raise LogError(f"no track occurs min_count = {rule.min_count} times in the training part; the most is {counts.max()}")
    row_of_track = np.full(len(sequences.tracks), UNKNOWN, np.int32)
    row_of_track[kept] = np.arange(FIRST, FIRST + len(kept), dtype=np.int32)
    return Split(
        sequences=sequences,
        vocabulary=Vocabulary([sequences.tracks[index] for index in kept.tolist()]),
        part=part,
        row=_rows(row_of_track, sequences),
    )


def with_valid(whole: Split) -> Split:
    """Return the same split with the validation part counted as training part: everything before the test part."""
    return replace(whole, part=np.where(whole.part == VALID, TRAIN, whole.part).astype(np.int8))


def long_histories(split: Split, entry: Int64s, *, length: int, asked: Asked = AT_ENTRY) -> LongHistories:
    """Return the long history before each of the given entries, as the service would read it at the time in `asked`."""
    sequences = split.sequences
    starts = sequences.offsets[np.searchsorted(sequences.offsets, entry, side="right") - 1]
    own = encode_long(
        Plays(sequences.track, split.row, sequences.outcome, sequences.at_ms, sequences.session),
        starts,
        entry,
        asked_ms=sequences.at_ms[entry] if asked.at_ms is None else np.full(len(entry), asked.at_ms),
        going_on=sequences.session[entry] if asked.in_session else np.full(len(entry), -1),
        size=len(split.vocabulary),
        length=length,
    )
    late_entry, late_before = sequences.late_entry, sequences.late_before
    case, late = unknown_yet(late_entry, sequences.late_from, np.maximum(starts, entry - length), entry, entry)
    own.own_outcomes[case, own.own_outcomes.shape[1] - (entry[case] - late_entry[late])] = late_before[late]
    return own


def numbered(sequences: Sequences, vocabulary: Vocabulary) -> Split:
    """Number the sequences of another log by an existing vocabulary. All entries count as training part."""
    row_of_track = np.array([vocabulary.row(track) for track in sequences.tracks], np.int32)
    part = np.full(len(sequences.track), TRAIN, np.int8)
    return Split(sequences=sequences, vocabulary=vocabulary, part=part, row=_rows(row_of_track, sequences))


def _rows(row_of_track: Int32s, sequences: Sequences) -> Int32s:
    rows = Column(np.int32)
    for lot in sequences.lots():
        rows.extend_by(row_of_track[sequences.track[sequences.offsets[lot.start] : sequences.offsets[lot.stop]]])
    return rows.finish()


def _parts(sequences: Sequences, rule: SplitRule) -> Int8s:
    if rule.valid_from is None or rule.test_from is None:
        without = int(np.count_nonzero(sequences.part < 0))
        if not without:
            return sequences.part
        if without < len(sequences.part):
            raise LogError(
                f"found {without:,} of {len(sequences.part):,} entries without a part; wanted a part for each or for none. "
                "Or set the moments split.valid_from and split.test_from in the recipe"
            )
        if rule.shares_of == "listener":
            return _parts_by_listener(sequences, rule)
        valid_from, test_from = (moment_after(sequences.at_ms, share) for share in (1 - rule.valid - rule.test, 1 - rule.test))
    else:
        valid_from, test_from = (int(moment.timestamp() * 1000) for moment in (rule.valid_from, rule.test_from))
    parts = Column(np.int8)
    for lot in sequences.lots():
        at_ms = sequences.at_ms[sequences.offsets[lot.start] : sequences.offsets[lot.stop]]
        parts.extend_by((at_ms >= valid_from).astype(np.int8) + (at_ms >= test_from))
    return parts.finish()


def kept_apart(users: Collection[str], share: float) -> Bools:
    """Choose the listeners who are never trained on, bool [U]: the given share, with the lowest SHA-256 of their ids.

    The choice depends on ids alone, so it is the same in a longer log of the same listeners.
    """
    count = round(share * len(users))
    digests = [hashlib.sha256(user.encode()).digest() for user in users]
    chosen = sorted(range(len(digests)), key=digests.__getitem__)[:count]
    apart = np.zeros(len(digests), np.bool_)
    apart[chosen] = True
    return apart


def doubts(split: Split) -> list[str]:
    """Return a sentence for each reason to distrust figures of the test part: few listeners, many unknown tracks."""
    sequences = split.sequences
    tested = np.flatnonzero((split.part == TEST) & sequences.asked)
    owners = np.searchsorted(sequences.offsets, tested, side="right") - 1
    listeners = len(np.unique(sequences.user[owners]))
    unknown = float((split.row[tested] == UNKNOWN).mean()) if len(tested) else 0.0
    found = []
    if listeners < FEW_LISTENERS:
        apart = bool((split.part == UNUSED).any())
        more = "A larger split.listeners tests more" if apart else 'split.shares_of = "listener" tests all listeners of the log'
        found.append(
            f"the test part holds {listeners:,} of {counted(len(sequences.users), 'listener')}; figures of fewer than "
            f"{FEW_LISTENERS} listeners say little about others. {more}"
        )
    if unknown > MUCH_UNKNOWN:
        found.append(
            f"{unknown:.0%} of the test part's entries have tracks that the training part lacks. They count as misses. "
            "A longer log or a smaller split.test leaves fewer of them"
        )
    return found


def _without_trained(sequences: Sequences, part: Int8s, share: float) -> Int8s:
    """Keep a share of the listeners apart: the test part then holds only their entries, and the other parts none of them."""
    if not share:
        return part
    apart = kept_apart(sequences.users, share)
    if apart.all() or not apart.any():
        raise LogError(
            f"split.listeners = {share:g} keeps {apart.sum()} of {len(apart)} listeners apart; wanted at least one to test and "
            "one to train on"
        )
    mine = np.repeat(apart[sequences.user], np.diff(sequences.offsets))
    return np.where(mine == (part == TEST), part, UNUSED).astype(np.int8)


def _parts_by_listener(sequences: Sequences, rule: SplitRule) -> Int8s:
    """Split each listener's entries by their own times. Works on groups of listeners with about `_LOT` entries together."""
    firsts = np.flatnonzero(np.diff(sequences.user, prepend=-1))  # sequences of a listener stand together
    bounds = np.append(sequences.offsets[firsts], sequences.offsets[-1])
    parts = Column(np.int8)
    first = 0
    while first < len(firsts):
        last = max(first + 1, int(np.searchsorted(bounds, bounds[first] + _LOT, side="right")) - 1)
        counts = np.diff(bounds[first : last + 1])
        at_ms = sequences.at_ms[bounds[first] : bounds[last]]
        owner = np.repeat(np.arange(len(counts)), counts)
        in_order = at_ms[np.lexsort((at_ms, owner))]
        begins = np.cumsum(counts) - counts
        found = np.zeros(len(at_ms), np.int8)
        for share in (1 - rule.valid - rule.test, 1 - rule.test):
            place = np.ceil(share * np.maximum(counts - 1, 0)).astype(np.int64)  # as in `moment_after`, for one listener
            moments = in_order[np.minimum(begins + place, len(in_order) - 1)]
            found += at_ms >= moments[owner]
        parts.extend_by(found)
        first = last
    return parts.finish()


def moment_after(at_ms: Int64s, share: float) -> int:
    """Return the time at the quantile `share` (numpy's method "higher"). It uses binary search, which needs no copy of the
    array.
    """
    place = int(np.ceil(share * (len(at_ms) - 1)))
    low, high = int(at_ms.min()), int(at_ms.max())
    while low < high:
        middle = (low + high) // 2
        lots = (at_ms[start : start + _LOT] for start in range(0, len(at_ms), _LOT))
        if sum(np.count_nonzero(lot <= middle) for lot in lots) > place:
            high = middle
        else:
            low = middle + 1
    return low
