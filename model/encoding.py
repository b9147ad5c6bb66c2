"""From histories to the arrays that a network reads.

The only place that truncates, pads and numbers: the trainer's windows, its evaluation and the service's requests all come
through `encode`, so a model meets online exactly what it met offline. Unknown tracks are left out before (they inform
nothing), padding stands on the left, the newest entry is last, and the arrays are as wide as the longest history of the
batch, not as the model allows.

Shapes: B batch, T time (the history's places), N entries of all histories together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.events import Entry
from model.vocabulary import PADDING, UNKNOWN, Vocabulary

Ints = npt.NDArray[np.int64]
"""int64 of any shape, what ONNX Runtime takes as a row or an outcome."""


class Encoded(NamedTuple):
    """A batch of histories: `tracks` and `outcomes`, int64 [B, T], padded on the left with 0."""

    tracks: Ints
    outcomes: Ints


@dataclass(frozen=True, slots=True)
class RowHistory:
    """One history as the network knows it: rows and outcome numbers, oldest first, known tracks only."""

    rows: Sequence[int] = ()
    outcomes: Sequence[int] = ()


def rows_of(entries: Sequence[Entry], vocabulary: Vocabulary, *, length: int) -> RowHistory:
    """The newest `length` known tracks of a history, as rows and outcome numbers. Older ones cost nothing."""
    rows: list[int] = []
    outcomes: list[int] = []
    for entry in reversed(entries):
        row = vocabulary.row(entry.track_id)
        if row != UNKNOWN:
            rows.append(row)
            outcomes.append(entry.outcome.value)
            if len(rows) == length:
                break
    return RowHistory(rows[::-1], outcomes[::-1])


def encode_histories(histories: Sequence[RowHistory], *, length: int) -> Encoded:
    """Encode separate histories (what the service has), the newest `length` entries of each."""
    rows = np.fromiter((row for history in histories for row in history.rows), np.int64)
    outcomes = np.fromiter((outcome for history in histories for outcome in history.outcomes), np.int64)
    stops = np.cumsum([len(history.rows) for history in histories], dtype=np.int64)
    starts = np.concatenate([np.zeros(1, np.int64), stops[:-1]])
    return encode(rows, outcomes, starts, stops, length=length)


def encode(
    rows: npt.NDArray[np.integer], outcomes: npt.NDArray[np.integer], starts: Ints, stops: Ints, *, length: int
) -> Encoded:
    """Encode slices of one long log (what the trainer has): history b is entries `starts[b]` up to `stops[b]`, which is not
    included.

    `rows` and `outcomes` are [N], `starts` and `stops` int64 [B]. Returns int64 [B, T] with T the longest history, at least
    1 and at most `length`; an empty history is a line of padding.
    """
    starts = np.maximum(starts, stops - length)
    width = max(1, int((stops - starts).max(initial=0)))
    places_BT = stops[:, None] - width + np.arange(width)
    real_BT = places_BT >= starts[:, None]
    if not rows.size:
        return Encoded(np.full(places_BT.shape, PADDING, np.int64), np.zeros(places_BT.shape, np.int64))
    places_BT = np.where(real_BT, places_BT, 0)
    return Encoded(
        np.where(real_BT, rows[places_BT], PADDING).astype(np.int64, copy=False),
        np.where(real_BT, outcomes[places_BT], 0).astype(np.int64, copy=False),
    )
