"""The parts that networks are built from: the causal mask, slots without padding, pre-norm Transformer blocks, what their
attention leans on in place of positions.

Shapes: B batch, S slots (the start and T entries), O slots of all histories, N those that hold something, D width, H heads.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.events import Outcome
from model.nets.config import NetworkConfig
from model.vocabulary import PADDING


def slots_of(tracks_BT: Tensor) -> Tensor:
    """Which slots hold an entry, bool [B, S]: a slot more than `tracks_BT` has, on the left, so that one is always free."""
    return functional.pad(tracks_BT, (1, 0), value=PADDING) != PADDING


def is_refused(outcomes: Tensor) -> Tensor:
    """Which outcomes (of any shape) are a track left or disliked."""
    return (outcomes == Outcome.SKIPPED) | (outcomes == Outcome.DISLIKED)


def positions_of(filled_BS: Tensor) -> Tensor:
    """The place of each slot in its history, int64 [B, S]: 0 for the start, 1 for the oldest entry, and so on.

    Counted from the oldest entry, as in training, so that padding changes nothing.
    """
    return filled_BS.to(torch.int64).cumsum(dim=1)


def held_of(filled_BS: Tensor) -> Tensor:
    """Which slots hold something, bool [B, S]: the entries, and the start, in the last empty slot before the oldest."""
    return filled_BS | functional.pad(filled_BS[:, 1:], (0, 1), value=True)


class Packing:
    """Histories without their padding: what is done to each slot alone is done for those alone that hold something.

    So a batch of a long history and many short ones costs what their entries cost; attention alone is as wide as the longest.
    """

    def __init__(self, held_BS: Tensor, *, whole: bool = False) -> None:
        """At least one slot must hold something. With `whole` all stay in, as where a batch is of one length anyway: to leave
        a few slots out costs more than they do.
        """
        self._shape, self._whole = held_BS.shape, whole
        if not whole:
            held_O = held_BS.flatten()
            self._place_N = held_O.nonzero().squeeze(1)
            self._number_O = (held_O.to(torch.int64).cumsum(0) - 1).clamp(min=0)

    def pack(self, hidden_BSD: Tensor) -> Tensor:
        """What stands in the slots that hold something: [N, D]."""
        hidden_OD = hidden_BSD.flatten(0, 1)
        return hidden_OD if self._whole else hidden_OD.index_select(0, self._place_N)

    def spread(self, packed_ND: Tensor) -> Tensor:
        """Back into all slots, [B, S, D]; in those that hold nothing stands what nobody may read."""
        hidden_OD = packed_ND if self._whole else packed_ND.index_select(0, self._number_O)
        return hidden_OD.view(*self._shape, -1)

    def last(self, packed_ND: Tensor) -> Tensor:
        """What stands in the last slot of each history, which must hold something: [B, D]."""
        if self._whole:
            return self.spread(packed_ND)[:, -1]
        return packed_ND.index_select(0, self._number_O.view(self._shape)[:, -1])


def causal_mask(filled_BS: Tensor) -> Tensor:
    """What each slot may read, bool [B, 1, S, S]: itself, the entries before it, and the start.

    Empty slots read only themselves, so no row of the softmax is empty and none becomes NaN, an empty history included.
    """
    slots = filled_BS.shape[1]
    places_S = torch.arange(slots, device=filled_BS.device)
    earlier_SS = places_S[None, :] < places_S[:, None]
    itself_SS = places_S[None, :] == places_S[:, None]
    return ((earlier_SS & held_of(filled_BS)[:, None, :]) | itself_SS)[:, None]


def only_readable(mask_B1SS: Tensor, readable_BS: Tensor) -> Tensor:
    """The mask without the slots that nobody is to read, but for each slot itself, so that no row is empty."""
    places_S = torch.arange(readable_BS.shape[1], device=readable_BS.device)
    return mask_B1SS & (readable_BS[:, None, None, :] | (places_S[None, :] == places_S[:, None]))


class Distances(nn.Module):
    """What attention leans on in place of positions: for each head a bias by how many entries lie between two slots (Raffel et
    al. 2020, but that each distance has its own), and one more where the listener was away in between.

    A learned position is a place counted from the oldest entry. A long history is asked about at its very last place alone,
    which training meets once a window; distances are the same at every place.
    """

    def __init__(self, heads: int, places: int) -> None:
        super().__init__()
        self.apart = nn.Parameter(torch.zeros(heads, places))
        self.away = nn.Parameter(torch.zeros(heads))

    def forward(self, mask_B1SS: Tensor, away_BS: Tensor) -> Tensor:
        """The logits' bias [B, H, S, S] under a causal mask; `away_BS` is True where a pause followed a slot's entry."""
        places_S = torch.arange(away_BS.shape[1], device=away_BS.device)
        apart_SS = places_S[:, None] - places_S[None, :]
        bias_HSS = self.apart[:, apart_SS.clamp(0, self.apart.shape[1] - 1)]  # beyond stands padding
        pauses_BS = away_BS.to(torch.int64).cumsum(dim=1)  # up to the slot's state, which knows what followed its entry
        before_BS = pauses_BS - away_BS.to(torch.int64)  # up to the entry itself
        apart_B1SS = (pauses_BS[:, :, None] != before_BS[:, None, :])[:, None]
        bias_BHSS = bias_HSS + apart_B1SS * self.away[:, None, None]
        return bias_BHSS.masked_fill(~mask_B1SS, -torch.inf)


def newest_readable(hidden_BSD: Tensor, readable_BS: Tensor) -> Tensor:
    """For each slot, what stands at the newest readable one at or before it: [B, S, D]. The first slot must be readable."""
    places_S = torch.arange(readable_BS.shape[1], device=readable_BS.device)
    earlier_BSS = readable_BS[:, None, :] & (places_S[None, :] <= places_S[:, None])
    newest_BS = torch.where(earlier_BSS, places_S, 0).amax(dim=-1)
    return hidden_BSD.gather(1, newest_BS[..., None].expand_as(hidden_BSD))


class Block(nn.Module):
    """Pre-norm Transformer block: x + attention(norm(x)), then x + feed_forward(norm(x)) (Xiong et al. 2020).

    With `gates`, LiGR's (arXiv 2502.03417, as eSASRec has it, arXiv 2508.06450): both are gated by what they are added to,
    x + sigmoid(W x + b) * attention(norm(x)), and the feed-forward is a SwiGLU, W3 (silu(W1 x) * W2 x) (Shazeer 2020).
    """

    def __init__(self, width: int, heads: int, feed_forward: int, dropout: float, *, gates: bool = False) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of {heads} heads")
        self.heads = heads
        self.dropout = dropout
        self.gates = nn.ModuleList(nn.Linear(width, width) for _ in range(2)) if gates else None
        self.attention_norm = nn.LayerNorm(width)
        self.project_in = nn.Linear(width, 3 * width)
        self.project_out = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        inner = [SwiGLU(width, feed_forward)] if gates else [nn.Linear(width, feed_forward), nn.GELU()]
        self.feed_forward = nn.Sequential(*inner, nn.Dropout(dropout), nn.Linear(feed_forward, width), nn.Dropout(dropout))

    def forward(self, hidden_ND: Tensor, mask_B1SS: Tensor, packing: Packing, *, last: bool = False) -> Tensor:
        """[N, D]; with `last` what comes out of the last slots alone, [B, D], for half the work. The mask is bool, or a bias of
        the logits [B, H, S, S].
        """
        normed_ND = self.attention_norm(hidden_ND)
        if last:
            hidden_ND = packing.last(hidden_ND)
        hidden_ND = hidden_ND + self._gate(0, hidden_ND) * self._attend(normed_ND, mask_B1SS, packing, last=last)
        fed: Tensor = self.feed_forward(self.feed_forward_norm(hidden_ND))
        return hidden_ND + self._gate(1, hidden_ND) * fed

    def _gate(self, place: int, hidden_ND: Tensor) -> Tensor | float:
        return 1.0 if self.gates is None else torch.sigmoid(self.gates[place](hidden_ND))

    def _attend(self, hidden_ND: Tensor, mask_B1SS: Tensor, packing: Packing, *, last: bool) -> Tensor:
        def by_head(projected_BSD: Tensor) -> Tensor:
            return projected_BSD.view(*projected_BSD.shape[:2], self.heads, -1).transpose(1, 2)  # [B, H, S, D / H]

        width = self.project_out.in_features
        query_ND, others_ND = self.project_in(hidden_ND).split([width, 2 * width], dim=-1)
        query_BSD = packing.last(query_ND)[:, None] if last else packing.spread(query_ND)
        query, key, value = map(by_head, (query_BSD, *packing.spread(others_ND).chunk(2, dim=-1)))
        mask_B1SS = mask_B1SS[:, :, -1:] if last else mask_B1SS
        dropout = self.dropout if self.training else 0.0
        mask_B1SS = mask_B1SS if mask_B1SS.dtype == torch.bool else mask_B1SS.to(query.dtype)  # bfloat16 under autocast
        read = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask_B1SS, dropout_p=dropout)
        # A clone, not `contiguous`: where the exporter writes attention out, its result has other strides than here.
        joined_BSD = read.transpose(1, 2).clone(memory_format=torch.contiguous_format).flatten(2)
        out: Tensor = self.project_out(joined_BSD[:, 0] if last else packing.pack(joined_BSD))
        return functional.dropout(out, self.dropout, self.training)


class Blocks(nn.Module):
    """A network's blocks one after the other, dropout before and a norm behind."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.each = nn.ModuleList(
            Block(config.width, config.heads, config.feed_forward, config.dropout, gates=config.block == "ligr")
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)

    def forward(self, read_BSD: Tensor, mask_B1SS: Tensor, held_BS: Tensor, *, last: bool = False) -> Tensor:
        """The states [B, S, D]; with `last` those of the last slots alone, [B, 1, D]. What comes out of slots that hold nothing
        means nothing.
        """
        packing = Packing(held_BS, whole=self.training)  # its batches are of one length
        hidden_ND = functional.dropout(packing.pack(read_BSD), self.dropout, self.training)
        for block in self.each:
            hidden_ND = block(hidden_ND, mask_B1SS, packing, last=last and block is self.each[-1])
        normed_ND: Tensor = self.norm(hidden_ND)
        return normed_ND[:, None] if last else packing.spread(normed_ND)


def zero_init_residuals(network: nn.Module) -> None:
    """Before training: let all blocks of a network add nothing to what they read."""
    for block in network.modules():
        if isinstance(block, Block):
            for last in (block.project_out, block.feed_forward[-2]):
                for parameter in last.parameters():
                    nn.init.zeros_(parameter)


class SwiGLU(nn.Module):
    """silu(W1 x) * W2 x: [..., D] -> [..., F]; the two matrices are one."""

    def __init__(self, width: int, feed_forward: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, 2 * feed_forward)

    def forward(self, hidden: Tensor) -> Tensor:
        gate, value = self.project(hidden).chunk(2, dim=-1)
        gated: Tensor = functional.silu(gate) * value
        return gated
