"""Rankers that are no baselines: a trained network, and the simulator's own knowledge.

Shapes: B batch, V rows, Q query width.
"""

from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from model.encoding import Encoded
from model.long_history import LongHistories
from model.nets.network import Network
from model.vocabulary import FIRST
from training.data.split import Split
from training.evaluation.cases import Cases
from training.evaluation.metrics import Floats
from training.evaluation.own_history import own_unknown_names
from training.simulator.plays import LastPlay
from training.simulator.truth import Truth, best_scores

PLAYS_AT_ONCE = 1 << 17
"""Plays of long histories that a copy head reads together: some 70 MB of features."""


@dataclass(frozen=True, slots=True)
class NetworkRanker:
    """A ranker that scores tracks by a trained network. The network's item matrix is computed once."""

    name: str
    network: Network
    items_VQ: Tensor

    @classmethod
    def of(cls, name: str, network: Network) -> "NetworkRanker":
        """Make a ranker from a network, and put the network into evaluation mode."""
        with torch.no_grad():
            return cls(name, network.eval(), network.item_matrix())

    def scores(self, batch: Encoded, cases: Cases) -> Floats:
        """Return scores, float32 [B, V]; with a copy head [B, V + U]. A copy head reads long histories of `PLAYS_AT_ONCE` plays
        at a time.
        """
        copy_head = self.network.copy_head
        if copy_head is None:
            return self.score(batch)
        size = max(1, PLAYS_AT_ONCE // copy_head.length)
        parts = []
        for start in range(0, len(cases), size):
            some = slice(start, start + size)
            own = cases.take(some).long_histories(copy_head.length)
            parts.append(self.score(Encoded(*(array[some] for array in batch)), own))
        width = max((part.shape[1] for part in parts), default=0)
        wide = [np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=-np.inf) for part in parts]
        return np.concatenate(wide) if wide else self.score(batch)

    def score(self, batch: Encoded, own: LongHistories | None = None) -> Floats:
        """Return scores for histories that belong to no case. For a network with a copy head, `own` has their long
        histories.
        """
        network = self.network
        with torch.no_grad():
            place = self.items_VQ.device
            read = [torch.from_numpy(array).to(place) for array in batch]
            scores_BV = network.all_scores(network.query(*read), self.items_VQ)
            if network.copy_head is not None and own is not None:
                copied = network.copy_head(tuple(torch.from_numpy(array).to(place) for array in own))
                scores_BV = network.copy_head.mix(scores_BV, *copied)
            if network.session_memory is not None:
                scores_BV = network.session_memory.add(scores_BV, *read[:2])
            scores: Floats = network.proposable(scores_BV, read[0]).cpu().numpy()
        return scores


@dataclass(frozen=True, slots=True)
class BestPossible:
    """A ranker for simulated logs that knows each simulated listener's taste. No model can be better.

    It reads the cases and not their encoded histories. If the cases suppose an outcome of the last play, so does it. It also
    proposes the listener's own tracks that the vocabulary does not know.
    """

    truth: Truth
    split: Split
    name: str = "best possible"

    def scores(self, batch: Encoded, cases: Cases) -> Floats:  # noqa: ARG002 (a Ranker's signature)
        """Return scores, float32 [B, V + U]."""
        sequences = self.split.sequences
        users = [sequences.users[user] for user in cases.user.tolist()]
        unknown = [own_unknown_names(cases, case) for case in range(len(cases))]
        others = {name: place for place, name in enumerate(dict.fromkeys(chain.from_iterable(unknown)))}
        known = self.split.vocabulary.tracks
        best = best_scores(
            self.truth, users, sequences.at_ms[cases.entry], [*known, *others], supposed=self._supposed(cases)
        ).astype(np.float32)
        scores_BW = np.full((len(cases), cases.size + max(map(len, unknown), default=0)), -np.inf, np.float32)
        scores_BW[:, FIRST : cases.size] = best[:, : len(known)]
        for line, scores, names in zip(scores_BW, best[:, len(known) :], unknown, strict=True):
            line[cases.size : cases.size + len(names)] = scores[[others[name] for name in names]]
        return scores_BW

    def _supposed(self, cases: Cases) -> LastPlay | None:
        """Return how the cases say that the play before each ended, if they say so. It matters only within a session."""
        if cases.last_outcome is None:
            return None
        sequences, before = self.split.sequences, cases.entry - 1
        follows = (before >= cases.first) & (sequences.session[before] == sequences.session[cases.entry])
        tracks = [
            sequences.tracks[track] if same else None
            for track, same in zip(sequences.track[before].tolist(), follows.tolist(), strict=True)
        ]
        return LastPlay(tracks, skipped=not cases.last_outcome.wanted)
