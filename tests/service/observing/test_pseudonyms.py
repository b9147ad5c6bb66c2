"""User ids in log lines become pseudonyms. No line has an id, and with the key a listener's lines can be found."""

import hmac
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from pydantic import SecretStr

from model.artifact import Artifact
from service.observing.pseudonyms import Pseudonyms, pseudonyms
from tests.service.applications import running
from tests.service.processes import free_port, http, process

KEY = "a key of the operator"
IDS = ["ann", "a/b c", "{é}", "\ud800", "x" * 256]


@pytest.mark.parametrize("user_id", IDS)
def test_pseudonym_is_the_hmac_of_the_id(user_id: str) -> None:
    """It equals the standard library's one-call function, in a line's `user_id` and, percent-encoded, in its path."""
    names = Pseudonyms(KEY)
    raw = user_id.encode(errors="surrogatepass")
    expected = hmac.digest(KEY.encode(), raw, "sha256").hex()[:16]

    assert names.user(user_id) == expected
    assert names.path(f"/v1/users/{quote(raw, safe='')}/next") == f"/v1/users/{expected}/next"
    assert names.path(f"/v1/users/{quote(raw, safe='')}") == f"/v1/users/{expected}"


def test_path_of_every_route_is_shown(artifact: Artifact) -> None:
    """Operators can still see the route. Files of pages are shown too."""
    with running(artifact) as client:
        templates = list(client.get("/openapi.json").json()["paths"])
        page = client.get("/docs").text + client.get("/").text + client.get("/dashboard").text
    files = re.findall(r'(?:src|href)="(/[^"]+)"', page)
    names = Pseudonyms(KEY)
    paths = [template.format(user_id="ann", kind="tracks", value="t1") for template in templates] + files

    assert len(files) > 5
    assert {path: names.path(path) for path in paths} == {path: path.replace("ann", names.user("ann")) for path in paths}


@pytest.mark.parametrize(
    "path",
    [
        *("/v2/users/ann/next", "/v1/user/ann/next", "//v1/users/ann/next", "/v1/users/ann/", "/v1/users/ann/friends/bob"),
        *(
            "/ann",
            "/v1/users/",
            "/web/v1/users/ann",
            "/v1/users/a/b/next",
            "/v1/users/x/blocks/users/ann",
            "/v1/users/ann/next/bob",
        ),
    ],
)
def test_path_without_a_route_is_not_shown(path: str) -> None:
    """Any part of it may be an id."""
    assert Pseudonyms(KEY).path(path) == "(unmatched)"


def test_without_a_key_ids_are_logged_as_they_are() -> None:
    """It is the default."""
    assert pseudonyms(None) is None
    assert isinstance(pseudonyms(SecretStr(KEY)), Pseudonyms)


@pytest.mark.parametrize("format", ["json", "console"])
def test_no_line_of_a_service_names_a_listener(artifact: Artifact, tmp_path: Path, format: str) -> None:
    """It holds for good and bad requests. Lines of requests and of the audit contain the pseudonym."""
    port, log = free_port(), tmp_path / "log"
    settings = {"artifact": artifact.folder, "state_dir": tmp_path, "log_user_key": KEY, "log_format": format}
    event = {"event_id": "e1", "user_id": "listener é", "track_id": "t1", "type": "play"}
    paths = ["next", "next?count=0", "next?listener", "session?history=true", "export"]
    with process("-m", "service", port=port, log=log, **settings), http(port) as client:
        statuses = [client.get(f"/v1/users/listener%20%C3%A9/{path}").status_code for path in paths]
        statuses.append(client.get("/v1/users/any%2Flistener%20%C3%A9/next").status_code)
        unknown = [
            "/v1/users/listener%20%C3%A9/nothing",
            "/v2/users/listener%20%C3%A9/next",
            "//v1/users/listener%20%C3%A9/next",
        ]
        statuses += [client.get(path).status_code for path in unknown]
        statuses.append(client.post("/v1/events", json=event).status_code)
        statuses.append(client.delete("/v1/users/listener%20%C3%A9").status_code)
    text = log.read_text()

    assert statuses == [200, 422, 422, 200, 200, 200, 404, 404, 404, 200, 204]
    assert "listener%" not in text
    assert "listener é" not in text
    assert text.count(Pseudonyms(KEY).user("listener é")) == 7
    assert text.count(Pseudonyms(KEY).user("any/listener é")) == 1
    assert text.count("(unmatched)") == 3
