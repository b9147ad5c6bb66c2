"""Decides what a listener should hear next: reads the history, encodes it, scores, masks, takes the best tracks.

The masks are the tracks skipped in the current session, the disliked ones and those that the request excludes. Tracks played
in the session are masked too, unless the request allows them. The graph masks before it takes the best, so a mask never
shortens a reply. Blocks keep tracks, artists and albums out (`service.blocks`). The rules of `service.rules` mask more and put
the tracks in order. If they leave too few, more tracks are scored.

If the store or the model fails, the reply has the artifact's popular tracks, says so and is counted. The same masks apply. If
the store is the one that failed, the masks are those that this process has seen lately (`service.store.recent_masks`).

It knows neither HTTP nor Redis nor ONNX: it is given a session store and a scorer.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Literal

from model.artifact import Artifact
from model.events import Entry, History, Outcome, Span, entry_of
from model.rules import MOST_SCORED, POOL, arrange, exploring, novelty_shift
from service.blocks import Blocked, Blocks, read_block
from service.encoder import EncodedHistory, HistoryEncoder
from service.errors import ScorerUnavailableError, StoreUnavailableError
from service.explanations import POPULAR, Explanation
from service.leave_one_out import Explainer
from service.ranking import Ranked, Ranking, shifted
from service.rules import AskedRules, Gap, Rules, Spacings, heard_tracks, masked
from service.scoring.batcher import Scorer
from service.store.recent_masks import Masks, RecentMasks
from service.store.sessions import Remembered, SessionStore
from service.take_downs import TakeDowns

SPARE = (5, 50)
"""Where tracks have to be spaced, so many times the wanted ones are scored, and at last `MOST_SCORED`, if these are too
few.
"""

_SKIPPED, _LIKED = Outcome.SKIPPED, Outcome.LIKED  # looking up an enum's member is slow


@dataclass(kw_only=True, slots=True)  # objects of each request are not frozen, because that takes twice the time
class Query:
    """What a request asks for: `count` tracks without those in `exclude`, only from `candidates` if given, by `rules`.

    Requests with the same `seed` get the same random draws. The route sets it.
    """

    count: int = 10
    exclude: Sequence[str] = ()
    candidates: Sequence[str] | None = None
    rules: AskedRules = field(default_factory=AskedRules)
    seed: str = ""


@dataclass(kw_only=True, slots=True)
class Recommendation:
    """Proposed tracks with their scores, best first, and their source. `ran_s` is the model's run time.

    `explored` maps each track that was drawn at random to the probability of its draw. `explanations` are by track. A track has
    none if the request asked for none, if the model does not know the track, or if the model is too busy.
    """

    tracks: Sequence[tuple[str, float]]
    source: Literal["model", "popular"] = "model"
    ran_s: float | None = None
    explored: Mapping[str, float] = field(default_factory=dict)
    explanations: Mapping[str, Explanation] = field(default_factory=dict)

    @property
    def track_ids(self) -> Sequence[str]:
        """Return the tracks without their scores."""
        return [track_id for track_id, _ in self.tracks]


@dataclass(kw_only=True, slots=True)
class _Request:
    """Everything that decides a reply: the query, its rules, the masked and blocked tracks, and what the listener has
    played.
    """

    query: Query
    rules: Rules
    masked: set[str]
    gaps: Sequence[Gap]
    blocked: Blocked | None = None
    just_played: Sequence[str] = ()  # oldest first
    heard: Collection[str] = ()

    def allows(self, track_id: str) -> bool:
        """Return whether a track may be proposed."""
        return track_id not in self.masked and (self.blocked is None or track_id not in self.blocked)


class Recommender:
    """Proposes what to play next, with one artifact."""

    def __init__(
        self,
        artifact: Artifact,
        scorer: Scorer,
        store: SessionStore,
        masks: RecentMasks,
        take_downs: TakeDowns,
        *,
        rules: Rules,
        degraded: Callable[[str], None],
    ) -> None:
        """`rules` are used where a query sets none. `take_downs` are blocked for all listeners. If the store fails, `masks`
        replace its masks.

        `degraded` is called with the reason (`redis`, `model`) of each reply that is made from popularity.
        """
        self._encoder, self._ranking, self._spacings = HistoryEncoder(artifact), Ranking(artifact, scorer), Spacings(artifact)
        self._explainer = Explainer(artifact, self._encoder, self._ranking)
        self._artifact, self._vocabulary = artifact, artifact.vocabulary
        self._popular = [artifact.vocabulary.track(row) for row in artifact.popular]
        self._store, self._recent = store, masks
        self._take_downs = take_downs
        self._dropped = frozenset(artifact.vocabulary.named(artifact.dropped))
        self._listed: Blocks | None = None
        self._taken_down: Blocked | None = None
        self._rules = rules
        self._degraded = degraded
        self.reader = self._encoder.reader

    async def for_listener(self, user_id: str, query: Query, now_ms: int) -> Recommendation:
        """Return what a listener should hear next. A listener without events gets the model's answer to an empty history."""
        rules = self._rules.with_asked(query.rules)
        reader = self._encoder.whole_reader if rules.reads_all else self.reader
        try:
            remembered = await self._store.read(user_id, now_ms, reader)
        except StoreUnavailableError:
            self._degraded("redis")
            masks = self._recent.of(user_id)
            return self._popular_ones(
                _Request(
                    query=query,
                    rules=rules,
                    masked=self._spacings.with_other_releases(masked(rules, masks, query.exclude, Remembered(), now_ms)),
                    gaps=self._spacings.gaps(rules),
                    blocked=self._blocked(Blocks.of(filter(None, map(read_block, masks.blocks)))),
                    just_played=list(masks.played),
                )
            )
        return await self._propose(remembered, query, rules, now_ms, user_id)

    def read_entries(self, remembered: Remembered, now_ms: int) -> Sequence[Entry]:
        """Return the entries of a listener's history that the model reads at `now_ms`, oldest first."""
        return self._encoder.read_entries(remembered, now_ms)

    async def for_history(self, plays: Sequence[tuple[str, Outcome]], query: Query) -> Recommendation:
        """Return what should follow `plays`, oldest first, which count as one session that continues. The store is not read."""
        fields = [(track_id, outcome, place, outcome is _SKIPPED, 0) for place, (track_id, outcome) in enumerate(plays)]
        last_word = {track_id: outcome for track_id, outcome in plays if outcome >= _LIKED}
        remembered = Remembered(
            history=History(entries=tuple(map(entry_of, fields)), spans=(Span(len(plays), len(plays)),)),
            disliked=frozenset(track_id for track_id, outcome in last_word.items() if outcome is not _LIKED),
        )
        return await self._propose(remembered, query, self._rules.with_asked(query.rules), now_ms=len(plays))

    async def _propose(
        self, remembered: Remembered, query: Query, rules: Rules, now_ms: int, user_id: str | None = None
    ) -> Recommendation:
        session = remembered.history.session(now_ms)
        played = [entry.track_id for entry in session]
        masks = Masks(
            skipped=remembered.history.skipped(now_ms),
            played=played,
            disliked=remembered.disliked,
            blocks=[str(block) for block in remembered.blocks] if remembered.blocks else (),
        )
        if user_id is not None:
            self._recent.read(user_id, masks)
        releases = self._spacings.with_other_releases
        request = _Request(
            query=query,
            rules=rules,
            masked=releases(masked(rules, masks, query.exclude, remembered, now_ms)),
            gaps=self._spacings.gaps(rules),
            blocked=self._blocked(remembered.blocks),
            just_played=played,
            heard=releases(heard_tracks(remembered)) if rules.novelty else (),
        )
        history = self._encoder.encode(self._encoder.entries(remembered, now_ms), session, now_ms, remembered.past)
        try:
            found = await self._from_model(request, history)
        except ScorerUnavailableError:
            self._degraded("model")
            return self._popular_ones(request)
        if not rules.explain:
            return found
        read = self._encoder.read_entries(remembered, now_ms)
        found.explanations = await self._explainer.explain(found.track_ids, read, session, now_ms)
        return found

    def _blocked(self, blocks: Blocks) -> Blocked | None:
        """Return the tracks blocked by a listener's `blocks` or by take-downs; None if there are no blocks."""
        listed = self._take_downs.blocks
        if listed is not self._listed:
            self._listed, everybody = listed, replace(listed, tracks=listed.tracks | self._dropped)
            self._taken_down = Blocked(self._artifact, everybody) if everybody else None
        return Blocked(self._artifact, blocks, beside=self._taken_down) if blocks else self._taken_down

    async def _from_model(self, request: _Request, history: EncodedHistory) -> Recommendation:
        """Score and arrange tracks. If the rules leave fewer than the query wants, score more tracks and try again."""
        ran_s = 0.0
        found = Recommendation(tracks=())
        for wanted in self._tries(request):
            ranked = await self._ranked(request, history, wanted)
            ran_s += ranked.ran_s
            found = self._arranged(request, ranked, request.rules.explore)
            if len(found.tracks) == request.query.count or ranked.is_all:
                break
        found.ran_s = ran_s
        return found

    def _tries(self, request: _Request) -> Sequence[int]:
        """Return how many tracks to score at the first try, at the second, and so on."""
        count = request.query.count
        if not request.gaps:
            return (count + POOL,) if request.rules.explore else (count,)
        return (*(spare * count for spare in SPARE), max(MOST_SCORED, SPARE[-1] * count))

    async def _ranked(self, request: _Request, history: EncodedHistory, wanted: int) -> Ranked:
        candidates, left_out, blocked, novelty = (
            request.query.candidates,
            request.masked,
            request.blocked,
            request.rules.novelty,
        )
        if candidates is not None:
            asked = [one for one in dict.fromkeys(candidates) if one not in left_out]
            ranked = await self._ranking.rank(history, asked, blocked)
            return shifted(ranked, request.heard, novelty_shift(novelty)) if novelty else ranked
        if novelty:
            return await self._ranking.by_novelty(
                history, left_out, blocked, heard=request.heard, novelty=novelty, count=wanted
            )
        return await self._ranking.best(history, left_out, blocked, wanted)

    def _arranged(self, request: _Request, ranked: Ranked, explore: float = 0.0) -> Recommendation:
        count, track_ids = request.query.count, ranked.track_ids
        if not request.gaps and not explore:
            return Recommendation(tracks=list(zip(track_ids[:count], ranked.scores, strict=False)))
        spacings = self._spacings.of(request.gaps, ranked.rows, request.just_played)
        draw = exploring(ranked.sure_scores(), count, explore, Random(request.query.seed)) if explore else None
        placed = arrange(len(track_ids), count, spacings, draw)
        return Recommendation(
            tracks=[(track_ids[one.rank], ranked.scores[one.rank]) for one in placed],
            explored={track_ids[one.rank]: one.probability for one in placed if one.probability is not None},
        )

    def _popular_ones(self, request: _Request) -> Recommendation:
        """Return the most popular tracks that may be proposed, only from the candidates if there are any. Scores are 1, 1/2,
        1/3, …
        """
        tracks: Iterable[str] = self._popular
        if request.query.candidates is not None:
            places = {track_id: place for place, track_id in enumerate(self._popular)}
            tracks = sorted(dict.fromkeys(request.query.candidates), key=lambda track_id: places.get(track_id, len(places)))
        left = [track_id for track_id in tracks if request.allows(track_id)]
        ranked = Ranked(
            track_ids=left,
            rows=[self._vocabulary.row(track_id) for track_id in left],
            scores=[1 / place for place in range(1, len(left) + 1)],
            is_all=True,
        )
        found = self._arranged(request, ranked)
        found.source = "popular"
        if request.rules.explain:
            found.explanations = dict.fromkeys(found.track_ids, POPULAR)
        return found
