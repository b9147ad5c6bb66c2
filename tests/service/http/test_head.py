"""HEAD works on every path that answers GET, with the same status and headers and no body."""

import pytest
from fastapi.routing import APIRoute

from model.artifact import Artifact
from service.http.routes import ROUTERS
from tests.service.applications import running

PATHS = sorted(
    route.path.replace("{user_id}", "u")
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute) and "GET" in (route.methods or ())
)
CHANGING = {"x-request-id", "content-length"}  # metrics grow between two requests


@pytest.mark.parametrize("fast_path", [True, False])
@pytest.mark.parametrize("path", [*PATHS, "/docs", "/openapi.json", "/v1/users/u/next?count=3&exclude=t1"])
def test_head_is_get_without_its_body(artifact: Artifact, path: str, fast_path: bool) -> None:
    """It holds on the fast path and in the framework."""
    with running(artifact, fast_path=fast_path) as client:
        head, got = client.head(path, follow_redirects=False), client.get(path, follow_redirects=False)

    assert head.status_code == got.status_code < 400
    assert head.content == b""
    assert int(head.headers["content-length"]) > 0
    assert {name: value for name, value in head.headers.items() if name not in CHANGING} == {
        name: value for name, value in got.headers.items() if name not in CHANGING
    }


@pytest.mark.parametrize(("path", "status"), [("/v1/users/u/next?count=0", 422), ("/nowhere", 404), ("/v1/events", 405)])
def test_head_that_is_wrong_is_refused_as_get_is(artifact: Artifact, path: str, status: int) -> None:
    """The status is the same, and there is no body either."""
    with running(artifact) as client:
        head, got = client.head(path), client.get(path)

    assert (head.status_code, got.status_code, head.content) == (status, status, b"")


def test_head_is_counted_as_what_it_is(artifact: Artifact) -> None:
    """The metrics count it under its route and its own method."""
    with running(artifact) as client:
        client.head("/v1/users/u/next")
        exposed = client.get("/metrics").text

    assert 'nexttrack_requests_total{method="HEAD",route="/v1/users/{user_id}/next",status="200"} 1.0' in exposed
