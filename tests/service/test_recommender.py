"""The recommender with fakes of the scorer and the store, which only keep their protocols."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from model.artifact import Artifact
from model.catalogue_index import CatalogueIndex, NameIndex
from model.events import Event, EventType, HistoryRule, Outcome
from model.rules import novelty_shift
from model.vocabulary import FIRST, UNKNOWN
from service.errors import OverloadedError, ScorerUnavailableError
from service.look_up import SLICE
from service.recommender import Query, Recommendation, Recommender
from service.rules import Rules
from service.scoring.batcher import Scorer
from service.store.recent_masks import RecentMasks
from service.store.sessions import SessionStore
from service.take_downs import TakeDowns
from tests.service import artifacts
from tests.service.fakes import BrokenSessions, FailingScorer, LosableSessions, MemorySessions, MemoryTakeDowns, RecordingScorer

pytestmark = pytest.mark.anyio
GAP = HistoryRule().gap_ms


class Desk:
    """A recommender, and shortcuts for calling it."""

    def __init__(
        self,
        artifact: Artifact,
        *,
        store: SessionStore | None = None,
        scorer: Scorer | None = None,
        rules: Rules = Rules(),  # noqa: B008  # it is frozen
    ) -> None:
        self.memory = MemorySessions(artifact.manifest.history)
        self.masks = RecentMasks(artifact.manifest.history.skip, timedelta(seconds=1))
        self.reasons: list[str] = []
        self._recommender = Recommender(
            artifact,
            scorer or RecordingScorer(artifact),
            store or self.memory,
            self.masks,
            TakeDowns(MemoryTakeDowns(), lambda: 1),
            rules=rules,
            degraded=self.reasons.append,
        )

    async def tell(self, *events: tuple[int, EventType, str]) -> None:
        """Record events of the listener `u`: time, type, track."""
        made = [Event(at_ms, type, f"{at_ms} {type} {track}", track) for at_ms, type, track in events]
        await self.memory.record({"u": made})

    async def ask(self, query: Query | None = None, now_ms: int = 100) -> Recommendation:
        """Ask for the next tracks of the listener `u`."""
        return await self._recommender.for_listener("u", query or Query(count=3), now_ms)

    async def shown(self, now_ms: int = 100) -> list[str]:
        """Return the tracks of listener `u` that a person is shown as the model's input."""
        remembered = await self.memory.read("u", now_ms, self._recommender.reader)
        return [entry.track_id for entry in self._recommender.read_entries(remembered, now_ms)]

    async def follow(self, *plays: tuple[str, Outcome], query: Query | None = None) -> list[str]:
        """Ask for the tracks after a given history."""
        return tracks(await self._recommender.for_history(plays, query or Query(count=3)))


def tracks(recommendation: Recommendation) -> list[str]:
    """The recommended tracks without their scores."""
    return [track_id for track_id, _ in recommendation.tracks]


async def test_history_reaches_the_model_as_rows_and_outcomes(artifact: Artifact) -> None:
    """They are ordered oldest first, hold known tracks only, and use the network's outcome numbers."""
    scorer = RecordingScorer(artifact)
    desk = Desk(artifact, scorer=scorer)
    await desk.tell((2, EventType.SKIP, "t1"), (1, EventType.PLAY, "t0"), (3, EventType.PLAY, "unheard"))
    await desk.ask()
    assert await desk.shown() == ["t0", "t1"]

    assert (scorer.histories[0].rows, scorer.histories[0].outcomes) == ([FIRST, FIRST + 1], [1, 2])


async def test_gaps_reach_a_model_that_reads_them(tmp_path: Path, artifact: Artifact) -> None:
    """They follow from the events' times and the request's time. A history without times is one continuing session. For other
    models no gaps are computed.
    """
    reader = artifacts.load(tmp_path, wanted_weight=0.0)
    scorer, plain = RecordingScorer(reader), RecordingScorer(artifact)
    desk, hour = Desk(reader, scorer=scorer), 3_600_000
    for one in (desk, other := Desk(artifact, scorer=plain)):
        await one.tell((1_000, EventType.PLAY, "t0"), (hour, EventType.PLAY, "unheard"), (3 * hour, EventType.PLAY, "t1"))
    await desk.ask(now_ms=3 * hour + 5_000)
    await desk.ask(now_ms=4 * hour)
    await desk.follow(("t0", Outcome.PLAYED), ("t1", Outcome.SKIPPED))
    await other.ask(now_ms=4 * hour)

    assert [history.gaps for history in scorer.histories] == [[4, 1], [4, 2], [1, 1]]
    assert plain.histories[0].gaps == ()


@pytest.mark.parametrize(("scope", "rows"), [("user", [FIRST, FIRST + 1]), ("session", [FIRST + 1])])
async def test_history_goes_back_as_far_as_the_manifest_says(tmp_path: Path, scope: str, rows: list[int]) -> None:
    """The scope that the model was trained with decides whether earlier sessions are read."""
    artifact = artifacts.load(tmp_path, rule=HistoryRule(scope="session" if scope == "session" else "user"))
    scorer = RecordingScorer(artifact)
    desk = Desk(artifact, scorer=scorer)
    await desk.tell((1, EventType.PLAY, "t0"), (GAP + 2, EventType.PLAY, "t1"))
    await desk.ask(now_ms=GAP + 3)

    assert scorer.histories[0].rows == rows


async def test_played_tracks_may_come_again_where_the_setting_says(artifact: Artifact) -> None:
    """Skipped tracks still stay out, also those that were liked afterwards."""
    desk = Desk(artifact, rules=Rules(replay=True))
    await desk.tell((1, EventType.PLAY, "t39"), (2, EventType.SKIP, "t38"), (3, EventType.LIKE, "t38"))

    assert tracks(await desk.ask()) == ["t39", "t37", "t36"]


async def test_disliked_track_stays_out_until_liked(artifact: Artifact) -> None:
    """It holds across sessions; the newest opinion counts."""
    desk = Desk(artifact)
    await desk.tell((1, EventType.DISLIKE, "t39"), (1, EventType.DISLIKE, "t38"), (2, EventType.LIKE, "t38"))

    assert tracks(await desk.ask(now_ms=2 * GAP)) == ["t38", "t37", "t36"]


async def test_given_history_masks_like_a_session(artifact: Artifact) -> None:
    """Played, skipped and disliked tracks of a given history are not proposed."""
    followed = await Desk(artifact).follow(
        ("t39", Outcome.PLAYED), ("t38", Outcome.SKIPPED), ("t37", Outcome.DISLIKED), ("t36", Outcome.LIKED)
    )

    assert followed == ["t35", "t34", "t33"]


async def test_failing_model_is_replaced_by_popularity_and_counted(artifact: Artifact) -> None:
    """The fallback applies all masks, and also works for a request with candidates."""
    desk = Desk(artifact, scorer=FailingScorer(artifact, ScorerUnavailableError("broken")))
    await desk.tell((1, EventType.SKIP, "t0"))
    proposed = await desk.ask()
    ranked = await desk.ask(Query(candidates=["unheard", "t5", "t0", "t3", "t5"]))

    assert (proposed.source, tracks(proposed)) == ("popular", ["t1", "t2", "t3"])
    assert (ranked.source, tracks(ranked)) == ("popular", ["t3", "t5", "unheard"])
    assert desk.reasons == ["model", "model"]


async def test_failing_store_is_replaced_by_popularity_and_counted(artifact: Artifact) -> None:
    """The model is not asked about a listener whose history is unknown."""
    scorer = RecordingScorer(artifact)
    desk = Desk(artifact, store=BrokenSessions(), scorer=scorer)
    proposed = await desk.ask(Query(count=2, exclude=["t1"]))

    assert (proposed.source, tracks(proposed)) == ("popular", ["t0", "t2"])
    assert desk.reasons == ["redis"]
    assert scorer.histories == []


@pytest.mark.parametrize(("replay", "left_out"), [(False, ["t0", "t1", "t2", "t4"]), (True, ["t1", "t2", "t4"])])
async def test_reply_without_the_store_keeps_the_masks_of_an_earlier_read(
    artifact: Artifact, replay: bool, left_out: list[str]
) -> None:
    """Skipped and disliked tracks stay out, played ones too unless this is switched off, and also the tracks that the request
    excludes.
    """
    store = LosableSessions(artifact.manifest.history)
    desk = Desk(artifact, store=store, rules=Rules(replay=replay))
    await store.record(
        {
            "u": [
                Event(1, EventType.PLAY, "e1", "t0"),
                Event(2, EventType.SKIP, "e2", "t1"),
                Event(3, EventType.DISLIKE, "e3", "t2"),
            ]
        }
    )
    await desk.ask()
    store.lost = True
    proposed = await desk.ask(Query(count=40, exclude=["t4"]))
    ranked = await desk.ask(Query(candidates=["t4", "t1", "t2", "t0", "unheard"], exclude=["t4"]))

    assert proposed.source == ranked.source == "popular"
    assert sorted({f"t{number}" for number in range(40)} - set(tracks(proposed))) == left_out
    assert set(tracks(ranked)) == {"t4", "t1", "t2", "t0", "unheard"} - set(left_out)


async def test_overload_is_passed_on(artifact: Artifact) -> None:
    """If too many requests wait, the client is told to come back. Overload is not a failure to hide behind popular tracks."""
    desk = Desk(artifact, scorer=FailingScorer(artifact, OverloadedError("full")))

    with pytest.raises(OverloadedError):
        await desk.ask()
    assert desk.reasons == []


async def test_many_candidates_are_ranked_in_slices_as_they_would_be_at_once(artifact: Artifact) -> None:
    """So others are served between two slices. Unknown candidates come last, in the given order."""
    scorer = RecordingScorer(artifact)
    known = [f"t{number}" for number in range(40)]
    candidates = [f"no {number}" for number in range(SLICE)] + known
    found = await Desk(artifact, scorer=scorer).ask(Query(count=41, candidates=candidates))

    assert tracks(found) == [*known[::-1], "no 0"]
    assert len(scorer.histories) == 2


async def test_other_requests_are_served_while_many_tracks_are_looked_up(artifact: Artifact) -> None:
    """The second request, which excludes few tracks, is scored first."""
    scorer = RecordingScorer(artifact)
    desk = Desk(artifact, scorer=scorer)
    many = Query(count=1, exclude=[f"no {number}" for number in range(SLICE)] + ["t39"])
    slow, quick = await asyncio.gather(desk.follow(("t1", Outcome.PLAYED), query=many), desk.follow(("t2", Outcome.PLAYED)))

    assert [history.rows for history in scorer.histories] == [[FIRST + 2], [FIRST + 1]]
    assert (slow, quick) == (["t38"], ["t39", "t38", "t37"])


async def test_artists_apart_hold_for_candidates_and_popular_tracks_too(tmp_path: Path) -> None:
    """However the tracks were chosen, no artist occurs twice within the gap. Tracks without an artist are never removed."""
    artifact = artifacts.load(tmp_path, catalogue=True)  # four tracks an artist
    desk = Desk(artifact, rules=Rules(artist_gap=2))
    failing = Desk(artifact, rules=Rules(artist_gap=2), scorer=FailingScorer(artifact, ScorerUnavailableError("broken")))
    candidates = ["t0", "t1", "t2", "t4", "unheard", "unheard too"]

    assert tracks(await desk.ask(Query(candidates=candidates))) == ["t4", "t2", "unheard", "t1", "unheard too", "t0"]
    assert tracks(await failing.ask(Query(count=3))) == ["t0", "t4", "t1"]


async def test_gaps_count_the_tracks_just_played(tmp_path: Path) -> None:
    """The newest track of the session stands right before the first place, also where popularity answers without the store."""
    artifact = artifacts.load(tmp_path, catalogue=True)  # four tracks an artist, two an album
    store = LosableSessions(artifact.manifest.history)
    desk = Desk(artifact, store=store)
    await store.record({"u": [Event(1, EventType.PLAY, "e1", "t0"), Event(2, EventType.SKIP, "e2", "t38")]})
    by_artist = await desk.ask(Query(count=3, rules={"artist_gap": 3}))
    by_album = await desk.ask(Query(count=3, rules={"album_gap": 3}))
    store.lost = True
    popular = await desk.ask(Query(count=3, rules={"artist_gap": 3}))

    assert tracks(by_artist) == ["t35", "t31", "t39"]  # t39 is of the artist just skipped
    assert tracks(by_album) == ["t37", "t35", "t39"]
    assert tracks(popular) == ["t4", "t1", "t8"]


async def test_rules_make_no_reply_shorter_than_the_catalogue_does(tmp_path: Path) -> None:
    """More tracks are scored where the first ones are all of one artist, and each artist has one track for a long gap."""
    names = [f"t{number}" for number in range(1_000)]
    artifact = artifacts.load(tmp_path, catalogue=True, tracks=names)
    index = CatalogueIndex(NameIndex(["few", "others", *["many"] * 998]), NameIndex(()), NameIndex(()))
    scorer = RecordingScorer(artifact)
    desk = Desk(replace(artifact, catalogue_index=index), scorer=scorer)
    found = tracks(await desk.ask(Query(count=3, rules={"artist_gap": 3})))
    short = tracks(await desk.ask(Query(count=4, rules={"artist_gap": 4})))

    assert found == ["t999", "t1", "t0"]
    assert short == found  # the gap holds, and there are three artists
    assert len(scorer.histories) == 6  # three tries each, no more


async def test_one_recording_is_one_track_for_masks_gaps_and_novelty(artifact: Artifact) -> None:
    """t38 and t39 are one recording, as are t0, t1 and t2. A reply has each recording once. A mask reaches all releases."""
    groups = ["low"] * 3 + [None] * 35 + ["high"] * 2
    index = CatalogueIndex(NameIndex(()), NameIndex(()), NameIndex(groups))
    desk = Desk(grouped := replace(artifact, catalogue_index=index))
    everything = [f"t{number}" for number in range(39, -1, -1)]

    assert tracks(await desk.ask(Query(count=3))) == ["t39", "t37", "t36"]
    assert tracks(await desk.ask(Query(count=40))) == ["t39", *everything[2:-2]]
    assert tracks(await desk.ask(Query(count=40, exclude=["t0", "t38"]))) == everything[2:-3]
    assert tracks(await desk.ask(Query(candidates=["t1", "t38", "t0"], exclude=["t39"]))) == ["t1"]
    for type in (EventType.PLAY, EventType.SKIP, EventType.DISLIKE):
        heard = Desk(grouped)
        await heard.tell((1, type, "t38"))
        assert tracks(await heard.ask(Query(count=2))) == ["t37", "t36"]
    later = Desk(grouped)
    await later.tell((1, EventType.PLAY, "t1"))
    assert tracks(await later.ask(Query(rules={"novelty": -1}), 2 * GAP)) == ["t2"]
    assert tracks(await later.ask(Query(count=40, rules={"novelty": 1}), 2 * GAP))[-1] == "t3"
    assert tracks(await later.ask(Query(count=40, rules={"not_heard_days": 1}), 2 * GAP))[-1] == "t3"


async def test_what_was_heard_within_days_stays_out(artifact: Artifact) -> None:
    """In earlier sessions too, whatever became of it, and further back than the model reads. 0 days are no rule."""
    rule = HistoryRule(length=1)
    artifact = replace(artifact, manifest=artifact.manifest.model_copy(update={"history": rule}))
    desk, day = Desk(artifact), 24 * 3_600_000
    await desk.tell((day, EventType.PLAY, "t39"), (2 * day, EventType.SKIP, "t38"), (3 * day, EventType.LIKE, "t37"))
    now_ms = 4 * day

    for days, first in ((0, "t39"), (1, "t39"), (1.5, "t39"), (2.5, "t39"), (3.5, "t36")):
        found = tracks(await desk.ask(Query(count=40, rules={"not_heard_days": days}), now_ms))
        left_out = {track_id for track_id, age in (("t39", 3), ("t38", 2), ("t37", 1)) if age < days}
        assert set(found) == {f"t{number}" for number in range(40)} - left_out
        assert found[0] == first


async def test_a_request_may_allow_what_was_played(artifact: Artifact) -> None:
    """Skipped tracks stay out. A request may also forbid what the service allows."""
    for allowed in (True, False):
        desk = Desk(artifact, rules=Rules(replay=not allowed))
        await desk.tell((1, EventType.PLAY, "t39"), (2, EventType.SKIP, "t38"))

        assert tracks(await desk.ask(Query(count=2, rules={"replay": allowed}))) == (
            ["t39", "t37"] if allowed else ["t37", "t36"]
        )
        assert tracks(await desk.ask(Query(count=2, rules={"replay": None}))) == (["t37", "t36"] if allowed else ["t39", "t37"])


async def test_novelty_moves_heard_tracks_and_no_others(artifact: Artifact) -> None:
    """By the shift of `model.rules`: down from 0 to 1, up from 0 to -1. At the ends only new ones, only familiar ones are left.

    The scores of this model are the rows. t20 was heard an hour ago, t39 in this session.
    """
    desk, hour = Desk(artifact), 3_600_000
    await desk.tell((1, EventType.PLAY, "t20"), (1, EventType.SKIP, "t5"), (hour, EventType.PLAY, "t39"))

    async def place(novelty: float) -> tuple[int, float]:
        found = await desk.ask(Query(count=38, rules={"novelty": novelty}), hour + 1)
        assert not {"t39"} & set(tracks(found))
        assert {(one, score) for one, score in found.tracks if one not in ("t20", "t5")} <= {
            (f"t{number}", number + FIRST) for number in range(40)
        }
        assert [score for _, score in found.tracks] == sorted([score for _, score in found.tracks], reverse=True)
        return tracks(found).index("t20"), dict(found.tracks)["t20"]

    places = [await place(novelty) for novelty in (-0.99, -0.9, -0.5, 0, 0.5, 0.9, 0.99)]
    assert [score for _, score in places] == [
        pytest.approx(22 - novelty_shift(novelty)) for novelty in (-0.99, -0.9, -0.5, 0, 0.5, 0.9, 0.99)
    ]
    assert [at for at, _ in places] == sorted(at for at, _ in places)
    assert tracks(await desk.ask(Query(count=40, rules={"novelty": -1}), hour + 1)) == ["t20", "t5"]
    new = tracks(await desk.ask(Query(count=40, rules={"novelty": 1}), hour + 1))
    assert set(new) == {f"t{number}" for number in range(40)} - {"t39", "t20", "t5"}


async def test_novelty_counts_among_candidates_too(artifact: Artifact) -> None:
    """The same shift, and unknown candidates stay last: they have no score, but may have been heard."""
    desk, hour = Desk(artifact), 3_600_000
    await desk.tell((1, EventType.PLAY, "t20"), (1, EventType.PLAY, "unheard"))
    candidates = ["t19", "t20", "t21", "unheard", "nobody's"]

    async def ranked(novelty: float) -> list[str]:
        return tracks(await desk.ask(Query(candidates=candidates, rules={"novelty": novelty}), hour))

    assert await ranked(0.5) == ["t21", "t19", "t20", "nobody's", "unheard"]
    assert await ranked(-0.5) == ["t20", "t21", "t19", "unheard", "nobody's"]
    assert await ranked(1) == ["t21", "t19", "nobody's"]
    assert await ranked(-1) == ["t20", "unheard"]


async def test_familiar_tracks_of_a_stranger_are_none(artifact: Artifact) -> None:
    """Nothing was heard, so there is nothing to propose; that is no error, and the model is not asked."""
    scorer = RecordingScorer(artifact)

    assert tracks(await Desk(artifact, scorer=scorer).ask(Query(rules={"novelty": -1}))) == []
    assert scorer.histories == []


async def test_explored_tracks_are_marked_and_follow_from_the_seed(artifact: Artifact) -> None:
    """Half of the places hold tracks below the first ten. None of them is masked, none stands twice, the rest are the best."""
    desk = Desk(artifact)
    await desk.tell((1, EventType.SKIP, "t39"), (2, EventType.DISLIKE, "t20"))
    query = Query(count=10, exclude=["t25"], rules={"explore": 0.5}, seed="a")
    found = await desk.ask(query)
    others = [await desk.ask(replace(query, seed=str(seed))) for seed in range(20)]

    assert found == await desk.ask(query)
    assert len({tuple(tracks(one)) for one in others}) > 10
    for one in (found, *others):
        named = tracks(one)
        best = [track_id for track_id in named if track_id not in one.explored]
        assert (len(named), len(set(named)), len(one.explored)) == (10, 10, 5)
        assert not {"t39", "t20", "t25"} & set(named)
        assert best == [f"t{number}" for number in (38, 37, 36, 35, 34)]
        assert not set(one.explored) & {f"t{number}" for number in range(29, 40)}
        assert all(0 < probability <= 1 for probability in one.explored.values())


async def test_exploration_keeps_the_gaps_and_leaves_a_degraded_reply_alone(tmp_path: Path) -> None:
    """A drawn track fits to its neighbours. Popular tracks are no model's, so nothing of them is explored."""
    artifact = artifacts.load(tmp_path, catalogue=True)  # four tracks an artist
    query = Query(count=8, rules={"explore": 0.5, "artist_gap": 3})
    failing = Desk(artifact, scorer=FailingScorer(artifact, ScorerUnavailableError("broken")))

    for seed in range(20):
        found = await Desk(artifact).ask(replace(query, seed=str(seed)))
        artists = [int(track_id[1:]) // 4 for track_id in tracks(found)]
        assert len(found.explored) == 4
        assert all(len(set(artists[start : start + 3])) == 3 for start in range(6))
    assert (await failing.ask(query)).explored == {}


async def test_a_copy_head_reads_the_past_and_its_own_tracks_are_named(tmp_path: Path) -> None:
    """The long history has unknown tracks too; a proposal of one comes back under its id, and masks reach it."""
    copying = artifacts.load(tmp_path, wanted_weight=0.0)
    copying = replace(copying, manifest=copying.manifest.model_copy(update={"long_history": 100}))
    size = len(copying.vocabulary)
    scorer = RecordingScorer(copying)
    desk, hour = Desk(copying, scorer=scorer), 3_600_000
    await desk.tell((1_000, EventType.PLAY, "older"), (2_000, EventType.PLAY, "t0"), (3 * hour, EventType.PLAY, "newer"))
    free = await desk.ask(Query(count=2), now_ms=3 * hour + 120_000)
    masked = await desk.ask(Query(count=2, exclude=["older"]), now_ms=3 * hour + 120_000)
    ranked = await desk.ask(Query(count=3, candidates=["t1", "older", "nobody's"]), now_ms=3 * hour + 120_000)

    own = scorer.histories[0].own
    assert await desk.shown(3 * hour) == ["older", "t0", "newer"]
    assert own is not None
    assert own.own_tracks.tolist() == [[size + 1, FIRST, size]]
    assert own.own_session.tolist() == [[0, 0, 1]]
    assert own.own_ages.tolist() == [[181, 181, 2]]
    assert tracks(free) == ["older", "t39"]  # "newer" was heard in this session
    assert tracks(masked) == ["t39", "t38"]
    assert {size, size + 1} <= set(scorer.excluded[1])
    assert scorer.candidates == [[FIRST + 1, size + 1, UNKNOWN]]
    assert tracks(ranked) == ["older", "t1", "nobody's"]
