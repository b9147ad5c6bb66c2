"""Finds the tracks that a listener dislikes when a case begins.

A dislike holds from its report until the same listener's next opinion on the same track, in whatever session.

Shapes: C cases, D dislikes of all cases together, N entries of the log.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.encoding import Ints
from model.events import Outcome
from model.vocabulary import PADDING, UNKNOWN
from training.data.sequences import Int8s, Int32s, Int64s, Sequences, ranges
from training.data.split import Split


@dataclass(frozen=True, slots=True)
class Lists:
    """A list of numbers for each case, stored end to end."""

    values: Int32s  # [D]
    offsets: Int64s  # [C + 1]

    @classmethod
    def of(cls, lists: Sequence[Int32s]) -> "Lists":
        """Store these lists."""
        return cls(np.concatenate([np.zeros(0, np.int32), *lists]), np.cumsum([0, *map(len, lists)], dtype=np.int64))

    def __getitem__(self, case: int) -> Int32s:
        """Return the list of a case."""
        return self.values[self.offsets[case] : self.offsets[case + 1]]

    def take(self, indices: Int64s) -> "Lists":
        """Return the lists of some cases, in the given order."""
        counts = np.diff(self.offsets)[indices]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        return Lists(self.values[ranges(self.offsets[indices], counts)], offsets)

    def padded(self) -> Ints:
        """Return the lists as an array, int64 [C, n], padded with 0 to the longest."""
        counts = np.diff(self.offsets)
        padded_Cn = np.full((len(counts), int(counts.max(initial=0))), PADDING, np.int64)
        padded_Cn[np.arange(padded_Cn.shape[1]) < counts[:, None]] = self.values
        return padded_Cn


def find_dislikes(entry: Int64s, split: Split, user: Int32s) -> tuple[Lists, Lists]:
    """Return the disliked tracks of the cases that begin at `entry`, ascending. `user` is the listener of each entry, [N].

    The first lists have the rows of known tracks. The second ones have the log's numbers of tracks without a row.
    """
    of, known_from, outcome = _opinions(split.sequences)
    said = np.flatnonzero(np.isin(outcome, (Outcome.LIKED, Outcome.DISLIKED)))
    of, known_from, outcome = of[said], known_from[said], outcome[said]
    track = split.sequences.track[of]
    order = np.lexsort((known_from, track, user[of]))
    of, known_from, outcome, track = of[order], known_from[order], outcome[order], track[order]
    until = np.searchsorted(user, user[of], side="right")
    same = (np.diff(user[of]) == 0) & (np.diff(track) == 0)
    until[:-1][same] = known_from[1:][same]
    held = outcome == Outcome.DISLIKED
    first = np.searchsorted(entry, known_from[held])
    counts = np.maximum(np.searchsorted(entry, until[held]) - first, 0)
    case = ranges(first, counts)
    by_case = np.argsort(case, kind="stable")
    case, of = case[by_case], np.repeat(of[held], counts)[by_case]
    known = split.row[of] != UNKNOWN
    return (
        Lists(split.row[of[known]], _offsets(case[known], len(entry))),
        Lists(split.sequences.track[of[~known]], _offsets(case[~known], len(entry))),
    )


def _offsets(case: Int64s, cases: int) -> Int64s:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(case, minlength=cases))])


def _opinions(sequences: Sequences) -> tuple[Int64s, Int64s, Int8s]:
    """Return all known outcomes of entries that were liked, disliked or reported late: entry, first entry that knows the
    outcome, outcome.

    The outcomes that were known when the next entry began are listed first, then those that were reported late.
    """
    late, known_from, before = sequences.late_entry, sequences.late_from, sequences.late_before
    after = sequences.outcome[late]
    again = np.flatnonzero(np.diff(late) == 0)  # changed once more later
    after[again] = before[again + 1]
    said = np.union1d(np.flatnonzero(np.isin(sequences.outcome, (Outcome.LIKED, Outcome.DISLIKED))), late)
    at_first = sequences.outcome[said]
    at_first[np.searchsorted(said, late[::-1])] = before[::-1]
    return np.concatenate([said, late]), np.concatenate([said + 1, known_from]), np.concatenate([at_first, after])
