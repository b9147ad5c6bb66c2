"""The networks: torch from here down. `build` makes the one that a recipe describes."""

from model.nets.causal import CausalNetwork
from model.nets.config import NetworkConfig
from model.nets.network import Network


def build(config: NetworkConfig, rows: int, length: int) -> Network:
    """A fresh network over a vocabulary of `rows` rows, reading histories of at most `length` entries."""
    return CausalNetwork(config, rows, length)
