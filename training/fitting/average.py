"""The mean of the weights over the training steps. It is measured and exported instead of the last weights.

Polynomial-decay averaging (Shamir & Zhang 2013, arXiv 1212.1824): at step t the mean moves (g + 1) / (t + g) of the way towards
the weights. So it covers about the last ninth of the run, however long the run is. Steps can stay large, because their
overshoot cancels out.

On simulated listeners (validation part, 19,914 cases, one seed, learning rate falling by .85), HR@20 after epochs 1 to 4 was
.591 .599 .602 .605 with the mean, and .580 .593 .596 .600 without it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from model.nets.network import Network

GAMMA = 8


class Average:
    """The running mean of a network's parameters. It needs as much memory as the parameters."""

    def __init__(self, network: Network) -> None:
        self._parameters = dict(network.named_parameters())
        self._means = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Move the mean towards the weights after step `step`, counted from 1."""
        weights = [parameter.detach() for parameter in self._parameters.values()]
        torch._foreach_lerp_([*self._means.values()], weights, (GAMMA + 1) / (step + GAMMA))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Replace the network's weights by their mean during the `with` block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state_dict(self) -> Mapping[str, Tensor]:
        """Return the state for a checkpoint."""
        return self._means

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load the state from a checkpoint."""
        for name, mean in self._means.items():
            mean.copy_(state[name])

    def _swap(self) -> None:
        for name, parameter in self._parameters.items():
            parameter.data, self._means[name] = self._means[name], parameter.data
