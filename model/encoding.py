"""Encodes histories as the arrays that a network reads.

Only this module truncates, pads and numbers histories. `encode` does so for slices of a log, in the trainer's windows and its
evaluation, and `encode_histories` for separate histories, in the service's requests. A test compares their arrays, because a
model must read the same ones online and offline. Unknown tracks are removed before, because they carry no
information. Padding is on the left and the newest entry is last. The arrays are as wide as the longest history of the batch.

Shapes: B batch, T time (places of a history), N entries of all histories together.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from model.events import Entry
from model.long_history import LongHistories, join
from model.vocabulary import PADDING, UNKNOWN, Vocabulary

Ints = npt.NDArray[np.int64]
"""int64 of any shape: the type in which ONNX Runtime reads rows and outcomes."""


GAP_CODES, GOING_ON = 12, 1
"""Number of gap codes, and the code of gaps up to half an hour.

Code 0 means that the gap is unknown. Each doubling of half an hour has the next code. The last code is for gaps beyond 10 days.
"""
HALF_HOUR_MS = 30 * 60 * 1000


class Encoded(NamedTuple):
    """A batch of histories: `tracks`, `outcomes` and `gaps` (see `gap_codes`), int64 `[B, T]`, padded on the left with 0."""

    tracks: Ints
    outcomes: Ints
    gaps: Ints


class RowHistory(NamedTuple):
    """One history as the network's input: rows, outcome numbers and gap codes of known tracks, oldest first.

    `gaps` is empty if no times are known. `own` is the long history, as a batch of one, if the model has a copy head.
    """

    rows: Sequence[int] = ()
    outcomes: Sequence[int] = ()
    gaps: Sequence[int] = ()
    own: LongHistories | None = None


def rows_of(entries: Sequence[Entry], vocabulary: Vocabulary, *, length: int, now_ms: int | None = None) -> RowHistory:
    """Return the newest `length` known tracks of a history as rows and outcome numbers.

    With `now_ms`, the time of the request, the gaps are included. Older entries are not visited.
    """
    newest = entries[-length:]
    rows = vocabulary.rows([entry.track_id for entry in newest])
    if UNKNOWN in rows:
        newest = read_entries(entries, vocabulary, length=length)
        rows = vocabulary.rows([entry.track_id for entry in newest])
    outcomes = [int(entry.outcome) for entry in newest]
    if now_ms is None:
        return RowHistory(rows, outcomes)
    at_ms = np.array([*(entry.at_ms for entry in newest), now_ms], np.int64)
    return RowHistory(rows, outcomes, gap_codes(np.diff(at_ms)).tolist())


def read_entries(entries: Sequence[Entry], vocabulary: Vocabulary, *, length: int) -> list[Entry]:
    """Return the entries of a history that `rows_of` encodes, oldest first: its newest `length` known tracks."""
    known = (entry for entry in reversed(entries) if vocabulary.knows(entry.track_id))
    return list(islice(known, length))[::-1]


def gap_codes(gap_ms: npt.NDArray[np.integer]) -> Ints:
    """Encode gaps in milliseconds as small numbers. A gap is the time from an entry to the next known one or to the request.
    Any shape.

    All times up to half an hour have one code, `GOING_ON`. A player may ask at the beginning or at the end of a track, and this
    should not change the answer. Longer times have one code for each doubling, because a difference of an hour matters less in
    a pause of days. A negative time, of entries out of order, counts as short.
    """
    pauses = np.maximum(gap_ms - 1, 0) // HALF_HOUR_MS  # exactly half an hour counts as short, as it does not end a session
    codes: Ints = np.minimum(GOING_ON + np.frexp(pauses)[1], GAP_CODES - 1).astype(np.int64)
    return codes


def feed(names: Iterable[str], batch: Encoded, **others: object) -> Mapping[str, Any]:
    """Return the graph inputs called `names`, by name. They are taken from the batch's arrays and from `others`."""
    values = {**batch._asdict(), **others}
    return {name: values[name] for name in names}


def encode_own(histories: Sequence[RowHistory]) -> dict[str, Ints]:
    """Join the long histories of separate requests into one batch. Returns arrays by the names of a graph's inputs."""
    return join([history.own for history in histories])._asdict()


def encode_histories(histories: Sequence[RowHistory], *, length: int) -> Encoded:
    """Encode the newest `length` entries of each of several histories as one batch. The service uses it."""
    width = min(length, max([1, *(len(history.rows) for history in histories)]))
    padding = [PADDING] * width

    def padded(field: Sequence[Sequence[int]]) -> Ints:
        values = list[int]()
        for of_history in field:
            values += padding[len(of_history) :]
            values += of_history[-length:]
        return np.array(values, np.int64).reshape(len(histories), width)

    tracks, outcomes = padded([history.rows for history in histories]), padded([history.outcomes for history in histories])
    gaps = [history.gaps for history in histories]
    return Encoded(tracks, outcomes, padded(gaps) if any(gaps) else np.zeros_like(tracks))


def encode(
    rows: npt.NDArray[np.integer],
    outcomes: npt.NDArray[np.integer],
    starts: Ints,
    stops: Ints,
    *,
    length: int,
    gaps: npt.NDArray[np.integer] | None = None,
) -> Encoded:
    """Encode slices of one long log as one batch, for the trainer: history b is the entries from `starts[b]` to `stops[b] - 1`.

    `rows`, `outcomes` and `gaps` (None if unknown) are `[N]`, `starts` and `stops` int64 `[B]`. Returns int64 `[B, T]`, where T
    is the longest history, at least 1 and at most `length`. An empty history is all padding.
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
