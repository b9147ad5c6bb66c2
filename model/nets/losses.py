"""Losses as pure functions of scores and vectors: no network, recipe or device inside.

    L = L_main + a L_pair + b L_contrast + c L_feedback

Shapes: M states with a target, P pairs, N shared negatives, V rows, Q query width, K skipped tracks of a session (padded).
"""

import torch
from torch import Tensor
from torch.nn import functional


def full_softmax(query_MQ: Tensor, items_VQ: Tensor, targets_M: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Mean of -log softmax(q · e)_target over all rows but padding, 0 without states; `smoothing` spreads that much of the
    label evenly.
    """
    if not targets_M.numel():
        return query_MQ.sum()
    scores_MV = query_MQ @ items_VQ[1:].T
    return functional.cross_entropy(scores_MV, targets_M - 1, label_smoothing=smoothing)


def sampled_softmax(
    query_MQ: Tensor, target_items_MQ: Tensor, negative_items_NQ: Tensor, targets_M: Tensor, negatives_N: Tensor
) -> Tensor:
    """Mean of -log softmax over the target and N uniform negatives shared by the batch; 0 without states.

    A negative that happens to be the state's own target is left out of that state's denominator. Uniform sampling needs no
    logQ correction: it shifts every negative's score by the same constant.
    """
    if not targets_M.numel():
        return query_MQ.sum()
    target_scores_M = (query_MQ * target_items_MQ).sum(-1)
    negative_scores_MN = query_MQ @ negative_items_NQ.T
    accidental_MN = targets_M[:, None] == negatives_N[None, :]
    negative_scores_MN = negative_scores_MN.masked_fill(accidental_MN, -torch.inf)
    scores = torch.cat([target_scores_M[:, None], negative_scores_MN], dim=1)
    return (torch.logsumexp(scores, dim=1) - target_scores_M).mean()


def pairwise(wanted_scores_P: Tensor, refused_scores_P: Tensor) -> Tensor:
    """Mean of -log sigmoid(s(wanted) - s(refused)) (BPR, Rendle et al. 2009) over tracks really refused; 0 without pairs."""
    if not wanted_scores_P.numel():
        return wanted_scores_P.sum()
    return -functional.logsigmoid(wanted_scores_P - refused_scores_P).mean()


def feedback(logits_M: Tensor, wanted_M: Tensor) -> Tensor:
    """Binary cross-entropy of the head that predicts whether the track that came was wanted; 0 without events."""
    if not logits_M.numel():
        return logits_M.sum()
    return functional.binary_cross_entropy_with_logits(logits_M, wanted_M.to(logits_M.dtype))
