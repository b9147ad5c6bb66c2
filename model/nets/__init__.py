"""The networks: torch from here down. `build` makes the one that a recipe describes."""

from torch import Tensor

from model.nets.causal import CausalNetwork
from model.nets.cloze import ClozeNetwork
from model.nets.config import NetworkConfig
from model.nets.network import Network
from model.nets.sine import SineNetwork


def build(config: NetworkConfig, rows: int, length: int, artists: Tensor | None = None) -> Network:
    """Make a new network for a vocabulary of `rows` rows. It reads histories of at most `length` entries.

    `artists` int64 [rows] numbers each row's artist, 0 for none. It is None if no artists are known.
    """
    kinds: dict[str, type[CausalNetwork] | type[ClozeNetwork] | type[SineNetwork]]
    kinds = {"causal": CausalNetwork, "cloze": ClozeNetwork, "sine": SineNetwork}
    return kinds[config.kind](config, rows, length, artists)
