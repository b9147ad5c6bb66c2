"""Selects the cases of the evaluation: an entry, the history before it, and its outcome.

A case is an entry of the measured part that the evaluation asks about. Its history is the known entries of its sequence before
it, in all parts, as the service would read them at that moment. An outcome counts from the time when it was reported. So a like
that came some tracks later, or a skip that was reported late, is not read by the cases in between.

Tracks that were heard are not masked, since music repeats. Only tracks that the listener disliked and has not liked since are
excluded, as in the service. A target that the vocabulary does not know stays a case, which no ranker can hit. This module knows
nothing of models.

Shapes: C cases, K known entries of the sequences that have a case, M outcomes of these that were reported late, N entries of
the log.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from model.encoding import Encoded, Ints, encode, gap_codes
from model.events import Outcome
from model.long_history import LongHistories
from model.vocabulary import UNKNOWN
from training.data.sequences import Bools, Int8s, Int32s, Int64s, Sequences, is_wanted, ranges, unknown_yet
from training.data.split import AT_ENTRY, Asked, Split, long_histories
from training.evaluation.dislikes import Lists, find_dislikes


@dataclass(frozen=True, kw_only=True, slots=True)
class Cases:
    """Cases in the order of their entries. All cases of a listener are neighbours.

    Case c has the history `rows[starts[c]:stops[c]]` with its `outcomes` and `gaps`, not yet cut to a model's length, and
    excludes `disliked[c]`. `outcomes` are the final ones. `late_place`, `late_from` and `late_before` say which were reported
    late, as in `training.data.sequences.Sequences`.
    """

    rows: npt.NDArray[np.int32]  # [K]
    outcomes: Int8s  # [K]
    # [K], the time to the next known entry as a code of `model.encoding.gap_codes`; see `away_ms` for a case's newest entry
    gaps: Ints
    starts: Int64s  # [C]
    stops: Int64s  # [C]
    away_ms: Int64s  # [C], from the newest entry of the history to the request; 0 without one
    entry: Int64s  # [C], indexes the sequences' entries
    target: Int32s  # [C], a row; UNKNOWN if the training part lacks the track
    outcome: Int8s  # [C], the target's outcome
    user: Int32s  # [C]
    repeat: Bools  # [C], whether the target's track occurs earlier in the sequence
    in_session: Bools  # [C], whether it occurs earlier in the same session
    first: Int64s  # [C], first entry of the case's sequence
    kept: Int64s  # [C], number of known entries before the target that were kept, as far as was known then
    late_place: Int64s  # [M], ascending, indexes rows
    late_from: Int64s  # [M], indexes the sequences' entries
    late_before: Int8s  # [M]
    disliked: Lists  # rows
    disliked_unknown: Lists  # the log's numbers of disliked tracks without a row
    size: int  # rows of the vocabulary
    last_outcome: Outcome | None = None  # how the newest play of each history ends, instead of its real outcome
    asked: Asked = AT_ENTRY  # when the long histories are read
    split: Split  # its entries from `first` to `entry` are the whole history, unknown tracks included

    def __len__(self) -> int:
        return len(self.entry)

    @property
    def wanted(self) -> Bools:
        """Return whether the listener kept the target, [C]. Other targets were refused."""
        return is_wanted(self.outcome)

    @property
    def lengths(self) -> Int64s:
        """Return the number of known entries before the target, without a limit, [C]."""
        return self.stops - self.starts

    def take(self, chosen: slice | Int64s) -> "Cases":
        """Return some of the cases, in the given order."""
        indices = np.arange(len(self))[chosen]
        return replace(
            self,
            **{name: getattr(self, name)[indices] for name in _BY_CASE},
            disliked=self.disliked.take(indices),
            disliked_unknown=self.disliked_unknown.take(indices),
        )

    def encode(self, length: int) -> Encoded:
        """Encode the newest `length` entries of each history as a model's input, with the outcomes that were known when the
        case began.
        """
        encoded = encode(self.rows, self.outcomes, self.starts, self.stops, length=length, gaps=self.gaps)
        case, late = self._unknown_yet(np.maximum(self.starts, self.stops - length))
        encoded.outcomes[case, encoded.outcomes.shape[1] - (self.stops[case] - self.late_place[late])] = self.late_before[late]
        if self.last_outcome is not None:
            encoded.outcomes[:, -1] = np.where(self.lengths > 0, self.last_outcome, 0)
        encoded.gaps[:, -1] = np.where(self.lengths > 0, gap_codes(self.away_ms), 0)
        return encoded

    def long_histories(self, length: int) -> LongHistories:
        """Return the listeners' newest `length` plays before each case, unknown tracks included."""
        own = long_histories(self.split, self.entry, length=length, asked=self.asked)
        if self.last_outcome is not None:
            own.own_outcomes[:, -1] = np.where(own.own_outcomes[:, -1] > 0, self.last_outcome, 0)
        return own

    def outcomes_of(self, case: int) -> Int8s:
        """Return the outcomes of a case's history as they were known when the case began."""
        one = self.take(slice(case, case + 1))
        outcomes = np.array(self.outcomes[self.starts[case] : self.stops[case]])
        _, late = one._unknown_yet(one.starts)
        outcomes[self.late_place[late] - self.starts[case]] = self.late_before[late]
        return outcomes

    def _unknown_yet(self, starts: Int64s) -> tuple[Int64s, Int64s]:
        """Return the history and the outcome of each late report that was not known when its case began; histories are read
        from `starts` on.
        """
        return unknown_yet(self.late_place, self.late_from, starts, self.stops, self.entry)

    def excluded(self) -> Ints:
        """Return the disliked rows of each case, int64 [C, n], padded with 0 to the largest number of any case."""
        return self.disliked.padded()


_BY_CASE = ("starts", "stops", "away_ms", "entry", "target", "outcome", "user", "repeat", "in_session", "first", "kept")


def select_cases(split: Split, part: int, *, cap: int | None = None, seed: int = 1) -> Cases:
    """Return all cases of a part (`VALID`, `TEST`), or `cap` random ones of them. The same `seed` draws the same cases."""
    sequences = split.sequences
    entry = np.flatnonzero((split.part == part) & sequences.asked)
    if cap is not None and cap < len(entry):
        entry = np.sort(np.random.default_rng(seed).choice(entry, cap, replace=False))
    # Sequences without a case are not kept: their entries may exceed memory.
    asked, mine = np.unique(np.searchsorted(sequences.offsets, entry, side="right") - 1, return_inverse=True)
    lengths = np.diff(sequences.offsets)[asked]
    first = np.cumsum(lengths) - lengths
    place = ranges(sequences.offsets[asked], lengths)
    at = first[mine] + entry - sequences.offsets[asked][mine]  # the place of each case's entry in `place`
    known = split.row[place] != UNKNOWN
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(known, dtype=np.int64)])  # number of known entries before each
    at_ms = sequences.at_ms[place][known]
    starts, stops = before[first[mine]], before[at]
    newest_ms = at_ms[np.maximum(stops - 1, 0)] if len(at_ms) else np.zeros(len(entry), np.int64)
    user = np.repeat(sequences.user, np.diff(sequences.offsets))
    tracks = len(sequences.tracks)
    disliked, disliked_unknown = find_dislikes(entry, split, user)
    late_place, late = _late(sequences, place[known])
    cases = Cases(
        rows=split.row[place][known],
        outcomes=sequences.outcome[place][known],
        gaps=gap_codes(np.diff(at_ms, append=at_ms[-1:])),
        starts=starts,
        stops=stops,
        away_ms=np.where(stops > starts, sequences.at_ms[entry] - newest_ms, 0),
        entry=entry,
        target=split.row[entry],
        outcome=sequences.outcome[entry],
        user=user[entry],
        repeat=_repeats(np.repeat(asked, lengths), sequences.track[place], tracks)[at],
        in_session=_repeats(_sessions(np.repeat(asked, lengths), sequences.session[place]), sequences.track[place], tracks)[at],
        first=sequences.offsets[asked][mine],
        kept=np.zeros(len(entry), np.int64),
        late_place=late_place,
        late_from=sequences.late_from[late],
        late_before=sequences.late_before[late],
        disliked=disliked,
        disliked_unknown=disliked_unknown,
        size=len(split.vocabulary),
        split=split,
    )
    return replace(cases, kept=_kept(cases, place[known]))


def _sessions(sequence: Int64s, session: Int32s) -> Int64s:
    """Return for each entry a session number that is unique over all sequences, [N]."""
    numbers: Int64s = np.unique(sequence << 32 | session, return_inverse=True)[1]
    return numbers


def _repeats(group: Int64s, track: Int32s, tracks: int) -> Bools:
    """Return whether each entry's track occurs earlier in its group (a sequence or a session), [N]."""
    key = group * tracks + track
    repeats = np.ones(len(key), np.bool_)
    repeats[np.unique(key, return_index=True)[1]] = False
    return repeats


def _late(sequences: Sequences, entry: Int64s) -> tuple[Int64s, Int64s]:
    """Find the late reports about `entry`, which is ascending. Returns for each its place in `entry`, and its index in the late
    reports, [M].
    """
    place = np.searchsorted(entry, sequences.late_entry)
    mine = np.flatnonzero(np.append(entry, -1)[place] == sequences.late_entry)
    return place[mine], mine


def _kept(cases: Cases, entry_of_row: Int64s) -> Int64s:
    """Count for each case the entries of its history that the listener kept, by the outcomes known when the case began, [C]."""
    kept = is_wanted(cases.outcomes)
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept, dtype=np.int64)])
    place, known_from = cases.late_place, cases.late_from
    since = entry_of_row[place] + 1
    again = np.flatnonzero(np.diff(place) == 0)
    since[again + 1] = known_from[again]
    change = np.zeros(len(cases) + 1, np.int64)
    more = is_wanted(cases.late_before).astype(np.int64) - kept[place]
    np.add.at(change, np.searchsorted(cases.entry, since), more)
    np.add.at(change, np.searchsorted(cases.entry, known_from), -more)
    counts: Int64s = before[cases.stops] - before[cases.starts] + np.cumsum(change[:-1])
    return counts
