"""The softmax computed in parts agrees with torch's own."""

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
    """They agree for every chunk size, with a smaller last chunk, and within a loss that has other terms."""
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
    """A certain network has scores of hundreds, whose exp is infinite in float32. The loss of a miss is their difference."""
    query_MQ, items_VQ = torch.tensor([[300.0], [300.0]]), torch.tensor([[1.0], [-1.0]])

    assert cross_entropy(query_MQ, items_VQ, torch.tensor([0, 1])).item() == pytest.approx(300.0)


@pytest.mark.parametrize("at_a_time", [1, 5, 100])
def test_classes_left_out_are_no_choice_but_for_a_target(monkeypatch: pytest.MonkeyPatch, at_a_time: int) -> None:
    """The result is torch's with scores of -inf for the classes left out.

    A state that leaves out its own target keeps it as a class. -1 leaves out nothing.
    """
    query_MQ, items_VQ, targets_M = _made_up()
    monkeypatch.setattr(softmax, "SCORES", at_a_time * len(items_VQ))
    left_out_MR = torch.randint(-1, 7, (13, 3), generator=torch.Generator().manual_seed(2))
    left_out_MR[4, 1] = targets_M[4]
    left_out_MR[5] = -1
    is_out_MV = (left_out_MR[:, :, None] == torch.arange(7)).any(dim=1) & (torch.arange(7) != targets_M[:, None])
    wanted = functional.cross_entropy((query_MQ @ items_VQ.T).masked_fill(is_out_MV, -torch.inf), targets_M)
    found = cross_entropy(query_MQ, items_VQ, targets_M, left_out_MR=left_out_MR)

    assert is_out_MV.any(dim=1).sum() > 6
    torch.testing.assert_close(found, wanted)
    for one, other in zip(
        torch.autograd.grad(found, (query_MQ, items_VQ)), torch.autograd.grad(wanted, (query_MQ, items_VQ)), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_labels_are_not_smoothed_over_classes_left_out() -> None:
    """Such a loss would be infinite, so it is refused."""
    query_MQ, items_VQ, targets_M = _made_up()
    with pytest.raises(ValueError, match="classes left out and smoothed labels"):
        cross_entropy(query_MQ, items_VQ, targets_M, smoothing=0.1, left_out_MR=targets_M[:, None])


def test_products_of_bfloat16_are_near_those_of_float32() -> None:
    """Each factor has eight bits. Loss and gradients differ, by less than a hundredth of the largest value."""
    query_MQ, items_VQ, targets_M = (part.float() if part.is_floating_point() else part for part in _made_up())
    exact, half = (cross_entropy(query_MQ, items_VQ, targets_M, half=half) for half in (False, True))

    assert half.item() != exact.item()
    assert half.item() == pytest.approx(exact.item(), rel=0.01)
    for one, other in zip(
        torch.autograd.grad(half, (query_MQ, items_VQ)), torch.autograd.grad(exact, (query_MQ, items_VQ)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=0.01 * float(other.abs().max()))
