"""Cross-entropy over a whole catalogue, computed for a few states at a time.

A straightforward loss of 3,000 states over 10,000 tracks holds [M, V] three times: scores, their log-softmax, its gradient.
Reading and writing these takes most of its time. Here the forward pass computes the gradient too, chunk by chunk, and reuses
the chunk's memory. This takes half the time, and memory does not grow with the batch. The price: the gradient is computed even
if nobody needs it, and it cannot be differentiated again.

Most of the remaining time is spent in the three products with the items. Processors with bfloat16 products (AVX-512 BF16)
compute them in a third of the time. Sums, the softmax and the loss stay float32.

Shapes: M states with a target, V classes, Q query width, R classes left out for a state, N states at a time.
"""

from typing import Any

import torch
from torch import Tensor

SCORES = 1 << 22
"""Number of scores in a chunk. Two such arrays are held, 32 MB together."""


def cross_entropy(
    query_MQ: Tensor,
    items_VQ: Tensor,
    targets_M: Tensor,
    *,
    smoothing: float = 0.0,
    left_out_MR: Tensor | None = None,
    half: bool = False,
) -> Tensor:
    """Return the mean of -log softmax(q · e)_target over V classes. M must be at least 1.

    `smoothing` is the share of the label that is spread evenly over all classes. `left_out_MR` are classes that a state's
    softmax leaves out, -1 for none; the target always stays in. With `half` the products are computed in bfloat16. ValueError
    if both `smoothing` and `left_out_MR` are given, because the label would be spread over classes that are left out.
    """
    if smoothing and left_out_MR is not None:
        raise ValueError("found classes left out and smoothed labels; wanted one or the other")
    loss: Tensor = _CrossEntropy.apply(query_MQ, items_VQ, targets_M, smoothing, left_out_MR, half)  # type: ignore[no-untyped-call] # torch's
    return loss


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 # torch passes positional arguments only
        ctx: Any,
        query_MQ: Tensor,
        items_VQ: Tensor,
        targets_M: Tensor,
        smoothing: float,
        left_out_MR: Tensor | None,
        half: bool,
    ) -> Tensor:
        states, classes = len(query_MQ), len(items_VQ)
        query_gradient_MQ, items_gradient_VQ = torch.empty_like(query_MQ), torch.zeros_like(items_VQ)
        held = min(states, max(1, SCORES // classes))
        scores_NV, log_share_NV = query_MQ.new_empty(held, classes), query_MQ.new_empty(held, classes)
        loss = query_MQ.new_zeros(())
        multiplied = torch.bfloat16 if half else query_MQ.dtype
        factor_VQ = items_VQ.to(multiplied)
        for start in range(0, states, held):
            some = slice(start, start + held)
            query_NQ, target_N1 = query_MQ[some].to(multiplied), targets_M[some, None]
            scores_NV, log_share_NV = scores_NV[: len(query_NQ)], log_share_NV[: len(query_NQ)]
            if half:
                scores_NV.copy_(query_NQ @ factor_VQ.T)
            else:
                torch.mm(query_NQ, factor_VQ.T, out=scores_NV)
            if left_out_MR is not None:
                left_out_NR = torch.where(left_out_MR[some] < 0, target_N1, left_out_MR[some])
                own_N1 = scores_NV.gather(1, target_N1)
                scores_NV.scatter_(1, left_out_NR, -torch.inf).scatter_(1, target_N1, own_N1)
            torch.log_softmax(scores_NV, 1, out=log_share_NV)
            loss -= (1 - smoothing) * log_share_NV.gather(1, target_N1).sum()
            if smoothing:
                loss -= smoothing / classes * log_share_NV.sum()
            # d loss / d score = softmax - label
            torch.exp(log_share_NV, out=scores_NV)
            if smoothing:
                scores_NV -= smoothing / classes
            scores_NV.scatter_add_(1, target_N1, scores_NV.new_full(target_N1.shape, smoothing - 1))
            gradient_NV = scores_NV.to(multiplied)
            query_gradient_MQ[some] = gradient_NV @ factor_VQ
            items_gradient_VQ += gradient_NV.T @ query_NQ
        ctx.save_for_backward(query_gradient_MQ / states, items_gradient_VQ / states)
        return loss / states

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:
        query_gradient_MQ, items_gradient_VQ = ctx.saved_tensors
        return gradient * query_gradient_MQ, gradient * items_gradient_VQ, None, None, None, None
