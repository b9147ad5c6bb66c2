"""One step of the optimiser: AdamW, or Adam by row for tables that are too tall for it.

Dense AdamW holds a table four times (weights, gradient, two moments) and writes all of it in each step. With *sparse* tables,
a gradient has only the rows of the batch. `RowAdam` keeps 8 bytes a row beside the weights, and a step costs the same for
every size of catalogue. In exchange, tables have no momentum, one step size a row, and no weight decay.

Between both are *dense* tables whose gradients are sparse (`Network.make_sparse`). They are updated by AdamW like all others.
But a batch's gradients are added, measured and clipped as the few rows that they have. A dense gradient costs more than AdamW
itself: one table of zeros for each time that a loss reads the table, and a pass over all rows for each sum.

Shapes: V rows, D width, U rows of a step.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from model.nets.network import Network
from training.recipe import FitRule

SPARSE_ROWS = 200_000
"""From this many rows on, `tables = "auto"` is sparse. Below, the dense step is affordable."""


def sparse_tables(rule: FitRule, rows: int) -> bool:
    """Return whether the tables of a network with this many rows are updated by `RowAdam`."""
    return rule.tables == "sparse" or (rule.tables == "auto" and rows >= SPARSE_ROWS)


class Optimiser:
    """Updates all parameters of a network, by AdamW and for sparse tables by `RowAdam`, with warm-up and clipping by the
    recipe's rule.

    `dense` are the parameters with dense gradients, `sparse` those with sparse ones.
    """

    def __init__(self, network: Network, rule: FitRule) -> None:
        self._rule = rule
        trained = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
        self.sparse = [parameter for name, parameter in trained.items() if network.sparse and name in network.tables]
        self.dense = _without(trained.values(), self.sparse)
        by_row = self.sparse if sparse_tables(rule, network.rows) else []
        adam = torch.optim.AdamW(
            _without(trained.values(), by_row), lr=rule.learning_rate, weight_decay=rule.weight_decay, fused=True
        )
        self._parts: list[torch.optim.Optimizer] = [adam]
        if by_row:
            self._parts.append(RowAdam(by_row, lr=rule.learning_rate))
        self._filled = [_Filled(table) for table in _without(self.sparse, by_row)]

    def step(self, number: int, epoch: int = 0) -> None:
        """Update the parameters by their gradients, and delete the gradients. `number` counts steps from 1, `epoch` epochs from
        0.
        """
        clip([*self.dense, *self.sparse], self._rule.clip)
        rate = self._rule.learning_rate * self._rule.decay**epoch * min(1.0, number / max(1, self._rule.warmup))
        with ExitStack() as stack:
            for filled in self._filled:
                stack.enter_context(filled.in_place())
            for part in self._parts:
                for group in part.param_groups:
                    group["lr"] = rate
                part.step()
                part.zero_grad()

    def state_dict(self) -> list[dict[str, Any]]:
        """Return the state for a checkpoint."""
        return [part.state_dict() for part in self._parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Load the state from a checkpoint."""
        for part, state in zip(self._parts, states, strict=True):
            part.load_state_dict(state)


class _Filled:
    """Gives a table a dense gradient with the rows of its sparse one. The memory is reused, and only these rows are cleared."""

    def __init__(self, table: nn.Parameter) -> None:
        self._table, self._dense = table, torch.zeros(0)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Replace the table's gradient during the `with` block, if it has one."""
        if self._table.grad is None:
            yield
            return
        found = self._table.grad.coalesce()
        rows = found.indices()[0]
        if not len(self._dense):
            self._dense = torch.zeros_like(self._table)
        self._dense.index_copy_(0, rows, found.values())
        self._table.grad = self._dense
        yield
        self._dense.index_fill_(0, rows, 0)


def _without(parameters: Iterable[nn.Parameter], others: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    left_out = {id(parameter) for parameter in others}
    return [parameter for parameter in parameters if id(parameter) not in left_out]


class RowAdam(torch.optim.Optimizer):
    """Adam (Kingma & Ba 2015) with beta1 = 0 and one second moment a row: the mean square of the row's gradient.

        v = beta * v + (1 - beta) * mean(g^2)        row -= lr * g / (sqrt(v / (1 - beta^t)) + eps)

    FBGEMM's partial row-wise Adam has the same second moment. With beta1 = 0 a row without a gradient does not move, and its
    v only decays. The decay is made up for at the row's next gradient. The weights are therefore those of the same rule
    applied to the whole table in every step. Gradients are sparse, or dense over all rows.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float, beta: float = 0.999, eps: float = 1e-8) -> None:
        super().__init__(parameters, {"lr": lr, "beta": beta, "eps": eps})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override] # noqa: ARG002 # no loss is computed here
        """Update the rows that have a gradient."""
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None:
                    _follow(
                        table,
                        table.grad,
                        _state(self.state[table], table),
                        **{key: group[key] for key in ("lr", "beta", "eps")},
                    )


def _state(state: dict[str, Any], table: Tensor) -> dict[str, Any]:
    if not state:
        state["step"] = 0
        state["square_V"] = table.new_zeros(len(table))
        state["met_V"] = table.new_zeros(len(table))  # the step of the row's last gradient; float32 counts to 16 million
    return state


def _follow(table: Tensor, gradient: Tensor, state: dict[str, Any], *, lr: float, beta: float, eps: float) -> None:
    gradient = gradient.to_sparse(1).coalesce()
    rows_U, values = gradient.indices()[0], gradient.values()
    state["step"] += 1
    decay_U = beta ** (state["step"] - state["met_V"][rows_U])
    square_U = decay_U * state["square_V"][rows_U] + (1 - beta) * values.reshape(len(values), table[0].numel()).square().mean(1)
    state["square_V"][rows_U], state["met_V"][rows_U] = square_U, float(state["step"])
    size_U = (square_U / (1 - beta ** state["step"])).sqrt() + eps
    table.index_add_(0, rows_U, values / size_U.view(-1, *[1] * (values.dim() - 1)), alpha=-lr)


def clip(parameters: Iterable[nn.Parameter], most: float) -> None:
    """Scale all gradients, dense and sparse, so that their common 2-norm is at most `most`."""
    values = []
    for parameter in parameters:
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()
            values.append(parameter.grad.values())
        elif parameter.grad is not None:
            values.append(parameter.grad)
    scale = (most / (torch.nn.utils.get_total_norm(values) + 1e-6)).clamp(max=1.0)
    for value in values:
        value.mul_(scale)
