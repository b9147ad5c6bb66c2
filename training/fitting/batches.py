"""Cuts the training part into windows and makes batches of windows with similar lengths.

A window has `length + 1` entries: `length` to read and one more to predict. A longer sequence is cut at other places in each
epoch, so that every entry occurs at many places of a history. All random choices depend on (seed, epoch) only, so a killed run
continues with the batches that it would have had. With `newest`, each listener has one window, always the same. On a log whose
tastes drift, the model then does not learn from old entries, and an epoch is shorter.

Shapes: B windows, T = length + 1 places, N known entries of the training part.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.encoding import Ints, encode, gap_codes
from model.vocabulary import UNKNOWN
from training.data.columns import Column
from training.data.sequences import Int8s, Int32s, Int64s, Sequences, is_wanted
from training.data.split import TRAIN, Split
from training.recipe import Targets

_SORTED_TOGETHER = 64  # windows of so many batches are sorted by length together: less padding, yet shuffled


class Batch(NamedTuple):
    """The windows of one step, int64 `[B, T]` each, padded on the left with 0.

    The state at place t has read the entries before it. `wanted` is its target: the first kept track at place t or later (0:
    none), or with targets "all" the entry at t. `tracks` and `outcomes` are the entries themselves, `session` the numbers of
    their sessions. `gaps` are the times to the next entry (`model.encoding.gap_codes`), 0 at a sequence's last entry.

    A network may read `known_outcomes` only: the outcomes as they were known when the next entry began. Later places of the
    window read these too, although more is known by then.
    """

    tracks: Tensor
    outcomes: Tensor
    wanted: Tensor
    session: Tensor
    gaps: Tensor
    known_outcomes: Tensor


class Windows:
    """All known entries of the training part, sequence after sequence, from which batches of windows are cut. They take 15
    bytes each, on disk.
    """

    def __init__(self, split: Split, *, length: int, targets: Targets, newest: bool = False) -> None:
        sequences = split.sequences
        self._length, self._newest = length, newest
        rows, wanted, sessions = Column(np.int32), Column(np.int32), Column(np.int32)
        outcomes, known_outcomes, gaps, counts = Column(np.int8), Column(np.int8), Column(np.int8), [np.zeros(0, np.int64)]
        for lot in sequences.lots():
            entries = slice(sequences.offsets[lot.start], sequences.offsets[lot.stop])
            known = (split.row[entries] != UNKNOWN) & (split.part[entries] == TRAIN)
            row, outcome = split.row[entries][known], sequences.outcome[entries][known]
            lengths = np.diff(sequences.offsets[lot.start : lot.stop + 1])
            mine = np.bincount(np.repeat(np.arange(len(lengths)), lengths)[known], minlength=len(lengths))
            counts.append(mine[mine > 0])
            rows.extend_by(row)
            outcomes.extend_by(outcome)
            known_outcomes.extend_by(_known_outcomes(sequences, entries.start + np.flatnonzero(known)))
            gaps.extend_by(_gaps(sequences.at_ms[entries][known], counts[-1]))
            sessions.extend_by(sequences.session[entries][known] + 1)
            wanted.extend_by(_next_kept(row, counts[-1], is_wanted(outcome) | (targets == "all")))
        self._rows, self._wanted, self._sessions = rows.finish(), wanted.finish(), sessions.finish()
        self._outcomes, self._known_outcomes = outcomes.finish(), known_outcomes.finish()
        self._gaps, self._counts = gaps.finish(), np.concatenate(counts)
        self._offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(self._counts)])

    def __len__(self) -> int:
        return len(self._rows)

    def batches(self, size: int, *, seed: int, epoch: int, rank: int = 0, ranks: int = 1) -> Iterator[Batch]:
        """Yield the shuffled batches of an epoch. They contain each entry as a target at least once, or with `newest` only each
        listener's newest window.

        Each of `ranks` processes gets every `ranks`-th window of a batch, so its share may be empty.
        """
        random = np.random.default_rng((seed, epoch))
        starts, stops = self._cut(random)
        for chosen in _like_lengths(stops - starts, size, random):
            mine = chosen[rank::ranks]
            yield self._batch(starts[mine], stops[mine])

    def count(self, size: int) -> int:
        """Estimate the number of batches of an epoch. A sequence of n > T entries is cut into 1 + (n - 1) / T windows on
        average.
        """
        width = self._length + 1
        windows = np.where((self._counts > width) & (not self._newest), 1 + (self._counts - 1) / width, 1)
        return max(1, round(float(windows.sum()) / size))

    def _batch(self, starts: Ints, stops: Ints) -> Batch:
        width = self._length + 1
        tracks, outcomes, gaps = encode(self._rows, self._outcomes, starts, stops, length=width, gaps=self._gaps)
        wanted, session, known = encode(self._wanted, self._sessions, starts, stops, length=width, gaps=self._known_outcomes)
        return Batch(*(torch.from_numpy(array) for array in (tracks, outcomes, wanted, session, gaps, known)))

    def _cut(self, random: np.random.Generator) -> tuple[Ints, Ints]:
        """Return the starts and stops of windows that cover each sequence, or with `newest` of the newest window of each
        sequence.

        The first cut of a long sequence is at a random place.
        """
        width = self._length + 1
        if self._newest:
            return self._offsets[1:] - np.minimum(self._counts, width), self._offsets[1:]
        first = np.where(self._counts > width, random.integers(1, width + 1, len(self._counts)), self._counts)
        more = -(-(self._counts - first) // width)  # rounded up: windows after the first
        sequence = np.repeat(np.arange(len(self._counts)), more + 1)
        number = np.arange(len(sequence)) - np.repeat(np.cumsum(more + 1) - (more + 1), more + 1)
        stops = np.minimum(first[sequence] + number * width, self._counts[sequence])
        starts = np.maximum(stops - width, 0)
        return starts + self._offsets[sequence], stops + self._offsets[sequence]


def _next_kept(rows: Int32s, counts: Ints, kept: npt.NDArray[np.bool_]) -> Int32s:
    """Return for each entry the row of the first kept entry at or after it in its sequence; 0 if there is none.

    `counts` has the length of each sequence.
    """
    size = len(kept)
    places = np.where(kept, np.arange(size), size)
    following = np.minimum.accumulate(places[::-1])[::-1]
    ends = np.repeat(np.cumsum(counts), counts)
    return np.where(following < ends, rows[np.minimum(following, size - 1)], 0).astype(np.int32)


def _known_outcomes(sequences: Sequences, entries: Int64s) -> Int8s:
    """Return the outcome of each of the ascending `entries`, as it was known when the next of them began."""
    outcomes = np.array(sequences.outcome[entries])
    late = (
        np.arange(*np.searchsorted(sequences.late_entry, (entries[0], entries[-1]))) if len(entries) else np.zeros(0, np.int64)
    )
    place = np.searchsorted(entries, sequences.late_entry[late])
    pending = (entries[place] == sequences.late_entry[late]) & (
        sequences.late_from[late] > entries[np.minimum(place + 1, len(entries) - 1)]
    )
    outcomes[place[pending][::-1]] = sequences.late_before[late][pending][::-1]
    return outcomes


def _gaps(at_ms: Int64s, counts: Ints) -> Ints:
    """Return the code of the gap from each entry to the next one of its sequence; 0 for the last entry. `counts` has the
    sequences' lengths.
    """
    codes = gap_codes(np.diff(at_ms, append=0))
    codes[np.cumsum(counts) - 1] = 0
    return codes


def _like_lengths(lengths: Ints, size: int, random: np.random.Generator) -> Iterator[Ints]:
    order = random.permutation(len(lengths))
    groups = np.split(order, range(size * _SORTED_TOGETHER, len(order), size * _SORTED_TOGETHER))
    for group in groups:
        by_length = group[np.argsort(lengths[group], kind="stable")]
        batches = [by_length[start : start + size] for start in range(0, len(by_length), size)]
        yield from (batches[index] for index in random.permutation(len(batches)))
