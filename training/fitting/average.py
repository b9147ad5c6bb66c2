"""A mean of the weights over the steps, measured and kept in place of the last step's.

Polynomial-decay averaging (Shamir & Zhang 2013, arXiv 1212.1824): at step t the mean goes (g + 1) / (t + g) of the way to the
weights, so it looks back over about a ninth of the run, however long that is. Steps stay large, and what they overshoot by
cancels out.

On simulated listeners (validation part, 19,914 cases, one seed, learning rate falling by .85), HR@20 after epochs 1 to 4 with
the mean and without: .591 .599 .602 .605, and .580 .593 .596 .600.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from model.nets.network import Network

GAMMA = 8


class Average:
    """The mean of a network's parameters: as much memory again as they take."""

    def __init__(self, network: Network) -> None:
        self._parameters = dict(network.named_parameters())
        self._means = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Take the weights after step `step`, from 1 on, into account."""
        weights = [parameter.detach() for parameter in self._parameters.values()]
        torch._foreach_lerp_([*self._means.values()], weights, (GAMMA + 1) / (step + GAMMA))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the network have the means for its weights, meanwhile."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state_dict(self) -> Mapping[str, Tensor]:
        """For the checkpoint."""
        return self._means

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint."""
        for name, mean in self._means.items():
            mean.copy_(state[name])

    def _swap(self) -> None:
        for name, parameter in self._parameters.items():
            parameter.data, self._means[name] = self._means[name], parameter.data
