"""The softmax in parts beside torch's own, in one."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from model.nets import softmax
from model.nets.softmax import cross_entropy


def _made_up(states: int = 13, classes: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    query_MQ, items_VQ = (
        torch.randn(size, 5, generator=random, dtype=torch.float64).requires_grad_() for size in (states, classes)
    )
    return query_MQ, items_VQ, torch.randint(classes, (states,), generator=random)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("at_a_time", [1, 5, 13, 100])
def test_loss_and_gradients_are_those_of_torch(monkeypatch: pytest.MonkeyPatch, at_a_time: int, smoothing: float) -> None:
    """However many states are worked on together, and where the last lot is a smaller one; in a loss that has other terms."""
    query_MQ, items_VQ, targets_M = _made_up()
    monkeypatch.setattr(softmax, "SCORES", at_a_time * len(items_VQ))
    wanted = functional.cross_entropy(query_MQ @ items_VQ.T, targets_M, label_smoothing=smoothing)
    found = cross_entropy(query_MQ, items_VQ, targets_M, smoothing=smoothing)

    torch.testing.assert_close(found, wanted)
    for one, other in zip(
        torch.autograd.grad(3 * found + query_MQ.sum(), (query_MQ, items_VQ)),
        torch.autograd.grad(3 * wanted + query_MQ.sum(), (query_MQ, items_VQ)),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_scores_too_great_for_exp_are_no_trouble() -> None:
    """A sure network has scores of hundreds: exp of them is infinite in float32, and the loss of a miss is their difference."""
    query_MQ, items_VQ = torch.tensor([[300.0], [300.0]]), torch.tensor([[1.0], [-1.0]])

    assert cross_entropy(query_MQ, items_VQ, torch.tensor([0, 1])).item() == pytest.approx(300.0)
