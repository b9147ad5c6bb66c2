"""Sparse tables have the gradients and the rule of dense ones, and little state."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from model.nets import build
from model.nets.config import NetworkConfig
from model.nets.network import Network
from model.vocabulary import FIRST
from tests.training.worlds import RING, rings_split
from training.fitting.batches import Windows
from training.fitting.objective import objective
from training.fitting.optimise import SPARSE_ROWS, Optimiser, RowAdam, clip, sparse_tables
from training.recipe import FitRule, LossRule

EVERYTHING = NetworkConfig(width=8, layers=1, heads=2, feed_forward=8, dropout=0.0, wanted_head=True, wanted_width=4)
LOSS = LossRule(main="sampled", negatives=4, pair=0.5, refused=0.2, contrast=0.3, feedback=0.4)


def network_after_backward(config: NetworkConfig, *, sparse: bool, loss: LossRule = LOSS) -> Network:
    """Return a network after the backward pass of the same batch with the same negatives."""
    torch.manual_seed(3)
    rows = FIRST + 2 * RING
    network = build(config, rows, 8, torch.arange(rows) % 4)
    if sparse:
        network.make_sparse()
    batch = next(Windows(rings_split(), length=8, targets="wanted").batches(3, seed=1, epoch=0))
    total = torch.stack([mean for mean, _ in objective(network, batch, loss).values()]).sum()
    total.backward()  # type: ignore[no-untyped-call] # torch ships it without types
    return network


@pytest.mark.parametrize("kind", ["causal", "cloze", "sine"])
def test_sparse_gradients_are_the_dense_ones(kind: str) -> None:
    """It holds for every table, biases and artists included, through every term of the loss that reads tables."""
    config = NetworkConfig(**{**{field: getattr(EVERYTHING, field) for field in ("width", "layers", "heads")}, "kind": kind})
    loss = LossRule(main="bpr" if kind == "sine" else "sampled", negatives=4, pair=0.5)
    if kind == "causal":
        config, loss = EVERYTHING, LOSS
    dense, sparse = (network_after_backward(config, sparse=how, loss=loss) for how in (False, True))
    tables = [name for name, _ in sparse.named_parameters() if name in sparse.tables]

    assert len(tables) == {"causal": 5, "cloze": 3, "sine": 2}[kind]
    for name, parameter in sparse.named_parameters():
        grad, wanted = parameter.grad, dense.get_parameter(name).grad
        assert (grad is None) == (wanted is None)
        if grad is not None and wanted is not None:
            assert grad.is_sparse == (name in tables), name
            torch.testing.assert_close(grad.to_dense(), wanted)


def test_auto_computes_no_full_softmax_where_tables_are_sparse() -> None:
    """A full softmax reaches every row, so it would make the gradients dense again."""
    network = network_after_backward(EVERYTHING, sparse=True, loss=LossRule())

    assert network.get_parameter("track.weight").grad.is_sparse  # type: ignore[union-attr] # it has one


def by_hand(table: Tensor, gradients: Sequence[Tensor], lr: float) -> Tensor:
    """Compute Adam with beta1 = 0 and one moment for each row, over the whole table in each step."""
    square = torch.zeros(len(table), 1)
    for number, gradient in enumerate(gradients, 1):
        square = 0.999 * square + 0.001 * gradient.square().mean(1, keepdim=True)
        table = table - lr * gradient / ((square / (1 - 0.999**number)).sqrt() + 1e-8)
    return table


def test_rows_met_now_and_then_move_as_under_the_rule_for_the_whole_table() -> None:
    """Each row has a gradient in a third of 30 steps, sometimes twice in one. The decay of the other steps is made up for."""
    torch.manual_seed(0)
    start = torch.randn(9, 4)
    table = nn.Parameter(start.clone())
    optimiser = RowAdam([table], lr=0.1)
    gradients = []
    for _ in range(30):
        gradient = torch.sparse_coo_tensor(torch.randint(9, (1, 4)), torch.randn(4, 4), (9, 4), check_invariants=True)
        gradients.append(gradient.to_dense())
        table.grad = gradient
        optimiser.step()

    torch.testing.assert_close(table.detach(), by_hand(start, gradients, 0.1))


def test_rows_that_were_not_met_stay_as_they_are() -> None:
    """They are equal bit for bit, so a step costs only what its batch costs."""
    table = nn.Parameter(torch.ones(5, 2))
    table.grad = torch.sparse_coo_tensor(torch.tensor([[3]]), torch.ones(1, 2), (5, 2), check_invariants=True)
    RowAdam([table], lr=0.1).step()

    assert (table[[0, 1, 2, 4]] == 1).all()
    assert (table[3] < 1).all()


def test_state_beside_a_table_is_eight_bytes_a_row() -> None:
    """The state is two numbers for each row, whatever the width."""
    network = network_after_backward(EVERYTHING, sparse=True)
    optimiser = Optimiser(network, FitRule(tables="sparse"))
    optimiser.step(1)
    state = optimiser.state_dict()[1]["state"]
    numbers = [value for table in state.values() for value in table.values() if isinstance(value, Tensor)]

    assert sum(value.nbytes for value in numbers) == 8 * sum(len(network.get_parameter(name)) for name in network.tables)


def test_dense_tables_with_sparse_gradients_move_as_with_dense_ones() -> None:
    """AdamW with momentum, clipping and weight decay moves every row alike over three steps of different batches, and the rows
    of an earlier batch leave nothing behind in the gradient.
    """
    rule = FitRule(clip=0.5, weight_decay=0.1, warmup=2)
    dense, sparse = (network_after_backward(EVERYTHING, sparse=how) for how in (False, True))
    steps = [(network, Optimiser(network, rule)) for network in (dense, sparse)]
    batches = [*Windows(rings_split(), length=8, targets="wanted").batches(3, seed=1, epoch=1)]
    for number, batch in enumerate(batches[:3], 1):
        for network, optimiser in steps:
            optimiser.step(number)
            torch.manual_seed(number)
            torch.stack([mean for mean, _ in objective(network, batch, LOSS).values()]).sum().backward()  # type: ignore[no-untyped-call] # torch's

    for (name, wanted), (_, found) in zip(dense.named_parameters(), sparse.named_parameters(), strict=True):
        torch.testing.assert_close(found, wanted, msg=name)
    assert all(sparse.get_parameter(name).grad.is_sparse for name in sparse.tables)  # type: ignore[union-attr] # they have one


def test_clipping_takes_dense_and_sparse_gradients_together() -> None:
    """The norm is over all gradients together. A row that occurs twice in a gradient counts as its sum.

    Dense gradients are clipped as by torch's own function.
    """
    dense, table = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(3, 2))
    dense.grad = torch.tensor([3.0, 0.0])
    table.grad = torch.sparse_coo_tensor(torch.tensor([[1, 1]]), torch.tensor([[2.0, 0.0]] * 2), (3, 2), check_invariants=True)
    clip([dense, table], 1.0)

    torch.testing.assert_close(dense.grad, torch.tensor([0.6, 0.0]))
    torch.testing.assert_close(table.grad.to_dense()[1], torch.tensor([0.8, 0.0]))


def test_tables_are_sparse_from_so_many_rows_on_or_as_the_recipe_says() -> None:
    """Small catalogues keep dense AdamW."""
    assert [sparse_tables(FitRule(), rows) for rows in (SPARSE_ROWS - 1, SPARSE_ROWS)] == [False, True]
    assert [sparse_tables(FitRule(tables=how), 10) for how in ("dense", "sparse")] == [False, True]


def test_rate_rises_with_the_first_steps_and_decays_with_epochs() -> None:
    """Adam's first step moves each weight by the learning rate, whatever the gradient."""
    moved = []
    for number, epoch in ((1, 0), (4, 0), (9, 0), (9, 2)):
        network = build(NetworkConfig(width=4, layers=1, heads=1, feed_forward=4), 5, 3)
        optimiser = Optimiser(network, FitRule(learning_rate=0.01, warmup=4, decay=0.5, clip=1e9))
        before = network.start.detach().clone()  # type: ignore[operator]
        network.start.grad = torch.ones(4)
        optimiser.step(number, epoch)
        moved.append((before - network.start.detach())[0].item())  # type: ignore[operator]

    assert moved == pytest.approx([0.0025, 0.01, 0.01, 0.0025], rel=1e-4)
