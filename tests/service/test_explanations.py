"""Explanations: what each track of a history did to a score, by hand and through the real graphs of the small artifact.

In that artifact a listener is the sum of the vectors of heard tracks, one-hot by genre, and skipped ones count negative. So it
is known which tracks raise which.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.artifact import Artifact
from model.encoding import RowHistory
from model.events import Entry, Event, EventType, Outcome
from model.graphs import Graphs, Scores
from model.vocabulary import FIRST
from service.errors import OverloadedError
from service.explanations import LEAST, NEWEST, POPULAR, SHOWN, Because, Explanation, explain, tracks_to_leave_out, without
from service.observing.metrics import Metrics
from service.recommender import Query, Recommendation, Recommender
from service.rules import Rules
from service.scoring.batcher import BatchingScorer, Scorer
from service.settings import Settings
from service.store.recent_masks import RecentMasks
from service.take_downs import TakeDowns
from tests.service import artifacts
from tests.service.fakes import MemorySessions, MemoryTakeDowns, RecordingScorer


def entry(track_id: str, at_ms: int = 0) -> Entry:
    """A play."""
    return Entry(track_id, Outcome.PLAYED, at_ms, False, 0)


def nobody(_: str) -> bool:
    """No track is by the same artist."""
    return False


def test_shares_are_the_falls_of_the_score_by_hand() -> None:
    """Without a the score falls by 3, without b by 1; without c it rises, so c has no share."""
    found = explain("x", 5.0, 0.0, {"a": 2.0, "b": 4.0, "c": 6.0}, nobody)

    assert found == Explanation(because=[Because("a", 0.75), Because("b", 0.25)], reason="session")


@pytest.mark.parametrize(
    ("own", "artist", "other", "reason"),
    [(3.0, 1.0, 1.0, "habit"), (1.0, 3.0, 1.0, "artist"), (1.0, 1.0, 3.0, "session"), (0.0, 0.0, 0.0, "popular")],
)
def test_reason_is_the_kind_that_raised_most(own: float, artist: float, other: float, reason: str) -> None:
    """The track itself, other tracks of its artist, the rest; and nothing at all."""
    found = explain("x", 9.0, 0.0, {"x": 9 - own, "same": 9 - artist, "else": 9 - other}, lambda one: one == "same")

    assert found.reason == reason
    assert (found == POPULAR) is (reason == "popular")


def test_a_history_that_lowers_the_score_explains_nothing() -> None:
    """The track would stand higher for a stranger, so it is in the list because it is popular."""
    assert explain("x", 5.0, 6.0, {"a": 4.0}, nobody) == POPULAR


def test_rounding_explains_nothing() -> None:
    """Scores of float32 differ in the fifth digit from batch to batch."""
    assert explain("x", 5.0, 0.0, {"a": 5.0 - 1e-5}, nobody) == POPULAR


@given(st.floats(-10, 10), st.floats(-10, 10), st.dictionaries(st.text("abcdefgh", max_size=2), st.floats(-10, 10)))
def test_shares_are_positive_and_sum_to_at_most_one(score: float, unheard: float, left_out: dict[str, float]) -> None:
    """The largest comes first, and small ones are not shown. If all are shown, they are one together."""
    found = explain("x", score, unheard, left_out, nobody)
    shares = [share for _, share in found.because]

    assert len(shares) <= SHOWN
    assert shares == sorted(shares, reverse=True)
    assert all(LEAST <= share <= 1 for share in shares)
    assert sum(shares) <= 1 + 1e-9
    if shares:
        assert sum(shares) > 1 - LEAST * max(0, len(left_out) - len(shares)) - 1e-9 or len(shares) == SHOWN


@given(
    st.lists(st.sampled_from([f"t{number}" for number in range(60)])),
    st.lists(st.sampled_from(["t1", "t2", "new"]), unique=True),
)
def test_the_newest_tracks_and_the_proposed_ones_are_left_out(heard: list[str], proposed: list[str]) -> None:
    """Each once, and never more than the bound says."""
    entries = [entry(track_id) for track_id in heard]
    found = tracks_to_leave_out(entries, proposed)

    assert len(set(found)) == len(found) <= NEWEST + len(proposed)
    assert set(found) <= set(heard)
    assert set(proposed) & set(heard) <= set(found)
    assert found[:NEWEST] == list(dict.fromkeys(reversed(heard)))[:NEWEST]
    for track_id in found:
        assert [one.track_id for one in without(entries, track_id)] == [one for one in heard if one != track_id]


def recommender(artifact: Artifact, scorer: Scorer, store: MemorySessions) -> Recommender:
    """A recommender that explains."""
    masks = RecentMasks(artifact.manifest.history.skip, timedelta(seconds=1))
    take_downs = TakeDowns(MemoryTakeDowns(), lambda: 1)
    return Recommender(artifact, scorer, store, masks, take_downs, rules=Rules(explain=True), degraded=lambda _: None)


async def explained(artifact: Artifact, *plays: tuple[str, EventType], query: Query | None = None) -> Recommendation:
    """The explained reply to a listener with these plays, a millisecond apart, through the real graphs."""
    store = MemorySessions(artifact.manifest.history)
    events = [Event(at_ms, type, f"e{at_ms}", track_id) for at_ms, (track_id, type) in enumerate(plays)]
    await store.record({"u": events})
    metrics = Metrics().of_model("tiny", "tiny-1", "current")
    settings = Settings(queue_patience=timedelta(seconds=60))
    async with BatchingScorer(Graphs(artifact, threads=1), settings, metrics) as scorer:
        return await recommender(artifact, scorer, store).for_listener("u", query or Query(count=3), 100)


@pytest.mark.anyio
async def test_the_model_names_what_raised_a_track(tmp_path: Path) -> None:
    """A track raises those of its genre and no others, and a skip raises nothing. Here only t0 to t11 have a genre."""
    vectors = np.zeros((FIRST + 40, artifacts.GENRES), np.float32)
    vectors[FIRST : FIRST + 12] = np.eye(artifacts.GENRES, dtype=np.float32)[np.arange(12) % artifacts.GENRES]
    artifact = artifacts.load(tmp_path, vectors=vectors)
    found = await explained(
        artifact, ("t1", EventType.PLAY), ("t2", EventType.SKIP), ("t3", EventType.PLAY), ("t4", EventType.PLAY)
    )

    assert found.track_ids == ["t0", "t5", "t7"]
    assert {explanation.reason for explanation in found.explanations.values()} == {"session"}
    for track_id, explanation in found.explanations.items():
        genre = int(track_id[1:]) % artifacts.GENRES
        raised = {0: "t4", 1: "t1", 3: "t3"}[genre]
        assert [cause.track_id for cause in explanation.because] == [raised]
        assert explanation.because[0].share == pytest.approx(1, abs=0.05)
    assert found.explanations.keys() == set(found.track_ids)


@pytest.mark.anyio
async def test_explaining_changes_no_track_and_no_score(artifact: Artifact) -> None:
    """So hits and coverage stay as they are."""
    plays = (("t1", EventType.PLAY), ("t2", EventType.SKIP), ("t3", EventType.PLAY))
    with_reasons, without_reasons = [
        await explained(artifact, *plays, query=Query(count=5, rules={"explain": explain})) for explain in (True, False)
    ]

    assert with_reasons.tracks == without_reasons.tracks
    assert (len(with_reasons.explanations), len(without_reasons.explanations)) == (5, 0)


@pytest.mark.anyio
async def test_artists_and_habits_are_told_from_the_session(tmp_path: Path) -> None:
    """t3 was played twice and t7 once, both of one genre. t23 is of it too. t2 is by the artist of t3, but of another genre."""
    artifact = artifacts.load(tmp_path, catalogue=True)
    again = Query(count=1, candidates=["t3"], rules={"replay": True})
    found = await explained(artifact, ("t3", EventType.PLAY), ("t3", EventType.PLAY), ("t7", EventType.PLAY), query=again)
    candidates = Query(count=2, candidates=["t23", "t2"])
    others = await explained(artifact, ("t3", EventType.PLAY), query=candidates)

    assert found.explanations["t3"].reason == "habit"
    assert found.explanations["t3"].because[0].track_id == "t3"
    assert [cause.share for cause in found.explanations["t3"].because] == pytest.approx([2 / 3, 1 / 3])
    assert others.explanations["t23"].reason == "session"
    assert others.explanations["t2"] == POPULAR  # by the artist of t3, but it raised nothing


@pytest.mark.anyio
async def test_strangers_get_popular_tracks_and_unknown_candidates_no_explanation(artifact: Artifact) -> None:
    """There is no history that could raise anything, and no score of a track that nobody knows."""
    found = await explained(artifact, query=Query(candidates=["t1", "nobody's"]))

    assert found.explanations == {"t1": POPULAR}


@pytest.mark.anyio
async def test_own_tracks_of_a_copy_head_are_explained_too(tmp_path: Path) -> None:
    """Each history numbers its request-local rows anew. Without its own plays such a track has no score at all."""
    copying = artifacts.load(tmp_path, wanted_weight=0.0)
    copying = replace(copying, manifest=copying.manifest.model_copy(update={"long_history": 100}))
    scorer, store = RecordingScorer(copying), MemorySessions(copying.manifest.history)
    size, hour = len(copying.vocabulary), 3_600_000
    await store.record({"u": [Event(1, EventType.PLAY, "e1", "older"), Event(2, EventType.PLAY, "e2", "newer")]})
    found = await recommender(copying, scorer, store).for_listener("u", Query(count=2), 3 * hour)
    asked = [rows[:2] for rows in scorer.candidates]

    assert found.track_ids == ["older", "newer"]
    # With both of them, without a history, without `newer`, and without `older`.
    assert asked == [[size + 1, size], [1, 1], [size, 1], [1, size]]
    assert {track_id: found.explanations[track_id].reason for track_id in found.track_ids} == {
        "older": "habit",
        "newer": "habit",
    }


class BusyScorer(RecordingScorer):
    """A scorer that has no time for explanations."""

    async def rank_each(self, histories: Sequence[RowHistory], candidates: Sequence[Sequence[int]]) -> Sequence[Scores]:
        raise OverloadedError(f"too busy for {len(histories)} histories and {len(candidates)} lists")


@pytest.mark.anyio
async def test_a_busy_model_leaves_the_reply_without_explanations(artifact: Artifact) -> None:
    """The tracks come all the same."""
    store = MemorySessions(artifact.manifest.history)
    found = await recommender(artifact, BusyScorer(artifact), store).for_listener("u", Query(count=3), 100)

    assert (found.source, len(found.tracks), found.explanations) == ("model", 3, {})
