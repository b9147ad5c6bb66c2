"""What a network is built from. It imports no torch, so a recipe can be read without it."""

from typing import Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class NetworkConfig:
    """The size and kind of a network; `model.nets.build` makes it."""

    kind: Literal["causal", "cloze", "sine"] = "causal"
    hidden_share: float = Field(default=0.3, gt=0, le=1)  # of the entries that `cloze` hides in training
    width: int = Field(default=64, ge=1)  # of the hidden states and embeddings
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=2, ge=1)
    feed_forward: int = Field(default=256, ge=1)
    block: Literal["plain", "ligr"] = "plain"  # ligr: gated residuals and a SwiGLU feed-forward (see blocks.py)
    interests: int = Field(default=3, ge=2)  # sub-interests of `sine`
    dropout: float = Field(default=0.2, ge=0, lt=1)
    outcomes: bool = True  # whether the network reads how plays ended
    outcome_scaling: bool = False  # whether how a play ended also scales the track's vector, each dimension by its own factor
    skips: bool = True  # whether refused tracks are read at all
    repeats: bool = True  # whether what stands in the history it reads may come again; trained so under the full softmax alone
    gaps: bool = False  # whether the network reads how long after each entry the next one came, or was asked for
    positions: Literal["learned", "distance"] = "learned"  # distance: attention leans on how far apart entries stand instead
    artist_transition: int = Field(
        default=0, ge=0
    )  # more dimensions, in which the newest kept track's artist asks for its like
    artists: bool = True  # where a catalogue names artists, their tracks share a part of their vectors
    item_bias: bool = True  # a learned score per track that depends on no history
    wanted_head: bool = False  # a second head: would this listener keep this track now?
    wanted_width: int = Field(default=32, ge=1)
    wanted_weight: float = 0.0  # of the head's logit in the final score, where the recipe lets none be chosen

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
