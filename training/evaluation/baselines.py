"""Simple baselines: popularity, each item's own rate, and transitions from the last track.

Each is fitted on the parts of a split that the caller names, and scores every track like a network. None needs more than one
pass over the log. `session_knn` has a file of its own.

Shapes: B batch, V rows, P pairs (from, to) that occur.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from model.encoding import Encoded, Ints
from model.vocabulary import PADDING, UNKNOWN
from training.data.sequences import Int64s, is_wanted
from training.data.split import TRAIN, Split
from training.evaluation.cases import Cases
from training.evaluation.metrics import Floats

DAY_MS = 86_400_000
FALLBACK = 1e-3
"""Weight of popularity behind a baseline's own scores: enough to order ties and to fill a list, too little for more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Constant:
    """A ranker with the same scores for every history."""

    name: str
    values_V: Floats

    def scores(self, batch: Encoded, cases: Cases) -> Floats:  # noqa: ARG002 (a Ranker's signature)
        """Return scores, float32 [B, V]."""
        return np.broadcast_to(self.values_V, (len(batch.tracks), len(self.values_V)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Markov:
    """A ranker that scores how often each track followed the last wanted track. Popularity orders the tracks that never did."""

    name: str
    offsets: Int64s  # [V + 1]: followers of row v stand at offsets[v] to offsets[v + 1] - 1
    to: Int64s  # [P]
    weight: Floats  # [P]
    popularity_V: Floats

    def scores(self, batch: Encoded, cases: Cases) -> Floats:  # noqa: ARG002 (a Ranker's signature)
        """Return scores, float32 [B, V]."""
        last_B = last_wanted(batch)
        scores_BV = np.tile(self.popularity_V * FALLBACK, (len(last_B), 1))
        for scores_V, last in zip(scores_BV, last_B, strict=True):
            followers = slice(self.offsets[last], self.offsets[last + 1])
            scores_V[self.to[followers]] += self.weight[followers]
        return scores_BV


def popular(split: Split, *, parts: Collection[int] = (TRAIN,), half_life_days: float | None = None) -> Constant:
    """Make a ranker that scores each track by its number of wanted plays in `parts`.

    With `half_life_days`, a play's weight halves with every `half_life_days` between the play and the end of the parts.
    """
    name = "popular" if half_life_days is None else f"popular, {half_life_days:g} days"
    return Constant(name=name, values_V=_popularity(split, parts, half_life_days))


def item_rate(split: Split, *, parts: Collection[int] = (TRAIN,), strength: float = 20.0) -> Constant:
    """Make a ranker that scores each track by the share of its plays that were wanted, shrunk towards the mean share.

    The score is (wanted + strength * mean) / (plays + strength), as if each track had `strength` more plays at the mean rate.
    """
    learned = split.known(parts)
    rows, wanted = split.row[learned], is_wanted(split.sequences.outcome[learned])
    size = len(split.vocabulary)
    kept_V, plays_V = np.bincount(rows[wanted], minlength=size), np.bincount(rows, minlength=size)
    rate_V = (kept_V + strength * wanted.mean()) / (plays_V + strength)
    return Constant(name="item rate", values_V=rate_V.astype(np.float32))


def markov(split: Split, *, parts: Collection[int] = (TRAIN,), refused: float = 0.0) -> Markov:
    """Make a ranker from counts of which track was wanted next after each wanted track of the same sequence.

    With `refused`, each time that a track was refused next subtracts this weight from its count. The history may reach into
    other parts, as for a model. The next track must be in `parts`.
    """
    previous = _previous_wanted(split)
    followed = np.flatnonzero(split.known(parts) & (previous >= 0))
    wanted = is_wanted(split.sequences.outcome[followed])
    if not refused:
        followed, wanted = followed[wanted], wanted[wanted]
    size = len(split.vocabulary)
    pairs, place = np.unique(split.row[previous[followed]].astype(np.int64) * size + split.row[followed], return_inverse=True)
    return Markov(
        name="markov" if not refused else "markov, knows skips",
        offsets=np.searchsorted(pairs, np.arange(size + 1, dtype=np.int64) * size),
        to=pairs % size,
        weight=np.bincount(place, np.where(wanted, 1.0, -refused), len(pairs)).astype(np.float32),
        popularity_V=scaled_popularity(split, parts),
    )


def scaled_popularity(split: Split, parts: Collection[int]) -> Floats:
    """Return each track's play count divided by the largest count, `[V]`. Rankers add a small multiple of it, so that
    popularity orders what they do not know.
    """
    counts_V = _popularity(split, parts, None)
    return counts_V / max(1.0, float(counts_V.max()))


def last_wanted(batch: Encoded) -> Ints:
    """Return the row of the newest wanted track of each history [B]; `PADDING` if it has none."""
    wanted_BT = is_wanted(batch.outcomes)
    place_B = wanted_BT.shape[1] - 1 - wanted_BT[:, ::-1].argmax(axis=1)
    return np.where(wanted_BT.any(axis=1), batch.tracks[np.arange(len(place_B)), place_B], PADDING)


def _popularity(split: Split, parts: Collection[int], half_life_days: float | None) -> Floats:
    chosen = split.known(parts) & is_wanted(split.sequences.outcome)
    at_ms = split.sequences.at_ms[chosen]
    weight = None
    if half_life_days is not None:
        weight = 0.5 ** ((at_ms.max(initial=0) - at_ms) / (half_life_days * DAY_MS))
    return np.bincount(split.row[chosen], weight, minlength=len(split.vocabulary)).astype(np.float32)


def _previous_wanted(split: Split) -> Int64s:
    """Return for each entry the newest known wanted entry before it in its sequence, as an index [N]; -1 if there is none."""
    places = np.arange(len(split.row), dtype=np.int64)
    so_far = np.maximum.accumulate(np.where(is_wanted(split.sequences.outcome) & (split.row != UNKNOWN), places, -1))
    previous = np.concatenate([np.full(1, -1, np.int64), so_far[:-1]])[: len(places)]
    return np.where(previous >= split.sequences.starts, previous, -1)
