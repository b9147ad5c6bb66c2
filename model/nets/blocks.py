"""Parts of the networks: masks, slots, pre-norm Transformer blocks, and an attention bias that replaces positions.

Shapes: B batch, S slots (the start and T entries), O slots of all histories, N slots in use, D width, H heads.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.events import Outcome
from model.nets.config import NetworkConfig
from model.vocabulary import PADDING


def slots_of(tracks_BT: Tensor) -> Tensor:
    """Return which slots hold an entry, bool `[B, S]`. One free slot is added on the left, so S = T + 1."""
    return functional.pad(tracks_BT, (1, 0), value=PADDING) != PADDING


def is_refused(outcomes: Tensor) -> Tensor:
    """Return which outcomes are a skip or a dislike, bool of the same shape."""
    return (outcomes == Outcome.SKIPPED) | (outcomes == Outcome.DISLIKED)


def positions_of(filled_BS: Tensor) -> Tensor:
    """Return the place of each slot in its history, int64 `[B, S]`: 0 for the start, 1 for the oldest entry, and so on.

    Places are counted from the oldest entry, so padding does not change them.
    """
    return filled_BS.to(torch.int64).cumsum(dim=1)


def held_of(filled_BS: Tensor) -> Tensor:
    """Return which slots are in use, bool `[B, S]`: the slots of entries, and the start, which is the last empty slot before
    them.
    """
    return filled_BS | functional.pad(filled_BS[:, 1:], (0, 1), value=True)


class Packing:
    """Removes padding from a batch of histories, so that layers that treat each slot alone compute only the slots in use.

    The cost of a batch then follows its number of entries. Only attention is as wide as the longest history.
    """

    def __init__(self, held_BS: Tensor, *, whole: bool = False) -> None:
        """Prepare to pack the slots in `held_BS`. At least one slot must be in use. With `whole` all slots stay in.

        If all histories have the same length, removing a few slots costs more time than computing them.
        """
        self._shape, self._whole = held_BS.shape, whole
        if not whole:
            held_O = held_BS.flatten()
            self._place_N = held_O.nonzero().squeeze(1)
            self._number_O = (held_O.to(torch.int64).cumsum(0) - 1).clamp(min=0)

    def pack(self, hidden_BSD: Tensor) -> Tensor:
        """Gather the slots in use: `[B, S, D]` -> `[N, D]`."""
        hidden_OD = hidden_BSD.flatten(0, 1)
        return hidden_OD if self._whole else hidden_OD.index_select(0, self._place_N)

    def spread(self, packed_ND: Tensor) -> Tensor:
        """Put the slots back in place: `[N, D]` -> `[B, S, D]`. Slots that are not in use hold arbitrary values."""
        hidden_OD = packed_ND if self._whole else packed_ND.index_select(0, self._number_O)
        return hidden_OD.view(*self._shape, -1)

    def last(self, packed_ND: Tensor) -> Tensor:
        """Gather the last slot of each history, which must be in use: `[N, D]` -> `[B, D]`."""
        if self._whole:
            return self.spread(packed_ND)[:, -1]
        return packed_ND.index_select(0, self._number_O.view(self._shape)[:, -1])


def causal_mask(filled_BS: Tensor) -> Tensor:
    """Return what each slot may attend to, bool `[B, 1, S, S]`: itself, the entries before it, and the start.

    An empty slot attends to itself. So no row of the softmax is empty, and an empty history gives no NaN.
    """
    slots = filled_BS.shape[1]
    places_S = torch.arange(slots, device=filled_BS.device)
    earlier_SS = places_S[None, :] < places_S[:, None]
    itself_SS = places_S[None, :] == places_S[:, None]
    return ((earlier_SS & held_of(filled_BS)[:, None, :]) | itself_SS)[:, None]


def only_readable(mask_B1SS: Tensor, readable_BS: Tensor) -> Tensor:
    """Remove from an attention mask the slots that are not readable. Each slot may still attend to itself, so that no row is
    empty.
    """
    places_S = torch.arange(readable_BS.shape[1], device=readable_BS.device)
    return mask_B1SS & (readable_BS[:, None, None, :] | (places_S[None, :] == places_S[:, None]))


class Distances(nn.Module):
    """An attention bias that replaces positions: for each head, one number for each distance in entries between two slots.

    This follows Raffel et al. (2020), but each distance has its own number. One more number is added if the listener paused
    between the two slots.

    A learned position counts from the oldest entry. A long history is only ever asked at its last position, which training
    meets once in a window. Distances are the same at every place.
    """

    def __init__(self, heads: int, places: int) -> None:
        super().__init__()
        self.apart = nn.Parameter(torch.zeros(heads, places))
        self.away = nn.Parameter(torch.zeros(heads))

    def forward(self, mask_B1SS: Tensor, away_BS: Tensor) -> Tensor:
        """Compute the bias of the attention logits, `[B, H, S, S]`; -inf where `mask_B1SS`, a causal mask, is False.

        `away_BS` is True if a pause followed the entry of a slot.
        """
        places_S = torch.arange(away_BS.shape[1], device=away_BS.device)
        apart_SS = places_S[:, None] - places_S[None, :]
        bias_HSS = self.apart[:, apart_SS.clamp(0, self.apart.shape[1] - 1)]  # greater distances reach padding only
        # pauses up to the slot's state, which knows the pause after its entry
        pauses_BS = away_BS.to(torch.int64).cumsum(dim=1)
        before_BS = pauses_BS - away_BS.to(torch.int64)  # pauses up to the entry itself
        apart_B1SS = (pauses_BS[:, :, None] != before_BS[:, None, :])[:, None]
        bias_BHSS = bias_HSS + apart_B1SS * self.away[:, None, None]
        return bias_BHSS.masked_fill(~mask_B1SS, -torch.inf)


def newest_readable(hidden_BSD: Tensor, readable_BS: Tensor) -> Tensor:
    """Return for each slot the vector of the newest readable slot up to it, itself included, `[B, S, D]`. The first slot must
    be readable.
    """
    places_S = torch.arange(readable_BS.shape[1], device=readable_BS.device)
    earlier_BSS = readable_BS[:, None, :] & (places_S[None, :] <= places_S[:, None])
    newest_BS = torch.where(earlier_BSS, places_S, 0).amax(dim=-1)
    return hidden_BSD.gather(1, newest_BS[..., None].expand_as(hidden_BSD))


class Block(nn.Module):
    """Pre-norm Transformer block: x + attention(norm(x)), then x + feed_forward(norm(x)) (Xiong et al. 2020).

    With `gates` it is the block of LiGR (arXiv 2502.03417) as used in eSASRec (arXiv 2508.06450). Each of the two sums is gated
    by its input: x + sigmoid(W x + b) * attention(norm(x)). The feed-forward is a SwiGLU, W3 (silu(W1 x) * W2 x) (Shazeer
    2020).
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
        """Compute the block's output `[N, D]`, or with `last` only that of the last slots, `[B, D]`, in half the time.

        The mask is bool, or a bias of the logits `[B, H, S, S]`.
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
        # A clone, not `contiguous`: the attention that the exporter decomposes has other strides than this one.
        joined_BSD = read.transpose(1, 2).clone(memory_format=torch.contiguous_format).flatten(2)
        out: Tensor = self.project_out(joined_BSD[:, 0] if last else packing.pack(joined_BSD))
        return functional.dropout(out, self.dropout, self.training)


class Blocks(nn.Module):
    """The blocks of a network in sequence, with dropout before the first and a norm after the last."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.each = nn.ModuleList(
            Block(config.width, config.heads, config.feed_forward, config.dropout, gates=config.block == "ligr")
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)

    def forward(self, read_BSD: Tensor, mask_B1SS: Tensor, held_BS: Tensor, *, last: bool = False) -> Tensor:
        """Compute the states `[B, S, D]`, or with `last` only the last ones, `[B, 1, D]`.

        The states of slots that are not in use are arbitrary.
        """
        packing = Packing(held_BS, whole=self.training)  # training batches have one length
        hidden_ND = functional.dropout(packing.pack(read_BSD), self.dropout, self.training)
        for block in self.each:
            hidden_ND = block(hidden_ND, mask_B1SS, packing, last=last and block is self.each[-1])
        normed_ND: Tensor = self.norm(hidden_ND)
        return normed_ND[:, None] if last else packing.spread(normed_ND)


def zero_init_residuals(network: nn.Module) -> None:
    """Set the last layer of each branch to zero before training, so that every block at first returns its input."""
    for block in network.modules():
        if isinstance(block, Block):
            for last in (block.project_out, block.feed_forward[-2]):
                for parameter in last.parameters():
                    nn.init.zeros_(parameter)


class SwiGLU(nn.Module):
    """The layer silu(W1 x) * W2 x: `[..., D]` -> `[..., F]`. One matrix holds W1 and W2."""

    def __init__(self, width: int, feed_forward: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, 2 * feed_forward)

    def forward(self, hidden: Tensor) -> Tensor:
        gate, value = self.project(hidden).chunk(2, dim=-1)
        gated: Tensor = functional.silu(gate) * value
        return gated
