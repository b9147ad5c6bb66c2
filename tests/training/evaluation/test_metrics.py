"""Each metric agrees with values by hand, and with code that follows its definition literally."""

from itertools import product
from math import isnan, log2

import numpy as np
import pytest

from training.evaluation import metrics
from training.evaluation.metrics import MISS


def test_rank_counts_ties_against_the_target() -> None:
    """A ranker that scores everything alike must not look good. Row 1 is the unknown track, which is never a hit."""
    scores = np.array([[0, 0, 3, 1, 2], [0, 0, 1, 1, 1], [0, 0, 9, -np.inf, 2], [0, 9, 1, 2, 3]], np.float32)

    found = metrics.ranks(scores, np.array([4, 2, 3, 1]))

    assert found.tolist() == [2, 3, MISS, MISS]


def test_rank_agrees_with_sorting() -> None:
    """It equals the last place among equals in a sorted list. Few distinct scores make many ties."""
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 6, (200, 30)).astype(np.float32)
    targets = rng.integers(2, 30, 200)

    found = metrics.ranks(scores, targets)

    expected = [30 - sorted(line).index(line[target]) for line, target in zip(scores.tolist(), targets, strict=True)]
    assert found.tolist() == expected


def test_rank_in_a_list_is_the_rank_in_the_catalogue_where_it_can_be_seen() -> None:
    """Lists that arrived over HTTP follow the same tie rule. A target that is not in the list is a miss."""
    rng = np.random.default_rng(2)
    scores = np.stack([rng.permutation(40) for _ in range(100)]).astype(np.float32)
    scores[:, 7] = scores[:, 9]  # a tie
    lists = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    targets = rng.integers(2, 40, 100)

    found = metrics.ranks_in_lists(lists, np.take_along_axis(scores, lists, axis=1), targets)

    expected = metrics.ranks(scores, targets)
    seen = (lists == targets[:, None]).any(axis=1)
    cut = seen & (expected > 10)  # ties with rows below the end of the list
    assert found[seen & ~cut].tolist() == expected[seen & ~cut].tolist()
    assert (found[~seen] == MISS).all()
    assert 10 < seen.sum() < 90


def test_hit_rate_ndcg_and_mrr_by_hand() -> None:
    """The ranks are 1, 2, 4 and a miss."""
    rank = np.array([1, 2, 4, MISS])

    assert metrics.hit_rate(rank, 1) == 1 / 4
    assert metrics.hit_rate(rank, 2) == 2 / 4
    assert metrics.ndcg(rank, 3) == pytest.approx((1 + 1 / log2(3)) / 4)
    assert metrics.mrr(rank, 4) == pytest.approx((1 + 1 / 2 + 1 / 4) / 4)
    assert metrics.mrr(rank, 3) == pytest.approx((1 + 1 / 2) / 4)


def test_auc_by_hand() -> None:
    """Listener 0 has 1 of 2 pairs right, and listener 1 has a tie. Listener 2 refused nothing and does not count."""
    score = np.array([2, 1, 3, 5, 5, 9], np.float32)
    wanted = np.array([True, False, False, True, False, True])
    user = np.array([0, 0, 0, 1, 1, 2])

    assert metrics.auc_within_users(score, wanted, user) == (0.5, 2)
    assert metrics.pairwise_accuracy(score, wanted, user) == (1 / 3, 3)


def test_auc_and_pairs_agree_with_comparing_every_pair() -> None:
    """The data are 300 cases of 20 listeners in random order, with few distinct scores, some of them -inf."""
    rng = np.random.default_rng(4)
    score = rng.integers(0, 5, 300).astype(np.float32)
    score[score == 0] = -np.inf
    wanted, user = rng.random(300) < 0.3, rng.integers(0, 20, 300)
    aucs, right, pairs = [], 0, 0
    for one in range(20):
        kept, refused = score[(user == one) & wanted], score[(user == one) & ~wanted]
        if len(kept) and len(refused):
            wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in product(kept, refused)]
            aucs.append(np.mean(wins))
            right, pairs = right + wins.count(1.0), pairs + len(wins)

    auc, users = metrics.auc_within_users(score, wanted, user)

    assert auc == pytest.approx(np.mean(aucs))
    assert users == len(aucs)
    assert metrics.pairwise_accuracy(score, wanted, user) == pytest.approx((right / pairs, pairs))


def test_coverage_by_hand() -> None:
    """Two of four tracks are proposed (0 is an empty place); one of two listeners has a hit within 20."""
    lists = np.array([[2, 3, 0], [3, 2, 0]])

    assert metrics.catalogue_coverage(lists, 4) == 0.5
    assert metrics.user_coverage(np.array([20, MISS, 21]), np.array([7, 7, 8]), 20) == 0.5


def test_nothing_to_measure_is_not_a_number() -> None:
    """NaN is neither 0, which would be a bad result, nor an error."""
    nothing = np.zeros(0, np.int64)

    assert isnan(metrics.hit_rate(nothing, 20))
    assert isnan(metrics.user_coverage(nothing, nothing, 20))
    assert isnan(metrics.auc_within_users(np.zeros(0, np.float32), np.zeros(0, np.bool_), nothing)[0])
    assert isnan(metrics.gauc(np.zeros(0, np.float32), np.zeros(0, np.bool_), nothing))
    assert isnan(metrics.ndcg_among_own(np.zeros(0, np.float32), np.zeros(0, np.bool_), nothing))
    assert isnan(metrics.pairwise_accuracy(np.zeros(0, np.float32), np.zeros(0, np.bool_), nothing)[0])


def test_gauc_weighs_listeners_by_their_targets() -> None:
    """One listener has one of two pairs right with three targets, one all pairs right with two targets. The third refused
    nothing.
    """
    score = np.array([2, 1, 3, 5, 4, 9], np.float32)
    wanted = np.array([True, False, False, True, False, True])
    user = np.array([0, 0, 0, 1, 1, 2])

    assert metrics.gauc(score, wanted, user) == pytest.approx((3 * 0.5 + 2 * 1) / 5)


def test_ndcg_among_own_by_hand() -> None:
    """A kept 2 ranks below one of two refused tracks (rank 2). A kept 5 ties with the only one (rank 2). The third listener
    refused nothing.
    """
    score = np.array([2, 1, 3, 5, 5, 9], np.float32)
    wanted = np.array([True, False, False, True, False, True])
    user = np.array([0, 0, 0, 1, 1, 2])

    assert metrics.ndcg_among_own(score, wanted, user) == pytest.approx(1 / log2(3))
    assert metrics.ndcg_among_own(np.array([4, 1, 3, 5, 5, 9], np.float32), wanted, user) == pytest.approx(
        (1 + 1 / log2(3)) / 2
    )


def test_skipped_share_of_the_hits_by_hand() -> None:
    """Three of five targets are among the first two, and one of them was refused. Without a hit there is no share."""
    rank = np.array([1, 2, 3, 2, metrics.MISS])
    wanted = np.array([True, False, False, True, True])

    assert metrics.skipped_hits(rank, wanted, 2) == pytest.approx(1 / 3)
    assert metrics.skipped_hits(rank, wanted, 3) == pytest.approx(1 / 2)
    assert np.isnan(metrics.skipped_hits(rank, wanted, 0))
