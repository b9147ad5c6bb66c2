"""Each loss agrees with a case computed by hand.

Shapes: M states, N negatives, V rows, Q query width.
"""

import math
from math import exp, log

import pytest
import torch

from model.nets.losses import feedback, full_softmax, hardest_negative, kept, pairwise, refused, sampled_softmax

QUERY_MQ = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
ITEMS_VQ = torch.tensor([[9.0, 9.0], [0.0, 0.5], [1.0, 0.0], [3.0, -1.0]])  # row 0 would be best if it were not padding
TARGETS_M = torch.tensor([3, 1])
SCORES = ([0.0, 1.0, 3.0], [1.0, 0.0, -2.0])  # of rows 1 to 3


def surprise(scores: list[float], target: int) -> float:
    """Compute -log softmax of one score with plain floats."""
    return log(sum(exp(score) for score in scores)) - scores[target]


def test_full_softmax_by_hand() -> None:
    """The mean over states of -log softmax over rows 1, 2, 3."""
    wanted = (surprise(SCORES[0], 2) + surprise(SCORES[1], 0)) / 2

    assert full_softmax(QUERY_MQ, ITEMS_VQ, TARGETS_M).item() == pytest.approx(wanted, rel=1e-6)


def test_padding_is_no_class_of_the_softmax() -> None:
    """Changing its vector changes nothing."""
    other = ITEMS_VQ.clone()
    other[0] = -100

    assert torch.equal(full_softmax(QUERY_MQ, other, TARGETS_M), full_softmax(QUERY_MQ, ITEMS_VQ, TARGETS_M))


def test_what_was_read_is_left_out_of_the_full_softmax() -> None:
    """Row 2 is left out for the first state and nothing for the second. Padding stands for no row."""
    wanted = (surprise([SCORES[0][0], SCORES[0][2]], 1) + surprise(SCORES[1], 0)) / 2
    found = full_softmax(QUERY_MQ, ITEMS_VQ, TARGETS_M, read_MT=torch.tensor([[0, 2], [0, 0]]))

    assert found.item() == pytest.approx(wanted, rel=1e-6)


def test_label_smoothing_by_hand() -> None:
    """0.3 of the label is spread evenly over the three rows."""
    each = [
        0.7 * surprise(scores, target) + 0.3 * sum(surprise(scores, row) for row in range(3)) / 3
        for scores, target in zip(SCORES, (2, 0), strict=True)
    ]

    assert full_softmax(QUERY_MQ, ITEMS_VQ, TARGETS_M, smoothing=0.3).item() == pytest.approx(sum(each) / 2, rel=1e-6)


def sampled(negatives: list[int]) -> float:
    """Compute the sampled loss with these rows as negatives."""
    negatives_N = torch.tensor(negatives)
    return sampled_softmax(
        QUERY_MQ, ITEMS_VQ[TARGETS_M], ITEMS_VQ[negatives_N], TARGETS_M, negatives_N, population=len(negatives_N)
    ).item()


def test_sampled_softmax_by_hand() -> None:
    """Each state has its own target and the same negatives."""
    wanted = (surprise([3.0, 1.0], 0) + surprise([1.0, 0.0], 0)) / 2

    assert sampled([2]) == pytest.approx(wanted, rel=1e-6)


def test_sampled_softmax_over_all_rows_is_the_full_softmax() -> None:
    """Each state's own target is among the negatives and counts once."""
    assert sampled([1, 2, 3]) == pytest.approx(full_softmax(QUERY_MQ, ITEMS_VQ, TARGETS_M).item(), rel=1e-6)


def test_negative_that_is_the_target_does_not_count_against_it() -> None:
    """Row 3 is the first state's target and a negative of the second. It is masked in one line only."""
    wanted = (surprise([3.0, 1.0], 0) + surprise([1.0, 0.0, -2.0], 0)) / 2

    assert sampled([2, 3]) == pytest.approx(wanted, rel=1e-6)


def test_state_whose_negatives_are_all_its_target_costs_nothing() -> None:
    """No negative is left: the loss is zero, and neither it nor its gradient is NaN."""
    query = QUERY_MQ[:1].clone().requires_grad_()
    negatives = torch.tensor([3, 3])
    loss = sampled_softmax(query, ITEMS_VQ[[3]], ITEMS_VQ[negatives], torch.tensor([3]), negatives, population=len(negatives))
    [gradient] = torch.autograd.grad(loss, query)

    assert loss.item() == 0
    assert gradient.isfinite().all()


def test_pairwise_by_hand() -> None:
    """-log sigmoid of the differences 1 and -2."""
    wanted = (log(1 + exp(-1)) + log(1 + exp(2))) / 2

    assert pairwise(torch.tensor([3.0, 0.0]), torch.tensor([2.0, 2.0])).item() == pytest.approx(wanted, rel=1e-6)


def test_feedback_by_hand() -> None:
    """Binary cross-entropy: kept with logit 2, refused with logit 1."""
    wanted = (log(1 + exp(-2)) + log(1 + exp(1))) / 2

    assert feedback(torch.tensor([2.0, 1.0]), torch.tensor([True, False])).item() == pytest.approx(wanted, rel=1e-6)


def test_nothing_to_learn_from_costs_nothing() -> None:
    """A batch may have no targets, pairs or entries. Loss and gradient are then zero, where a mean would be NaN."""
    nothing, none = torch.zeros(0, 2, requires_grad=True), torch.zeros(0, dtype=torch.int64)
    each = [
        full_softmax(nothing, ITEMS_VQ, none),
        sampled_softmax(nothing, ITEMS_VQ[none], ITEMS_VQ[[2]], none, torch.tensor([2]), population=1),
        pairwise(nothing[:, 0], nothing[:, 1]),
        feedback(nothing[:, 0], none.bool()),
    ]
    torch.stack(each).sum().backward()  # type: ignore[no-untyped-call] # torch ships it without types

    assert [loss.item() for loss in each] == [0, 0, 0, 0]


def test_hardest_negative_by_hand() -> None:
    """One state has score 2 for the target and 1 and -1 for two random tracks: -log s(2) - log(1 - s(1))."""
    loss = hardest_negative(torch.tensor([2.0]), torch.tensor([[1.0, -1.0]]))

    assert loss.item() == pytest.approx(math.log1p(math.exp(-2)) + math.log1p(math.exp(1)))


def test_a_track_left_out_is_not_the_hardest_negative() -> None:
    """A state whose random tracks are all left out has no negative part."""
    loss = hardest_negative(torch.tensor([2.0, 0.0]), torch.tensor([[-torch.inf, -1.0], [-torch.inf, -torch.inf]]))

    assert loss.item() == pytest.approx((math.log1p(math.exp(-2)) + math.log1p(math.exp(-1)) + math.log(2)) / 2)


def test_refused_by_hand() -> None:
    """Scores 0 and 1 of refused tracks give the mean of log(1 + e^s). Without refused tracks there is no loss."""
    assert refused(torch.tensor([0.0, 1.0])).item() == pytest.approx((math.log(2) + math.log1p(math.e)) / 2)
    assert refused(torch.zeros(0)).item() == 0.0


def test_kept_by_hand() -> None:
    """A score of 0 costs log 2. Without a target there is no loss."""
    assert kept(torch.tensor([0.0])).item() == pytest.approx(log(2))
    assert kept(torch.zeros(0)).item() == 0.0
