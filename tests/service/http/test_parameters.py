"""Query parameters that a route does not have are refused, on every route."""

import pytest

from model.artifact import Artifact
from tests.service.applications import running

EVENT = {"event_id": "e", "user_id": "u", "track_id": "t", "type": "play"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/users/u/next", None),
        ("GET", "/v1/users/u/session", None),
        ("DELETE", "/v1/users/u", None),
        ("POST", "/v1/events", EVENT),
        ("POST", "/v1/next", {"history": []}),
        ("GET", "/v1/model", None),
        ("GET", "/metrics", None),
    ],
)
def test_unknown_parameter_is_refused_by_name(artifact: Artifact, method: str, path: str, body: object) -> None:
    """The 422 names it, and nothing is done. Otherwise a mistyped parameter would be silently ignored."""
    with running(artifact) as client:
        reply = client.request(method, path, params={"cuont": "5"}, json=body)
        left = client.get("/v1/users/u/session").json()["session"]

    assert reply.status_code == 422
    assert [fault["loc"] for fault in reply.json()["errors"]] == [["query", "cuont"]]
    assert left == []


def test_refusal_says_what_was_expected(artifact: Artifact) -> None:
    """It lists the parameters of the route."""
    with running(artifact) as client:
        reply = client.get("/v1/users/u/next", params={"count": 5, "limit": 5})

    [fault] = reply.json()["errors"]
    assert fault["loc"] == ["query", "limit"]
    assert fault["msg"].startswith("unknown parameter; expected one of count, exclude, ")


@pytest.mark.parametrize(("parameters", "counted"), [({"a": "1"}, "1 fault"), ({"a": "1", "b": "1"}, "2 faults")])
def test_refusal_counts_its_faults(artifact: Artifact, parameters: dict[str, str], counted: str) -> None:
    with running(artifact) as client:
        reply = client.get("/v1/users/u/next", params=parameters)

    assert reply.json()["detail"] == f"{counted} in the request; errors says where"


def test_parameter_that_is_taken_once_is_refused_twice(artifact: Artifact) -> None:
    """Otherwise one of the two values would be silently ignored. `exclude` is a list and may be repeated."""
    with running(artifact) as client:
        refused = client.get("/v1/users/u/next?count=1&count=2&replay=true")
        taken = client.get("/v1/users/u/next?exclude=t1&exclude=t2&count=1")

    assert (refused.status_code, taken.status_code) == (422, 200)
    assert refused.json()["errors"] == [{"loc": ["query", "count"], "msg": "found 2 times; expected once"}]


def test_probes_take_any_parameters(artifact: Artifact) -> None:
    """Load balancers add parameters, and must not take a sound service for a broken one."""
    with running(artifact) as client:
        assert [client.get(path, params={"x": "1"}).status_code for path in ("/healthz", "/readyz")] == [200, 200]


@pytest.mark.parametrize(("body", "msg"), [(b"[" * 200_000, "nested too deeply"), (b'{"user_id": "\xff"}', "not valid UTF-8")])
def test_body_that_cannot_be_read_is_refused_like_other_broken_ones(artifact: Artifact, body: bytes, msg: str) -> None:
    """The 422 says what is wrong and where, on the busy routes and on others."""
    typed = {"content-type": "application/json"}
    with running(artifact) as client:
        replies = [client.post(path, content=body, headers=typed) for path in ("/v1/next", "/v1/events", "/v1/next/batch")]

    assert [reply.status_code for reply in replies] == [422] * 3
    assert [reply.json()["errors"] for reply in replies] == [[{"loc": ["body"], "msg": msg}]] * 3


def test_pages_take_any_parameters(artifact: Artifact) -> None:
    """A link to the player may carry some, which are no part of the API."""
    with running(artifact) as client:
        assert client.get("/", params={"utm": "x"}).status_code == 200
