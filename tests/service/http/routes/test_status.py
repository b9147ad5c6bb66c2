"""GET /v1/status: one reply with the state of the service."""

from pathlib import Path
from uuid import uuid4

import pytest
from httpx import Client

from model.artifact import Artifact
from tests.service.applications import running
from tests.service.fakes import BrokenSessions
from tests.service.processes import free_port, of_each_worker, process


def test_outcomes_count_for_the_model_that_proposed(artifact: Artifact, valkey: str) -> None:
    """A player gets a list, completes the first track, skips the third and likes it. Metrics and status count these
    outcomes.
    """
    manifest = artifact.manifest
    with running(artifact, redis_url=valkey) as client:
        proposal = client.get("/v1/users/outcomes/next", params={"count": 5}).json()
        tracks = [track["track_id"] for track in proposal["tracks"]]
        told = [(tracks[0], "play"), (tracks[0], "complete"), (tracks[2], "skip"), (tracks[2], "like")]
        events = [
            {
                "event_id": f"o{place}",
                "user_id": "outcomes",
                "track_id": track,
                "type": type,
                "request_id": proposal["request_id"],
            }
            for place, (track, type) in enumerate(told)
        ]
        for _ in range(2):
            client.post("/v1/events", json={"events": events})
        exposed = client.get("/metrics").text
        status = client.get("/v1/status", params={"hours": 1}).json()
        client.delete("/v1/users/outcomes")
    [outcomes] = [model for model in status["outcomes"] if (model["version"], model["arm"]) == (manifest.version, "current")]
    labels = f'arm="current",outcome="completed",rank="1",version="{manifest.version}"'

    assert f"nexttrack_outcomes_total{{{labels}}} 1.0" in exposed
    assert [outcomes[name] for name in ("completed", "skipped", "liked", "disliked")] == [1, 1, 1, 0]
    assert outcomes["ranks"] == [
        {"rank": "1", "completed": 1, "skipped": 0, "liked": 0, "disliked": 0},
        {"rank": "3", "completed": 0, "skipped": 1, "liked": 1, "disliked": 0},
    ]
    [hour] = [one for one in status["outcomes_by_hour"] if one["version"] == manifest.version]
    assert [hour[name] for name in ("hour", "completed", "skipped", "liked")] == ["2027-01-15T08:00:00Z", 1, 1, 1]
    assert status["last_hour"] == []  # a first reading, and not yet a second
    assert status["redis"]["ready"]
    assert [(model["arm"], model["version"]) for model in status["models"]] == [("current", manifest.version)]
    assert ("/v1/events", "200", 2) in [(one["route"], one["status"], one["count"]) for one in status["requests"]]


def test_degraded_reply_is_not_the_models(artifact: Artifact) -> None:
    """Its id says that popular tracks were proposed."""
    with running(artifact, store=BrokenSessions()) as client:
        reply = client.get("/v1/users/u/next").json()
        status = client.get("/v1/status").json()

    assert reply["request_id"].split(".")[1] == "popular"
    assert status["degraded"] == {"replies": 1, "share": 1.0, "reasons": {"redis": 1}}


def test_status_without_redis_says_why(artifact: Artifact) -> None:
    """An operator looks here first, so it must answer when other parts fail."""
    with running(artifact, store=BrokenSessions()) as client:
        reply = client.get("/v1/status")

    assert reply.status_code == 200
    assert reply.json()["redis"] == {"ready": False, "ping_ms": None, "reason": "gone fishing"}
    assert reply.json()["outcomes"] == []


@pytest.mark.parametrize("hours", ["0", "337", "x"])
def test_hours_are_bounded(artifact: Artifact, hours: str) -> None:
    """The counters are kept for two weeks."""
    with running(artifact) as client:
        assert client.get("/v1/status", params={"hours": hours}).status_code == 422


def test_counts_are_of_all_workers(artifact: Artifact, tmp_path: Path) -> None:
    """Any worker gives the same reply: requests come from the metrics' files, outcomes from Redis."""
    port, log = free_port(), tmp_path / "log"
    settings = {"artifact": artifact.folder, "state_dir": tmp_path, "workers": 2}

    def skip_first(client: Client) -> None:
        user = uuid4().hex
        proposal = client.get(f"/v1/users/{user}/next", params={"count": 1}).json()
        skip = {"event_id": user, "user_id": user, "track_id": proposal["tracks"][0]["track_id"], "type": "skip"}
        client.post("/v1/events", json=skip | {"request_id": proposal["request_id"]})

    with process("-m", "service", port=port, log=log, **settings):
        skipped = len(of_each_worker(2, log, port, skip_first))
        replies = of_each_worker(2, log, port, lambda client: client.get("/v1/status").json())

    for status in replies:
        [model] = status["outcomes"]
        assert (model["skipped"], [rank["rank"] for rank in model["ranks"]]) == (skipped, ["1"])
        assert [one["count"] for one in status["requests"] if one["route"] == "/v1/events"] == [skipped]
