"""Pages of other origins: which may call the API, and what they can read of the replies."""

import pytest
from pydantic import ValidationError

from model.artifact import Artifact
from service.settings import Settings
from tests.service.applications import running
from tests.service.fakes import BrokenSessions

PLAYER = "https://player.example"
ALLOW = "access-control-allow-origin"
EVENT = {"event_id": "e1", "user_id": "u", "track_id": "t3", "type": "play"}


def preflight(origin: str, method: str = "POST", headers: str = "authorization,content-type") -> dict[str, str]:
    """Make the headers of a preflight request."""
    return {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}


def test_pages_of_other_origins_may_not_call_by_default(artifact: Artifact) -> None:
    with running(artifact) as client:
        asked = client.options("/v1/events", headers=preflight(PLAYER))
        read = client.get("/healthz", headers={"Origin": PLAYER})

    assert asked.status_code == 405
    assert ALLOW not in asked.headers
    assert ALLOW not in read.headers


@pytest.mark.parametrize("path", ["/v1/events", "/v1/users/u/next", "/v1/users/u/blocks/tracks/t1"])
def test_named_origin_may_call_with_a_key(artifact: Artifact, path: str) -> None:
    """Its preflight requests are answered for each method. Preflight requests of another origin are not."""
    with running(artifact, cors_origins=f"{PLAYER},http://localhost:5173") as client:
        allowed = [client.options(path, headers=preflight(PLAYER, method)) for method in ("GET", "POST", "PUT", "DELETE")]
        local = client.options(path, headers=preflight("http://localhost:5173"))
        other = client.options(path, headers=preflight("https://other.example"))

    assert {reply.status_code for reply in allowed} == {200}
    assert {reply.headers[ALLOW] for reply in allowed} == {PLAYER}
    assert "authorization" in allowed[0].headers["access-control-allow-headers"].lower()
    assert local.headers[ALLOW] == "http://localhost:5173"
    assert (other.status_code, ALLOW in other.headers) == (400, False)


def test_page_can_read_every_kind_of_reply(artifact: Artifact) -> None:
    """It can read replies of the routes and of a guard, and errors, with the headers that a client needs."""
    with running(artifact, cors_origins=PLAYER) as client:
        client.headers["Origin"] = PLAYER
        replies = [
            client.get("/v1/users/u/next"),
            client.get("/healthz"),
            client.get("/v1/users/u/next?count=0"),
            client.get("/nowhere"),
            client.post("/v1/events", json=EVENT, headers={"Content-Encoding": "gzip"}),
        ]
    with running(artifact, cors_origins=PLAYER, store=BrokenSessions()) as client:
        replies.append(client.post("/v1/events", json=EVENT, headers={"Origin": PLAYER}))

    assert [reply.status_code for reply in replies] == [200, 200, 422, 404, 415, 503]
    assert {reply.headers[ALLOW] for reply in replies} == {PLAYER}
    assert all("Retry-After" in reply.headers["access-control-expose-headers"] for reply in replies)


@pytest.mark.parametrize(
    "origins", ["player.example", "https://player.example/", "https://Player.example", "ftp://a", "https://a b"]
)
def test_origin_that_no_browser_sends_is_refused(origins: str) -> None:
    """Such a setting would never match, without any message."""
    with pytest.raises(ValidationError, match="an origin is a scheme and a host"):
        Settings.model_validate({"cors_origins": origins})


def test_origins_are_separated_by_commas() -> None:
    assert Settings.model_validate({"cors_origins": "https://a.example, http://[::1]:80,"}).cors_origins == (
        "https://a.example",
        "http://[::1]:80",
    )
