"""Response to a skip: how far a ranker's list changes after a skip.

The same history is ranked twice: as if its last track had been kept, and as if it had been skipped. Three figures compare the
two lists. The track's neighbours should fall: the tracks most often kept right after it in the training part, and the most
played tracks of its artist. The third figure is the share of the list that changes at all. A ranker that ignores outcomes
scores 0.

More is not always better. On a simulated log the best possible ranking has a response too, and a model should come near it.
This module knows nothing of networks.

Shapes: B batch, L places of a list, N neighbours, V rows.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from model.events import Outcome
from model.vocabulary import UNKNOWN
from training.data.sequences import Int32s, Int64s
from training.evaluation.baselines import Markov
from training.evaluation.cases import Cases
from training.evaluation.evaluate import LIST, Ranker, at_a_time, batches, top_lists

CASES = 1_000
"""Largest number of cases, taken evenly from first to last. Each is ranked twice."""


def response(
    ranker: Ranker,
    cases: Cases,
    followers: Markov,
    artists_V: Int64s | None = None,
    *,
    length: int,
) -> Mapping[str, float]:
    """Return a ranker's response to a skip of the last track, as the mean over at most `CASES` cases.

    - `response@20`: the share of the track's followers (at most `LIST`) in the top `LIST` after a kept track, less this share
      after a skipped one;
    - `response_artist@20`: the same for the most played other tracks of its artist (at most `LIST`);
    - `changed@20`: the share of the list after a kept track that is not in the list after a skipped one.

    Only cases whose last play is of a known track with followers count. `artists_V` has the number of each row's artist, 0 for
    none. A figure that no case can give is missing.
    """
    asked, counts_V = _asked(cases, followers), cases.split.counts
    by_followers: list[float] = []
    by_artist: list[float] = []
    changed: list[float] = []
    for batch in batches(cases.take(asked), at_a_time(cases)):
        kept, skipped = (_lists_after(ranker, batch, outcome, length) for outcome in (Outcome.PLAYED, Outcome.SKIPPED))
        for row, with_it, without_it in zip(_last_rows(batch).tolist(), kept, skipped, strict=True):
            by_followers.append(_fall(neighbours(followers, row), with_it, without_it))
            changed.append(float(np.mean(~np.isin(with_it, without_it))))
            if artists_V is not None and len(near := of_artist(artists_V, counts_V, row)):
                by_artist.append(_fall(near, with_it, without_it))
    figures = {"response@20": by_followers, "response_artist@20": by_artist, "changed@20": changed}
    return {name: float(np.mean(values)) for name, values in figures.items() if values}


def neighbours(followers: Markov, row: int) -> Int64s:
    """Return the rows most often kept right after `row`, the most frequent first: [N], at most `LIST`."""
    place = slice(followers.offsets[row], followers.offsets[row + 1])
    return followers.to[place][np.argsort(-followers.weight[place], kind="stable")[:LIST]]


def of_artist(artists_V: Int64s, counts_V: Int64s, row: int) -> Int64s:
    """Return the other rows of the artist of `row`, the most played first: [N], at most `LIST`; none without an artist."""
    if not artists_V[row]:
        return np.zeros(0, np.int64)
    others = np.flatnonzero(artists_V == artists_V[row])
    others = others[others != row]
    most_played: Int64s = others[np.argsort(-counts_V[others], kind="stable")[:LIST]]
    return most_played


def _asked(cases: Cases, followers: Markov) -> Int64s:
    """Return the cases to ask: the play before is in the history, and its track has followers."""
    before = np.maximum(cases.entry - 1, 0)
    known = (cases.lengths > 0) & (cases.entry > cases.first) & (cases.split.row[before] != UNKNOWN)
    asked = np.flatnonzero(known & (np.diff(followers.offsets)[_last_rows(cases)] > 0))
    return asked if len(asked) <= CASES else asked[np.linspace(0, len(asked) - 1, CASES).astype(np.int64)]


def _last_rows(cases: Cases) -> Int32s:
    """Return the newest row of each history; any row if there is none."""
    return cases.rows[np.maximum(cases.stops - 1, 0)]


def _fall(near: Int64s, with_it: Int32s, without_it: Int32s) -> float:
    return float(np.isin(near, with_it).mean() - np.isin(near, without_it).mean())


def _lists_after(ranker: Ranker, cases: Cases, outcome: Outcome, length: int) -> Int32s:
    supposed = replace(cases, last_outcome=outcome)
    return top_lists(ranker, supposed, supposed.encode(length))
