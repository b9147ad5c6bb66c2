"""GET /v1/users/ID/next and POST /v1/next, through the real graphs of the small artifact."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from httpx import Client

from model.artifact import Artifact
from service.observing.log_writer import LogWriter
from tests.service import artifacts
from tests.service.applications import Clock, running
from tests.service.fakes import BrokenSessions, FailingRunner, LosableSessions, MemorySessions


@pytest.fixture
def client(artifact: Artifact) -> Iterator[Client]:
    """Yield a client of an application with an empty store."""
    with running(artifact) as client:
        yield client


def tell(client: Client, type: str, track: str, *, user: str = "u") -> None:
    """Post one event that happens now."""
    body = {"event_id": f"{type} {track}", "user_id": user, "track_id": track, "type": type}
    assert client.post("/v1/events", json=body).status_code == 200


def proposed(client: Client, user: str = "u", query: str = "") -> list[str]:
    """Return the tracks proposed to a user."""
    reply = client.get(f"/v1/users/{quote(user, safe='')}/next?{query}")
    assert reply.status_code == 200
    return [track["track_id"] for track in reply.json()["tracks"]]


def test_unknown_user_gets_the_models_prior(client: Client) -> None:
    """No listener must be known before. The reply is the model's, not degraded, with the contract's fields and no others."""
    reply = client.get("/v1/users/nobody/next?count=2").json()

    assert reply.pop("request_id")
    assert [track["track_id"] for track in reply.pop("tracks")] == ["t0", "t1"]
    assert reply == {
        "user_id": "nobody",
        "model": {"name": "tiny", "version": "tiny-1"},
        "source": "model",
        "degraded": False,
    }


def test_play_changes_what_comes_next_at_once(client: Client) -> None:
    """After a play of genre 3, the next reply has genre 3, without the track itself."""
    tell(client, "play", "t3")

    assert proposed(client, query="count=3") == ["t7", "t11", "t15"]


def test_skipped_track_is_not_proposed_again(client: Client) -> None:
    """A skip masks the track, and through the outcome input it lowers the track's genre."""
    tell(client, "skip", "t0")
    tracks = proposed(client, query="count=39")

    assert "t0" not in tracks
    assert len(tracks) == 39
    assert {int(track[1:]) % artifacts.GENRES for track in tracks[-9:]} == {0}


def test_track_named_by_exclude_is_not_proposed(client: Client) -> None:
    """`exclude` may be repeated, and unknown ids in it are no error."""
    assert proposed(client, query="count=3&exclude=t0&exclude=t2&exclude=unheard") == ["t1", "t3", "t4"]


def test_unknown_tracks_in_the_session_inform_nothing(client: Client) -> None:
    """A track that the model has never seen is stored and shown in the session, and is no error."""
    tell(client, "play", "unheard of")

    assert proposed(client, query="count=2") == ["t0", "t1"]
    assert client.get("/v1/users/u/session").json()["session"][0]["track_id"] == "unheard of"


def test_skip_and_play_count_for_their_session_only(artifact: Artifact) -> None:
    """After the session's gap, skipped and played tracks may be proposed again. A disliked track still stays out."""
    clock = Clock()
    with running(artifact, clock=clock) as client:
        for type, track in (("skip", "t0"), ("play", "t1"), ("dislike", "t2")):
            tell(client, type, track)
        during = proposed(client, query="count=100")
        clock.now_ms += artifact.manifest.history.gap_ms + 1
        after = proposed(client, query="count=100")

    assert not {"t0", "t1", "t2"} & set(during)
    assert {"t0", "t1", "t2"} & set(after) == {"t0", "t1"}


@pytest.mark.parametrize("user", ["a/b", "a/b/next", "/", "ü/ñ", "a%2Fb", "50%", "{x}", "a b", "?#"])
def test_any_id_can_stand_in_a_path(client: Client, user: str) -> None:
    """An id with slashes, percent-encoded, is one id."""
    tell(client, "play", "t3", user=user)
    reply = client.get(f"/v1/users/{quote(user, safe='')}/next?count=1").json()

    assert reply["user_id"] == user
    assert reply["tracks"][0]["track_id"] == "t7"


@pytest.mark.parametrize("user", ["a%00b", "%FF", "x" * 257, "%C2%85"])
def test_bad_id_in_a_path_is_refused(client: Client, user: str) -> None:
    """An id is checked wherever it stands."""
    reply = client.get(f"/v1/users/{user}/next")

    assert reply.status_code == 422
    assert reply.json()["errors"][0]["loc"] == ["path", "user_id"]


@pytest.mark.parametrize("count", ["0", "101", "-1", "NaN", "1.5", "ten", ""])
def test_count_outside_its_range_is_refused(client: Client, count: str) -> None:
    """It must be a number from 1 to 100."""
    reply = client.get(f"/v1/users/u/next?count={count}")

    assert reply.status_code == 422
    assert reply.json()["errors"][0]["loc"] == ["query", "count"]


def test_each_reply_has_an_id_of_its_own(client: Client) -> None:
    """The id connects a proposal with its outcome."""
    ids = {client.get("/v1/users/u/next").json()["request_id"] for _ in range(20)}

    assert len(ids) == 20


def test_redis_out_of_reach_gives_popular_tracks(artifact: Artifact) -> None:
    """The reply is marked as degraded and counted. Tracks that the request excludes stay out."""
    with running(artifact, store=BrokenSessions()) as client:
        reply = client.get("/v1/users/u/next?count=2&exclude=t0").json()
        exposed = client.get("/metrics").text

    assert (reply["source"], reply["degraded"]) == ("popular", True)
    assert [track["track_id"] for track in reply["tracks"]] == ["t1", "t2"]
    assert 'nexttrack_degraded_total{reason="redis",version="tiny-1"} 1.0' in exposed


def test_broken_model_gives_popular_tracks_without_the_skipped(artifact: Artifact) -> None:
    """The masks also apply to popular tracks."""
    with running(artifact, runner=FailingRunner()) as client:
        tell(client, "skip", "t0")
        reply = client.get("/v1/users/u/next?count=2").json()
        exposed = client.get("/metrics").text

    assert (reply["source"], reply["degraded"]) == ("popular", True)
    assert [track["track_id"] for track in reply["tracks"]] == ["t1", "t2"]
    assert 'nexttrack_degraded_total{reason="model",version="tiny-1"} 1.0' in exposed


def test_given_history_reads_and_writes_nothing(artifact: Artifact) -> None:
    """A history in the body replaces the session. The store is not used, even if a user is named."""
    store = MemorySessions(artifact.manifest.history)
    with running(artifact, store=store) as client:
        history = [{"track_id": "t3"}, {"track_id": "t7", "outcome": "skipped"}, {"track_id": "t11", "outcome": "liked"}]
        reply = client.post("/v1/next", json={"user_id": "u", "history": history, "count": 1}).json()

    assert [track["track_id"] for track in reply["tracks"]] == ["t15"]
    assert store.reads == 0


def test_body_with_a_user_is_the_same_as_the_path(client: Client) -> None:
    """Without a history, POST uses the listener's own."""
    tell(client, "play", "t3")
    reply = client.post("/v1/next", json={"user_id": "u", "count": 3}).json()

    assert [track["track_id"] for track in reply["tracks"]] == proposed(client, query="count=3")


def test_candidates_alone_are_ranked(client: Client) -> None:
    """Repeated candidates count once, heard ones stay out, and unknown ones come last."""
    body = {"history": [{"track_id": "t1"}], "candidates": ["unheard", "t5", "t2", "t1", "t5"]}
    reply = client.post("/v1/next", json=body).json()

    assert [track["track_id"] for track in reply["tracks"]] == ["t5", "t2", "unheard"]


def test_candidates_all_masked_give_an_empty_reply(client: Client) -> None:
    """Nothing left to rank is no error."""
    reply = client.post("/v1/next", json={"candidates": ["t1"], "exclude": ["t1"]})

    assert (reply.status_code, reply.json()["tracks"]) == (200, [])


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({"count": 0}, ["body", "count"]),
        ({"count": "5"}, ["body", "count"]),
        ({"candidates": ["t"] * 10_001}, ["body", "candidates"]),
        ({"history": [{"track_id": "t1", "outcome": "hummed"}]}, ["body", "history", 0, "outcome"]),
        ({"exclude": "t1"}, ["body", "exclude"]),
    ],
)
def test_bad_wish_is_refused(client: Client, body: dict[str, object], loc: list[object]) -> None:
    """The error points at the fault."""
    reply = client.post("/v1/next", json=body)

    assert reply.status_code == 422
    assert reply.json()["errors"][0]["loc"] == loc


def test_not_a_number_is_refused(client: Client) -> None:
    """NaN is no JSON, and no valid count."""
    reply = client.post("/v1/next", content=b'{"count": NaN}', headers={"content-type": "application/json"})

    assert reply.status_code == 422


def test_catalogue_names_tracks(tmp_path: Path) -> None:
    """Replies have title and artist if the artifact does."""
    with running(artifacts.load(tmp_path, catalogue=True)) as client:
        [track] = client.get("/v1/users/u/next?count=1").json()["tracks"]

    assert (track["title"], track["artist"]) == ("title t0", "artist 0")


def test_artists_are_kept_apart(tmp_path: Path) -> None:
    """With a gap of 3, no artist occurs twice within 3 tracks, and the reply is still full."""
    with running(artifacts.load(tmp_path, catalogue=True), artist_gap=3) as client:
        artists = [track["artist"] for track in client.get("/v1/users/u/next?count=8").json()["tracks"]]

    assert len(artists) == 8
    assert all(len(set(artists[start : start + 3])) == 3 for start in range(6))


def test_explored_tracks_are_marked_and_logged(artifact: Artifact, tmp_path: Path) -> None:
    """The log has the probability of each draw under the id of its reply, also of the replies of a batch."""
    path = tmp_path / "log"
    with path.open("wb") as file, running(artifact, log=LogWriter(file.fileno()), log_level="info") as client:
        replies = [client.get("/v1/users/u/next?explore=0.5&count=4").json()]
        asked = {"user_id": "u", "explore": 0.5, "count": 4}
        replies.append(client.post("/v1/next", json=asked).json())
        replies += client.post("/v1/next/batch", json={"requests": [asked, {"count": 4}, asked]}).json()["replies"]

    lines = map(json.loads, path.read_text("utf-8").splitlines())
    drawn = [{one["track_id"] for one in reply["tracks"] if one.get("explored")} for reply in replies]
    logged = {name: explored for line in lines for name, explored in line.get("explored", {}).items()}
    assert list(map(len, drawn)) == [2, 2, 2, 0, 2]
    assert logged.keys() == {reply["request_id"] for reply, tracks in zip(replies, drawn, strict=True) if tracks}
    for reply, tracks in zip(replies, drawn, strict=True):
        assert set(logged.get(reply["request_id"], {})) == tracks
        assert all(one.get("explored") is not False for one in reply["tracks"])


def test_reply_without_redis_leaves_out_what_this_process_was_told(artifact: Artifact) -> None:
    """It includes events that were posted while Redis was down and got a 503. Deleting the listener ends it."""
    store = LosableSessions(artifact.manifest.history)
    with running(artifact, store=store) as client:
        tell(client, "skip", "t0")
        store.lost = True
        refused = client.post(
            "/v1/events", json={"event_id": "late", "user_id": "u", "track_id": "t1", "type": "dislike"}
        ).status_code
        degraded, other = proposed(client, query="count=2"), proposed(client, "other", "count=2")
        posted = client.post("/v1/next", json={"user_id": "u", "count": 2}).json()
        store.lost = False
        client.delete("/v1/users/u")
        store.lost = True
        forgotten = proposed(client, query="count=2")

    assert refused == 503
    assert (degraded, other, forgotten) == (["t2", "t3"], ["t0", "t1"], ["t0", "t1"])
    assert (posted["source"], posted["degraded"], [track["track_id"] for track in posted["tracks"]]) == (
        "popular",
        True,
        ["t2", "t3"],
    )
