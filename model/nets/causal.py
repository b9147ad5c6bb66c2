"""Causal self-attention over tracks, outcomes and positions: SASRec (Kang & McAuley 2018), extended to read how plays ended.

Departures from the paper:
- pre-norm blocks;
- a learned start token, so that an empty history is a valid input and yields the model's prior;
- positions are counted from the oldest entry, or replaced by an attention bias for distances (`blocks.Distances`);
- an outcome embedding is added to the track's embedding.

Output and input share one embedding table.

Shapes: B batch, T time, S = T + 1 slots, D width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.encoding import GOING_ON
from model.nets.blocks import causal_mask, held_of, is_refused, newest_readable, only_readable, positions_of, slots_of
from model.nets.config import NetworkConfig
from model.nets.tied import TiedNetwork


class CausalNetwork(TiedNetwork):
    """The causal network. Without `config.outcomes` it is a SASRec that ignores feedback.

    Without `config.skips` it reads histories as if refused tracks had never been in them.
    """

    def __init__(self, config: NetworkConfig, rows: int, length: int, artists: Tensor | None = None) -> None:
        super().__init__(config, rows, length + 1, artists)
        self.start = nn.Parameter(torch.zeros(config.width))

    def states(self, tracks_BT: Tensor, outcomes_BT: Tensor, gaps_BT: Tensor | None = None, *, last: bool = False) -> Tensor:
        filled_BS = slots_of(tracks_BT)
        held_BS = held_of(filled_BS)
        read_BSD = functional.pad(self.entries(tracks_BT, outcomes_BT, gaps_BT), (0, 0, 1, 0))
        read_BSD = torch.where(filled_BS[..., None], read_BSD, self.start)
        if self.config.positions == "distance":
            away_BT = torch.zeros_like(filled_BS[:, 1:]) if gaps_BT is None else gaps_BT > GOING_ON
            leaning_BHSS = self.distances(causal_mask(filled_BS), functional.pad(away_BT, (1, 0)))
            return self.with_artist_transition(self.blocks(read_BSD, leaning_BHSS, held_BS, last=last), tracks_BT, outcomes_BT)
        if self.config.skips:
            placed_BSD = read_BSD + self.position(positions_of(filled_BS))
            return self.with_artist_transition(
                self.blocks(placed_BSD, causal_mask(filled_BS), held_BS, last=last), tracks_BT, outcomes_BT
            )
        readable_BS = ~functional.pad(is_refused(outcomes_BT), (1, 0))
        read_BSD = read_BSD + self.position(positions_of(filled_BS & readable_BS))
        mask_B1SS = only_readable(causal_mask(filled_BS), readable_BS)
        every_BSD = self.blocks(read_BSD, mask_B1SS, held_BS & readable_BS, last=False)
        states_BSD = newest_readable(every_BSD, readable_BS)
        return states_BSD[:, -1:] if last else states_BSD

    def training_states(self, tracks_BT: Tensor, outcomes_BT: Tensor, gaps_BT: Tensor | None = None) -> tuple[Tensor, Tensor]:
        before_BT = None if gaps_BT is None else gaps_BT[:, :-1]
        states_BTD = self.states(tracks_BT[:, :-1], outcomes_BT[:, :-1], before_BT)
        return states_BTD, torch.ones_like(tracks_BT, dtype=torch.bool)
