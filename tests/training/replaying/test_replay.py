"""Replaying a log through a small fake of the service, which follows the same contract."""

import asyncio
import json
import time
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from io import StringIO
from pathlib import Path
from shutil import copytree
from urllib.parse import unquote

import httpx
import numpy as np
import pytest
from rich.console import Console

from model.artifact import MANIFEST
from model.encoding import GOING_ON, Encoded, encode_histories, rows_of
from model.events import LATE_MS, Event, EventType, HistoryRule, Outcome, fold
from tests.training.conftest import Exported
from tests.training.logs import D, L, Late, Line, P, S, split_of
from training.data.log import Log
from training.data.split import TEST, Split
from training.evaluation.cases import Cases, select_cases
from training.evaluation.evaluate import LIST, Answers, Measured, answer, summarise
from training.evaluation.metrics import Floats
from training.replaying.agreement import Difference, Replayed, compare, print_replay, same_lists
from training.replaying.player import ReplayError, ask_service
from training.replaying.replay import asked_at, draw_listeners, going_on, moved_back, replay, without_skipped
from training.replaying.served import with_own_rows
from training.running_service import ServiceError

LENGTH = 6


@dataclass
class Reader:
    """A ranker in which every place of the history matters: its tracks, their order and their outcomes."""

    size: int
    name: str = "reader"

    def scores(self, batch: Encoded, cases: Cases) -> Floats:  # noqa: ARG002 (a Ranker's signature)
        place = np.arange(1, batch.tracks.shape[1] + 1)[::-1]
        state = (batch.tracks * 7 + batch.outcomes * 13) @ (1 / place)
        return np.sin(state[:, None] * np.arange(self.size) + np.arange(self.size)).astype(np.float32)


@dataclass
class StandIn:
    """A fake of the service. It keeps events, folds them with the shared function, and proposes by `Reader` without disliked
    tracks.
    """

    split: Split
    busy: int = 0  # number of requests answered with 503 before the first that succeeds
    broken: bool = False  # the service forgets which plays were skipped
    events: dict[str, dict[str, Event]] = field(default_factory=dict)
    accepted: int = 0
    duplicates: int = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.busy:
            self.busy -= 1
            return httpx.Response(503, headers={"Retry-After": "0"})
        body = json.loads(request.content) if request.content else {}
        if request.url.path == "/v1/events":
            return self._post(body["events"])
        if request.method == "GET":
            assert request.url.params["count"] == str(LIST)
            user = unquote(request.url.raw_path.decode().split("/")[3])
            return self._next(user, None)
        return self._next(body["user_id"], body["candidates"])

    def _post(self, events: list[dict[str, str]]) -> httpx.Response:
        for event in events:
            mine = self.events.setdefault(event["user_id"], {})
            self.duplicates += event["event_id"] in mine
            self.accepted += event["event_id"] not in mine
            at_ms = round(datetime.fromisoformat(event["at"]).timestamp() * 1000)
            kind = EventType[event["type"].upper()]
            if self.broken and kind is EventType.SKIP:
                kind = EventType.COMPLETE
            mine[event["event_id"]] = Event(at_ms, kind, event["event_id"], event["track_id"])
        return httpx.Response(200, json={})

    def _next(self, user: str, candidates: list[str] | None) -> httpx.Response:
        vocabulary = self.split.vocabulary
        entries = fold(self.events.get(user, {}).values(), HistoryRule()).entries
        opinions = {entry.track_id: entry.outcome for entry in entries if entry.outcome in (Outcome.LIKED, Outcome.DISLIKED)}
        batch = encode_histories([rows_of(entries, vocabulary, length=LENGTH)], length=LENGTH)
        scores = Reader(len(vocabulary)).scores(batch, select_cases(self.split, TEST).take(slice(1)))[0]
        allowed = [track for track in candidates or vocabulary.tracks if opinions.get(track) is not Outcome.DISLIKED]
        best = sorted(allowed, key=lambda track: -scores[vocabulary.row(track)])[:LIST]
        tracks = [{"track_id": track, "score": float(scores[vocabulary.row(track)])} for track in best]
        return httpx.Response(200, json={"tracks": tracks, "degraded": False, "source": "model"})


def _split() -> Split:
    rng = np.random.default_rng(6)
    lines: list[Line] = []
    for user in ("ann", "b/ö b", "cy"):
        for place in range(40):
            part = "train" if place < 25 else "test"
            track = f"t{rng.integers(30)}" if rng.random() < 0.9 or part == "train" else "new"
            lines.append((user, track, (P, P, S, L, D)[rng.integers(5)], part))
    return split_of(lines)


def _split_with_lates() -> Split:
    """Make listeners whose opinions and skips are sometimes reported after later entries of other tracks have begun."""
    rng = np.random.default_rng(6)
    lines, late = list[Line](), list[Late]()
    for user in ("ann", "cy"):
        first = len(lines)
        for place in range(40):
            outcome = (P, S, L, D)[rng.integers(4)]
            lines.append((user, f"t{place % 7}", outcome, "train" if place < 20 else "test"))
            before = {S: (P,), L: (P, S), D: (P, S, L)}.get(outcome, ())
            stages = [[], [*before[:1]], list(before)][rng.integers(3)][-2:]
            stops = sorted(rng.choice(np.arange(place + 2, place + 7), len(stages), replace=False).tolist())
            late += [(first + place, first + min(stop, 40), stage) for stop, stage in zip(stops, stages, strict=True)]
    return split_of(lines, late=late)


def _replay(service: StandIn, cases: Cases, prefix: str = "replay-", *, just_now: bool = False) -> Answers:
    async def run() -> Answers:
        async with httpx.AsyncClient(transport=httpx.MockTransport(service), base_url="http://service") as client:
            online = await ask_service(client, service.split, cases, prefix=prefix, at_once=2, just_now=just_now)
        return online.answers(cases)

    return asyncio.run(run())


def test_service_that_sees_the_same_world_gives_the_same_lists_and_figures() -> None:
    """The ranker depends on histories, outcomes, order, unknown tracks and dislikes, so all of them must be sent correctly."""
    split = _split()
    cases = select_cases(split, TEST)
    offline = answer(Reader(cases.size), cases, length=LENGTH)

    online = _replay(StandIn(split), cases)

    assert same_lists(online, offline).all()
    assert online.score == pytest.approx(offline.score, nan_ok=True)
    expected = summarise("offline", cases, offline._replace(rank_masked=None))  # the service does not compute masked lists
    found = summarise("online", cases, online)
    assert found.values == pytest.approx(expected.values)
    assert {"auc", "hr@20", "refused@20"} <= found.values.keys()


@pytest.mark.parametrize("just_now", [False, True])
def test_what_was_reported_late_is_posted_late(*, just_now: bool) -> None:
    """Every list equals the trainer's, although many outcomes change late, some twice. With final outcomes only, lists
    differ.
    """
    split = _split_with_lates()
    cases = select_cases(split, TEST)
    offline = answer(Reader(cases.size), cases, length=LENGTH)
    none, no_outcomes = np.zeros(0, np.int64), np.zeros(0, np.int8)
    in_time = replace(split, sequences=replace(split.sequences, late_entry=none, late_from=none, late_before=no_outcomes))

    online, without = (_replay(StandIn(one), cases, just_now=just_now) for one in (split, in_time))

    assert same_lists(online, offline).all()
    assert not same_lists(without, offline).all()


def test_service_that_sees_another_world_is_found_out() -> None:
    """The service counts skips as plays. Some lists differ, and the first of them are shown with their tracks."""
    split = _split()
    cases = select_cases(split, TEST)
    offline = answer(Reader(cases.size), cases, length=LENGTH)

    same, differences = compare(split.vocabulary, cases, online=_replay(StandIn(split, broken=True), cases), offline=offline)

    assert same < 0.5
    assert differences[0].online != differences[0].offline
    assert differences[0].online[0][0] in split.vocabulary.tracks


def test_second_run_posts_nothing_but_duplicates() -> None:
    """Ids depend on prefix and entry only, so nothing is counted twice. Lists differ from the first run's, because the service
    now knows later events of each case. Another `--prefix` avoids this.
    """
    service = StandIn(_split())
    cases = select_cases(service.split, TEST)
    first = _replay(service, cases)
    accepted = service.accepted

    second = _replay(service, cases)

    assert service.accepted == accepted
    assert service.duplicates == accepted
    assert not same_lists(first, second).any()


def test_prefix_keeps_runs_apart() -> None:
    """Another prefix means other listeners, which are new to a service that is in use."""
    service = StandIn(_split())
    cases = select_cases(service.split, TEST)
    first = _replay(service, cases)

    second = _replay(service, cases, prefix="again-")

    assert same_lists(first, second).all()
    assert {user.split("-")[0] for user in service.events} == {"replay", "again"}


def test_busy_service_is_asked_again() -> None:
    """A 503 with Retry-After is a pause, not an end."""
    service = StandIn(_split(), busy=3)
    cases = select_cases(service.split, TEST)

    online = _replay(service, cases)

    assert same_lists(online, answer(Reader(cases.size), cases, length=LENGTH)).all()


def test_service_that_stays_busy_ends_the_replay() -> None:
    """The error has the request and the reply."""
    service = StandIn(_split(), busy=1_000_000)

    with pytest.raises(ServiceError, match="POST /v1/events was answered with 503"):
        _replay(service, select_cases(service.split, TEST))


def _answers(rows: list[int], scores: list[float]) -> Answers:
    nothing = np.zeros(1)
    return Answers(
        nothing.astype(np.int64), nothing.astype(np.float32), np.array([rows], np.int32), np.array([scores], np.float32)
    )


@pytest.mark.parametrize(
    ("rows", "scores", "same"),
    [
        ([5, 6, 7], [3, 2, 1], True),
        ([5, 7, 6], [3, 2, 1], False),
        ([6, 5, 7], [3.00001, 3, 1], False),
        ([5, 6, 0], [3, 2, -np.inf], False),
    ],
)
def test_lists_are_the_same_but_for_ties(rows: list[int], scores: list[float], *, same: bool) -> None:
    """The order counts if scores differ. A shorter list is another list."""
    assert same_lists(_answers(rows, scores), _answers([5, 6, 7], [3, 2, 1])).tolist() == [same]


def test_equal_scores_may_swap() -> None:
    """The order of two tied tracks is not defined."""
    one, other = _answers([5, 6, 7], [3, 3, 1]), _answers([6, 5, 7], [3, 3.00001, 1])

    assert same_lists(one, other).all()


def test_ids_are_printed_as_they_are() -> None:
    """Ids may contain any text, also text that looks like markup for bold letters."""
    nobody = Measured(name="online", values={}, counts={"cases": 2}, by_length=[])
    differing = Difference(entry=7, online=[("[b]one", 0.5)], offline=[("two[/b]", 0.25)])
    out = StringIO()

    print_replay(Replayed(online=nobody, offline=nobody, same=0.5, degraded=0, differences=[differing]), Console(file=out))

    assert "entry 7: online  [b]one 0.5000" in out.getvalue()
    assert "offline two[/b] 0.2500" in out.getvalue()


def test_just_now_each_session_is_a_listener_with_the_opinions_of_the_sessions_before() -> None:
    """A session's own entries happen within the last seconds, in order. Of earlier sessions only opinions are posted."""
    lines: list[Line] = [("u", "a", D, "train"), ("u", "b", P, "train"), ("u", "c", P, "test"), ("u", "d", S, "test")]
    split = split_of([*lines, ("v", "a", P, "test")])
    sessions = replace(
        split.sequences, offsets=np.array([0, 2, 4, 5]), user=np.array([0, 0, 1], np.int32), session=np.array([0, 0, 1, 1, 0])
    )
    service = StandIn(replace(split, sequences=sessions))
    started_ms = time.time() * 1000

    _replay(service, select_cases(service.split, TEST), just_now=True)

    heard = [[(event.track_id, event.type.name) for event in sorted(events.values())] for events in service.events.values()]
    opinions = [("a", "PLAY"), ("a", "SKIP"), ("a", "DISLIKE")]
    assert heard == [
        [*opinions, ("c", "PLAY"), ("c", "COMPLETE"), ("d", "PLAY"), ("d", "SKIP")],
        [("a", "PLAY"), ("a", "COMPLETE")],
    ]
    recent = [[event.at_ms > started_ms - 10_000 for event in sorted(events.values())] for events in service.events.values()]
    assert recent == [[False, False, False, True, True, True, True], [True, True]]


def test_a_session_of_just_now_has_no_gaps_online_or_offline() -> None:
    """The log's entries are hours apart, but as posted they are not. So the offline lists are computed without gaps, too."""
    split = _split()
    spread = replace(split.sequences, at_ms=split.sequences.at_ms * 10_000)
    service = StandIn(replace(split, sequences=spread))
    cases = select_cases(service.split, TEST)
    last = np.flatnonzero(np.diff(cases.user, append=-1))

    _replay(service, cases, just_now=True)

    offline = going_on(cases).encode(LENGTH).gaps[last]
    assert (cases.encode(LENGTH).gaps[last] > GOING_ON).all()
    assert (offline == GOING_ON).all()
    rule, vocabulary, now_ms = HistoryRule(scope="session"), service.split.vocabulary, time.time_ns() // 1_000_000
    for events in service.events.values():
        session = fold(events.values(), rule).session(now_ms)
        assert list(rows_of(session, vocabulary, length=LENGTH, now_ms=now_ms).gaps) == [GOING_ON] * LENGTH


def test_what_was_left_in_the_session_is_excluded_besides_dislikes() -> None:
    """The service masks skips of the same history. Each is listed once, those of other histories are not, and a liked track
    stays.
    """
    lines: list[Line] = [("u", "a", S, "train"), ("u", "b", L, "train"), ("u", "a", S, "train"), ("u", "c", D, "train")]
    split = split_of([*lines, ("u", "b", P, "test"), ("v", "a", P, "test")])
    row = split.vocabulary.row

    cases = without_skipped(select_cases(split, TEST))

    assert [sorted(excluded[excluded > 0].tolist()) for excluded in cases.excluded()] == [sorted([row("a"), row("c")]), []]
    assert cases.take(slice(1, 2)).excluded().tolist() == [[]]


def test_skipped_track_that_was_liked_later_stays_excluded_in_its_session() -> None:
    """The service masks a skipped track whatever is reported later. Before the skip is reported, it does not."""
    lines: list[Line] = [("u", "a", L, "train"), ("u", "b", P, "train"), *[("u", "b", P, "test")] * 3]
    split = split_of(lines, late=[(0, 3, P), (0, 4, S)])

    cases = without_skipped(select_cases(split, TEST))

    assert [set(rows.tolist()) - {0} for rows in cases.excluded()] == [set(), *[{split.vocabulary.row("a")}] * 2]


def test_replayed_cases_are_asked_as_of_now() -> None:
    """Each listener's gap is the pause that the service will see. A listener without a history has no gap."""
    lines: list[Line] = [("u", "a", P, "train"), ("u", "new", P, "test"), ("u", "a", P, "test"), ("v", "a", P, "test")]
    split = split_of(lines)  # entries are a second apart, from 1970 on
    cases = select_cases(split, TEST)

    now = asked_at(cases, split, 3 * 60 * 60 * 1000)

    assert cases.away_ms.tolist() == [1_000, 2_000, 0]
    assert now.away_ms.tolist() == [10_800_000, 10_800_000, 0]
    assert now.encode(5).gaps.tolist() == [[4], [4], [0]]


def test_log_of_today_is_moved_back() -> None:
    """All entries move by the same time, so that the newest session is over. An older log stays as it is."""
    split = _split()
    newest_ms = int(split.sequences.at_ms.max())

    moved = moved_back(split, newest_ms + 5)

    assert int(moved.sequences.at_ms.max()) == newest_ms + 5 - LATE_MS - 1
    assert np.diff(moved.sequences.at_ms).tolist() == np.diff(split.sequences.at_ms).tolist()
    assert moved_back(split, newest_ms + LATE_MS + 1) is split


def test_a_log_is_moved_further_back_for_who_reads_ages() -> None:
    """Two years, where a run of some minutes makes no age another."""
    split = _split()
    newest_ms = int(split.sequences.at_ms.max())

    moved = moved_back(split, newest_ms + LATE_MS + 1, 10 * LATE_MS)

    assert int(moved.sequences.at_ms.max()) == newest_ms - 9 * LATE_MS


def test_long_histories_are_asked_as_of_now_after_all_sessions() -> None:
    """Ages are up to that moment, and no play belongs to a session that goes on."""
    lines: list[Line] = [("u", "a", P, "train"), ("u", "new", P, "test"), ("u", "a", P, "test")]
    split = split_of(lines)
    cases = select_cases(split, TEST)

    own = asked_at(cases, split, 3 * 60 * 60 * 1000).long_histories(5)

    assert own.own_ages.tolist() == [[0, 180], [180, 179]]
    assert own.own_session.tolist() == [[0, 0], [0, 0]]
    assert cases.long_histories(5).own_session.tolist() == [[0, 1], [1, 1]]


def test_only_request_local_rows_that_the_graph_knows_are_excluded() -> None:
    """A disliked track that was heard before the newest plays has no row in the graph."""
    excluded = with_own_rows(np.array([[3], [0]]), [np.array([9, 10]), np.array([9])], np.array([[2, 9], [2, 3]]))

    assert excluded.tolist() == [[3, 9], [0, 0]]


def test_drawn_listeners_keep_all_their_cases() -> None:
    """Two of three listeners are the first and the last, each with every case. 0 means all listeners."""
    cases = select_cases(_split(), TEST)

    drawn = draw_listeners(cases, 2)

    assert np.unique(drawn.user).tolist() == [0, 2]
    assert len(drawn) == np.isin(cases.user, [0, 2]).sum()
    assert draw_listeners(cases, 0) is cases


def test_artifact_of_another_versions_recipe_is_refused(exported: Exported, tmp_path: Path) -> None:
    """The error is a sentence that names the key."""
    folder = copytree(exported.folder, tmp_path / "artifact")
    manifest = json.loads((folder / MANIFEST).read_text()) | {"recipe": {"name": "old", "networks": 3}}
    del manifest["sha256"]
    digest = sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest | {"sha256": digest}))

    with pytest.raises(ReplayError, match=r"another version.*networks"):
        replay(Log(folder=tmp_path, about={}), folder, "http://service")
