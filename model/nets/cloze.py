"""Bidirectional self-attention over masked histories: BERT4Rec (Sun et al. 2019), extended to read how plays ended.

Two published systems use this encoder: the masked variant of Seshadri & Knees (2023), and Mei, Bembom & Ehmann (2024), who
embed skips and thumbs. In training some entries are hidden and predicted from both sides. In use a hidden entry is appended to
the history, so an empty history is a valid input. Output and input share one embedding table.

Departures from the papers: blocks are pre-norm, and half of the windows hide only their last entry, as in use.

Shapes: B batch, T time, S slots, D width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.nets.blocks import is_refused, positions_of
from model.nets.config import NetworkConfig
from model.nets.tied import TiedNetwork
from model.vocabulary import PADDING


class ClozeNetwork(TiedNetwork):
    """A bidirectional network that predicts hidden entries. Without `config.outcomes` it reads no feedback; without
    `config.skips` no refused tracks.
    """

    reads_ahead = True

    def __init__(self, config: NetworkConfig, rows: int, length: int, artists: Tensor | None = None) -> None:
        super().__init__(config, rows, length + 2, artists)
        self.hidden_entry = nn.Parameter(torch.zeros(config.width))

    def states(self, tracks_BT: Tensor, outcomes_BT: Tensor, gaps_BT: Tensor | None = None, *, last: bool = False) -> Tensor:
        """Compute the states of a history. Predictions may use only the last state, because the others have read later
        entries.
        """
        hidden_BS = functional.pad(torch.zeros_like(tracks_BT, dtype=torch.bool), (0, 1), value=True)
        padded_BS = None if gaps_BT is None else functional.pad(gaps_BT, (0, 1))
        tracks_BS, outcomes_BS = functional.pad(tracks_BT, (0, 1)), functional.pad(outcomes_BT, (0, 1))
        return self._read(tracks_BS, outcomes_BS, padded_BS, hidden_BS, last=last)

    def training_states(self, tracks_BT: Tensor, outcomes_BT: Tensor, gaps_BT: Tensor | None = None) -> tuple[Tensor, Tensor]:
        hidden_BT = self._hide(tracks_BT != PADDING)
        return self._read(tracks_BT, outcomes_BT, gaps_BT, hidden_BT, last=False), hidden_BT

    def _hide(self, filled_BT: Tensor) -> Tensor:
        """Choose at random which entries to hide, bool `[B, T]`: a share of them, or only the last. Uses torch's random
        state.
        """
        last_BT = torch.zeros_like(filled_BT)
        last_BT[:, -1] = filled_BT[:, -1]
        some_BT = (torch.rand(filled_BT.shape, device=filled_BT.device) < self.config.hidden_share) & filled_BT
        only_last_B1 = (torch.rand(len(filled_BT), 1, device=filled_BT.device) < 0.5) | ~some_BT.any(dim=1, keepdim=True)
        return torch.where(only_last_B1, last_BT, some_BT)

    def _read(self, tracks_BS: Tensor, outcomes_BS: Tensor, gaps_BS: Tensor | None, hidden_BS: Tensor, *, last: bool) -> Tensor:
        filled_BS = tracks_BS != PADDING
        if not self.config.skips:
            filled_BS = filled_BS & ~is_refused(outcomes_BS)
        filled_BS = filled_BS | hidden_BS
        read_BSD = torch.where(hidden_BS[..., None], self.hidden_entry, self.entries(tracks_BS, outcomes_BS, gaps_BS))
        places_S = torch.arange(tracks_BS.shape[1], device=tracks_BS.device)
        itself_SS = places_S[None, :] == places_S[:, None]  # every row of the softmax needs one entry
        mask_B1SS = (filled_BS[:, None, :] | itself_SS)[:, None]
        states_BTD: Tensor = self.blocks(read_BSD + self.position(positions_of(filled_BS)), mask_B1SS, filled_BS, last=last)
        return states_BTD
