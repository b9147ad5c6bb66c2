"""Blocked tracks, artists and albums are in no reply, and no reply is shorter because of them."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from model.artifact import Artifact
from model.events import Outcome
from model.vocabulary import FIRST
from service import blocks
from service.blocks import NO_BLOCKS, Block, Blocked, Blocks, read_block
from service.errors import ScorerUnavailableError
from service.recommender import Query, Recommendation, Recommender
from service.rules import Rules
from service.scoring.batcher import Scorer
from service.store.recent_masks import RecentMasks
from service.take_downs import TakeDowns
from tests.service import artifacts
from tests.service.fakes import FailingScorer, LosableSessions, MemoryTakeDowns, RecordingScorer

pytestmark = pytest.mark.anyio
TRACKS = [f"t{number}" for number in range(40)]


LISTS = [
    Blocks(),
    Blocks(tracks=frozenset(["t39", "unknown"])),
    Blocks(artists=frozenset(["artist 9", "nobody"])),
    Blocks(albums=frozenset(["album 19", "album 0"])),
    Blocks(frozenset(TRACKS[20:]), frozenset(["artist 4"]), frozenset(["album 7"])),
    Blocks(tracks=frozenset(TRACKS)),
]


def kept_out(listed: Blocks) -> set[str]:
    """What a list keeps out, by the plain definition of the artifact's catalogue."""
    return {
        track
        for number, track in enumerate(TRACKS)
        if track in listed.tracks or f"artist {number // 4}" in listed.artists or f"album {number // 2}" in listed.albums
    }


@pytest.mark.parametrize("few", [64, 3, 0])
@pytest.mark.parametrize("listed", LISTS)
@pytest.mark.parametrize("beside", LISTS)
def test_tracks_and_rows_are_those_of_a_search(
    catalogued: Artifact, listed: Blocks, beside: Blocks, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One by one and all at once, for two lists beside each other, however many rows count as few."""
    monkeypatch.setattr(blocks, "FEW", few)
    both = Blocked(catalogued, listed, beside=Blocked(catalogued, beside))
    wanted = kept_out(listed) | kept_out(beside)
    wanted_rows = {FIRST + TRACKS.index(track) for track in wanted}
    given = both.few()

    assert {track for track in TRACKS if track in both} == wanted
    assert ("unknown" in both) == ("unknown" in listed.tracks | beside.tracks)
    assert set(asyncio.run(both.rows())) == wanted_rows
    assert given is None or set(given) == wanted_rows
    assert given is not None or max(len(kept_out(one)) for one in (listed, beside)) > few


@pytest.mark.parametrize("text", ["", "tracks", "tracks/", "genres/x", "/x"])
def test_what_is_no_block_is_not_read(text: str) -> None:
    """A value may have a slash of its own."""
    assert read_block(text) is None
    assert read_block("artists/AC/DC") == Block("artists", "AC/DC")


class Desk:
    """A recommender, the blocks of the listener `u`, those for everybody, and what a test asks about them."""

    def __init__(self, artifact: Artifact, listed: Blocks, scorer: Scorer | None = None, everybody: Blocks = NO_BLOCKS) -> None:
        self.everybody = MemoryTakeDowns(*everybody)
        self.take_downs = TakeDowns(self.everybody, lambda: 1)
        self.store = LosableSessions(artifact.manifest.history)
        self.listed = listed
        self.scorer = scorer or RecordingScorer(artifact)
        self.recommender = Recommender(
            artifact,
            self.scorer,
            self.store,
            RecentMasks(artifact.manifest.history.skip, timedelta(seconds=1)),
            self.take_downs,
            rules=Rules(),
            degraded=lambda _: None,
        )

    async def ask(self, query: Query) -> Recommendation:
        """What comes next for the listener."""
        await self.take_downs.refresh()
        for block in self.listed:
            await self.store.block("u", block, 1)
        return await self.recommender.for_listener("u", query, 100)


def names(found: Recommendation) -> list[str]:
    """The tracks of a reply."""
    return [track_id for track_id, _ in found.tracks]


@pytest.mark.parametrize("few", [64, 0])
@pytest.mark.parametrize("everybody", [NO_BLOCKS, LISTS[2], LISTS[4]])
@pytest.mark.parametrize("listed", LISTS)
@pytest.mark.parametrize("count", [1, 7, 40])
async def test_reply_is_the_best_of_what_is_left(
    catalogued: Artifact, listed: Blocks, everybody: Blocks, count: int, *, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scorer prefers high numbers. `few` decides whether it masks the blocked rows or spare tracks are fetched."""
    monkeypatch.setattr(blocks, "FEW", few)
    left = [track for track in reversed(TRACKS) if track not in kept_out(listed) | kept_out(everybody)]
    found = await Desk(catalogued, listed, everybody=everybody).ask(Query(count=count, exclude=["t38"]))

    assert names(found) == [track for track in left if track != "t38"][:count]


async def test_many_blocks_cost_one_run_unless_they_take_all_spare_tracks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spare tracks make up for scattered blocks. Where the best hundred are blocked, a second run masks all of them."""
    monkeypatch.setattr(blocks, "FEW", 10)
    artifact = artifacts.load(tmp_path, tracks=[f"t{number}" for number in range(400)])
    scattered = Desk(artifact, Blocks(tracks=frozenset(f"t{number}" for number in range(0, 400, 7))))
    best = Desk(artifact, Blocks(tracks=frozenset(f"t{number}" for number in range(300, 400))))
    found = [names(await desk.ask(Query(count=3))) for desk in (scattered, best)]
    runs = [desk.scorer.excluded for desk in (scattered, best) if isinstance(desk.scorer, RecordingScorer)]

    assert found == [["t398", "t397", "t396"], ["t299", "t298", "t297"]]
    assert [list(map(len, excluded)) for excluded in runs] == [[0], [0, 100]]


@pytest.mark.parametrize("listed", LISTS)
async def test_candidates_are_ranked_without_the_blocked(catalogued: Artifact, listed: Blocks) -> None:
    """Unknown candidates are blocked by their ids."""
    found = await Desk(catalogued, listed).ask(Query(count=100, candidates=["unknown", *TRACKS]))

    assert set(names(found)) == {"unknown", *TRACKS} - kept_out(listed) - listed.tracks


@pytest.mark.parametrize("candidates", [None, TRACKS])
@pytest.mark.parametrize("listed", LISTS)
async def test_degraded_replies_leave_the_blocked_out(
    catalogued: Artifact, listed: Blocks, candidates: Sequence[str] | None
) -> None:
    """Where the model fails, and where Redis does whose blocks this process has read."""
    broken = Desk(catalogued, listed, FailingScorer(catalogued, ScorerUnavailableError("broken")))
    without_model = await broken.ask(Query(count=40, candidates=candidates))
    desk = Desk(catalogued, listed)
    await desk.ask(Query())
    desk.store.lost = True
    desk.listed = Blocks()
    without_redis = await desk.ask(Query(count=40, candidates=candidates))
    left = [track for track in TRACKS if track not in kept_out(listed)]

    assert (names(without_model), names(without_redis)) == (left, left)
    assert without_redis.source == "popular"
    assert without_model.source == "popular" or not left  # the model is not asked about no candidates


async def test_given_history_has_no_listener_and_is_answered_without_what_is_taken_down(catalogued: Artifact) -> None:
    """Also candidates, and a degraded reply."""
    desk = Desk(catalogued, Blocks(tracks=frozenset(TRACKS)), everybody=LISTS[2])
    await desk.ask(Query())
    found = await desk.recommender.for_history([("t1", Outcome.PLAYED)], Query(count=2))
    ranked = await desk.recommender.for_history([], Query(candidates=["t39", "t36", "t1"]))
    desk.store.lost, desk.listed = True, NO_BLOCKS
    degraded = await desk.recommender.for_listener("other", Query(count=40), 100)

    assert (names(found), names(ranked)) == (["t35", "t34"], ["t1"])
    assert names(degraded) == TRACKS[:36]


async def test_take_down_that_ended_is_proposed_again(catalogued: Artifact) -> None:
    """The model's view of the list follows the list."""
    desk = Desk(catalogued, NO_BLOCKS, everybody=LISTS[2])
    before = names(await desk.ask(Query(count=1)))
    await desk.take_downs.remove(Block("artists", "artist 9"))
    after = names(await desk.ask(Query(count=1)))

    assert (before, after) == (["t35"], ["t39"])
