"""Track ids and their rows.

A *row* is the number by which the network knows a track. Row 0 pads, row 1 stands for every track that the trainer has
not seen (nobody ever wants it, so it ranks behind the known), rows from 2 on are tracks in the order of the artifact's
`tracks.json`. It knows nothing about where ids come from.
"""

from collections.abc import Iterable, Sequence

PADDING = 0
UNKNOWN = 1
FIRST = 2
"""The first row that is a track."""


class Vocabulary:
    """A fixed two-way map between track ids (strings) and rows (integers from `FIRST` on)."""

    def __init__(self, tracks: Sequence[str]) -> None:
        """Give `tracks` the rows `FIRST`, `FIRST + 1`, …; ValueError where an id comes twice."""
        self._tracks = tracks
        self._rows = dict(zip(tracks, range(FIRST, FIRST + len(tracks)), strict=True))
        if len(self._rows) != len(tracks):
            raise ValueError(f"{len(tracks) - len(self._rows)} track ids come more than once in the vocabulary")

    def __len__(self) -> int:
        """The number of rows, padding and unknown included: the height of an embedding table."""
        return len(self._tracks) + FIRST

    def row(self, track_id: str) -> int:
        """The row of a track, `UNKNOWN` where the trainer has not seen it."""
        return self._rows.get(track_id, UNKNOWN)

    def known_rows(self, track_ids: Iterable[str]) -> list[int]:
        """The rows of those tracks that are known, in order."""
        rows = self._rows
        return [rows[track_id] for track_id in track_ids if track_id in rows]

    def track(self, row: int) -> str:
        """The track of a row; ValueError for padding and unknown, which are none."""
        if row < FIRST:
            raise ValueError(f"row {row} is no track; tracks begin at row {FIRST}")
        return self._tracks[row - FIRST]

    @property
    def tracks(self) -> Sequence[str]:
        """All track ids, in the order of their rows."""
        return self._tracks
