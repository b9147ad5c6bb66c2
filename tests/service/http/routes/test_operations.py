"""Health, readiness, metrics, the model in use."""

from model.artifact import Artifact
from tests.service.applications import running
from tests.service.fakes import BrokenSessions


def test_ready_service_says_so(artifact: Artifact) -> None:
    """200 once the artifact is verified and the store answers."""
    with running(artifact) as client:
        reply = client.get("/readyz")

    assert (reply.status_code, reply.json()) == (200, {"ready": True, "reasons": []})


def test_service_without_its_store_lives_and_is_not_ready(artifact: Artifact) -> None:
    """Readiness names the reason; liveness is not affected, as a restart would not help."""
    with running(artifact, store=BrokenSessions()) as client:
        ready, health = client.get("/readyz"), client.get("/healthz")

    assert (ready.status_code, ready.json()) == (503, {"ready": False, "reasons": ["gone fishing"]})
    assert (health.status_code, health.json()) == (200, {"status": "ok"})


def test_metrics_speak_of_routes_not_of_users(artifact: Artifact) -> None:
    """Labels are templates: a million users, or a scanner's paths, make no million time series."""
    with running(artifact) as client:
        client.get("/v1/users/secret/next")
        client.get("/wp-admin/secret")
        exposed = client.get("/metrics").text

    assert 'nexttrack_requests_total{method="GET",route="/v1/users/{user_id}/next",status="200"} 1.0' in exposed
    assert 'nexttrack_requests_total{method="GET",route="unmatched",status="404"} 1.0' in exposed
    assert "secret" not in exposed


def test_metrics_tell_where_the_time_went(artifact: Artifact) -> None:
    """One proposal is one batch, one wait, one run of the graph and one overhead."""
    with running(artifact) as client:
        client.get("/v1/users/u/next")
        exposed = client.get("/metrics").text

    assert "nexttrack_overhead_seconds_count 1.0" in exposed
    assert "nexttrack_batch_requests_sum 1.0" in exposed
    assert "nexttrack_queue_seconds_count 1.0" in exposed
    assert 'nexttrack_onnx_seconds_count{graph="model"} 1.0' in exposed
    assert 'nexttrack_model_info{name="tiny",version="tiny-1"} 1.0' in exposed


def test_model_is_described_from_its_manifest(artifact: Artifact) -> None:
    """Name, version, size, when, from what, how good."""
    with running(artifact) as client:
        found = client.get("/v1/model").json()

    assert (found["name"], found["version"], found["tracks"]) == ("tiny", "tiny-1", 40)
    assert (found["origin"], found["quality"]) == ({"source": "made by hand"}, {"HR@20": 1.0})
