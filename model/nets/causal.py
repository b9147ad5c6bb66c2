"""Causal self-attention over (track, outcome, position): SASRec (Kang & McAuley 2018) that reads how plays ended.

Departures from the paper: pre-norm blocks; a learned start token, so that an empty history is a valid input and yields the
model's prior; positions counted from the oldest entry; an outcome embedding added to the track's. Output and input share
one embedding table.

Shapes: B batch, T time, S = T + 1 slots, D width, V rows.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.events import Outcome
from model.nets.blocks import Block, causal_mask, positions_of, slots_of
from model.nets.config import NetworkConfig
from model.nets.network import Heads, Network
from model.vocabulary import PADDING


class CausalNetwork(Network):
    """The house's network; `config.outcomes` off gives a SASRec that is blind to feedback."""

    tied = "track.weight"
    artist_of: Tensor

    def __init__(self, config: NetworkConfig, rows: int, length: int, artists: Tensor | None = None) -> None:
        super().__init__()
        self.knows_artists = config.artists and artists is not None
        self.config = config
        self.rows = rows
        self.track = nn.Embedding(rows, config.width, padding_idx=PADDING)
        if config.artists and artists is not None:  # as above, which mypy cannot see through
            self.register_buffer("artist_of", artists)
            self.artist = nn.Embedding(int(artists.max()) + 1, config.width, padding_idx=0)
        self.outcome = nn.Embedding(max(Outcome) + 1, config.width, padding_idx=0)
        self.start = nn.Parameter(torch.zeros(config.width))
        self.position = nn.Embedding(length + 1, config.width)
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, config.feed_forward, config.dropout) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)
        self.bias = nn.Parameter(torch.zeros(rows), requires_grad=config.item_bias)
        self.register_buffer("wanted_weight", torch.tensor(config.wanted_weight))
        if config.wanted_head:
            self.wanted_query = nn.Linear(config.width, config.wanted_width)
            self.wanted_item = nn.Embedding(rows, config.wanted_width)
            self.wanted_bias = nn.Parameter(torch.zeros(rows))
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
                if module.padding_idx is not None:
                    nn.init.zeros_(module.weight[module.padding_idx])
            elif isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def states(self, tracks_BT: Tensor, outcomes_BT: Tensor) -> Tensor:
        filled_BS = slots_of(tracks_BT)
        hidden_BTD = self._vectors(tracks_BT)
        if self.config.outcomes:
            hidden_BTD = hidden_BTD + self.outcome(outcomes_BT)
        hidden_BSD = functional.pad(hidden_BTD, (0, 0, 1, 0))
        hidden_BSD = torch.where(filled_BS[..., None], hidden_BSD, self.start)
        hidden_BSD = hidden_BSD + self.position(positions_of(filled_BS))
        hidden_BSD = functional.dropout(hidden_BSD, self.config.dropout, self.training)
        mask_B1SS = causal_mask(filled_BS)
        for block in self.blocks:
            hidden_BSD = block(hidden_BSD, mask_B1SS)
        normed: Tensor = self.norm(hidden_BSD)
        return normed

    def queries(self, states_MD: Tensor) -> Heads:
        ones_M1 = torch.ones_like(states_MD[..., :1])
        main = torch.cat([states_MD, ones_M1], dim=-1)
        if not self.config.wanted_head:
            return Heads(main, None)
        return Heads(main, torch.cat([self.wanted_query(states_MD), ones_M1], dim=-1))

    def items(self, rows: Tensor | None = None) -> Heads:
        def pick(table: Tensor) -> Tensor:
            return table if rows is None else functional.embedding(rows, table)

        main = torch.cat([self._vectors(rows), pick(self.bias[:, None])], dim=-1)
        if not self.config.wanted_head:
            return Heads(main, None)
        return Heads(main, torch.cat([pick(self.wanted_item.weight), pick(self.wanted_bias[:, None])], dim=-1))

    def start_from(self, popularity_V: Tensor) -> None:
        """Biases at the log of popularity; what was never wanted counts as a twentieth of a play."""
        if self.config.item_bias:
            with torch.no_grad():
                self.bias.copy_(torch.log(popularity_V + 0.05))

    def fold(self) -> None:
        """Add the artists' part to each track's vector, once and for all: what is exported needs no artists."""
        if self.knows_artists:
            with torch.no_grad():
                self.track.weight.copy_(self._vectors(None))
            self.knows_artists = False
            del self.artist, self.artist_of

    def _vectors(self, rows: Tensor | None) -> Tensor:
        """The vectors of the given rows (any shape), or of all: the track's own part and its artist's."""
        own: Tensor = self.track.weight if rows is None else self.track(rows)
        if not self.knows_artists:
            return own
        shared: Tensor = self.artist(self.artist_of if rows is None else self.artist_of[rows])
        return own + shared
