"""Scores what may be proposed: the best tracks of the catalogue, or given candidates.

It turns track ids into rows for the scorer, a listener's own tracks without a row among them, and rows into track ids.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from model.artifact import Artifact
from model.vocabulary import UNKNOWN
from service.blocks import Blocked
from service.encoder import EncodedHistory
from service.look_up import SLICE, known_rows
from service.scoring.batcher import Scorer

SPARE = 50
"""Tracks that are scored beyond the wanted ones if more rows are blocked than the scorer should mask at each request."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranked:
    """Tracks with their rows and scores, best first. `is_all` says that there are no others that may be proposed."""

    track_ids: Sequence[str]
    rows: Sequence[int]
    scores: Sequence[float]
    is_all: bool
    ran_s: float = 0.0


class Ranking:
    """Ranks tracks with one artifact's scorer."""

    def __init__(self, artifact: Artifact, scorer: Scorer) -> None:
        self._vocabulary, self._scorer = artifact.vocabulary, scorer

    async def best(self, history: EncodedHistory, masked: Collection[str], blocked: Blocked | None, count: int) -> Ranked:
        """The `count` best tracks after a history that are neither masked nor blocked; fewer if there are no more.

        The scorer masks a few blocked rows. To mask thousands would cost more than to score, so then spare tracks are scored
        and the blocked ones removed. If too few are left, the scorer is asked again and masks all.
        """
        rows = [*await known_rows(self._vocabulary, masked), *self._own_masked(history, masked, blocked)]
        if blocked is None:
            return await self._scored(history, rows, count)
        if (few := blocked.few()) is not None:
            return await self._scored(history, [*rows, *few], count)
        ranked = await self._scored(history, rows, count + SPARE)
        allowed = [place for place, track_id in enumerate(ranked.track_ids) if track_id not in blocked][:count]
        if len(allowed) < min(count, len(ranked.rows)):
            again = await self._scored(history, [*rows, *await blocked.rows()], count)
            return replace(again, ran_s=ranked.ran_s + again.ran_s)
        return Ranked(
            track_ids=[ranked.track_ids[place] for place in allowed],
            rows=[ranked.rows[place] for place in allowed],
            scores=[ranked.scores[place] for place in allowed],
            is_all=len(allowed) < count,
            ran_s=ranked.ran_s,
        )

    async def rank(self, history: EncodedHistory, candidates: Sequence[str], blocked: Blocked | None) -> Ranked:
        """All candidates that are not blocked, best first. Those that nobody knows come last, in the order that they were
        given in.
        """
        local = {track_id: len(self._vocabulary) + place for place, track_id in enumerate(history.unknown)}
        allowed: list[str] = []
        rows: list[int] = []
        scores: list[float] = []
        ran_s = 0.0
        for start in range(0, len(candidates), SLICE):
            asked = [one for one in candidates[start : start + SLICE] if blocked is None or one not in blocked]
            if not asked:
                await asyncio.sleep(0)
                continue
            some = [local.get(track_id) or self._vocabulary.row(track_id) for track_id in asked]
            scored = await self._scorer.rank(history.rows, some)
            allowed += asked
            rows += some
            scores += scored.scores
            ran_s += scored.ran_s
        order = np.lexsort((-np.array(scores), np.array(rows) == UNKNOWN)).tolist()
        return Ranked(
            track_ids=[allowed[place] for place in order],
            rows=[rows[place] for place in order],
            scores=[scores[place] for place in order],
            is_all=True,
            ran_s=ran_s,
        )

    async def _scored(self, history: EncodedHistory, masked_rows: Sequence[int], count: int) -> Ranked:
        scored = await self._scorer.best(history.rows, masked_rows, count)
        return Ranked(
            track_ids=self._named(scored.rows, history.unknown),
            rows=scored.rows,
            scores=scored.scores,
            is_all=len(scored.rows) < count,
            ran_s=scored.ran_s,
        )

    def _own_masked(self, history: EncodedHistory, masked: Collection[str], blocked: Blocked | None) -> list[int]:
        """The rows of a listener's own tracks that must not be proposed; they come after the vocabulary's last row."""
        own = enumerate(history.unknown, len(self._vocabulary))
        return [row for row, track_id in own if track_id in masked or (blocked is not None and track_id in blocked)]

    def _named(self, rows: Sequence[int], unknown: Sequence[str]) -> list[str]:
        """The tracks of rows, of which those after the vocabulary's last stand for the listener's `unknown` ones."""
        if not unknown:
            return self._vocabulary.named(rows)
        size = len(self._vocabulary)
        return [unknown[row - size] if row >= size else self._vocabulary.track(row) for row in rows]
