"""Who may call what with keys, by the fast path and past it."""

import hashlib
import json
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
from tests.service.fakes import MemorySessions
from tests.service.processes import free_port, of_each_worker, process, until

KEY, ADMIN = "web-secret", "admin-secret"
KEYS: dict[str, Any] = {"api_keys": f"web:sha256:{hashlib.sha256(KEY.encode()).hexdigest()}", "admin_keys": f"boss:{ADMIN}"}
EVENT = {"event_id": "e1", "user_id": "ann", "track_id": "t3", "type": "play"}
BUSY = [("POST", "/v1/events", EVENT), ("GET", "/v1/users/ann/next", None), ("POST", "/v1/next", {"count": 3})]
"""The requests that the fast path answers."""
OTHERS = [
    ("PUT", "/v1/users/ann/blocks/tracks/t3", None),
    ("POST", "/v1/next/batch", {"requests": [{"user_id": "ann"}, {"history": []}]}),
    ("GET", "/v1/users/ann/session", None),
    ("GET", "/v1/users/ann/export", None),
    ("DELETE", "/v1/users/ann", None),
    ("GET", "/v1/model", None),
    ("GET", "/metrics", None),
    ("HEAD", "/v1/users/ann/next", None),
]
OF_OPERATORS = [
    ("GET", "/v1/blocks"),
    ("PUT", "/v1/blocks/tracks/t4"),
    ("GET", "/v1/status"),
    ("POST", "/v1/model/reload"),
    ("GET", "/v1/%73tatus"),
    ("HEAD", "/v1/status"),
]
OPEN = ["/", "/docs", "/openapi.json", "/healthz", "/readyz", "/web/player.js", "/docs/assets/swagger-ui.css"]


@pytest.fixture(scope="module", params=[True, False], ids=["fast path", "framework"])
def client(request: pytest.FixtureRequest, artifact: Artifact) -> Iterator[Client]:
    """A client of a locked application."""
    with running(artifact, fast_path=request.param, **KEYS) as client:
        yield client


@pytest.mark.parametrize(("method", "path", "body"), [*BUSY, *OTHERS, ("GET", "/nowhere", None)])
@pytest.mark.parametrize(
    "header", [None, "Bearer", "Bearer wrong", f"Basic {KEY}", KEY, f"Bearer {KEY}x", f"Bearer {KEYS['api_keys'][11:]}"]
)
def test_request_without_a_known_key_is_refused(
    client: Client, method: str, path: str, body: object, header: str | None
) -> None:
    """With a problem that says what to send. A key's stored hash is no key."""
    reply = client.request(method, path, json=body, headers={} if header is None else {"Authorization": header})

    assert reply.status_code == 401
    assert reply.headers["www-authenticate"].startswith("Bearer ")
    assert reply.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(("method", "path", "body"), [*BUSY, *OTHERS])
@pytest.mark.parametrize("header", [f"Bearer {KEY}", f"bearer  {KEY}", f"Bearer {ADMIN}"])
def test_key_opens_what_applications_need(client: Client, method: str, path: str, body: object, header: str) -> None:
    reply = client.request(method, path, json=body, headers={"Authorization": header})

    assert reply.is_success


@pytest.mark.parametrize(("method", "path"), OF_OPERATORS)
def test_operators_paths_open_to_an_admin_key_alone(client: Client, method: str, path: str) -> None:
    """However the path is written."""
    statuses = [client.request(method, path, headers=headers).status_code for headers in ({}, bearer(KEY), bearer(ADMIN))]

    assert statuses == [401, 403, 200]


@pytest.mark.parametrize("path", OPEN)
def test_pages_and_probes_need_no_key(client: Client, path: str) -> None:
    assert client.get(path).status_code == 200


def test_refused_event_is_not_stored(artifact: Artifact) -> None:
    store = MemorySessions(artifact.manifest.history)
    with running(artifact, store=store, **KEYS) as client:
        client.post("/v1/events", json=EVENT)
        session = client.get("/v1/users/ann/session", headers=bearer(KEY)).json()["session"]

    assert session == []


def test_metrics_count_by_the_keys_name(client: Client) -> None:
    """Refused requests too, and never a secret."""
    for headers in ({}, bearer("wrong-secret"), bearer(KEY)):
        client.get("/v1/users/metrics/next", headers=headers)
    client.get("/v1/status", headers=bearer(KEY))
    exposed = client.get("/metrics", headers=bearer(ADMIN)).text

    assert 'nexttrack_caller_requests_total{caller="web",status="200"}' in exposed
    assert 'nexttrack_caller_requests_total{caller="web",status="403"}' in exposed
    assert 'nexttrack_caller_requests_total{caller="(unknown)",status="401"}' in exposed
    assert "secret" not in exposed


def test_document_says_what_the_guard_does(client: Client) -> None:
    """Each operation: the schemes that open it, and how it is refused."""
    document = client.get("/openapi.json").json()
    operations = [
        (path, method, operation) for path, methods in document["paths"].items() for method, operation in methods.items()
    ]

    assert document["components"]["securitySchemes"].keys() >= {"key", "adminKey"}
    for path, method, operation in operations:
        schemes = {name for need in operation["security"] for name in need}
        url = path.replace("{user_id}", "ann").replace("{", "").replace("}", "")
        refused = client.request(method, url).status_code == 401
        forbidden = client.request(method, url, headers=bearer(KEY)).status_code == 403

        assert (refused, forbidden) == (bool(schemes), schemes == {"adminKey"}), path
        assert bool(schemes) == ({"401", "403", "429"} <= operation["responses"].keys())


def test_page_of_another_origin_can_read_a_refusal(artifact: Artifact) -> None:
    """Else its script sees a network error in place of 401. A preflight request needs no key."""
    origin = "https://player.example"
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    with running(artifact, cors_origins=origin, **KEYS) as client:
        preflight = client.options("/v1/events", headers=asked)
        refused = [client.get("/v1/status", headers={"Origin": origin} | headers) for headers in ({}, bearer(KEY))]

    assert preflight.status_code == 200
    assert [reply.status_code for reply in refused] == [401, 403]
    assert {reply.headers["access-control-allow-origin"] for reply in refused} == {origin}
    assert "WWW-Authenticate" in refused[0].headers["access-control-expose-headers"]


def test_service_without_keys_asks_for_none(artifact: Artifact) -> None:
    """Operators' paths included; an empty variable sets no key."""
    with running(artifact, api_keys="", admin_keys=" ", api_keys_file="") as client:
        statuses = [client.get("/v1/status").status_code, client.get("/v1/status", headers=bearer("any")).status_code]

    assert statuses == [200, 200]


@pytest.mark.parametrize(
    ("contents", "why"),
    [("", "has no key; expected NAME:SECRET"), ("topsecret", "entry 1"), ("web:topsecret", "two keys with the name web")],
)
def test_file_with_wrong_keys_stops_the_start(tmp_path: Path, contents: str, why: str) -> None:
    """Keys of variables and files belong together. The sentence has no secret."""
    file = tmp_path / "keys"
    file.write_text(contents)
    settings = Settings.model_validate({"api_keys_file": file, "admin_keys": "web:another"})
    with pytest.raises(AccessError, match=why) as refused:
        Access(settings)

    assert "topsecret" not in str(refused.value)


@pytest.mark.parametrize("workers", [1, 2])
def test_keys_are_rotated_by_changing_their_file(artifact: Artifact, tmp_path: Path, workers: int) -> None:
    """Every worker takes the new keys and refuses the old ones. Log lines have names, and no secret."""
    file, log, port = tmp_path / "keys", tmp_path / "log", free_port()
    file.write_text("web-1:first-secret\n")
    settings = {"artifact": artifact.folder, "state_dir": tmp_path, "workers": workers, "api_keys_file": file}

    def statuses(secret: str) -> set[int]:
        headers = bearer(secret)
        return set(
            of_each_worker(workers, log, port, lambda client: client.get("/v1/users/ann/next", headers=headers).status_code)
        )

    with process("-m", "service", port=port, log=log, **settings):
        before = statuses("first-secret"), statuses("second-secret")
        file.write_text("web-1:first-secret\nweb-2:second-secret\n")
        until(lambda: statuses("second-secret") == {200})
        both = statuses("first-secret")
        file.write_text("web-2:second-secret\n")
        until(lambda: statuses("first-secret") == {401})
        after = statuses("second-secret")
    text = log.read_text()
    callers = {line.get("caller") for line in map(json.loads, text.splitlines()) if line["event"] == "request"}

    assert before == ({200}, {401})
    assert (both, after) == ({200}, {200})
    assert callers >= {"web-1", "web-2", "(unknown)"}
    assert "secret" not in text
