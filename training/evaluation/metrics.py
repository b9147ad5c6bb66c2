"""Metrics of next-track recommendation, as pure functions of arrays.

There are two families. *Finding*: at which rank in the full catalogue is the track that the listener kept next? *Refusal*: do
kept tracks score above refused ones, and how many refused tracks are proposed? The best rank is 1. Each case has one target, so
recall@k is the hit rate, and MAP@k is the reciprocal rank cut at k.

Tie rule: ties count against the target, so a ranker that scores everything alike finds nothing. Between a wanted and a refused
target a tie counts half (`auc_within_users`) or as wrong (`pairwise_accuracy`). Nothing is ranked in a sample of the catalogue.
A mean over nothing is NaN, and the caller leaves such a metric out.

Shapes: C cases, V rows of the vocabulary, L places of a list.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.vocabulary import UNKNOWN
from training.data.sequences import Bools, Int64s

Floats = npt.NDArray[np.float32]

MISS = np.iinfo(np.int64).max
"""The rank of a target that is not ranked: unknown, excluded, or not in the list."""


def ranks(scores_CV: Floats, target_C: npt.NDArray[np.integer]) -> Int64s:
    """Return the rank of each target among all rows: the number of rows that score at least as much, itself included.

    `MISS` if the target is unknown or scores -inf.
    """
    mine_C = scores_CV[np.arange(len(target_C)), target_C]
    # case by case, because a row and its comparison stay in the processor's cache
    rank_C = np.array([np.count_nonzero(scores_V >= mine) for scores_V, mine in zip(scores_CV, mine_C, strict=True)], np.int64)
    return np.where((target_C == UNKNOWN) | np.isneginf(mine_C), MISS, rank_C)


def ranks_in_lists(lists_CL: npt.NDArray[np.integer], scores_CL: Floats, target_C: npt.NDArray[np.integer]) -> Int64s:
    """Return the rank of each target in a list of the best tracks, under the same tie rule; `MISS` if it is not in the list.

    Ties with rows below the list's end are not seen: a target that ties with the last score gets the last rank.
    """
    found_CL = (lists_CL == target_C[:, None]) & (target_C[:, None] != UNKNOWN)
    mine_C = np.where(found_CL, scores_CL, -np.inf).max(axis=1, initial=-np.inf)
    rank_C = np.count_nonzero(scores_CL >= mine_C[:, None], axis=1)
    return np.where(found_CL.any(axis=1), rank_C, MISS)


def hit_rate(rank: Int64s, k: int) -> float:
    """Return HR@k: the share of targets whose rank is at most k."""
    return _mean(rank <= k)


def ndcg(rank: Int64s, k: int) -> float:
    """Return NDCG@k with one target a case (Järvelin & Kekäläinen 2002): the mean of 1 / log2(1 + rank), where ranks above k
    count 0.
    """
    return _mean(np.where(rank <= k, 1 / np.log2(1 + rank.astype(np.float64)), 0))


def mrr(rank: Int64s, k: int) -> float:
    """Return MRR@k: the mean of 1 / rank, where ranks above k count 0. With one target a case this is MAP@k too."""
    return _mean(np.where(rank <= k, 1 / rank, 0))


def skipped_hits(rank: Int64s, wanted: Bools, k: int) -> float:
    """Return the share of targets with a rank of at most k that the listener skipped or disliked.

    Unlike the hit rate of refused targets, it does not rise merely because a ranker finds more of everything.
    """
    hit = rank <= k
    return _mean(~wanted[hit])


def auc_within_users(score: Floats, wanted: Bools, user: npt.NDArray[np.integer]) -> tuple[float, int]:
    """Return the AUC within users, and the number of users behind it (Zhu et al. 2017, unweighted).

    The AUC of a listener is the chance that a wanted target scores above a refused one of the same listener; a tie counts
    half. The mean is over listeners who have both.
    """
    above, equal, pairs = _pairs_by_user(score, wanted, user)
    both = pairs > 0
    return _mean((above[both] + equal[both] / 2) / pairs[both]), int(both.sum())


def gauc(score: Floats, wanted: Bools, user: npt.NDArray[np.integer]) -> float:
    """Return the mean AUC within users, weighted by each listener's number of targets (Zhu et al. 2017, as in SINE's
    evaluation).
    """
    above, equal, pairs = _pairs_by_user(score, wanted, user)
    both, targets = pairs > 0, np.unique(user, return_counts=True)[1]
    if not both.any():
        return float("nan")
    return float(np.average((above[both] + equal[both] / 2) / pairs[both], weights=targets[both]))


def ndcg_among_own(score: Floats, wanted: Bools, user: npt.NDArray[np.integer]) -> float:
    """Return the NDCG of each wanted target among the refused targets of the same listener, as in SINE's evaluation.

    It is the mean of 1 / log2(1 + rank), with ties against the target. Listeners who refused nothing are left out.
    """
    among = _among_own(score, wanted, user)
    refused = among.refused[among.owner]
    rank = 1 + refused - among.lower
    return _mean(1 / np.log2(1 + rank[among.wanted & (refused > 0)]))


def pairwise_accuracy(score: Floats, wanted: Bools, user: npt.NDArray[np.integer]) -> tuple[float, int]:
    """Return the share of pairs (wanted, refused) whose wanted target scores strictly higher, and the number of pairs.

    Both targets of a pair belong to one listener. This is the 'test accuracy' of Mei, Bembom & Ehmann 2024. Every pair has the
    same weight, so busy listeners count more.
    """
    above, _, pairs = _pairs_by_user(score, wanted, user)
    total = int(pairs.sum())
    return (float(above.sum() / total) if total else float("nan")), total


def catalogue_coverage(lists_CL: npt.NDArray[np.integer], tracks: int) -> float:
    """Return the share of `tracks` that occur in at least one list. Rows up to `UNKNOWN` are no tracks and do not count."""
    return len(np.unique(lists_CL[lists_CL > UNKNOWN])) / tracks if tracks else float("nan")


def user_coverage(rank: Int64s, user: npt.NDArray[np.integer], k: int) -> float:
    """Return the share of listeners with at least one target whose rank is at most k."""
    users = np.unique(user)
    return len(np.unique(user[rank <= k])) / len(users) if len(users) else float("nan")


def _mean(values: npt.NDArray[np.generic]) -> float:
    return float(np.mean(values, dtype=np.float64)) if values.size else float("nan")  # type: ignore[arg-type]


class _Among(NamedTuple):
    """The targets sorted by listener and score, with counts of the same listener's refused targets."""

    wanted: Bools  # [C]
    owner: Int64s  # [C], number of the listener, in order
    lower: Int64s  # [C], refused targets with a lower score
    equal: Int64s  # [C], refused targets with the same score
    refused: Int64s  # [U], refused targets of each listener


def _among_own(score: Floats, wanted: Bools, user: npt.NDArray[np.integer]) -> _Among:
    order = np.lexsort((score, user))
    score, wanted, user = score[order], wanted[order], user[order]
    new_user = np.diff(user, prepend=user[:1] - 1) != 0
    new_tie = new_user | np.concatenate([np.ones(1, np.bool_), score[1:] != score[:-1]])[: len(score)]
    owner, tie = np.cumsum(new_user) - 1, np.cumsum(new_tie) - 1
    refused = (~wanted).astype(np.int64)
    before = np.cumsum(refused) - refused  # refused targets before each, of any listener
    return _Among(
        wanted=wanted,
        owner=owner,
        lower=before[np.flatnonzero(new_tie)][tie] - before[np.flatnonzero(new_user)][owner],
        equal=np.bincount(tie, refused).astype(np.int64)[tie],
        refused=np.bincount(owner, refused).astype(np.int64),
    )


def _pairs_by_user(score: Floats, wanted: Bools, user: npt.NDArray[np.integer]) -> tuple[Int64s, Int64s, Int64s]:
    """Count three things for each listener: pairs whose wanted target scores higher than the refused one, tied pairs, and all
    pairs.
    """
    among = _among_own(score, wanted, user)

    def by_user(values: npt.NDArray[np.generic]) -> Int64s:
        return np.bincount(among.owner, values, len(among.refused)).astype(np.int64)

    above, equal = by_user(among.lower * among.wanted), by_user(among.equal * among.wanted)
    return above, equal, by_user(among.wanted) * among.refused
