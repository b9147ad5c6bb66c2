"""Explains the tracks of a reply: encodes the history without each of its tracks, and lets the model score the proposed tracks
after each.

`service.explanations` has the rules by which scores become explanations.
"""

import asyncio
from collections.abc import Mapping, Sequence

from model.artifact import Artifact
from model.events import Entry
from service.encoder import HistoryEncoder
from service.errors import UnavailableError
from service.explanations import REFERENCE, Explanation, explain, tracks_to_leave_out, without
from service.ranking import Ranking

AT_ONCE = 8
"""Histories that are encoded before other requests are handled."""


class Explainer:
    """Explains the proposals of one model."""

    def __init__(self, artifact: Artifact, encoder: HistoryEncoder, ranking: Ranking) -> None:
        self._vocabulary, self._artists = artifact.vocabulary, artifact.catalogue_index.artists
        self._encoder, self._ranking = encoder, ranking
        self._reference = list(artifact.popular[:REFERENCE])

    async def explain(
        self, track_ids: Sequence[str], entries: Sequence[Entry], session: Sequence[Entry], now_ms: int
    ) -> Mapping[str, Explanation]:
        """Return an explanation for each proposed track. The mapping is empty if the model is too busy or fails. It leaves out
        tracks that the model cannot score.
        """
        left_out = tracks_to_leave_out(entries, track_ids)
        histories = []
        for number, some in enumerate([entries, [], *(without(entries, one) for one in left_out)]):
            histories.append(self._encoder.encode(some, session, now_ms))
            if number % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
        known = self._ranking.scorable(histories[0], track_ids)
        if not known:
            return {}
        try:
            score_K, unheard_K, *less_NK = await self._ranking.compare(histories, known, self._reference)
        except UnavailableError:
            return {}
        return {
            track_id: explain(
                track_id,
                score_K[place],
                unheard_K[place],
                {one: less_K[place] for one, less_K in zip(left_out, less_NK, strict=True)},
                lambda other, track_id=track_id: self._same_artist(other, track_id),  # type: ignore[misc]  # mypy infers no lambda with a default
            )
            for place, track_id in enumerate(known)
        }

    def _same_artist(self, one: str, other: str) -> bool:
        artist, of_other = map(self._artists.label, self._vocabulary.rows([one, other]))
        return artist is not None and artist == of_other
