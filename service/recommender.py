"""Decides what a listener should hear next: reads the history, encodes it, scores, masks, takes the best tracks.

The masks are the tracks skipped in the current session, the disliked ones, those that the request excludes, and, unless
switched off, those already played in the session. The graph masks before it takes the best, so a mask never shortens a reply.

If the store or the model fails, the reply has the artifact's popular tracks, says so and is counted. The same masks apply. If
the store is the one that failed, the masks are those that this process has seen lately (`service.store.recent_masks`).

It knows neither HTTP nor Redis nor ONNX: it is given a session store and a scorer.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from model.artifact import Artifact
from model.encoding import RowHistory, read_entries, rows_of
from model.events import Entry, History, Outcome, Span
from model.long_history import OwnHistory, long_history_of
from model.vocabulary import FIRST, UNKNOWN
from service.errors import ScorerUnavailableError, StoreUnavailableError
from service.scoring.batcher import Scorer
from service.scoring.batches import Scored
from service.store.recent_masks import Masks, RecentMasks
from service.store.sessions import HistoryReader, Remembered, SessionStore

SPARE = 5
"""With an artist gap, so many times the wanted tracks are scored. More than that are rarely left out."""

SLICE = 1_000
"""Tracks of one request that are looked up, or scored, at once. Other requests are served between two slices."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """A request: how many tracks, which ones not, and, if `candidates` are given, from which ones only."""

    count: int = 10
    exclude: Sequence[str] = ()
    candidates: Sequence[str] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Recommendation:
    """Tracks with their scores, best first, and their source. `ran_s` is the model's run time."""

    tracks: Sequence[tuple[str, float]]
    source: Literal["model", "popular"] = "model"
    ran_s: float | None = None


class Recommender:
    """Proposes what to play next, with one artifact."""

    def __init__(
        self,
        artifact: Artifact,
        scorer: Scorer,
        store: SessionStore,
        masks: RecentMasks,
        *,
        exclude_played: bool,
        artist_gap: int,
        degraded: Callable[[str], None],
    ) -> None:
        """`degraded` is told the reason (`redis`, `model`) of each reply from popularity; `masks` serve if the store fails."""
        self._vocabulary = artifact.vocabulary
        self._rule = artifact.manifest.history
        self._long_history = artifact.manifest.long_history
        length = max(self._rule.length, self._long_history)
        self.reader = HistoryReader(replace(self._rule, length=length), artifact.vocabulary.knows)
        self._reads_gaps = "gaps" in artifact.manifest.inputs
        self._popular = [artifact.vocabulary.track(row) for row in artifact.popular]
        self._artists = artifact.catalogue.artists if artifact.catalogue else None
        self._artist_gap = artist_gap if artifact.catalogue else 0
        self._scorer, self._store, self._recent = scorer, store, masks
        self._exclude_played = exclude_played
        self._degraded = degraded

    async def for_listener(self, user_id: str, query: Query, now_ms: int) -> Recommendation:
        """Returns what a listener should hear next. For an unknown listener that is the model's answer to an empty history."""
        try:
            remembered = await self._store.read(user_id, now_ms, self.reader)
        except StoreUnavailableError:
            self._degraded("redis")
            return self._popular_ones(query, self._masked(self._recent.of(user_id), query))
        return await self._propose(remembered, query, now_ms, user_id)

    def read_entries(self, remembered: Remembered, now_ms: int) -> Sequence[Entry]:
        """Returns the entries of a listener's history that the model reads at `now_ms`, oldest first.

        A copy head reads tracks that the vocabulary does not know too.
        """
        entries = self._entries(remembered, now_ms)
        if self._long_history:
            return entries[-self._long_history :]
        return read_entries(entries, self._vocabulary, length=self._rule.length)

    async def for_history(self, plays: Sequence[tuple[str, Outcome]], query: Query) -> Recommendation:
        """Returns what should follow `plays`: one session that goes on, oldest first. The store is not read."""
        entries = tuple(
            Entry(track_id, outcome, place, outcome is Outcome.SKIPPED, 0) for place, (track_id, outcome) in enumerate(plays)
        )
        last_word = {track_id: outcome for track_id, outcome in plays if outcome in (Outcome.LIKED, Outcome.DISLIKED)}
        remembered = Remembered(
            history=History(entries=entries, spans=(Span(len(plays), len(plays)),)),
            disliked=frozenset(track_id for track_id, outcome in last_word.items() if outcome is Outcome.DISLIKED),
        )
        return await self._propose(remembered, query, now_ms=len(plays))

    async def _propose(self, remembered: Remembered, query: Query, now_ms: int, user_id: str | None = None) -> Recommendation:
        asked_ms = now_ms if self._reads_gaps else None
        entries, session = self._entries(remembered, now_ms), remembered.history.session(now_ms)
        history = rows_of(entries, self._vocabulary, length=self._rule.length, now_ms=asked_ms)
        own = self._own(entries, session, now_ms)
        history = replace(history, own=own.encoded) if own else history
        unknown = own.unknown if own else ()
        masks = Masks(
            skipped=remembered.history.skipped(now_ms),
            played=[entry.track_id for entry in session],
            disliked=remembered.disliked,
        )
        if user_id is not None:
            self._recent.read(user_id, masks)
        masked = self._masked(masks, query)
        try:
            if query.candidates is None:
                return await self._best(history, unknown, masked, query.count)
            return await self._rank(history, unknown, masked, query.candidates, query.count)
        except ScorerUnavailableError:
            self._degraded("model")
            return self._popular_ones(query, masked)

    def _entries(self, remembered: Remembered, now_ms: int) -> Sequence[Entry]:
        return remembered.history.entries if self._rule.scope == "user" else remembered.history.session(now_ms)

    def _own(self, entries: Sequence[Entry], session: Sequence[Entry], now_ms: int) -> OwnHistory | None:
        """The long history, if the artifact has a copy head to read it."""
        if not self._long_history:
            return None
        going_on = {entry.session for entry in session}
        return long_history_of(entries, self._vocabulary, length=self._long_history, now_ms=now_ms, going_on=going_on)

    async def _best(self, history: RowHistory, unknown: Sequence[str], masked: set[str], count: int) -> Recommendation:
        fetched = count * SPARE if self._artist_gap else count
        size = len(self._vocabulary)
        own_masked = [size + place for place, track_id in enumerate(unknown) if track_id in masked]
        scored = await self._scorer.best(history, [*await self._known_rows(masked), *own_masked], fetched)
        named = self._vocabulary.named(scored.rows) if not unknown else self._named(scored.rows, unknown)
        return self._reply(list(zip(named, scored.scores, strict=True)), count, scored)

    def _named(self, rows: Sequence[int], unknown: Sequence[str]) -> list[str]:
        """The tracks of rows, of which those after the vocabulary's last stand for the listener's `unknown` ones."""
        size = len(self._vocabulary)
        return [unknown[row - size] if row >= size else self._vocabulary.track(row) for row in rows]

    async def _rank(
        self, history: RowHistory, unknown: Sequence[str], masked: set[str], candidates: Sequence[str], count: int
    ) -> Recommendation:
        wanted = [track_id for track_id in dict.fromkeys(candidates) if track_id not in masked]
        if not wanted:
            return Recommendation(tracks=[])
        local = {track_id: len(self._vocabulary) + place for place, track_id in enumerate(unknown)}
        rows: list[int] = []
        scores: list[float] = []
        ran_s = 0.0
        for start in range(0, len(wanted), SLICE):
            asked = wanted[start : start + SLICE]
            some = [local.get(track_id) or self._vocabulary.row(track_id) for track_id in asked]
            scored = await self._scorer.rank(history, some)
            rows += some
            scores += scored.scores
            ran_s += scored.ran_s
        order = np.lexsort((-np.array(scores), np.array(rows) == UNKNOWN)).tolist()
        return self._reply([(wanted[place], scores[place]) for place in order], count, Scored(rows, scores, ran_s))

    async def _known_rows(self, track_ids: set[str]) -> Sequence[int]:
        """The rows of those tracks that are known. Of many, a slice at a time, so that other requests are handled between."""
        if len(track_ids) <= SLICE:
            return self._vocabulary.known_rows(track_ids)
        rows: list[int] = []
        left = list(track_ids)
        for start in range(0, len(left), SLICE):
            rows += self._vocabulary.known_rows(left[start : start + SLICE])
            await asyncio.sleep(0)
        return rows

    def _reply(self, tracks: Sequence[tuple[str, float]], count: int, scored: Scored) -> Recommendation:
        return Recommendation(tracks=self._apart(tracks)[:count], ran_s=scored.ran_s)

    def _masked(self, masks: Masks, query: Query) -> set[str]:
        return {*masks.skipped, *masks.disliked, *query.exclude, *(masks.played if self._exclude_played else ())}

    def _popular_ones(self, query: Query, masked: set[str]) -> Recommendation:
        """Returns the most popular tracks that are not masked, from the candidates if there are any. Scores fall from 1."""
        tracks: Iterable[str] = self._popular
        if query.candidates is not None:
            places = {track_id: place for place, track_id in enumerate(self._popular)}
            tracks = sorted(dict.fromkeys(query.candidates), key=lambda track_id: places.get(track_id, len(places)))
        left = [track_id for track_id in tracks if track_id not in masked]
        scored = [(track_id, 1 / place) for place, track_id in enumerate(left, start=1)]
        return Recommendation(tracks=self._apart(scored)[: query.count], source="popular")

    def _apart(self, tracks: Sequence[tuple[str, float]]) -> Sequence[tuple[str, float]]:
        """Removes each track whose artist has one within the gap before it. The order stays."""
        if not self._artist_gap or self._artists is None:
            return tracks
        kept: list[tuple[str, float]] = []
        places: dict[str, int] = {}
        for track_id, score in tracks:
            row = self._vocabulary.row(track_id)
            artist = None if row == UNKNOWN else self._artists[row - FIRST]
            if artist is not None and len(kept) - places.get(artist, -self._artist_gap) < self._artist_gap:
                continue
            if artist is not None:
                places[artist] = len(kept)
            kept.append((track_id, score))
        return kept
