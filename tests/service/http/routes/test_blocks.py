"""Blocks over HTTP: in force with the next reply, listed, deleted, and refused where they would do nothing."""

from pathlib import Path
from typing import Any

import pytest
from httpx import Client

from model.artifact import Artifact, load
from model.versions import switch
from service.blocks import Block
from tests.service import artifacts
from tests.service.applications import running
from tests.service.fakes import BrokenSessions, BrokenTakeDowns, LosableSessions, MemoryTakeDowns


def proposed(client: Client, user: str = "u", **body: object) -> list[str]:
    """What comes next for a listener, by the way that fits."""
    path = f"/v1/users/{user}/next?count=40"
    reply = client.post("/v1/next", json={"user_id": user, "count": 100, **body}) if body else client.get(path)
    return [track["track_id"] for track in reply.json()["tracks"]]


def test_block_is_in_force_with_the_next_reply_until_it_is_deleted(catalogued: Artifact, valkey: str) -> None:
    """On the fast path, which answers these requests, and for this listener alone."""
    reached = list[str]()
    with running(catalogued, redis_url=valkey, reached_framework=reached) as client:
        before = proposed(client, "blocker")
        replies = [
            client.put(f"/v1/users/blocker/blocks/{end}") for end in ("tracks/t9", "artists/artist%200", "albums/album%209")
        ]
        during, others = proposed(client, "blocker"), proposed(client, "other")
        ranked = proposed(client, "blocker", candidates=["t1", "t9", "t18", "t20", "x"])
        deleted = [
            client.delete(f"/v1/users/blocker/blocks/{end}") for end in ("tracks/t9", "artists/artist%200", "albums/none")
        ]
        after = proposed(client, "blocker")

    assert [reply.json() for reply in replies] == [
        {"kind": "tracks", "value": "t9", "tracks": 1},
        {"kind": "artists", "value": "artist 0", "tracks": 4},
        {"kind": "albums", "value": "album 9", "tracks": 2},
    ]
    assert set(before) == set(others) == set(artifacts.TRACKS)
    assert set(before) - set(during) == {"t0", "t1", "t2", "t3", "t9", "t18", "t19"}
    assert ranked == ["t20", "x"]
    assert [reply.status_code for reply in deleted] == [204] * 3
    assert set(before) - set(after) == {"t18", "t19"}
    assert not any("next" in path for path in reached)


def test_blocks_are_listed_and_exported(catalogued: Artifact, valkey: str) -> None:
    """Values may have slashes and letters of any language."""
    with running(catalogued, redis_url=valkey) as client:
        for end in ("tracks/t9", "tracks/t1", "artists/AC%2FDC", "artists/%E5%9D%82%E6%9C%AC"):
            assert client.put(f"/v1/users/l%2F1/blocks/{end}").status_code == 200
        listed = client.get("/v1/users/l%2F1/blocks").json()
        exported = client.get("/v1/users/l%2F1/export").json()
        nobody = client.get("/v1/users/nobody/blocks").json()

    assert listed == {"user_id": "l/1", "tracks": ["t1", "t9"], "artists": ["AC/DC", "坂本"], "albums": []}
    assert exported["blocks"][0] == {"kind": "artists", "value": "AC/DC", "at": "2027-01-15T08:00:00Z"}
    assert (len(exported["blocks"]), set(exported["expires_at"])) == (4, {"blocks"})
    assert nobody == {"user_id": "nobody", "tracks": [], "artists": [], "albums": []}


def test_block_that_would_do_nothing_is_refused(artifact: Artifact) -> None:
    """Without a catalogue no artist is known. A track can always be blocked, also one that the model does not know yet."""
    with running(artifact) as client:
        refused = [client.put(f"/v1/users/u/blocks/{kind}/x") for kind in ("artists", "albums")]
        taken = client.put("/v1/users/u/blocks/tracks/x")
        listed = client.get("/v1/users/u/blocks").json()

    assert [reply.status_code for reply in refused] == [409, 409]
    assert refused[0].json()["detail"].startswith("tiny-1: found no artists in its catalogue")
    assert taken.json() == {"kind": "tracks", "value": "x", "tracks": 0}
    assert listed == {"user_id": "u", "tracks": ["x"], "artists": [], "albums": []}


def test_full_list_is_said(artifact: Artifact, valkey: str) -> None:
    """409 with the setting's name, and the block is not in force, not even in a reply without Redis."""
    with running(artifact, redis_url=valkey, blocks=1) as client:
        first = client.put("/v1/users/full/blocks/tracks/t1")
        second = client.put("/v1/users/full/blocks/tracks/t2")
        left = proposed(client, "full")

    assert (first.status_code, second.status_code) == (200, 409)
    assert "NEXTTRACK_BLOCKS" in second.json()["detail"]
    assert "t2" in left
    assert "t1" not in left


@pytest.mark.parametrize("path", ["genres/x", "tracks/%00", "tracks/%FF", "tracks/" + "x" * 257])
def test_what_is_no_block_is_refused(artifact: Artifact, path: str) -> None:
    with running(artifact) as client:
        reply = client.put(f"/v1/users/u/blocks/{path}")

    assert reply.status_code == 422


@pytest.mark.parametrize("method", ["PUT", "DELETE", "GET"])
def test_redis_out_of_reach_is_said(artifact: Artifact, method: str) -> None:
    """503 with Retry-After: nobody may think that a block is kept which is not."""
    with running(artifact, store=BrokenSessions()) as client:
        reply = client.request(method, "/v1/users/u/blocks" + ("/tracks/t1" if method != "GET" else ""))

    assert reply.status_code == 503
    assert "retry-after" in reply.headers


def test_reply_without_redis_keeps_blocks_that_this_process_has_seen(catalogued: Artifact) -> None:
    """Those that it read, and those that were put since; a deleted one is allowed again."""
    store = LosableSessions(catalogued.manifest.history)
    with running(catalogued, store=store) as client:
        for end in ("artists/artist%200", "tracks/t5", "tracks/t6"):
            client.put(f"/v1/users/u/blocks/{end}")
        client.delete("/v1/users/u/blocks/tracks/t5")
        store.lost = True
        failed = client.put("/v1/users/u/blocks/tracks/t7")
        degraded = proposed(client)

    assert failed.status_code == 503
    assert degraded[:3] == ["t4", "t5", "t8"]


def test_take_down_is_in_force_with_the_next_reply_until_it_is_ended(
    catalogued: Artifact, logged: list[dict[str, Any]]
) -> None:
    """For everybody, in each way to ask, on the fast path; and the audit log says who did what."""
    reached = list[str]()
    with running(catalogued, reached_framework=reached) as client:
        taken = client.put("/v1/blocks/artists/artist%200")
        during = [proposed(client, "a"), proposed(client, "b", candidates=["t1", "t4"])]
        radio = client.post("/v1/next", json={"history": [{"track_id": "t0"}], "count": 100}).json()["tracks"]
        ended = client.delete("/v1/blocks/artists/artist%200")
        after = proposed(client, "a")

    assert taken.json() == {"kind": "artists", "value": "artist 0", "tracks": 4}
    assert set(artifacts.TRACKS) - set(during[0]) == {"t0", "t1", "t2", "t3"}
    assert during[1] == ["t4"]
    assert not {"t1", "t2", "t3"} & {track["track_id"] for track in radio}
    assert (ended.status_code, set(after)) == (204, set(artifacts.TRACKS))
    assert not any("next" in path for path in reached)
    audits = [line for line in logged if line["event"].startswith("audit")]
    assert [(line["event"], line["kind"], line["value"]) for line in audits] == [
        ("audit: taken down", "artists", "artist 0"),
        ("audit: take-down ended", "artists", "artist 0"),
    ]


def test_take_downs_are_listed(artifact: Artifact) -> None:
    """A value may have slashes, encoded or not, and letters of any language."""
    with running(artifact) as client:
        for end in ("t%2F9", "a/b", "%E5%9D%82", "%2541"):
            assert client.put(f"/v1/blocks/tracks/{end}").status_code == 200
        listed = client.get("/v1/blocks").json()

    assert listed == {"tracks": ["%41", "a/b", "t/9", "坂"], "artists": [], "albums": []}


def test_take_down_that_would_do_nothing_is_refused(artifact: Artifact) -> None:
    """So is one more than the list has room for."""
    with running(artifact, take_downs=MemoryTakeDowns(most=1)) as client:
        replies = [client.put(f"/v1/blocks/{end}") for end in ("albums/x", "tracks/t1", "tracks/t2")]
        listed = client.get("/v1/blocks").json()

    assert [reply.status_code for reply in replies] == [409, 200, 409]
    assert "found no albums in its catalogue" in replies[0].json()["detail"]
    assert "blocks are taken down" in replies[2].json()["detail"]
    assert listed["tracks"] == ["t1"]


def test_model_that_cannot_apply_the_take_downs_is_refused(tmp_path: Path) -> None:
    """A model without a catalogue would bring a blocked artist back. The model in use goes on."""
    artifacts.build(tmp_path, version="without")
    artifacts.build(tmp_path, version="with", catalogue=True)
    with running(load(tmp_path / "current"), current=tmp_path / "current", model_watch=0) as client:
        client.put("/v1/blocks/artists/artist%200")
        switch(tmp_path, "without")
        refused = client.post("/v1/model/reload")
        served = client.get("/v1/model").json()["version"]
        client.delete("/v1/blocks/artists/artist%200")
        taken = client.post("/v1/model/reload")

    assert (refused.status_code, served) == (409, "with")
    assert "found no artists in its catalogue" in refused.json()["detail"]
    assert (taken.status_code, taken.json()["version"]) == (200, "without")


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_take_down_without_redis_is_not_promised(artifact: Artifact, method: str) -> None:
    """503. A service that has never read the list is not ready."""
    with running(artifact, take_downs=BrokenTakeDowns()) as client:
        reply = client.request(method, "/v1/blocks/tracks/t1")
        ready = client.get("/readyz")

    assert reply.status_code == 503
    assert (ready.status_code, ready.json()["reasons"]) == (503, ["the list of take-downs has not been read yet"])


def test_service_that_starts_with_a_model_that_cannot_apply_the_take_downs_is_not_ready(artifact: Artifact) -> None:
    """Its catalogue names no artists, and an artist is taken down."""
    with running(artifact, take_downs=MemoryTakeDowns(Block("artists", "x"))) as client:
        ready = client.get("/readyz")

    assert ready.status_code == 503
    assert ready.json()["reasons"][0].startswith("found no artists in its catalogue")
