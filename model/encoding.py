"""From histories to the arrays that a network reads.

The only place that truncates, pads and numbers: the trainer's windows, its evaluation and the service's requests all come
through `encode`, so a model meets online exactly what it met offline. Unknown tracks are left out before (they inform
nothing), padding stands on the left, the newest entry is last, and the arrays are as wide as the longest history of the
batch, not as the model allows.

Shapes: B batch, T time (the history's places), N entries of all histories together.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from model.events import Entry
from model.long_history import LongHistories, join
from model.vocabulary import PADDING, UNKNOWN, Vocabulary

Ints = npt.NDArray[np.int64]
"""int64 of any shape, what ONNX Runtime takes as a row or an outcome."""


GAP_CODES, GOING_ON = 12, 1
"""How many numbers a gap can have: 0 if not known, `GOING_ON` up to half an hour, one more with each doubling of it, the last
beyond 10 days."""
HALF_HOUR_MS = 30 * 60 * 1000


class Encoded(NamedTuple):
    """A batch of histories: `tracks`, `outcomes` and `gaps` (see `gap_codes`), int64 [B, T], padded on the left with 0."""

    tracks: Ints
    outcomes: Ints
    gaps: Ints


@dataclass(frozen=True, slots=True)
class RowHistory:
    """One history as the network knows it: rows, outcome numbers and gap codes, oldest first, known tracks only.

    Without `gaps` none of them is known. `own` is the long history, a batch of one, if there is a copy head to read it.
    """

    rows: Sequence[int] = ()
    outcomes: Sequence[int] = ()
    gaps: Sequence[int] = ()
    own: LongHistories | None = None


def rows_of(entries: Sequence[Entry], vocabulary: Vocabulary, *, length: int, now_ms: int | None = None) -> RowHistory:
    """The newest `length` known tracks of a history, as rows and outcome numbers; with `now_ms`, when it is asked what
    comes next, the gaps too.

    Older ones cost nothing.
    """
    rows: list[int] = []
    outcomes: list[int] = []
    places: list[int] = []
    for place in range(len(entries) - 1, -1, -1):
        row = vocabulary.row(entries[place].track_id)
        if row != UNKNOWN:
            rows.append(row)
            outcomes.append(entries[place].outcome.value)
            places.append(place)
            if len(rows) == length:
                break
    if now_ms is None:
        return RowHistory(rows[::-1], outcomes[::-1])
    at_ms = np.array([*(entries[place].at_ms for place in places[::-1]), now_ms], np.int64)
    return RowHistory(rows[::-1], outcomes[::-1], gap_codes(np.diff(at_ms)).tolist())


def read_entries(entries: Sequence[Entry], vocabulary: Vocabulary, *, length: int) -> list[Entry]:
    """Returns the entries of a history that `rows_of` encodes, oldest first: what a model reads, for a person to see."""
    known = [entry for entry in reversed(entries) if vocabulary.knows(entry.track_id)]
    return known[:length][::-1]


def gap_codes(gap_ms: npt.NDArray[np.integer]) -> Ints:
    """Times from each entry to the next known one, or to when it is asked what comes next, as numbers from `GOING_ON` up.

    Any shape. Up to half an hour all are one: a player may ask as a track begins, or as it ends, and the answer should not
    depend on it. Then doublings, since a pause of a day or two tells less than one of an hour. Entries out of order go on.
    """
    pauses = np.maximum(gap_ms - 1, 0) // HALF_HOUR_MS  # half an hour itself goes on, as a session does
    codes: Ints = np.minimum(GOING_ON + np.frexp(pauses)[1], GAP_CODES - 1).astype(np.int64)
    return codes


def feed(names: Iterable[str], batch: Encoded, **others: object) -> Mapping[str, Any]:
    """What a graph that reads the inputs `names` is given: of a batch's arrays and the `others` those that it names."""
    values = {**batch._asdict(), **others}
    return {name: values[name] for name in names}


def encode_own(histories: Sequence[RowHistory]) -> dict[str, Ints]:
    """The long histories of separate histories, by the names of a graph's inputs."""
    return join([history.own for history in histories])._asdict()


def encode_histories(histories: Sequence[RowHistory], *, length: int) -> Encoded:
    """Encode separate histories (what the service has), the newest `length` entries of each."""
    rows = np.fromiter((row for history in histories for row in history.rows), np.int64)
    outcomes = np.fromiter((outcome for history in histories for outcome in history.outcomes), np.int64)
    gaps = None
    if any(history.gaps for history in histories):
        gaps = np.concatenate([np.array(history.gaps or [0] * len(history.rows), np.int64) for history in histories])
    stops = np.cumsum([len(history.rows) for history in histories], dtype=np.int64)
    starts = np.concatenate([np.zeros(1, np.int64), stops[:-1]])
    return encode(rows, outcomes, starts, stops, length=length, gaps=gaps)


def encode(
    rows: npt.NDArray[np.integer],
    outcomes: npt.NDArray[np.integer],
    starts: Ints,
    stops: Ints,
    *,
    length: int,
    gaps: npt.NDArray[np.integer] | None = None,
) -> Encoded:
    """Encode slices of one long log (what the trainer has): history b is entries `starts[b]` up to `stops[b]`, which is not
    included.

    `rows`, `outcomes` and `gaps` (None: not known) are [N], `starts` and `stops` int64 [B]. Returns int64 [B, T]
    with T the longest history, at least 1 and at most `length`; an empty history is a line of padding.
    """
    starts = np.maximum(starts, stops - length)
    width = max(1, int((stops - starts).max(initial=0)))
    places_BT = stops[:, None] - width + np.arange(width)
    real_BT = places_BT >= starts[:, None]
    if not rows.size:
        return Encoded(np.full(places_BT.shape, PADDING), *np.zeros((2, *places_BT.shape), np.int64))
    places_BT = np.where(real_BT, places_BT, 0)
    return Encoded(
        np.where(real_BT, rows[places_BT], PADDING).astype(np.int64, copy=False),
        np.where(real_BT, outcomes[places_BT], 0).astype(np.int64, copy=False),
        np.zeros_like(places_BT) if gaps is None else np.where(real_BT, gaps[places_BT], 0).astype(np.int64, copy=False),
    )
