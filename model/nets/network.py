"""What every system here has in common, so that one trainer trains and one exporter exports them all.

A network turns a history into *states*: one before each entry and one after the last. A state becomes a *query*, and a
track's score is the dot product of the query with the track's *item* vector (but for SINE's, see there). Biases, priors and
second heads are further dimensions of the two, so that whatever is learned, serving stays one maximum inner product search.
What is looked up and not learned (`memory`) is added to the scores behind it.

Shapes: B batch, T time, S = T + 1 states, D width, Q query width, V rows, M any number of states.
"""

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.long_history import LongHistories
from model.nets.copy_head import CopyHead
from model.nets.session_memory import SessionMemory


class Heads(NamedTuple):
    """The two halves of a query or of an item: what ranks, and what predicts whether a track would be wanted."""

    main: Tensor
    wanted: Tensor | None


class Network(nn.Module):
    """The interface of a system: `states`, `queries` and `items`; `forward` is what is exported.

    `memory`, where it has been given one, adds to the scores of the rows that it remembers.
    """

    rows: int
    """The height of the item matrix."""
    tied: str | None = None
    """The parameter that embeds the input, where it is also the first columns of the item matrix."""
    reads_ahead: bool = False
    """Whether training states have read what came later: then an entry is all that may be predicted at its place."""
    further_inputs: tuple[str, ...] = ()
    """Which of `model.artifact.FURTHER_INPUTS` it reads itself."""
    repeats: bool = True
    """Whether a track of the history that it reads may be proposed again."""
    wanted_weight: Tensor
    """Of the wanted head's logit in the final score, where none is given; a buffer, set from validation."""
    tables: tuple[str, ...] = ("track.weight",)
    """The parameters that grow with the catalogue: a line a row, or an artist."""
    sparse: bool = False
    """Whether the gradients of `tables` are of the rows that a batch meets alone; `make_sparse` sets it."""

    def __init__(self) -> None:
        super().__init__()
        self.session_memory: SessionMemory | None = None
        self.copy_head: CopyHead | None = None

    @abstractmethod
    def states(self, tracks_BT: Tensor, outcomes_BT: Tensor, gaps_BT: Tensor | None = None, *, last: bool = False) -> Tensor:
        """The states [B, T + 1, D] of a batch padded on the left: state t has read the entries before place t.

        `gaps_BT` are numbers of `model.encoding.gap_codes`, None where they are not known. With `last` the last
        state alone, [B, 1, D], in what time that takes.
        """

    @abstractmethod
    def training_states(self, tracks_BT: Tensor, outcomes_BT: Tensor, gaps_BT: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """States [B, T, D] to predict each place's entry from, none having read it, and which may be asked, bool [B, T]."""

    @abstractmethod
    def queries(self, states_MD: Tensor) -> Heads:
        """Queries for states of any leading shape."""

    @abstractmethod
    def items(self, rows: Tensor | None = None) -> Heads:
        """Item vectors of the given rows (any shape), or of all rows [V, ·]."""

    def pair_scores(self, queries: Tensor, items: Tensor) -> Tensor:
        """The score of each query with the item beside it: [..., Q] and [..., Q] -> [...]."""
        return (queries * items).sum(-1)

    def all_scores(self, queries: Tensor, items: Tensor) -> Tensor:
        """The scores of all queries with all items: [M, Q] and [V, Q] -> [M, V]."""
        return queries @ items.T

    def proposable(self, scores_BV: Tensor, tracks_BT: Tensor) -> Tensor:
        """The scores after the histories `tracks_BT`, with -inf where the network proposes no repeats and a track was read."""
        return scores_BV if self.repeats else scores_BV.scatter(1, tracks_BT, -torch.inf)

    def penalty(self, states_MD: Tensor) -> Tensor:
        """What the loss is to keep small besides, of the states themselves."""
        return states_MD.new_zeros(())

    def make_sparse(self) -> None:
        """Let the gradients of `tables` be sparse from here on; whatever scores all rows in training makes them dense again."""
        self.sparse = True
        for name, module in self.named_modules():
            if isinstance(module, nn.Embedding) and f"{name}.weight" in self.tables:
                module.sparse = True

    def start_from_popularity(self, popularity_V: Tensor) -> None:
        """Before training: let an empty history rank by popularity (any positive scale), not by chance."""

    def start_from_vectors(self, vectors_VD: Tensor) -> None:
        """Before training: let the tracks' vectors start from the given ones, in which neighbours are near each other."""
        raise NotImplementedError(f"{type(self).__name__} has no vectors that could start near each other")

    def set_calibration(self, prior_V: Tensor, wanted_weight: float) -> None:  # noqa: ARG002  # this one has nothing to do with them
        """After training: add a prior to the score of each row, weigh the wanted head. ValueError where it takes neither."""
        raise ValueError(f"a {type(self).__name__} takes no prior and has no wanted head")

    def merge_artist_embeddings(self) -> None:
        """Make what only training needs a part of the rest, before the export; scores stay as they are."""

    def forward(
        self,
        tracks_BT: Tensor,
        outcomes_BT: Tensor,
        gaps_BT: Tensor | None = None,
        wanted_weight: Tensor | None = None,
        *own: Tensor,
    ) -> Tensor | tuple[Tensor, ...]:
        """The final query [B, Q] after the whole history. With a memory also what it remembers; with a copy head, which reads
        `own`, the fields of `model.long_history.LongHistories`, also the scores of own tracks.
        """
        found = [self.query(tracks_BT, outcomes_BT, gaps_BT, wanted_weight)]
        if self.session_memory is not None:
            found += self.session_memory(tracks_BT, outcomes_BT)
        if self.copy_head is not None:
            found += self.copy_head(own)
        return found[0] if len(found) == 1 else tuple(found)

    def query(
        self, tracks_BT: Tensor, outcomes_BT: Tensor, gaps_BT: Tensor | None = None, wanted_weight: Tensor | None = None
    ) -> Tensor:
        """The final query [B, Q] after the whole history."""
        main, wanted = self.queries(self.states(tracks_BT, outcomes_BT, gaps_BT, last=True)[:, -1])
        if wanted is None:
            return main
        return torch.cat([main, (self.wanted_weight if wanted_weight is None else wanted_weight) * wanted], dim=-1)

    @property
    def all_further_inputs(self) -> tuple[str, ...]:
        """Which of `model.artifact.FURTHER_INPUTS` it reads, and its copy head."""
        return self.further_inputs if self.copy_head is None else (*self.further_inputs, *LongHistories._fields)

    def item_matrix(self) -> Tensor:
        """The final item vectors [V, Q] of all rows: a score is the dot product of a query with one of them."""
        main, wanted = self.items()
        return main if wanted is None else torch.cat([main, wanted], dim=-1)
