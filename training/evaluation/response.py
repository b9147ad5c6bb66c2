"""Responsiveness: how far a ranker's list changes after a skip.

The same history is ranked twice: as if its last track had been kept, and as if it had been skipped. The track's neighbours, the
tracks most often kept right after it in the training part, should fall. A ranker that ignores outcomes scores 0. A ranker that
avoids every neighbour of a skipped track scores up to 1. This module knows nothing of networks.

Shapes: B batch, L places of a list, N neighbours.
"""

from dataclasses import replace

import numpy as np

from model.events import Outcome
from training.data.sequences import Int32s, Int64s
from training.evaluation.baselines import Markov
from training.evaluation.cases import Cases
from training.evaluation.evaluate import LIST, Ranker, at_a_time, top_lists

CASES = 1_000
"""Largest number of cases, taken evenly from first to last. Each is ranked twice."""


def response(ranker: Ranker, cases: Cases, followers: Markov, *, length: int) -> float:
    """Return by how much the last track's neighbours leave the top `LIST` if that track was skipped and not kept.

    For each case it is the share of the neighbours (at most `LIST`) in the top `LIST` after a kept last track, less this share
    after a skipped one. Returns the mean over at most `CASES` cases whose last track has neighbours; NaN if there are none.
    """
    last = cases.rows[np.maximum(cases.stops - 1, 0)]
    asked = np.flatnonzero((cases.lengths > 0) & (np.diff(followers.offsets)[last] > 0))
    if not len(asked):
        return float("nan")
    asked = np.unique(asked[np.linspace(0, len(asked) - 1, CASES).astype(np.int64)])
    falls: list[float] = []
    size = at_a_time(cases)
    for few in (asked[start : start + size] for start in range(0, len(asked), size)):
        batch = cases.take(few)
        kept, skipped = (_lists_after(ranker, batch, outcome, length) for outcome in (Outcome.PLAYED, Outcome.SKIPPED))
        for row, with_it, without_it in zip(last[few].tolist(), kept, skipped, strict=True):
            near = neighbours(followers, row)
            falls.append(float(np.isin(near, with_it).mean() - np.isin(near, without_it).mean()))
    return float(np.mean(falls))


def neighbours(followers: Markov, row: int) -> Int64s:
    """Return the rows most often kept right after `row`, the most frequent first: [N], at most `LIST`."""
    place = slice(followers.offsets[row], followers.offsets[row + 1])
    return followers.to[place][np.argsort(-followers.weight[place], kind="stable")[:LIST]]


def _lists_after(ranker: Ranker, cases: Cases, outcome: Outcome, length: int) -> Int32s:
    supposed = replace(cases, last_outcome=outcome)
    return top_lists(ranker, supposed, supposed.encode(length))
