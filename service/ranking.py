"""Scores what may be proposed: the best tracks of the catalogue, or given candidates.

It turns track ids into rows for the scorer, a listener's own tracks without a row among them, and rows into track ids.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from model.artifact import Artifact
from model.vocabulary import UNKNOWN
from service.encoder import EncodedHistory
from service.scoring.batcher import Scorer

SLICE = 1_000
"""Tracks of one request that are looked up, or scored, at once. Other requests are served between two slices."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranked:
    """Tracks with their rows and scores, best first. `is_all` says that there are no others that may be proposed."""

    track_ids: Sequence[str]
    rows: Sequence[int]
    scores: Sequence[float]
    is_all: bool
    ran_s: float = 0.0


NOTHING = Ranked(track_ids=(), rows=(), scores=(), is_all=True)


class Ranking:
    """Ranks tracks with one artifact's scorer."""

    def __init__(self, artifact: Artifact, scorer: Scorer) -> None:
        self._vocabulary, self._scorer = artifact.vocabulary, scorer

    async def best(self, history: EncodedHistory, masked: Collection[str], count: int) -> Ranked:
        """The `count` best tracks after a history that are not masked; fewer if there are no more."""
        size, unknown = len(self._vocabulary), history.unknown
        own_masked = [size + place for place, track_id in enumerate(unknown) if track_id in masked]
        scored = await self._scorer.best(history.rows, [*await self._known_rows(masked), *own_masked], count)
        return Ranked(
            track_ids=self._named(scored.rows, unknown),
            rows=scored.rows,
            scores=scored.scores,
            is_all=len(scored.rows) < count,
            ran_s=scored.ran_s,
        )

    async def rank(self, history: EncodedHistory, candidates: Sequence[str]) -> Ranked:
        """All candidates, best first. Those that nobody knows come last, in the order that they were given in."""
        if not candidates:
            return NOTHING
        local = {track_id: len(self._vocabulary) + place for place, track_id in enumerate(history.unknown)}
        rows: list[int] = []
        scores: list[float] = []
        ran_s = 0.0
        for start in range(0, len(candidates), SLICE):
            some = [local.get(track_id) or self._vocabulary.row(track_id) for track_id in candidates[start : start + SLICE]]
            scored = await self._scorer.rank(history.rows, some)
            rows += some
            scores += scored.scores
            ran_s += scored.ran_s
        order = np.lexsort((-np.array(scores), np.array(rows) == UNKNOWN)).tolist()
        return Ranked(
            track_ids=[candidates[place] for place in order],
            rows=[rows[place] for place in order],
            scores=[scores[place] for place in order],
            is_all=True,
            ran_s=ran_s,
        )

    def _named(self, rows: Sequence[int], unknown: Sequence[str]) -> list[str]:
        """The tracks of rows, of which those after the vocabulary's last stand for the listener's `unknown` ones."""
        if not unknown:
            return self._vocabulary.named(rows)
        size = len(self._vocabulary)
        return [unknown[row - size] if row >= size else self._vocabulary.track(row) for row in rows]

    async def _known_rows(self, track_ids: Collection[str]) -> Sequence[int]:
        """The rows of those tracks that are known. Of many, a slice at a time, so that other requests are handled between."""
        if len(track_ids) <= SLICE:
            return self._vocabulary.known_rows(track_ids)
        rows: list[int] = []
        left = list(track_ids)
        for start in range(0, len(left), SLICE):
            rows += self._vocabulary.known_rows(left[start : start + SLICE])
            await asyncio.sleep(0)
        return rows
