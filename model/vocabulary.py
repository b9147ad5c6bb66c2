"""Track ids and their rows.

A *row* is the number by which the network knows a track. Row 0 is padding. Row 1 stands for every track that the trainer has
not seen; it ranks behind all known tracks. Rows from 2 on are tracks in the order of the artifact's `tracks.json`. This module
does not know where ids come from.

All ids are stored in one block of bytes, next to a hash table of their places. This takes 35 bytes for an id of 13 bytes,
where strings in a list and a dict take 133 (tracemalloc, half a million ids). A look-up takes three microseconds, or a
quarter of one if the id is in the cache of recent look-ups. `rows_of_many` looks up many ids at once. Python's string hashes
differ between processes, so a vocabulary cannot be pickled. Recent names of rows are cached too: 20 of them take 0.9
microseconds, and otherwise 3.6.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt

from model.pauses import Pause, no_pause, steps

Ints = npt.NDArray[np.int64]

PADDING = 0
UNKNOWN = 1
FIRST = 2
"""The first row that is a track."""
REMEMBERED = 65_536
"""Number of ids in the cache of recent look-ups, and of rows in the cache of recent names. Each id takes a quarter of a
kilobyte.
"""
_FEW = 64
"""Up to so many ids are looked up in the cache of recent ones: ten in a microsecond, where comparing hashes takes eleven."""
_LARGEST = (1 << 64) - 1


class Vocabulary:
    """A fixed two-way map between track ids (strings) and rows (integers from `FIRST` on)."""

    def __init__(self, tracks: Iterable[str], pause: Pause = no_pause) -> None:
        """Give `tracks` the rows `FIRST`, `FIRST + 1`, …. ValueError if an id occurs twice.

        The ids are read a few hundred at a time, so they need not be in memory all at once. `pause` is called after each step.
        """
        names, sizes, hashed = bytearray(), [np.zeros(1, np.int64)], [np.zeros(0, np.int64)]
        for some in steps(tracks, pause):
            encoded = [_encoded(track_id) for track_id in some]
            names += b"".join(encoded)
            sizes.append(np.fromiter(map(len, encoded), np.int64, len(some)))
            hashed.append(np.fromiter(map(hash, some), np.int64, len(some)))
        hashes = np.concatenate(hashed)
        self._names, self._ends = bytes(names), np.concatenate(sizes).cumsum().data
        self._refuse_repeated(hashes)
        order, bits = np.argsort(hashes.view(np.uint64)), max(1, len(hashes).bit_length() - 1)  # one or two ids in a bucket
        # One more than there are ids, larger than all. It ends a search, and nothing is found there.
        self._hashes, shift = np.append(hashes.view(np.uint64)[order], np.uint64(_LARGEST)), 64 - bits
        buckets = (self._hashes[:-1] >> np.uint64(shift)).astype(np.int64)
        self._places = np.append(order, UNKNOWN - FIRST).astype(np.int32).data
        self._starts = np.cumsum(np.bincount(buckets + 1, minlength=(1 << bits) + 1), dtype=np.int32)
        self._shift = np.uint64(shift)
        self._row = _finder(self._names, self._ends, self._places, self._starts.data, shift)
        self._track = lru_cache(REMEMBERED)(partial(_name_of, self._names, self._ends))

    def __len__(self) -> int:
        """Return the number of rows, including padding and unknown. An embedding table has this many rows."""
        return len(self._ends) - 1 + FIRST

    def row(self, track_id: str) -> int:
        """Return the row of a track; `UNKNOWN` if the trainer has not seen it."""
        return self._row(track_id)

    def rows(self, track_ids: Iterable[str]) -> list[int]:
        """Return the row of each track; `UNKNOWN` for tracks that the trainer has not seen."""
        return list(map(self._row, track_ids))

    def rows_of_many(self, track_ids: Sequence[str]) -> Ints:
        """Return the rows of many tracks, int64 in their order. Faster than `row` for each, because it compares 64-bit hashes
        and not ids. Few tracks are looked up one by one.

        In 10^8 look-ups of unknown ids among a million tracks, the chance that one is taken for a known one is 5 in 10^6.
        """
        if len(track_ids) <= _FEW:
            return np.array(self.rows(track_ids), np.int64)
        hashes = np.fromiter(map(hash, track_ids), np.int64, len(track_ids)).view(np.uint64)
        at = self._starts[(hashes >> self._shift).astype(np.int64)]
        left = np.flatnonzero(self._hashes[at] < hashes)
        while len(left):  # a bucket has one or two ids, and the largest of a million ids some ten
            at[left] += 1
            left = left[self._hashes[at[left]] < hashes[left]]
        return np.where(self._hashes[at] == hashes, np.asarray(self._places)[at] + np.int64(FIRST), UNKNOWN)

    def knows(self, track_id: str) -> bool:
        """Return whether a track has a row of its own."""
        return self._row(track_id) != UNKNOWN

    def known_rows(self, track_ids: Iterable[str]) -> list[int]:
        """Return the rows of those `track_ids` that have one, in order."""
        return [row for row in map(self._row, track_ids) if row != UNKNOWN]

    def track(self, row: int) -> str:
        """Return the track of a row. Raises ValueError for padding and unknown, which are no tracks."""
        if row < FIRST:
            raise ValueError(f"row {row} is no track; tracks begin at row {FIRST}")
        return self._track(row)

    def named(self, rows: Iterable[int]) -> list[str]:
        """Return the tracks of several rows, in order. Rows are not checked."""
        return list(map(self._track, rows))

    @property
    def tracks(self) -> list[str]:
        """Return a new list of all track ids, in the order of their rows."""
        return [_name_of(self._names, self._ends, row) for row in range(FIRST, len(self))]

    def _refuse_repeated(self, hashes: Ints) -> None:
        ordered = np.sort(hashes)
        again = ordered[1:][ordered[1:] == ordered[:-1]]
        if len(again):
            rows = np.flatnonzero(np.isin(hashes, again)) + FIRST
            suspects = [_name_of(self._names, self._ends, row) for row in rows.tolist()]
            repeated = len(suspects) - len(set(suspects))
            if repeated:
                raise ValueError(f"found {repeated} repeated track ids in the vocabulary; expected each id once")


def _finder(names: bytes, ends: memoryview, places: memoryview, starts: memoryview, shift: int) -> Callable[[str], int]:
    """Return a function that finds the row of an id, with a cache of `REMEMBERED` ids.

    It does not refer to the vocabulary. A cycle of references would keep a replaced model's vocabulary in memory for ever,
    because `gc.freeze` excludes it from garbage collection.
    """

    @lru_cache(REMEMBERED)
    def find(track_id: str) -> int:
        name, bucket = _encoded(track_id), (hash(track_id) & _LARGEST) >> shift
        for place in places[starts[bucket] : starts[bucket + 1]]:
            if names[ends[place] : ends[place + 1]] == name:
                return place + FIRST
        return UNKNOWN

    return find


def _name_of(names: bytes, ends: memoryview, row: int) -> str:
    return names[ends[row - FIRST] : ends[row - FIRST + 1]].decode("utf-8", "surrogatepass")


def _encoded(track_id: str) -> bytes:
    """Encode an id in UTF-8. A lone surrogate, which JSON allows, is kept."""
    return track_id.encode("utf-8", "surrogatepass")
