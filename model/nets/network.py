"""The interface of all networks. One trainer trains and one exporter exports whatever implements it.

A network turns a history into *states*: one before each entry and one after the last. A state becomes a *query*. A track's
score is the dot product of the query with the track's *item* vector (only SINE scores differently). Biases, priors and second
heads are further dimensions of both vectors, so serving is always one maximum inner product search. A session memory and a copy
head change the scores after this product.

Shapes: B batch, T time, S = T + 1 states, D width, Q query width, V rows, M any number of states.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.long_history import LongHistories
from model.nets.copy_head import CopyHead
from model.nets.session_memory import SessionMemory


class Heads(NamedTuple):
    """The two parts of a query or of an item vector: `main` ranks tracks, `wanted` predicts whether the listener would keep a
    track.
    """

    main: Tensor
    wanted: Tensor | None


class Network(nn.Module):
    """The interface of a network: `states`, `queries` and `items`. `forward` is exported to ONNX.

    An optional session memory adds to the scores of tracks. An optional copy head scores the listener's own tracks.
    """

    rows: int
    """Number of rows of the item matrix."""
    tied: str | None = None
    """Name of the input embedding, if the first columns of the item matrix are the same parameter."""
    reads_ahead: bool = False
    """True if training states have read later entries. Then the only target of a state is the hidden entry at its own place."""
    further_inputs: tuple[str, ...] = ()
    """Names from `model.artifact.FURTHER_INPUTS` that the network itself reads."""
    repeats: bool = True
    """True if tracks of the history may be proposed again."""
    wanted_weight: Tensor
    """Default weight of the wanted head's logit in the final score. A buffer; calibration on the validation part sets it."""
    tables: tuple[str, ...] = ("track.weight",)
    """Names of the parameters that grow with the catalogue. They have one line for each row or for each artist."""
    sparse: bool = False
    """True if gradients of `tables` are sparse: they hold only the rows that a batch uses. `make_sparse` sets it."""

    def __init__(self) -> None:
        super().__init__()
        self.session_memory: SessionMemory | None = None
        self.copy_head: CopyHead | None = None

    @abstractmethod
    def states(self, tracks_BT: Tensor, outcomes_BT: Tensor, gaps_BT: Tensor | None = None, *, last: bool = False) -> Tensor:
        """Compute states `[B, T + 1, D]` of histories that are padded on the left. State t has read the entries before place t.

        `gaps_BT` are codes from `model.encoding.gap_codes`, or None if times are unknown. With `last`, only the last state is
        computed and returned, `[B, 1, D]`.
        """

    @abstractmethod
    def training_states(self, tracks_BT: Tensor, outcomes_BT: Tensor, gaps_BT: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute training states `[B, T, D]`, and a bool mask `[B, T]` of those that may be used.

        State t predicts the entry at place t and has not read it.
        """

    @abstractmethod
    def queries(self, states_MD: Tensor) -> Heads:
        """Compute queries from states of any leading shape."""

    @abstractmethod
    def items(self, rows: Tensor | None = None) -> Heads:
        """Return the item vectors of the given rows (any shape), or of all rows `[V, ·]`."""

    def pair_scores(self, queries: Tensor, items: Tensor) -> Tensor:
        """Score each query with the item at the same place: `[..., Q]` and `[..., Q]` -> `[...]`."""
        return (queries * items).sum(-1)

    def all_scores(self, queries: Tensor, items: Tensor) -> Tensor:
        """Score all queries with all items: `[M, Q]` and `[V, Q]` -> `[M, V]`."""
        return queries @ items.T

    def proposable(self, scores_BV: Tensor, tracks_BT: Tensor) -> Tensor:
        """Set the scores of each history's tracks to -inf if the network proposes no repeats. Otherwise return the scores
        unchanged.
        """
        return scores_BV if self.repeats else scores_BV.scatter(1, tracks_BT, -torch.inf)

    def penalty(self, states_MD: Tensor) -> Tensor:
        """Compute a regularisation term from the hidden states. It is 0 by default."""
        return states_MD.new_zeros(())

    def make_sparse(self) -> None:
        """Make the gradients of `tables` sparse from now on. A loss that scores all rows makes them dense again."""
        self.sparse = True
        for name, module in self.named_modules():
            if isinstance(module, nn.Embedding) and f"{name}.weight" in self.tables:
                module.sparse = True

    def start_from_popularity(self, popularity_V: Tensor) -> None:
        """Set the biases before training, so that the network ranks by popularity after an empty history. Popularity may have
        any positive scale.
        """

    def start_from_vectors(self, vectors_VD: Tensor) -> None:
        """Copy the given vectors into the track embeddings, before training. Similar tracks should have similar vectors."""
        raise NotImplementedError(f"{type(self).__name__} has no vectors that could start near each other")

    def set_calibration(self, prior_V: Tensor, wanted_weight: float) -> None:  # noqa: ARG002  # the default takes neither
        """Add a prior to each row's score and set the weight of the wanted head, after training. Raises ValueError if the
        network cannot be calibrated.
        """
        raise ValueError(f"a {type(self).__name__} takes no prior and has no wanted head")

    def merge_artist_embeddings(self) -> None:
        """Merge artist embeddings into the track embeddings, before the export. Scores stay as they are."""

    def row_tables(self) -> dict[str, nn.Parameter]:
        """Return the parameters that have one line for each row, by name. Artist embeddings must be merged."""
        return {name: parameter for name, parameter in self.named_parameters() if name in self.tables}

    def append_rows(self, lines: Mapping[str, Tensor]) -> None:
        """Append rows after training. `lines` has the new lines of each of `row_tables`."""
        for name, table in self.row_tables().items():
            owner, _, field = name.rpartition(".")
            module = self.get_submodule(owner)
            longer = nn.Parameter(torch.cat([table.detach(), lines[name]]), table.requires_grad)
            setattr(module, field, longer)
            if isinstance(module, nn.Embedding):
                module.num_embeddings = len(longer)
            self.rows = len(longer)
        if self.copy_head is not None:
            self.copy_head.rows = self.rows

    def forward(
        self,
        tracks_BT: Tensor,
        outcomes_BT: Tensor,
        gaps_BT: Tensor | None = None,
        wanted_weight: Tensor | None = None,
        *own: Tensor,
    ) -> Tensor | tuple[Tensor, ...]:
        """Compute the final query `[B, Q]` after the whole history, and the outputs of the session memory and the copy head.

        A session memory adds rows and their extra scores. A copy head adds rows and scores of the listener's own tracks; it
        reads `own`, the fields of `model.long_history.LongHistories`.
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
        """Compute the final query `[B, Q]` after the whole history."""
        main, wanted = self.queries(self.states(tracks_BT, outcomes_BT, gaps_BT, last=True)[:, -1])
        if wanted is None:
            return main
        return torch.cat([main, (self.wanted_weight if wanted_weight is None else wanted_weight) * wanted], dim=-1)

    @property
    def all_further_inputs(self) -> tuple[str, ...]:
        """Return the names from `model.artifact.FURTHER_INPUTS` that the network and its copy head read."""
        return self.further_inputs if self.copy_head is None else (*self.further_inputs, *LongHistories._fields)

    def item_matrix(self) -> Tensor:
        """Return the final item vectors `[V, Q]` of all rows. A score is the dot product of a query with one of them."""
        main, wanted = self.items()
        return main if wanted is None else torch.cat([main, wanted], dim=-1)
