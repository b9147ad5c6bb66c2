"""HEAD works on every path that answers GET, with the same status and headers and no body."""

from collections.abc import Iterator

import pytest
from fastapi.routing import APIRoute
from httpx import Client

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


@pytest.fixture(scope="module", params=[True, False], ids=["fast path", "framework"])
def client(request: pytest.FixtureRequest, artifact: Artifact) -> Iterator[Client]:
    """Yield a client of an application."""
    with running(artifact, fast_path=request.param) as client:
        yield client


@pytest.mark.parametrize("path", [*PATHS, "/docs", "/openapi.json", "/v1/users/u/next?count=3&exclude=t1"])
def test_head_is_get_without_its_body(client: Client, path: str) -> None:
    head, got = client.head(path, follow_redirects=False), client.get(path, follow_redirects=False)

    assert head.status_code == got.status_code < 400
    assert head.content == b""
    assert int(head.headers["content-length"]) > 0
    assert {name: value for name, value in head.headers.items() if name not in CHANGING} == {
        name: value for name, value in got.headers.items() if name not in CHANGING
    }


@pytest.mark.parametrize(("path", "status"), [("/v1/users/u/next?count=0", 422), ("/nowhere", 404), ("/v1/events", 405)])
def test_head_that_is_wrong_is_refused_as_get_is(client: Client, path: str, status: int) -> None:
    """The status is the same, and there is no body either."""
    head, got = client.head(path), client.get(path)

    assert (head.status_code, got.status_code, head.content) == (status, status, b"")


def test_head_is_counted_as_what_it_is(artifact: Artifact) -> None:
    """The metrics count it under its route and its own method."""
    with running(artifact) as client:
        client.head("/v1/users/u/next")
        exposed = client.get("/metrics").text

    assert 'nexttrack_requests_total{method="HEAD",route="/v1/users/{user_id}/next",status="200"} 1.0' in exposed
