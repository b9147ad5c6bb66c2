"""The settings of a network. This module imports no torch, so that a recipe can be read without it."""

from typing import Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class NetworkConfig:
    """The kind and the sizes of a network. `model.nets.build` builds a network from it."""

    kind: Literal["causal", "cloze", "sine"] = "causal"
    hidden_share: float = Field(default=0.3, gt=0, le=1)  # share of the entries that `cloze` hides in training
    width: int = Field(default=64, ge=1)  # of hidden states and embeddings
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=2, ge=1)
    feed_forward: int = Field(default=256, ge=1)
    block: Literal["plain", "ligr"] = "plain"  # ligr: gated residuals and a SwiGLU feed-forward (see blocks.py)
    interests: int = Field(default=3, ge=2)  # number of sub-interests of `sine`
    dropout: float = Field(default=0.2, ge=0, lt=1)
    outcomes: bool = True  # the network reads how each play ended
    outcome_scaling: bool = False  # the outcome also multiplies the track's vector by a learned vector
    skips: bool = True  # false: refused tracks are removed from the input
    repeats: bool = True  # false: tracks of the history are never proposed; training then needs the full softmax
    gaps: bool = False  # the network reads the time from each entry to the next one, or to the request
    # distance: attention gets a bias by the number of entries between two places
    positions: Literal["learned", "distance"] = "learned"
    artist_transition: int = Field(default=0, ge=0)  # extra dimensions that score artists after the newest kept track's artist
    artists: bool = True  # tracks of one artist share a part of their vectors, if the catalogue names artists
    item_bias: bool = True  # a learned score per track that does not depend on the history
    wanted_head: bool = False  # a second head, which predicts whether the listener would keep a track now
    wanted_width: int = Field(default=32, ge=1)
    wanted_weight: float = 0.0  # of the second head's logit in the final score; a recipe's calibration may replace it

    @model_validator(mode="after")
    def _fits_together(self) -> "NetworkConfig":
        if self.width % self.heads:
            raise ValueError(f"found width {self.width} and {self.heads} heads; wanted a width that is a multiple of the heads")
        if self.kind == "sine" and (self.gaps or self.wanted_head):
            raise ValueError("found gaps or wanted_head with kind 'sine'; it has neither")
        if self.kind == "sine" and not (self.outcomes and self.skips):
            raise ValueError("found outcomes or skips off with kind 'sine', which is made of what was refused")
        if self.outcome_scaling and (not self.outcomes or self.kind == "sine"):
            raise ValueError("found outcome_scaling with kind 'sine' or without outcomes, whose factors they are")
        if (self.positions == "distance" or self.artist_transition) and (self.kind != "causal" or not self.skips):
            raise ValueError(
                "found positions 'distance' or artist_transition with another kind than 'causal' or without skips; "
                "wanted kind 'causal' with skips"
            )
        return self
