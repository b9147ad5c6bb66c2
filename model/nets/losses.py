"""Losses as pure functions of scores and vectors. They know no network, recipe or device.

    L = L_main + a L_pair + b L_contrast + c L_feedback + d L_refused

Shapes: M states with a target, P pairs, N shared negatives, V rows, Q query width, B windows, T places, D width.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from model.nets.softmax import cross_entropy


def full_softmax(
    query_MQ: Tensor,
    items_VQ: Tensor,
    targets_M: Tensor,
    *,
    smoothing: float = 0.0,
    read_MT: Tensor | None = None,
    half: bool = False,
) -> Tensor:
    """Return the mean of -log softmax(q · e)_target, with all rows but padding in the softmax. 0 without states.

    `smoothing` is the share of the label that is spread evenly over all rows. `read_MT` are the rows of each state's history, 0
    for none. The softmax leaves them out, except the target. With `half` the products are computed in bfloat16.
    """
    if not targets_M.numel():
        return query_MQ.sum()
    left_out_MT = None if read_MT is None else read_MT - 1
    return cross_entropy(query_MQ, items_VQ[1:], targets_M - 1, smoothing=smoothing, left_out_MR=left_out_MT, half=half)


def sampled_softmax(
    query_MQ: Tensor,
    target_items_MQ: Tensor,
    negative_items_NQ: Tensor,
    targets_M: Tensor,
    negatives_N: Tensor,
    *,
    population: int,
) -> Tensor:
    """Return the mean of -log softmax over the target and N negatives that the batch shares. 0 without states.

    The negatives are drawn uniformly from `population` tracks. Each stands for population / N tracks, so the loss estimates the
    full softmax. A negative that equals a state's target is left out of that state's denominator.
    """
    if not targets_M.numel():
        return query_MQ.sum()
    target_scores_M = (query_MQ * target_items_MQ).sum(-1)
    negative_scores_MN = query_MQ @ negative_items_NQ.T + math.log(population / len(negatives_N))
    accidental_MN = targets_M[:, None] == negatives_N[None, :]
    negative_scores_MN = negative_scores_MN.masked_fill(accidental_MN, -torch.inf)
    scores = torch.cat([target_scores_M[:, None], negative_scores_MN], dim=1)
    return (torch.logsumexp(scores, dim=1) - target_scores_M).mean()


def hardest_negative(target_scores_M: Tensor, random_scores_MN: Tensor) -> Tensor:
    """Return the mean of -log sigmoid(s(target)) - log(1 - sigmoid(s(r))). r is the random track, of N for each state, with the
    highest score.

    This is the random-negative arm of Mei, Bembom & Ehmann (2024). 0 without states. A track with score -inf is no negative.
    """
    if not target_scores_M.numel():
        return target_scores_M.sum()
    hardest_M = random_scores_MN.max(dim=1).values
    return (functional.softplus(-target_scores_M) + functional.softplus(hardest_M)).mean()


def kept(scores_M: Tensor) -> Tensor:
    """Return the mean of -log sigmoid(s(target)): the binary cross-entropy of kept tracks, without negatives. 0 without
    states.
    """
    return functional.softplus(-scores_M).mean() if scores_M.numel() else scores_M.sum()


def refused(scores_P: Tensor) -> Tensor:
    """Return the mean of -log(1 - sigmoid(s(h))) over refused tracks h (Mei et al. 2024, explicit negatives). 0 without any."""
    return functional.softplus(scores_P).mean() if scores_P.numel() else scores_P.sum()


def pairwise(wanted_scores_P: Tensor, refused_scores_P: Tensor) -> Tensor:
    """Return the mean of -log sigmoid(s(wanted) - s(refused)) over pairs (BPR, Rendle et al. 2009). 0 without pairs."""
    if not wanted_scores_P.numel():
        return wanted_scores_P.sum()
    return -functional.logsigmoid(wanted_scores_P - refused_scores_P).mean()


def feedback(logits_M: Tensor, wanted_M: Tensor) -> Tensor:
    """Return the binary cross-entropy of the head that predicts whether the next track is kept. 0 without predictions."""
    if not logits_M.numel():
        return logits_M.sum()
    return functional.binary_cross_entropy_with_logits(logits_M, wanted_M.to(logits_M.dtype))


def skip_contrastive(
    states_BTD: Tensor, targets_BTD: Tensor, entries_BTD: Tensor, skipped_BTT: Tensor, *, temperature: float
) -> Tensor:
    """Return the loss that pulls each state towards the next kept track, away from its session's skipped tracks (Seshadri &
    Knees 2023, eq. 3):

        -log exp(cos(q, k+) / tau) / (exp(cos(q, k+) / tau) + sum_j exp(cos(q, e_j) / tau))

    `skipped_BTT` is True at (b, t, j) if entry j is a skipped track of the session of state t. The mean is over the states with
    a skipped track, because all other terms are 0 for any network. 0 without such states.
    """
    states_BTD, targets_BTD, entries_BTD = (
        functional.normalize(vectors, dim=-1) for vectors in (states_BTD, targets_BTD, entries_BTD)
    )
    positive_BT = (states_BTD * targets_BTD).sum(-1) / temperature
    negative_BTT = (states_BTD @ entries_BTD.transpose(1, 2) / temperature).masked_fill(~skipped_BTT, -torch.inf)
    all_BTS = torch.cat([positive_BT[..., None], negative_BTT], dim=-1)
    counted_BT = skipped_BTT.any(dim=-1)
    terms_M = (torch.logsumexp(all_BTS, dim=-1) - positive_BT)[counted_BT]
    return terms_M.mean() if terms_M.numel() else terms_M.sum()
