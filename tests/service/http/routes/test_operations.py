"""Health, readiness, metrics, and the model in use."""

from collections.abc import MutableMapping
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import pytest

from model.artifact import Artifact
from service.settings import Settings
from service.store.connections import connect
from service.store.sessions import RedisSessions
from tests.service.applications import running
from tests.service.fakes import BrokenSessions, GatedRunner
from tests.service.processes import until


def test_ready_service_says_so(artifact: Artifact) -> None:
    """The reply is 200 once the artifact is verified and the store answers."""
    with running(artifact) as client:
        reply = client.get("/readyz")

    assert (reply.status_code, reply.json()) == (200, {"ready": True, "reasons": []})


def test_service_without_its_store_lives_and_is_not_ready(artifact: Artifact) -> None:
    """Readiness names the reason. Liveness is not affected, because a restart would not help."""
    with running(artifact, store=BrokenSessions()) as client:
        ready, health = client.get("/readyz"), client.get("/healthz")

    assert (ready.status_code, ready.json()) == (503, {"ready": False, "reasons": ["gone fishing"]})
    assert (health.status_code, health.json()) == (200, {"status": "ok"})


def test_service_whose_model_does_not_answer_lives_and_is_not_ready(artifact: Artifact) -> None:
    """Waiting requests notice a run that hangs. Readiness then says so until the run ends."""
    runner = GatedRunner(is_open=False)
    with running(artifact, runner=runner, queue_patience=timedelta(milliseconds=20)) as client:
        asked = client.post("/v1/next", json={"history": [{"track_id": "t1"}]})
        ready, health = client.get("/readyz"), client.get("/healthz")
        degraded = client.get("/v1/users/u/next").json()
        runner.gate.set()
        until(lambda: client.get("/readyz").status_code == 200)

    assert (asked.status_code, ready.status_code, health.status_code) == (503, 503, 200)
    assert ready.json()["reasons"] == ["the model has answered nothing for 0 s although requests wait"]
    assert (degraded["source"], degraded["degraded"]) == ("popular", True)


@pytest.mark.parametrize("url", ["redis://user:secret@127.0.0.1:1", "unix:///a/secret/place"])
def test_no_reply_says_where_redis_is(artifact: Artifact, url: str, logged: list[MutableMapping[str, Any]]) -> None:
    """Neither `/readyz` nor the 503 of a request contains the address, the port or the path; the log does."""
    settings = Settings(redis_url=url)
    client = connect(url, settings.redis_timeout)
    store = RedisSessions(client, settings, artifact.manifest.history, lambda _: nullcontext())
    with running(artifact, store=store) as http:
        event = {"event_id": "e", "user_id": "u", "track_id": "t1", "type": "skip"}
        replies = [
            http.get("/readyz"),
            http.post("/v1/events", json=event),
            http.get("/v1/users/u/session"),
            http.delete("/v1/users/u"),
        ]

    assert replies[0].json() == {"ready": False, "reasons": ["Redis is out of reach"]}
    assert [reply.json()["detail"] for reply in replies[1:]] == ["Redis is out of reach"] * 3
    assert logged[0]["cause"].startswith("Redis is out of reach: ")
    assert len(logged[0]["cause"]) > 30


def test_metrics_speak_of_routes_not_of_users(artifact: Artifact) -> None:
    """Labels are route templates, so a million users or a scanner's paths make no new time series."""
    with running(artifact) as client:
        client.get("/v1/users/secret/next")
        client.get("/wp-admin/secret")
        exposed = client.get("/metrics").text

    assert 'nexttrack_requests_total{method="GET",route="/v1/users/{user_id}/next",status="200"} 1.0' in exposed
    assert 'nexttrack_requests_total{method="GET",route="unmatched",status="404"} 1.0' in exposed
    assert "secret" not in exposed


def test_metrics_tell_where_the_time_went(artifact: Artifact) -> None:
    """One proposal counts as one batch, one wait, one run of the graph and one overhead."""
    with running(artifact) as client:
        client.get("/v1/users/u/next")
        exposed = client.get("/metrics").text

    assert 'nexttrack_overhead_seconds_count{version="tiny-1"} 1.0' in exposed
    assert 'nexttrack_batch_requests_sum{version="tiny-1"} 1.0' in exposed
    assert 'nexttrack_queue_seconds_count{version="tiny-1"} 1.0' in exposed
    assert 'nexttrack_onnx_seconds_count{graph="model",version="tiny-1"} 1.0' in exposed
    assert 'nexttrack_model_info{arm="current",name="tiny",version="tiny-1"} 1.0' in exposed


def test_model_is_described_from_its_manifest(artifact: Artifact) -> None:
    """The reply has name, version, size, date, training data and quality."""
    with running(artifact) as client:
        found = client.get("/v1/model").json()

    assert (found["name"], found["version"], found["tracks"]) == ("tiny", "tiny-1", 40)
    assert (found["origin"], found["quality"]) == ({"source": "made by hand"}, {"HR@20": 1.0})
