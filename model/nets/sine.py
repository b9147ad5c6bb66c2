"""SINE: sub-interests from passive negative feedback (Pan et al. 2023, arXiv 2308.04086), on a SASRec that reads kept tracks.

    h          the causal encoder's state over the kept entries alone
    g_k        sub-interest k: attention of a learned query over the refused entries so far; zero without any
    h_k        h + sigmoid(h * g_k) * h
    a_k(i)     softmax over k of  w_k . [h_k ; e_i] + b_k
    s(i)       sum over k of  a_k(i) (h_k . e_i)  + bias_i

The score is not one dot product, so the exporter writes a scoring graph of its own. Departures of the network from the paper:
- How g_k reads the refused entries is our choice, because we know the paper's formulas only.
- Each k has its own w_k. With one w for all k, the part of w that multiplies e_i would cancel in the softmax over k, and the
  fusion would not depend on the item.
- Each track has a bias, which starts from popularity. Without it (`item_bias` off), training made no progress for nine epochs.
  Our guess is that the vectors must then hold popularity first, and these are the input too, so that histories look alike.

`training.fitting.objective` and the recipe `sine` name the departures of the loss.

Shapes: B batch, T time, S = T + 1 slots, D width, F = D + 1, K sub-interests, M any number of states, V rows. A state is [h ;
g_1 … g_K]. A query is [h_1 ; 1 … h_K ; 1 ; u_1 … u_K], with u_k the state's part of a_k's logit. An item is [e ; bias ; v_1 …
v_K], with v_k the item's part. The a_k sum to 1, so (h_k ; 1) . (e ; bias) adds the bias once.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.nets.blocks import (
    Blocks,
    causal_mask,
    held_of,
    is_refused,
    newest_readable,
    only_readable,
    positions_of,
    slots_of,
)
from model.nets.config import NetworkConfig
from model.nets.network import Heads, Network
from model.nets.tied import NEVER_WANTED, initialise
from model.vocabulary import PADDING


class SineNetwork(Network):
    """The SINE network. It combines each sub-interest with the state, and weighs the results differently for each candidate."""

    tables = ("track.weight", "bias")

    def __init__(self, config: NetworkConfig, rows: int, length: int, artists: Tensor | None = None) -> None:  # noqa: ARG002
        super().__init__()
        self.config = config
        self.rows = rows
        self.repeats = config.repeats
        self.interests = config.interests
        self.fused_width = config.width + 1
        self.track = nn.Embedding(rows, config.width, padding_idx=PADDING)
        self.start = nn.Parameter(torch.zeros(config.width))
        self.position = nn.Embedding(length + 1, config.width)
        self.blocks = Blocks(config)
        self.interest_query = nn.Parameter(torch.randn(config.interests, config.width) / config.width**0.5)
        self.refused_key = nn.Linear(config.width, config.width)
        self.fuse_state = nn.Parameter(torch.zeros(config.interests, config.width))
        self.fuse_item = nn.Parameter(torch.randn(config.interests, config.width) * 0.02)
        self.fuse_bias = nn.Parameter(torch.zeros(config.interests))
        self.bias = nn.Parameter(torch.zeros(rows), requires_grad=config.item_bias)
        initialise(self)

    def states(
        self,
        tracks_BT: Tensor,
        outcomes_BT: Tensor,
        gaps_BT: Tensor | None = None,  # noqa: ARG002 # SINE reads no gaps
        *,
        last: bool = False,
    ) -> Tensor:
        refused_BT = is_refused(outcomes_BT)
        kept_BS = slots_of(tracks_BT) & ~functional.pad(refused_BT, (1, 0))
        vectors_BSD = functional.pad(self.track(tracks_BT), (0, 0, 1, 0))
        state_BSD = self._read_kept(vectors_BSD, slots_of(tracks_BT), kept_BS)
        interest_BSKD = self._read_refused(vectors_BSD, functional.pad(refused_BT, (1, 0)))
        states_BSD = torch.cat([state_BSD[:, :, None], interest_BSKD], dim=2).flatten(2)
        return states_BSD[:, -1:] if last else states_BSD

    def training_states(
        self,
        tracks_BT: Tensor,
        outcomes_BT: Tensor,
        gaps_BT: Tensor | None = None,  # noqa: ARG002 # SINE reads no gaps
    ) -> tuple[Tensor, Tensor]:
        return self.states(tracks_BT[:, :-1], outcomes_BT[:, :-1]), torch.ones_like(tracks_BT, dtype=torch.bool)

    def queries(self, states_MD: Tensor) -> Heads:
        parts_MKD = states_MD.reshape(*states_MD.shape[:-1], 1 + self.interests, self.config.width)
        state_M1D, interest_MKD = parts_MKD[..., :1, :], parts_MKD[..., 1:, :]
        fused_MKD = state_M1D + torch.sigmoid(state_M1D * interest_MKD) * state_M1D
        leaning_MK = (fused_MKD * self.fuse_state).sum(-1) + self.fuse_bias
        fused_MKF = functional.pad(fused_MKD, (0, 1), value=1.0)
        return Heads(torch.cat([fused_MKF.flatten(-2), leaning_MK], dim=-1), None)

    def items(self, rows: Tensor | None = None) -> Heads:
        if rows is None:
            vectors, bias = self.track.weight, self.bias[:, None]
        else:
            vectors = self.track(rows)
            bias = self.bias.gather(0, rows.flatten(), sparse_grad=self.sparse).view(*rows.shape, 1)
        return Heads(torch.cat([vectors, bias, vectors @ self.fuse_item.T], dim=-1), None)

    def start_from_popularity(self, popularity_V: Tensor) -> None:
        """Set the biases to the log of popularity."""
        if self.config.item_bias:
            with torch.no_grad():
                self.bias.copy_(torch.log(popularity_V + NEVER_WANTED))

    def pair_scores(self, queries: Tensor, items: Tensor) -> Tensor:
        fused_MKF, leaning_MK = self._parts(queries)
        vector_MF, answer_MK = items[..., : self.fused_width], items[..., self.fused_width :]
        share_MK = torch.softmax(leaning_MK + answer_MK, dim=-1)
        scores_MK = (fused_MKF * vector_MF[..., None, :]).sum(-1)
        return (share_MK * scores_MK).sum(-1)

    def all_scores(self, queries: Tensor, items: Tensor) -> Tensor:
        fused_MKF, leaning_MK = self._parts(queries)
        vectors_VF, answers_VK = items[:, : self.fused_width], items[:, self.fused_width :]
        share_MKV = torch.softmax(leaning_MK[:, :, None] + answers_VK.T, dim=1)
        return (share_MKV * (fused_MKF @ vectors_VF.T)).sum(1)

    def penalty(self, states_MD: Tensor) -> Tensor:
        """Return the sum of the distance correlations of g_k and g_l over all pairs k < l, estimated from the given states."""
        interests = states_MD.reshape(-1, 1 + self.interests, self.config.width)[:, 1:].unbind(1)
        pairs = [(one, other) for place, one in enumerate(interests) for other in interests[place + 1 :]]
        return torch.stack([distance_correlation(one, other) for one, other in pairs]).sum()

    def _parts(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        fused, leaning_MK = queries[..., : -self.interests], queries[..., -self.interests :]
        return fused.reshape(*fused.shape[:-1], self.interests, self.fused_width), leaning_MK

    def _read_kept(self, vectors_BSD: Tensor, filled_BS: Tensor, kept_BS: Tensor) -> Tensor:
        """Compute the encoder's state for each slot, after the newest kept entry up to it. Before the first kept entry it is
        the state of the start.
        """
        read_BSD = torch.where(kept_BS[..., None], vectors_BSD, self.start) + self.position(positions_of(kept_BS))
        readable_BS = kept_BS | ~filled_BS
        mask_B1SS = only_readable(causal_mask(filled_BS), readable_BS)
        return newest_readable(self.blocks(read_BSD, mask_B1SS, held_of(filled_BS) & readable_BS), readable_BS)

    def _read_refused(self, vectors_BSD: Tensor, refused_BS: Tensor) -> Tensor:
        """Compute g_1 … g_K at each slot, `[B, S, K, D]`, from the refused entries up to that slot."""
        logits_BSK = self.refused_key(vectors_BSD) @ self.interest_query.T
        # the clamp prevents overflow; running sums rule out the usual shift by the maximum
        weight_BSK = torch.exp(logits_BSK.clamp(max=30)) * refused_BS[..., None]
        sums_BSKD = (weight_BSK[..., None] * vectors_BSD[:, :, None]).cumsum(dim=1)
        return sums_BSKD / weight_BSK.cumsum(dim=1).clamp(min=1e-9)[..., None]


def distance_correlation(one_MD: Tensor, other_MD: Tensor) -> Tensor:
    """Return the distance correlation of paired samples (Székely, Rizzo & Bakirov 2007).

    It is 0 for independent samples and at most 1. It is also 0 if one sample does not vary.
    """

    def centred(samples_MD: Tensor) -> Tensor:
        squares_MM = (samples_MD[:, None] - samples_MD[None]).square().sum(-1)
        distance_MM = torch.sqrt(squares_MM + 1e-12)  # a root's gradient at 0 is infinite, here and below
        return distance_MM - distance_MM.mean(0) - distance_MM.mean(1, keepdim=True) + distance_MM.mean()

    a_MM, b_MM = centred(one_MD), centred(other_MD)
    covariance = (a_MM * b_MM).mean().clamp(min=0)
    variances = (a_MM.square().mean() * b_MM.square().mean() + 1e-18).sqrt()
    return torch.sqrt(covariance / variances + 1e-12)
