"""Session-kNN: what stood in the sessions that resemble this one.

VMIS-kNN (Kersbergen, Sprangers & Schelter 2022, 'Serenade'), the strongest simple rival on music sessions. For a history of
n distinct wanted tracks, the newest being number n:

    sim(s, neighbour) = sum of number / n over the tracks that both have
    score(i)          = idf(i) * sum over the k nearest neighbours with i of sim * match,   idf(i) = log(S / sessions with i)
    match             = 1 - 0.1 * (lag + 1) of the newest track that both have, lag 0 for the last; nothing from lag 9 on

Two departures: the `recent` newest sessions are taken of each track of the history, not of all of them together, and popularity
stands far behind the scores, so that every list is full. An inverted index in arrays and sorting, a batch at a time,
instead of hash maps and heaps a request.

Shapes: B batch, T time, V rows, S sessions, M (history place, session) matches of a batch, P (session, track) pairs.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch

from model.encoding import Encoded
from model.events import Outcome
from model.vocabulary import UNKNOWN
from training.baselines import FALLBACK, scaled_popularity
from training.cases import Cases, ranges
from training.metrics import Floats
from training.sequences import Int64s
from training.split import TRAIN, Split

AT_A_TIME = 128
"""Cases whose matches are held together: on a small catalogue each can have `recent` times the history's length."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionKnn:
    """The index: sessions numbered by their end, newest first, with their tracks, and for each track its sessions."""

    name: str
    recent: int  # sessions looked at for each track of the history
    neighbours: int  # sessions that have a say
    session_offsets: Int64s  # [S + 1]
    session_rows: Int64s  # [P], the distinct tracks of each session
    row_offsets: Int64s  # [V + 1]
    row_sessions: Int64s  # [P], the sessions with each track, newest first
    idf_V: Floats
    popularity_V: Floats

    def scores(self, batch: Encoded, cases: Cases) -> Floats:  # noqa: ARG002 (a Ranker's signature)
        """Float32 [B, V]."""
        scores_BV = torch.zeros(len(batch.tracks), len(self.idf_V))
        for start in range(0, len(batch.tracks), AT_A_TIME):
            few = slice(start, start + AT_A_TIME)
            self._add(scores_BV[few], Encoded(batch.tracks[few], batch.outcomes[few]))
        scores_BV.mul_(torch.from_numpy(self.idf_V)).add_(torch.from_numpy(self.popularity_V) * FALLBACK)
        return scores_BV.numpy()

    def _add(self, scores_BV: torch.Tensor, batch: Encoded) -> None:
        """Add what the neighbours of each case say."""
        case, session, weight = self._nearest(batch)
        counts = np.diff(self.session_offsets)[session]
        rows = self.session_rows[ranges(self.session_offsets[session], counts)]
        place = torch.from_numpy(np.repeat(case * scores_BV.shape[1], counts) + rows)
        scores_BV.view(-1).index_add_(0, place, torch.from_numpy(np.repeat(weight, counts)))

    def _nearest(self, batch: Encoded) -> tuple[Int64s, Int64s, Floats]:
        """The neighbours of all cases: case, session, and similarity times match."""
        case, row, number, lag = distinct_wanted(batch)
        counts = np.minimum(np.diff(self.row_offsets)[row], self.recent)
        session = self.row_sessions[ranges(self.row_offsets[row], counts)]
        sessions = len(self.session_offsets) - 1
        pair, place = np.unique(np.repeat(case, counts) * sessions + session, return_inverse=True)
        length = np.bincount(case, minlength=len(batch.tracks))
        similarity = np.bincount(place, np.repeat(number, counts), len(pair))  # times n: whole numbers, so that ties are exact
        newest = np.full(len(pair), batch.tracks.shape[1])
        np.minimum.at(newest, place, np.repeat(lag, counts))
        case, session = pair // max(1, sessions), pair % max(1, sessions)
        order = np.lexsort((session, -similarity, case))  # newer sessions win ties: their numbers are lower
        begins = np.searchsorted(case, np.arange(len(batch.tracks)))
        kept = order[np.arange(len(order)) - begins[case[order]] < self.neighbours]
        match = np.maximum(0, 1 - 0.1 * (newest[kept] + 1))
        case = case[kept]
        return case, session[kept], (similarity[kept] / length[case] * match).astype(np.float32)


def session_knn(
    split: Split, *, parts: Collection[int] = (TRAIN,), recent: int = 500, neighbours: int = 100, idf: float = 1.0
) -> SessionKnn:
    """Index the wanted tracks of the sessions in `parts`. `idf` is the power of the idf weight: 0 leaves it out."""
    sequences = split.sequences
    wanted = np.isin(sequences.outcome, (Outcome.PLAYED, Outcome.LIKED))
    entries = np.flatnonzero(np.isin(split.part, list(parts)) & wanted & (split.row != UNKNOWN))
    _, session = np.unique(np.stack([sequences.sequence[entries], sequences.session[entries]]), axis=1, return_inverse=True)
    sessions = int(session.max(initial=-1)) + 1
    ended = np.zeros(sessions, np.int64)
    np.maximum.at(ended, session, sequences.at_ms[entries])
    number = np.empty(sessions, np.int64)
    number[np.argsort(-ended, kind="stable")] = np.arange(sessions)
    size = len(split.vocabulary)
    pairs = np.unique(number[session] * size + split.row[entries])
    session_of, row_of = pairs // size, pairs % size
    by_row = np.lexsort((session_of, row_of))
    with_row = np.bincount(row_of, minlength=size)
    return SessionKnn(
        name="session-kNN",
        recent=recent,
        neighbours=neighbours,
        session_offsets=np.searchsorted(session_of, np.arange(sessions + 1)),
        session_rows=row_of,
        row_offsets=np.searchsorted(row_of[by_row], np.arange(size + 1)),
        row_sessions=session_of[by_row],
        idf_V=(np.log(max(1, sessions) / np.maximum(1, with_row)) ** idf).astype(np.float32),
        popularity_V=scaled_popularity(split, parts),
    )


def distinct_wanted(batch: Encoded) -> tuple[Int64s, Int64s, Int64s, Int64s]:
    """The distinct wanted tracks of all histories: case, row, number (1 for the oldest) and lag (0 for the newest).

    A track heard twice stands where it was heard last.
    """
    width = batch.tracks.shape[1]
    case, place = np.nonzero(np.isin(batch.outcomes, (Outcome.PLAYED, Outcome.LIKED)))
    row = batch.tracks[case, place]
    order = np.lexsort((-place, row, case))
    first = np.ones(len(order), np.bool_)
    first[1:] = (np.diff(case[order]) != 0) | (np.diff(row[order]) != 0)
    kept = order[first]
    kept = kept[np.argsort(case[kept] * width + place[kept])]
    case, row = case[kept], row[kept]
    ends = np.searchsorted(case, case, side="right")
    begins = np.searchsorted(case, case, side="left")
    places = np.arange(len(case))
    return case, row, places - begins + 1, ends - 1 - places
