"""Baselines that read only the listener's own past. A music model must beat them.

People repeat tracks and whole sequences of tracks, so these simple counts are strong rivals on real listening. All of them read
the listener's whole history before a case, however long, and propose only tracks from it. They propose tracks without a row in
the vocabulary too. Such a track has a request-local row after the last one: `size + j` for the j-th of the listener's unknown
tracks, counted from the one heard last.

    most recent     the newest kept track first
    own counts      sum over its kept plays of 2^(-age / 100), age in kept plays
    own Markov      how often it came right after the last kept track
    own back-off    W3 p3 + W2 p2 + W1 p1 + WK k + WC c
                    p1, p2, p3: shares of what followed the last one, two and three kept tracks
                    k: share of the evidence of the own sessions that have one of the nine newest kept tracks
                    c: share of `own counts`

The evidence `k` of a play is the sum of match * near over the matches in its session. A match is an earlier play of one of the
nine newest distinct kept tracks (lag 0 for the last). It counts match = 1 for lag 0, else .72 exp(-(lag - 1) / 3). A play that
is d <= 15 places after the match has near = d^-.55, one before it .65 d^-.5. The weights were chosen on the validation part of
six listeners.

Cost: a few passes over the history for each case, about a millisecond for 20,000 plays.

Shapes: B batch, V rows, U unknown own tracks of a case, H kept plays of a history, N entries of the log.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from model.encoding import Encoded
from model.vocabulary import UNKNOWN
from training.data.sequences import Int32s, Int64s, is_wanted
from training.data.split import Split
from training.evaluation.cases import Cases
from training.evaluation.metrics import Floats

REACH, AROUND = 9, 15
LATER, LATER_FADE = 0.72, 3.0
AFTER, BEFORE, BEFORE_FADE = 0.55, 0.65, 0.5
HALF_LIFE = 100.0
"""Half-life of the weights in `counts`, in kept plays."""
WEIGHTS = (9.0, 3.0, 0.1, 0.5, 0.5)
"""Weights in `back_off`: contexts of three, two and one tracks, own sessions, counts."""


class Kept(NamedTuple):
    """The kept plays of one history, oldest first: the number of each track and session, int [H]. Tracks are numbered from 0 on
    in any way.
    """

    track: Int64s
    session: Int64s


Score = Callable[[Kept, int], Floats]
"""A function that scores tracks from a history of at least one kept play. Its arguments: history, number of tracks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnHistory:
    """A ranker that scores tracks by a function of the listener's own kept plays."""

    name: str
    score: Score
    split: Split
    rows: Int32s  # [tracks], UNKNOWN if the vocabulary lacks the track

    def scores(self, batch: Encoded, cases: Cases) -> Floats:  # noqa: ARG002 (a Ranker's signature)
        """Return scores, float32 [B, V + U]; -inf for tracks that the listener has never kept."""
        size = cases.size
        unknown = [own_unknown_tracks(cases, case) for case in range(len(cases))]
        scores_BW = np.full((len(cases), size + max(map(len, unknown), default=0)), -np.inf, np.float32)
        for line, (first, entry), others in zip(scores_BW, zip(cases.first, cases.entry, strict=True), unknown, strict=True):
            kept = self._kept(int(first), int(entry))
            if not len(kept.track):
                continue
            own, numbers = np.unique(kept.track, return_inverse=True)
            score = self.score(kept._replace(track=numbers), len(own))
            row = self.rows[own].astype(np.int64)
            lost = row == UNKNOWN
            by_track = np.argsort(others)
            row[lost] = size + by_track[np.searchsorted(others, own[lost], sorter=by_track)]
            line[row] = np.where(score > 0, score, -np.inf)
        return scores_BW

    def _kept(self, first: int, entry: int) -> Kept:
        sequences = self.split.sequences
        kept = first + np.flatnonzero(is_wanted(sequences.outcomes_at(first, entry)))
        return Kept(sequences.track[kept].astype(np.int64), sequences.session[kept].astype(np.int64))


def own_history(split: Split) -> list[OwnHistory]:
    """Return the baselines of this module, weakest first. They are not fitted: each reads only the case's own history."""
    sequences = split.sequences
    rows = np.full(len(sequences.tracks), UNKNOWN, np.int32)
    rows[sequences.track] = split.row
    scores = {"most recent": recency, "own counts": counts, "own Markov": markov, "own back-off": back_off}
    return [OwnHistory(name=name, score=score, split=split, rows=rows) for name, score in scores.items()]


def recency(kept: Kept, tracks: int) -> Floats:
    """Score each track by its latest kept play: 1 for the newest play of the history, falling to 1 / H for the oldest."""
    score = np.zeros(tracks, np.float32)
    score[kept.track] = np.arange(1, len(kept.track) + 1) / len(kept.track)
    return score


def counts(kept: Kept, tracks: int) -> Floats:
    """Score each track by its kept plays. A play's weight halves with every `HALF_LIFE` kept plays after it."""
    age = np.arange(len(kept.track) - 1, -1, -1)
    return np.bincount(kept.track, 0.5 ** (age / HALF_LIFE), tracks).astype(np.float32)


def markov(kept: Kept, tracks: int, context: int = 1) -> Floats:
    """Count how often each track followed the last `context` kept tracks of the history, in the same order, earlier in the
    history.
    """
    track = kept.track
    if len(track) <= context:
        return np.zeros(tracks, np.float32)
    follows = np.ones(len(track) - context, np.bool_)
    for back in range(1, context + 1):
        follows &= track[context - back : len(track) - back] == track[-back]
    return np.bincount(track[context:][follows], minlength=tracks).astype(np.float32)


def own_sessions(kept: Kept, tracks: int) -> Floats:
    """Compute the evidence `k` of each track (see the module): it is high for tracks played close to the newest kept tracks in
    past sessions.
    """
    size = len(kept.track)
    newest = _newest_distinct(kept.track)
    away = np.concatenate([np.arange(-AROUND, 0), np.arange(1, AROUND + 1)])
    near = np.where(away > 0, np.abs(away) ** -AFTER, BEFORE * np.abs(away) ** -BEFORE_FADE)
    score = np.zeros(tracks)
    for lag, last in enumerate(newest):
        match = 1.0 if lag == 0 else LATER * np.exp(-(lag - 1) / LATER_FADE)
        places = np.flatnonzero(kept.track == kept.track[last])
        beside = places[:, None] + away
        inside = (beside >= 0) & (beside < size)
        beside = np.where(inside, beside, 0)
        inside &= kept.session[beside] == kept.session[places][:, None]
        score += np.bincount(kept.track[beside[inside]], np.broadcast_to(match * near, beside.shape)[inside], tracks)
    return score.astype(np.float32)


def back_off(kept: Kept, tracks: int) -> Floats:
    """Return the weighted sum of the five scores in the module's formula. Each is first divided by its sum over all tracks."""
    parts = [
        markov(kept, tracks, 3),
        markov(kept, tracks, 2),
        markov(kept, tracks),
        own_sessions(kept, tracks),
        counts(kept, tracks),
    ]
    score = np.zeros(tracks, np.float32)
    for weight, part in zip(WEIGHTS, parts, strict=True):
        score += weight * part / max(float(part.sum()), 1e-30)
    return score


def own_unknown_tracks(cases: Cases, case: int) -> Int64s:
    """Return the log's numbers of the tracks of a case's history that have no row. The track heard last comes first."""
    split = cases.split
    own = slice(int(cases.first[case]), int(cases.entry[case]))
    track = split.sequences.track[own][split.row[own] == UNKNOWN][::-1]
    newest_first: Int64s = track[np.sort(np.unique(track, return_index=True)[1])].astype(np.int64)
    return newest_first


def own_unknown_names(cases: Cases, case: int) -> list[str]:
    """Return the ids of the tracks of a case's history that have no row, in the order of `own_unknown_tracks`."""
    return [cases.split.sequences.tracks[track] for track in own_unknown_tracks(cases, case).tolist()]


def disliked_own_rows(cases: Cases) -> list[Int64s]:
    """Return for each case the request-local rows of the unknown tracks that its listener dislikes."""
    return [
        cases.size + np.flatnonzero(np.isin(own_unknown_tracks(cases, case), disliked)) if len(disliked) else _NONE
        for case in range(len(cases))
        for disliked in (cases.disliked_unknown[case],)
    ]


def targets_with_own(cases: Cases) -> Int64s:
    """Return the row of each target [C]. A target without a row has its request-local row if the history contains it, else
    UNKNOWN.
    """
    target = cases.target.astype(np.int64)
    for case in np.flatnonzero((target == UNKNOWN) & cases.repeat):
        track = cases.split.sequences.track[cases.entry[case]]
        target[case] = cases.size + np.flatnonzero(own_unknown_tracks(cases, int(case)) == track)[0]
    return target


def session_rows(cases: Cases) -> list[Int64s]:
    """Return for each case the rows of the tracks heard earlier in its session. Tracks without a row have request-local
    rows.
    """
    session = cases.split.sequences.session
    return [
        rows_of_entries(cases, case, first + np.flatnonzero(session[first:entry] == session[entry]))
        for case, (first, entry) in enumerate(zip(cases.first.tolist(), cases.entry.tolist(), strict=True))
    ]


def rows_of_entries(cases: Cases, case: int, entries: Int64s) -> Int64s:
    """Return the rows of the given entries of a case's history. Tracks without a row have request-local rows."""
    row: Int64s = cases.split.row[entries].astype(np.int64)
    lost = np.flatnonzero(row == UNKNOWN)
    if len(lost):
        order = own_unknown_tracks(cases, case)
        by_track = np.argsort(order)
        place = np.searchsorted(order, cases.split.sequences.track[entries[lost]], sorter=by_track)
        row[lost] = cases.size + by_track[place]
    return row


_NONE = np.zeros(0, np.int64)


def _newest_distinct(track: Int64s) -> Int64s:
    """Return the place of the latest play of each of the `REACH` newest distinct tracks, newest first."""
    backwards = track[::-1]
    newest: Int64s = np.sort(np.unique(backwards, return_index=True)[1])[:REACH]
    return len(track) - 1 - newest
