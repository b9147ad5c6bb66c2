"""Session-kNN with order: scores tracks by their places in past sessions that are similar to the current one.

This is the strongest simple rival on music sessions: VMIS-kNN (Kersbergen, Sprangers & Schelter 2022, 'Serenade'), weighted as
in sequence-and-time-aware kNN (Garg et al. 2019, 'STAN'). It reads the newest `reach` distinct wanted tracks of a history; the
last has lag 0.

    sim(s, neighbour) = sum over the tracks in both of exp(-lag / fade) idf(track)^2 / (length^.25 (1 + days)^.2)
    score(i)          = heard(i) * sum over the k nearest neighbours with i of sim * match * near
    match             = 1 - 0.1 (lag + 1), of the newest track in both
    near              = (places between that track and i in the neighbour)^-.5; times .8 if i does not come after it
    heard(i)          = .3 for the last track of the history, .2 for the other tracks that are read, 1 for the rest

idf(i) = log(S / sessions with i). A neighbour's length counts distinct tracks, and days are between its end and the case. These
numbers and the defaults below were chosen by coordinate descent on the validation part of #nowplaying.

Departures from both papers: the `recent` newest sessions are searched for each track of the history, not for all tracks
together. Popularity is added with a small weight, so that every list is full. The papers use hash maps and heaps for each
request; here an inverted index in arrays and sorting serve a batch at a time.

Shapes: B batch, T time, V rows, S sessions, M (history place, session) matches of a batch, P (session, track) pairs, N entries.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch

from model.encoding import Encoded
from training.data.sequences import Int64s, is_wanted, ranges
from training.data.split import TRAIN, Split
from training.evaluation.baselines import DAY_MS, FALLBACK, scaled_popularity
from training.evaluation.cases import Cases
from training.evaluation.metrics import Floats

AT_A_TIME = 128
"""Number of cases whose matches are held together. A case can have `recent` matches for each track of its history."""
IDF, LENGTH, AGE, NEAR = 2.0, 0.25, 0.2, 0.5
"""Exponents of the weights."""
EARLIER, HEARD, HEARD_LAST = 0.8, 0.2, 0.3


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionKnn:
    """A ranker with an index of past sessions: their tracks, and the sessions of each track. Sessions are numbered by their
    end, newest first.

    If a session has a track twice, the later place counts.
    """

    name: str
    recent: int  # number of sessions searched for each track of the history
    neighbours: int  # number of nearest sessions that count
    reach: int  # number of tracks of the history that are read
    fade: float  # lag at which a track counts 1 / e
    session_offsets: Int64s  # [S + 1]
    session_rows: Int64s  # [P], the distinct tracks of each session
    session_places: Int64s  # [P], the place of each in the session
    session_ended_ms: Int64s  # [S]
    row_offsets: Int64s  # [V + 1]
    row_sessions: Int64s  # [P], the sessions of each track, newest first
    row_places: Int64s  # [P], the place of the track in that session
    idf_V: Floats
    popularity_V: Floats
    at_ms: Int64s  # [N], times of the entries that cases ask about

    def scores(self, batch: Encoded, cases: Cases) -> Floats:
        """Return scores, float32 [B, V]."""
        scores_BV = torch.zeros(len(batch.tracks), len(self.idf_V))
        for start in range(0, len(batch.tracks), AT_A_TIME):
            few = slice(start, start + AT_A_TIME)
            self._add(scores_BV[few], Encoded(*(array[few] for array in batch)), self.at_ms[cases.entry[few]])
        scores_BV.add_(torch.from_numpy(self.popularity_V) * FALLBACK)
        return scores_BV.numpy()

    def _add(self, scores_BV: torch.Tensor, batch: Encoded, at_ms_B: Int64s) -> None:
        """Add to the scores the sums over each case's nearest sessions, and lower the scores of the tracks that the listener
        has just heard.
        """
        case, row, lag = distinct_wanted(batch, reach=self.reach)
        owner, session, place, weight = self._nearest(case, row, lag, at_ms_B)
        counts = np.diff(self.session_offsets)[session]
        pairs = ranges(self.session_offsets[session], counts)
        away = self.session_places[pairs] - np.repeat(place, counts)
        near = np.maximum(np.abs(away), 1) ** -NEAR * np.where(away > 0, 1.0, EARLIER)
        said = (np.repeat(weight, counts) * near).astype(np.float32)
        at = np.repeat(owner * scores_BV.shape[1], counts) + self.session_rows[pairs]
        scores_BV.view(-1).index_add_(0, torch.from_numpy(at), torch.from_numpy(said))
        scores_BV[case, row] *= torch.from_numpy(np.where(lag == 0, HEARD_LAST, HEARD)).to(torch.float32)

    def _nearest(self, case: Int64s, row: Int64s, lag: Int64s, at_ms_B: Int64s) -> tuple[Int64s, Int64s, Int64s, Floats]:
        """Find the nearest sessions of all cases. Returns for each pair: case, session, place of the newest shared track in the
        session, and similarity times `match`.
        """
        counts = np.minimum(np.diff(self.row_offsets)[row], self.recent)
        found_M = ranges(self.row_offsets[row], counts)
        sessions = max(1, len(self.session_ended_ms))
        pair, of_M = np.unique(np.repeat(case, counts) * sessions + self.row_sessions[found_M], return_inverse=True)
        weight = np.exp(-lag / self.fade) * self.idf_V[row] ** IDF
        similarity = np.bincount(of_M, np.repeat(weight, counts), len(pair))
        newest, place = np.zeros((2, len(pair)), np.int64)
        newest[of_M], place[of_M] = (
            np.repeat(lag, counts),
            self.row_places[found_M],
        )  # oldest first, so that the newest match stays
        case, session = pair // sessions, pair % sessions
        days = np.abs(at_ms_B[case] - self.session_ended_ms[session]) / DAY_MS
        similarity = similarity / (np.diff(self.session_offsets)[session] ** LENGTH * (1 + days) ** AGE)
        order = np.lexsort((session, -similarity, case))  # newer sessions win ties, because their numbers are lower
        begins = np.searchsorted(case, np.arange(len(at_ms_B)))
        kept = order[np.arange(len(order)) - begins[case[order]] < self.neighbours]
        match = np.maximum(0, 1 - 0.1 * (newest[kept] + 1))
        return case[kept], session[kept], place[kept], similarity[kept] * match


def session_knn(
    split: Split,
    *,
    parts: Collection[int] = (TRAIN,),
    recent: int = 1000,
    neighbours: int = 50,
    reach: int = 9,
    fade: float = 8.0,
) -> SessionKnn:
    """Build the index from the wanted tracks of the sessions in `parts`."""
    entries, number, place, ended_ms = by_session(split, parts)
    size = len(split.vocabulary)
    # np.unique finds the first of equal pairs
    pairs, last = np.unique((number * size + split.row[entries])[::-1], return_index=True)
    place = place[::-1][last]
    session_of, row_of = pairs // size, pairs % size
    by_row = np.lexsort((session_of, row_of))
    with_row = np.bincount(row_of, minlength=size)
    return SessionKnn(
        name="session-kNN",
        recent=recent,
        neighbours=neighbours,
        reach=reach,
        fade=fade,
        session_offsets=np.searchsorted(session_of, np.arange(len(ended_ms) + 1)),
        session_rows=row_of,
        session_places=place,
        session_ended_ms=ended_ms,
        row_offsets=np.searchsorted(row_of[by_row], np.arange(size + 1)),
        row_sessions=session_of[by_row],
        row_places=place[by_row],
        idf_V=np.log(max(1, len(ended_ms)) / np.maximum(1, with_row)).astype(np.float32),
        popularity_V=scaled_popularity(split, parts),
        at_ms=split.sequences.at_ms,
    )


def by_session(split: Split, parts: Collection[int]) -> tuple[Int64s, Int64s, Int64s, Int64s]:
    """Return the wanted entries of `parts`, grouped by session: index, session number, and place in the session of each.

    Also returns the time at which each session ended, by number. The newest session has number 0.
    """
    sequences = split.sequences
    entries = np.flatnonzero(split.known(parts) & is_wanted(sequences.outcome))
    entries = entries[np.lexsort((entries, sequences.session[entries], sequences.sequence[entries]))]
    owner = np.stack([sequences.sequence[entries], sequences.session[entries]])
    begins = np.flatnonzero(np.diff(owner, axis=1, prepend=-1).any(axis=0))
    length = np.diff(begins, append=len(entries))
    ended_ms = np.maximum.reduceat(sequences.at_ms[entries], begins) if len(begins) else np.zeros(0, np.int64)
    newest_first = np.argsort(-ended_ms, kind="stable")
    number = np.empty(len(begins), np.int64)
    number[newest_first] = np.arange(len(begins))
    place = np.arange(len(entries)) - np.repeat(begins, length)
    return entries, np.repeat(number, length), place, ended_ms[newest_first]


def distinct_wanted(batch: Encoded, *, reach: int) -> tuple[Int64s, Int64s, Int64s]:
    """Return the newest `reach` distinct wanted tracks of each history, oldest first: case, row and lag of each. The newest has
    lag 0.

    If a history has a track twice, the later place counts.
    """
    width = batch.tracks.shape[1]
    case, place = np.nonzero(is_wanted(batch.outcomes))
    row = batch.tracks[case, place]
    order = np.lexsort((-place, row, case))
    first = np.ones(len(order), np.bool_)
    first[1:] = (np.diff(case[order]) != 0) | (np.diff(row[order]) != 0)
    kept = order[first]
    kept = kept[np.argsort(case[kept] * width + place[kept])]
    case, row = case[kept], row[kept]
    lag = np.searchsorted(case, case, side="right") - 1 - np.arange(len(case))
    near = lag < reach
    return case[near], row[near], lag[near]
