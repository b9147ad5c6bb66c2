"""Scores what may be proposed: the best tracks of the catalogue, or given candidates.

It turns track ids into rows for the scorer, a listener's own tracks without a row among them, and rows into track ids.
"""

import asyncio
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from model.artifact import Artifact
from model.rules import novelty_shift
from model.vocabulary import UNKNOWN
from service.blocks import Blocked
from service.encoder import EncodedHistory
from service.look_up import SLICE, known_rows
from service.scoring.batcher import Scorer

SPARE = 50
"""Tracks that are scored beyond the wanted ones if more rows are blocked than the scorer should mask at each request."""


@dataclass(kw_only=True, slots=True)
class Ranked:
    """Tracks with their rows and scores, best first. `is_all` says that no other track may be proposed."""

    track_ids: Sequence[str]
    rows: Sequence[int]
    scores: Sequence[float]
    is_all: bool
    ran_s: float = 0.0

    def sure_scores(self) -> Sequence[float]:
        """Return the scores, with -inf for tracks that the model does not know, because its scores of them mean nothing."""
        if UNKNOWN not in self.rows:
            return self.scores
        return [-math.inf if row == UNKNOWN else score for row, score in zip(self.rows, self.scores, strict=True)]


def shifted(ranked: Ranked, heard: Collection[str], fall: float) -> Ranked:
    """Lower the scores of the `heard` tracks by `fall` and sort the ranking again. A negative `fall` raises them.

    Tracks that the model does not know stay last. An infinite `fall` removes the heard tracks, or if negative, all other
    tracks.
    """
    is_heard = np.array([track_id in heard for track_id in ranked.track_ids], np.bool_)
    scores = np.array(ranked.scores)
    kept = np.ones(len(scores), np.bool_) if math.isfinite(fall) else is_heard == (fall < 0)
    scores = scores - fall * is_heard if math.isfinite(fall) else scores
    order = np.lexsort((-scores, np.array(ranked.rows) == UNKNOWN))
    return _reordered(ranked, order[kept[order]].tolist(), scores.tolist())


def joined(one: Ranked, other: Ranked) -> Ranked:
    """Concatenate two rankings that have no track in common. `is_all` is taken from the second one."""
    return Ranked(
        track_ids=[*one.track_ids, *other.track_ids],
        rows=[*one.rows, *other.rows],
        scores=[*one.scores, *other.scores],
        is_all=other.is_all,
        ran_s=one.ran_s + other.ran_s,
    )


def _reordered(ranked: Ranked, order: Sequence[int], scores: Sequence[float]) -> Ranked:
    return Ranked(
        track_ids=[ranked.track_ids[place] for place in order],
        rows=[ranked.rows[place] for place in order],
        scores=[scores[place] for place in order],
        is_all=ranked.is_all,
        ran_s=ranked.ran_s,
    )


class Ranking:
    """Ranks tracks with one artifact's scorer."""

    def __init__(self, artifact: Artifact, scorer: Scorer) -> None:
        self._vocabulary, self._scorer = artifact.vocabulary, scorer

    async def best(self, history: EncodedHistory, masked: Collection[str], blocked: Blocked | None, count: int) -> Ranked:
        """Return the `count` best tracks after a history that are neither masked nor blocked; fewer if there are no more.

        The scorer masks up to `FEW` blocked rows a list. Masking thousands would cost more than scoring, so then spare tracks
        are scored and the blocked ones removed. If too few are left, the scorer runs again and masks all of them.
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
        return replace(_reordered(ranked, allowed, ranked.scores), is_all=len(allowed) < count)

    async def rank(self, history: EncodedHistory, candidates: Sequence[str], blocked: Blocked | None) -> Ranked:
        """Return all candidates that are not blocked, best first. Candidates that the model does not know come last, in the
        given order.
        """
        allowed: list[str] = []
        rows: list[int] = []
        scores: list[float] = []
        ran_s = 0.0
        for start in range(0, len(candidates), SLICE):
            asked = [one for one in candidates[start : start + SLICE] if blocked is None or one not in blocked]
            if not asked:
                await asyncio.sleep(0)
                continue
            some = self._rows(history, asked)
            scored = await self._scorer.rank(history.rows, some)
            allowed += asked
            rows += some
            scores += scored.scores
            ran_s += scored.ran_s
        order = np.lexsort((-np.array(scores), np.array(rows) == UNKNOWN)).tolist()
        return _reordered(Ranked(track_ids=allowed, rows=rows, scores=scores, is_all=True, ran_s=ran_s), order, scores)

    async def _scored(self, history: EncodedHistory, masked_rows: Sequence[int], count: int) -> Ranked:
        rows, scores, ran_s, _ = await self._scorer.best(history.rows, masked_rows, count)
        track_ids = self._named(rows, history.unknown)
        return Ranked(track_ids=track_ids, rows=rows, scores=scores, is_all=len(rows) < count, ran_s=ran_s)

    def _own_masked(self, history: EncodedHistory, masked: Collection[str], blocked: Blocked | None) -> list[int]:
        """Return the rows of the listener's own unknown tracks that are masked or blocked. Such rows follow the vocabulary's
        last row.
        """
        if not history.unknown:
            return []
        own = enumerate(history.unknown, len(self._vocabulary))
        return [row for row, track_id in own if track_id in masked or (blocked is not None and track_id in blocked)]

    async def by_novelty(
        self,
        history: EncodedHistory,
        masked: Collection[str],
        blocked: Blocked | None,
        *,
        heard: Collection[str],
        novelty: float,
        count: int,
    ) -> Ranked:
        """Return the `count` best tracks that are neither masked nor blocked, after the scores of all `heard` tracks are
        shifted by `novelty`.

        To lower the heard tracks, as many more tracks are fetched. To raise them, they are ranked separately, beside the best
        other tracks.
        """
        fall, heard = novelty_shift(novelty), sorted(self.scorable(history, [one for one in heard if one not in masked]))
        if fall >= 0:
            return shifted(await self.best(history, masked, blocked, count + len(heard)), frozenset(heard), fall)
        familiar = self.rank(history, heard, blocked)
        if fall == -math.inf:
            return await familiar
        others, own = await asyncio.gather(self.best(history, {*masked, *heard}, blocked, count), familiar)
        return shifted(joined(own, others), frozenset(heard), fall)

    def scorable(self, history: EncodedHistory, track_ids: Sequence[str]) -> list[str]:
        """Return those of `track_ids` that the model can score after a history, in order: tracks with a row, and the listener's
        own tracks.
        """
        return [one for one, row in zip(track_ids, self._rows(history, track_ids), strict=True) if row != UNKNOWN]

    async def compare(
        self, histories: Sequence[EncodedHistory], track_ids: Sequence[str], reference: Sequence[int]
    ) -> Sequence[Sequence[float]]:
        """Return the score of each track after each history, less the median score of the `reference` rows. Runs only while no
        other request waits.

        A track that is unknown to the model and not in the history scores -inf.
        """
        rows = [self._rows(history, track_ids) for history in histories]
        scored = await self._scorer.rank_each([history.rows for history in histories], [[*some, *reference] for some in rows])
        compared = []
        for some, found in zip(rows, scored, strict=True):
            level = float(np.median(found.scores[len(some) :]))
            scores = zip(some, found.scores, strict=False)
            compared.append([-math.inf if row == UNKNOWN else score - level for row, score in scores])
        return compared

    def _rows(self, history: EncodedHistory, track_ids: Sequence[str]) -> list[int]:
        """Return the rows of tracks. The listener's own unknown tracks have rows after the vocabulary's last one, in order."""
        rows = self._vocabulary.rows(track_ids)
        if not history.unknown or UNKNOWN not in rows:
            return rows
        own = {track_id: row for row, track_id in enumerate(history.unknown, len(self._vocabulary))}
        return [own.get(one, UNKNOWN) if row == UNKNOWN else row for one, row in zip(track_ids, rows, strict=True)]

    def _named(self, rows: Sequence[int], unknown: Sequence[str]) -> list[str]:
        """Return the track ids of rows. Rows after the vocabulary's last one stand for the listener's `unknown` tracks, in
        order.
        """
        if not unknown:
            return self._vocabulary.named(rows)
        size = len(self._vocabulary)
        return [unknown[row - size] if row >= size else self._vocabulary.track(row) for row in rows]
