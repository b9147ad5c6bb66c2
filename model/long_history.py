"""The long history: a listener's own past, from which the copy head continues sequences.

The network reads the newest few entries of known tracks. The copy head reads the newest 1,000 of all tracks, each with its
outcome, its age and whether it belongs to the session that is going on. A track without a row in the vocabulary gets a
*request-local* row after the last one: `size + j` for the j-th of the listener's unknown tracks, counted from the one heard
last. So it can be proposed, masked and named like the others.

`encode_long` is the only function that numbers, truncates and pads long histories, for the trainer, the evaluation and the
service. It works on arrays: 1,000 entries take some 60 microseconds.

Shapes: B batch, L places of a long history, N entries of all histories together.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.events import Entry, Outcome
from model.vocabulary import PADDING, UNKNOWN, Vocabulary

Ints = npt.NDArray[np.int64]

MINUTE_MS = 60_000


class LongHistories(NamedTuple):
    """A batch of encoded long histories, int64 [B, L] each, padded on the left with 0; the newest entry is last.

    The field names are the names of a graph's inputs.
    """

    own_tracks: Ints
    """Rows, request-local ones among them."""
    own_outcomes: Ints
    own_ages: Ints
    """Whole minutes from the entry to when the service is asked, at least 0."""
    own_session: Ints
    """1 where the entry belongs to the session that is going on."""
    own_newest: Ints
    """The place of the newest entry of the same track."""


class Plays(NamedTuple):
    """The entries of a log as columns [N]: the track's number, its row or UNKNOWN, outcome, time and session."""

    tracks: npt.NDArray[np.integer]
    rows: npt.NDArray[np.integer]
    outcomes: npt.NDArray[np.integer]
    at_ms: Ints
    sessions: npt.NDArray[np.integer]


class Past(NamedTuple):
    """Plays that are older than the events in the store, oldest first, as columns [N]. They belong to no session."""

    ids: Sequence[str]
    """Distinct tracks."""
    tracks: npt.NDArray[np.integer]
    """The place of each play's track in `ids`."""
    at_ms: Ints
    outcomes: Ints


NO_PAST = Past((), *np.zeros((3, 0), np.int64))


def heard_since(past: Past, since_ms: float) -> list[str]:
    """Return the distinct tracks of `past` that were played after `since_ms`."""
    return [past.ids[track] for track in np.unique(past.tracks[past.at_ms > since_ms]).tolist()]


def past_entries(past: Past) -> list[Entry]:
    """Convert the plays of `past` to entries that can be shown to a person. Their session number is -1."""
    plays = zip(past.tracks.tolist(), past.outcomes.tolist(), past.at_ms.tolist(), strict=True)
    return [Entry(past.ids[track], Outcome(outcome), at_ms, outcome == Outcome.SKIPPED, -1) for track, outcome, at_ms in plays]


class OwnHistory(NamedTuple):
    """One listener's encoded long history, as a batch of one, and the tracks behind its request-local rows, in their order."""

    encoded: LongHistories
    unknown: Sequence[str]


def long_history_of(
    entries: Sequence[Entry],
    vocabulary: Vocabulary,
    *,
    length: int,
    now_ms: int,
    going_on: Collection[int],
    past: Past = NO_PAST,
) -> OwnHistory:
    """Encode the newest `length` plays of a listener: those in `past`, then the later `entries`.

    `now_ms` is the time of the request, and `going_on` has the numbers of the sessions open then. No step runs for each single
    play of the past: 1,000 plays of 600 tracks take some 150 microseconds.
    """
    entries = entries[-length:]
    older = slice(max(0, len(past.tracks) + len(entries) - length), None)
    numbers = dict(zip(past.ids, range(len(past.ids)), strict=True))
    newer = [numbers.setdefault(entry.track_id, len(numbers)) for entry in entries]
    names = list(numbers)
    tracks = np.concatenate([past.tracks[older], np.array(newer, np.int64)])
    plays = Plays(
        tracks,
        vocabulary.rows_of_many(names)[tracks],
        np.concatenate([past.outcomes[older], np.array([entry.outcome for entry in entries], np.int64)]),
        np.concatenate([past.at_ms[older], np.array([entry.at_ms for entry in entries], np.int64)]),
        np.concatenate([np.zeros(len(tracks) - len(newer), np.int64), [entry.session in going_on for entry in entries]]),
    )
    encoded = encode_long(
        plays,
        np.zeros(1, np.int64),
        np.full(1, len(tracks)),
        asked_ms=np.full(1, now_ms),
        going_on=np.ones(1, np.int64),
        size=len(vocabulary),
        length=length,
    )
    (rows,), (newest,) = encoded.own_tracks, encoded.own_newest
    local = np.flatnonzero((rows >= len(vocabulary)) & (newest == np.arange(len(rows))))[::-1]
    return OwnHistory(encoded, [names[number] for number in tracks[local].tolist()])


def join(histories: Sequence[LongHistories | None]) -> LongHistories:
    """Join long histories, each a batch of one, into one batch padded to the longest. None stands for an empty history."""
    width = max((1, *(one.own_tracks.shape[1] for one in histories if one is not None)))
    joined = LongHistories(*np.zeros((5, len(histories), width), np.int64))
    for line, one in enumerate(histories):
        if one is not None:
            beside = width - one.own_tracks.shape[1]
            for whole, part in zip(joined, one, strict=True):
                whole[line, beside:] = part[0]
            joined.own_newest[line, beside:] += beside
    return joined


def without_last(own: LongHistories, row: int) -> LongHistories:
    """Return a long history, a batch of one, as it was before the newest play of the track with this row.

    Ages stay as they are. A history without the track stays whole.
    """
    places = np.flatnonzero(own.own_tracks[0] == row)
    if not len(places):
        return own
    cut = LongHistories(*(field[:, : places[-1]] for field in own))
    if not places[-1]:
        return join([None])
    return cut._replace(own_newest=_newest(cut.own_tracks))


def encode_long(
    plays: Plays,
    starts: Ints,
    stops: Ints,
    *,
    asked_ms: Ints,
    going_on: npt.NDArray[np.integer],
    size: int,
    length: int,
) -> LongHistories:
    """Encode the newest `length` entries of slices of one log: history b is entries `starts[b]` up to `stops[b]`, not included.

    `asked_ms` [B] is the time of each request, `going_on` [B] the session open at that time (-1: none), and `size` the number
    of rows of the vocabulary.
    """
    starts = np.maximum(starts, stops - length)
    width = max(1, int((stops - starts).max(initial=0)))
    places_BL = stops[:, None] - width + np.arange(width)
    held_BL = places_BL >= starts[:, None]
    tracks, rows, outcomes, at_ms, sessions = plays
    if not len(rows):
        return LongHistories(*np.zeros((5, *places_BL.shape), np.int64))
    places_BL = np.where(held_BL, places_BL, 0)
    newest_BL = _newest(np.where(held_BL, tracks[places_BL], -1))
    rows_BL = np.where(held_BL, rows[places_BL], PADDING).astype(np.int64, copy=False)
    return LongHistories(
        _with_local_rows(rows_BL, newest_BL, size),
        np.where(held_BL, outcomes[places_BL], 0).astype(np.int64, copy=False),
        np.where(held_BL, np.maximum(asked_ms[:, None] - at_ms[places_BL], 0) // MINUTE_MS, 0),
        (held_BL & (sessions[places_BL] == going_on[:, None])).astype(np.int64),
        newest_BL,
    )


def _newest(tracks_BL: npt.NDArray[np.integer]) -> Ints:
    """Return for each place the newest place in its history with the same track, [B, L]. A batch of one, as in the service,
    needs no sorting.
    """
    width = tracks_BL.shape[1]
    if len(tracks_BL) == 1:
        place_of = np.empty(int(tracks_BL.max()) + 2, np.int64)
        place_of[tracks_BL[0]] = np.arange(width)  # of equal numbers the last one stays; padding is -1
        newest: Ints = place_of[tracks_BL]
        return newest
    keys_BL = np.sort(tracks_BL.astype(np.int64) * width + np.arange(width), axis=1)
    numbers_BL, places_BL = np.divmod(keys_BL, width)
    last_BL = np.ones(tracks_BL.shape, np.bool_)
    last_BL[:, :-1] = numbers_BL[:, 1:] != numbers_BL[:, :-1]
    ends_BL = np.where(last_BL, np.arange(width), width)
    ends_BL = np.minimum.accumulate(ends_BL[:, ::-1], axis=1)[:, ::-1]  # the next end of a run of equal numbers
    newest_BL = np.empty_like(keys_BL)
    np.put_along_axis(newest_BL, places_BL, np.take_along_axis(places_BL, ends_BL, axis=1), axis=1)
    return newest_BL


def _with_local_rows(rows_BL: Ints, newest_BL: Ints, size: int) -> Ints:
    """Replace UNKNOWN by the request-local row of each unknown track."""
    unknown_BL = rows_BL == UNKNOWN
    if not unknown_BL.any():
        return rows_BL
    first_met_BL = unknown_BL & (newest_BL == np.arange(rows_BL.shape[1]))
    number_BL = np.cumsum(first_met_BL[:, ::-1], axis=1)[:, ::-1] - 1
    return np.where(unknown_BL, size + np.take_along_axis(number_BL, newest_BL, axis=1), rows_BL)
