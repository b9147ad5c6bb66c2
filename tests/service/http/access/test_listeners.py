"""What a listener token opens on a running application, by the fast path and past it."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from httpx import Client

from model.artifact import Artifact
from service.http.access.guard import Access
from service.http.access.keys import AccessError
from service.settings import Settings
from tests.service.applications import bearer, running
from tests.service.http.access.signing import SECRET, private_key, public_pem, token
from tests.service.processes import until

EVENT = {"event_id": "e1", "track_id": "t3", "type": "play"}
ANN = EVENT | {"user_id": "ann"}
LOCKED: dict[str, Any] = {"jwt_key": SECRET, "admin_keys": "boss:admin-secret"}


def player_of(sub: str) -> dict[str, str]:
    """Return the header of a listener's player."""
    return bearer(token(sub))


@pytest.fixture(scope="module", params=[True, False], ids=["fast path", "framework"])
def client(request: pytest.FixtureRequest, artifact: Artifact) -> Iterator[Client]:
    """A client of an application that takes listener tokens."""
    with running(artifact, fast_path=request.param, **LOCKED) as client:
        yield client


OWN = [
    ("POST", "/v1/events", ANN),
    ("POST", "/v1/events", {"events": [ANN, ANN | {"event_id": "e2"}]}),
    ("GET", "/v1/users/ann/next?count=3", None),
    ("GET", "/v1/users/%61nn/next", None),
    ("HEAD", "/v1/users/ann/next", None),
    ("GET", "/v1/users/ann/session?history=true", None),
    ("PUT", "/v1/users/ann/blocks/tracks/t3", None),
    ("GET", "/v1/users/ann/blocks", None),
    ("POST", "/v1/next", {"user_id": "ann", "count": 3}),
    ("POST", "/v1/next", {"user_id": "ann", "history": [{"track_id": "t1"}]}),
]


@pytest.mark.parametrize(("method", "path", "body"), OWN)
def test_player_reaches_what_is_its_listeners(client: Client, method: str, path: str, body: object) -> None:
    assert client.request(method, path, json=body, headers=player_of("ann")).status_code == 200


FOREIGN = [
    ("POST", "/v1/events", EVENT | {"user_id": "bob"}),
    ("POST", "/v1/events", {"events": [ANN, EVENT | {"user_id": "bob"}]}),
    ("POST", "/v1/next", {"user_id": "bob"}),
    ("POST", "/v1/next", {"history": [{"track_id": "t1"}]}),
    ("POST", "/v1/next", {}),
    ("POST", "/v1/next/batch", {"requests": [{"user_id": "ann"}]}),
    ("GET", "/v1/users/bob/next", None),
    ("GET", "/v1/users/ann%2F/next", None),
    ("GET", "/v1/users/ANN/next", None),
    ("GET", "/v1/users/bob%2F..%2Fann/next", None),
    ("GET", "/v1/%75sers/bob/next", None),
    ("HEAD", "/v1/users/bob/next", None),
    ("GET", "/v1/users/bob/session", None),
    ("GET", "/v1/users/bob/blocks", None),
    ("PUT", "/v1/users/bob/blocks/tracks/t1", None),
    ("PUT", "/v1/blocks/tracks/t1", None),
    ("GET", "/v1/users/ann/export", None),
    ("DELETE", "/v1/users/ann", None),
    ("GET", "/v1/model", None),
    ("POST", "/v1/model/reload", None),
    ("GET", "/v1/status", None),
    ("GET", "/metrics", None),
    ("GET", "/nowhere", None),
]


@pytest.mark.parametrize(("method", "path", "body"), FOREIGN)
def test_everything_else_is_forbidden(client: Client, method: str, path: str, body: object) -> None:
    """Other listeners, requests without a user, a listener's deletion and export, and what operators need."""
    reply = client.request(method, path, json=body, headers=player_of("ann"))

    assert reply.status_code == 403
    assert method == "HEAD" or reply.json()["title"] == "Forbidden"


@pytest.mark.parametrize(("user", "path"), [("a/b", "a%2Fb"), ("\u00e9", "%C3%A9"), ("a%62", "a%2562"), ("a b", "a%20b")])
def test_encoded_id_is_the_same_user(client: Client, user: str, path: str) -> None:
    """And no other: a decoded path names another listener."""
    asked = [client.get(f"/v1/users/{path}/next", headers=player_of(sub)).status_code for sub in (user, f"{user}x", path)]

    assert asked == [200, 403, 403]


def test_refused_batch_stores_nothing(client: Client) -> None:
    """Not even the listener's own events in it."""
    own, foreign = ({"event_id": f"b{user}", "track_id": "t5", "type": "play", "user_id": user} for user in ("eve", "bob"))
    refused = client.post("/v1/events", json={"events": [own, foreign]}, headers=player_of("eve"))
    sessions = [client.get(f"/v1/users/{user}/session", headers=player_of(user)).json()["session"] for user in ("eve", "bob")]

    assert (refused.status_code, sessions) == (403, [[], []])


@pytest.mark.parametrize(
    "header",
    [lambda: token(exp=int(time.time()) - 60), lambda: token(key="x" * 40), lambda: "a.b.c", lambda: SECRET],
    ids=["expired", "another key", "no token", "the secret"],
)
def test_token_that_is_not_valid_opens_nothing(client: Client, header: Any) -> None:
    replies = [client.request(method, path, json=body, headers=bearer(header())) for method, path, body in OWN]

    assert {reply.status_code for reply in replies} == {401}


def test_metrics_have_no_listener(client: Client) -> None:
    """Tokens count together. A label for each listener would be a time series for each."""
    client.get("/v1/users/ann/next", headers=player_of("ann"))
    exposed = client.get("/metrics", headers=bearer("admin-secret")).text

    assert 'nexttrack_caller_requests_total{caller="(listener token)",status="200"}' in exposed


def test_public_keys_are_rotated_by_changing_their_file(artifact: Artifact, tmp_path: Path) -> None:
    """A token of a removed key is refused, although it was verified before."""
    old, new, file = private_key("ES256"), private_key("RS256"), tmp_path / "public.pem"
    file.write_text(public_pem(old))
    with running(artifact, jwt_public_key_file=file) as client:

        def status(key: Any, algorithm: str) -> int:
            headers = bearer(token(key=key, algorithm=algorithm, exp=2**31))
            return client.get("/v1/users/ann/next", headers=headers).status_code

        before = status(old, "ES256"), status(new, "RS256")
        replaced = tmp_path / "new.pem"
        replaced.write_text(public_pem(new))
        os.replace(replaced, file)
        until(lambda: status(old, "ES256") == 401)
        after = status(old, "ES256"), status(new, "RS256")

    assert (before, after) == ((200, 401), (401, 200))


def test_two_kinds_of_token_keys_stop_the_start(tmp_path: Path) -> None:
    """The algorithm must be clear."""
    settings = Settings.model_validate({"jwt_key": SECRET, "jwt_public_key_file": tmp_path / "public.pem"})

    with pytest.raises(AccessError, match="set one of them"):
        Access(settings)
