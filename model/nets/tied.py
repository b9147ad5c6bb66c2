"""The base of networks that use one embedding table for input and output: tables, biases, artists, the second head.

A track's vector is the sum of its own embedding and its artist's, if the catalogue names artists. So a rare track is placed
near other tracks of its artist. The subclasses in `causal` and `cloze` define how a history is read.

Shapes: B batch, T time, S = T + 1 slots, M any number of states, D width, E artist transition, V rows.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.encoding import GAP_CODES
from model.events import Outcome
from model.nets.blocks import Blocks, Distances, is_refused, newest_readable, zero_init_residuals
from model.nets.config import NetworkConfig
from model.nets.network import Heads, Network
from model.vocabulary import PADDING

NEVER_WANTED = 0.05
"""Number of plays that an unplayed track counts as, when biases start from popularity."""


class TiedNetwork(Network):
    """A network with one embedding table for input and output. `places` is the number of positions in the longest history."""

    tied = "track.weight"
    tables = ("track.weight", "artist.weight", "wanted_item.weight", "bias", "wanted_bias")
    artist_of: Tensor

    def __init__(self, config: NetworkConfig, rows: int, places: int, artists: Tensor | None) -> None:
        super().__init__()
        self.config = config
        self.rows = rows
        self.repeats = config.repeats
        self.knows_artists = config.artists and artists is not None
        self.artist_transition = config.artist_transition if self.knows_artists else 0
        self.track = nn.Embedding(rows, config.width + self.artist_transition, padding_idx=PADDING)
        if config.artists and artists is not None:  # the same condition as above, which mypy cannot follow
            self.register_buffer("artist_of", artists)
            self.artist = nn.Embedding(int(artists.max()) + 1, config.width + self.artist_transition, padding_idx=0)
        self.outcome = nn.Embedding(max(Outcome) + 1, config.width, padding_idx=0)
        if config.outcome_scaling:
            self.outcome_scale = nn.Embedding(max(Outcome) + 1, config.width, padding_idx=0)
        if config.gaps:
            self.gap = nn.Embedding(GAP_CODES, config.width, padding_idx=0)
        if config.positions == "learned":
            self.position = nn.Embedding(places, config.width)
        else:
            self.distances = Distances(config.heads, places)
        self.blocks = Blocks(config)
        if self.artist_transition:
            self.transition_gate = nn.Linear(config.width, 1)
        self.bias = nn.Parameter(torch.zeros(rows), requires_grad=config.item_bias)
        self.register_buffer("wanted_weight", torch.tensor(config.wanted_weight))
        if config.wanted_head:
            self.wanted_query = nn.Linear(config.width, config.wanted_width)
            self.wanted_item = nn.Embedding(rows, config.wanted_width)
            self.wanted_bias = nn.Parameter(torch.zeros(rows))
        has = {"gaps": config.gaps, "wanted_weight": config.wanted_head}
        self.further_inputs = tuple(name for name in has if has[name])
        initialise(self)
        if self.artist_transition:  # artists start far apart
            nn.init.zeros_(self.track.weight[:, config.width :])
            nn.init.normal_(self.artist.weight[1:, config.width :], std=self.artist_transition**-0.5)

    def entries(self, tracks_BT: Tensor, outcomes_BT: Tensor, gaps_BT: Tensor | None) -> Tensor:
        """Compute the input vectors `[B, T, D]`: each entry's track and, if configured, its outcome and the gap that follows
        it.
        """
        vectors_BTD = self._vectors(tracks_BT)[..., : self.config.width]
        if self.config.outcome_scaling:  # addition alone cannot reverse the direction of a refused track's vector
            vectors_BTD = vectors_BTD * (1 + self.outcome_scale(outcomes_BT))
        if self.config.outcomes:
            vectors_BTD = vectors_BTD + self.outcome(outcomes_BT)
        if self.config.gaps and gaps_BT is not None:
            vectors_BTD = vectors_BTD + self.gap(gaps_BT)
        return vectors_BTD

    def with_artist_transition(self, states_BSD: Tensor, tracks_BT: Tensor, outcomes_BT: Tensor) -> Tensor:
        """Append the artist vector of the newest kept track to each state: `[B, S, D]` -> `[B, S, D + E]`.

        The state scales this vector. It is 0 before the first kept track. The product with the item vectors is a factorised
        transition between artists (Rendle, Freudenthaler & Schmidt-Thieme 2010). It learns "another track of the same artist"
        once for all artists. A transition between tracks would only memorise pairs.
        """
        if not self.artist_transition:
            return states_BSD
        kept_BT = (tracks_BT != PADDING) & ~is_refused(outcomes_BT)
        own_BSE = functional.pad(self._vectors(tracks_BT)[..., self.config.width :], (0, 0, 1, 0))
        heard_BS = functional.pad(kept_BT, (1, 0), value=True)  # the start slot, which has no artist
        artist_BSE = newest_readable(own_BSE, heard_BS)[:, -states_BSD.shape[1] :]
        return torch.cat([states_BSD, functional.softplus(self.transition_gate(states_BSD)) * artist_BSE], dim=-1)

    def queries(self, states_MD: Tensor) -> Heads:
        ones_M1 = torch.ones_like(states_MD[..., :1])
        main = torch.cat([states_MD, ones_M1], dim=-1)
        if not self.config.wanted_head:
            return Heads(main, None)
        return Heads(main, torch.cat([self.wanted_query(states_MD[..., : self.config.width]), ones_M1], dim=-1))

    def items(self, rows: Tensor | None = None) -> Heads:
        def number(table_V: Tensor) -> Tensor:
            if rows is None:
                return table_V[:, None]
            return table_V.gather(0, rows.flatten(), sparse_grad=self.sparse).view(*rows.shape, 1)

        main = torch.cat([self._vectors(rows), number(self.bias)], dim=-1)
        if not self.config.wanted_head:
            return Heads(main, None)
        vectors = self.wanted_item.weight if rows is None else self.wanted_item(rows)
        return Heads(main, torch.cat([vectors, number(self.wanted_bias)], dim=-1))

    def start_from_popularity(self, popularity_V: Tensor) -> None:
        """Set the biases to the log of popularity."""
        if self.config.item_bias:
            with torch.no_grad():
                self.bias.copy_(torch.log(popularity_V + NEVER_WANTED))

    def start_from_vectors(self, vectors_VD: Tensor) -> None:
        """Copy the vectors into the track embeddings, except padding, and set blocks and positions so that they add nothing at
        first.

        At first, a state is then the normalised vector of its last track. The score of a track is the cosine of both vectors
        times the root of the width.
        """
        with torch.no_grad():
            self.track.weight[PADDING + 1 :, : self.config.width] = vectors_VD[PADDING + 1 :]
            if self.config.positions == "learned":
                self.position.weight.zero_()
        zero_init_residuals(self)

    def set_calibration(self, prior_V: Tensor, wanted_weight: float) -> None:
        """Add the prior to the biases, and set the weight of the wanted head."""
        with torch.no_grad():
            self.bias.add_(prior_V)
            self.wanted_weight.fill_(wanted_weight)

    def merge_artist_embeddings(self) -> None:
        """Add the artist vectors to the track vectors, so that the exported network needs no artist table."""
        if self.knows_artists:
            with torch.no_grad():
                self.track.weight.copy_(self._vectors(None))
            self.knows_artists = False
            del self.artist, self.artist_of

    def _vectors(self, rows: Tensor | None) -> Tensor:
        """Return the vectors of the given rows (any shape), or of all rows: each track's own part plus its artist's part."""
        own: Tensor = self.track.weight if rows is None else self.track(rows)
        if not self.knows_artists:
            return own
        shared: Tensor = self.artist(self.artist_of if rows is None else self.artist_of[rows])
        if self.artist_transition:
            own = functional.pad(own[..., : self.config.width], (0, self.artist_transition))
        return own + shared


def initialise(network: nn.Module) -> None:
    """Initialise all parameters: small normal embeddings with zero padding, Xavier weights (Glorot & Bengio 2010), zero
    biases.
    """
    for module in network.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
            if module.padding_idx is not None:
                nn.init.zeros_(module.weight[module.padding_idx])
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
