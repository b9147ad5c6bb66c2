"""Random cases of the test part, to show a person what the figures are about: tracks heard, proposals, and the next play.

The share of hits among them is about the report's, because they are drawn at random and not chosen.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from model.encoding import Ints
from model.events import Outcome
from model.vocabulary import FIRST
from training.data.log import Log
from training.data.split import Split
from training.evaluation.cases import Cases
from training.evaluation.evaluate import LIST, Ranker, answer
from training.evaluation.own_history import own_unknown_tracks

COUNT, HEARD, PROPOSED = 10, 5, 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Play:
    """A track and its outcome: played, skipped, liked or disliked; empty if it was only proposed."""

    title: str
    artist: str = ""
    outcome: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One case: the last tracks heard, oldest first; the first proposals; the track played next, and its rank.

    The rank is None if the track was not among the first twenty proposals.
    """

    heard: Sequence[Play]
    proposed: Sequence[Play]
    then: Play
    rank: int | None


def draw_examples(ranker: Ranker, cases: Cases, log: Log, *, length: int, count: int = COUNT) -> list[Example]:
    """Draw `count` of the cases that have a history, the same ones each time, and rank the tracks for them."""
    split = cases.split
    read = np.flatnonzero(cases.lengths > 0)
    drawn = np.sort(np.random.default_rng(1).choice(read, min(count, len(read)), replace=False))
    some = cases.take(drawn)
    answers = answer(ranker, some, length=length)
    batch = some.encode(length)
    heard = [_heard(split, rows, outcomes) for rows, outcomes in zip(batch.tracks, batch.outcomes, strict=True)]
    proposed = [_proposed(some, case, answers.lists[case, :PROPOSED]) for case in range(len(some))]
    targets = [split.sequences.tracks[int(split.sequences.track[entry])] for entry in some.entry]
    wanted = {*targets, *(track for tracks in proposed for track in tracks), *(track for plays in heard for track, _ in plays)}
    names = _names(log, wanted)
    return [
        Example(
            heard=[_play(names, track, outcome) for track, outcome in heard[case]],
            proposed=[_play(names, track) for track in proposed[case]],
            then=_play(names, targets[case], int(some.outcome[case])),
            rank=int(answers.rank[case]) if answers.rank[case] <= LIST else None,
        )
        for case in range(len(some))
    ]


def _heard(split: Split, rows: Ints, outcomes: Ints) -> list[tuple[str, int]]:
    """Return the ids and outcomes of the newest entries of an encoded history, oldest first."""
    known = rows >= FIRST
    newest = zip(rows[known].tolist(), outcomes[known].tolist(), strict=True)
    return [(split.vocabulary.track(row), outcome) for row, outcome in newest][-HEARD:]


def _proposed(cases: Cases, case: int, rows: Iterable[int]) -> list[str]:
    """Return the track ids of proposed rows; a row past the vocabulary is one of the listener's own tracks."""
    own, split = own_unknown_tracks(cases, case), cases.split
    return [
        split.vocabulary.track(int(row)) if row < cases.size else split.sequences.tracks[int(own[int(row) - cases.size])]
        for row in rows
        if row >= FIRST
    ]


def _names(log: Log, tracks: Iterable[str]) -> Mapping[str, tuple[str, str]]:
    """Return title and artist of those tracks that the log's catalogue has."""
    frame = log.catalogue()
    if frame is None:
        return {}
    found = frame.filter(frame["track_id"].is_in(list(tracks))).select("track_id", "title", "artist").iter_rows()
    return {track: (title or track, artist or "") for track, title, artist in found}


def _play(names: Mapping[str, tuple[str, str]], track: str, outcome: int | None = None) -> Play:
    title, artist = names.get(track, (track, ""))
    return Play(title=title, artist=artist, outcome="" if outcome is None else Outcome(outcome).name.lower())
