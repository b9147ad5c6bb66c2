"""User ids in log lines become pseudonyms. No line has an id, and with the key a listener's lines can be found."""

import hmac
from pathlib import Path
from urllib.parse import quote

import pytest
from pydantic import SecretStr

from model.artifact import Artifact
from service.observing.pseudonyms import Pseudonyms, pseudonyms
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


@pytest.mark.parametrize("path", ["/v1/events", "/v1/users/", "/v1/users", "/", "/web/v1/users/ann"])
def test_path_without_a_listener_stays_as_it_is(path: str) -> None:
    """Operators can still see the route."""
    assert Pseudonyms(KEY).path(path) == path


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
    paths = ["next", "next?count=0", "next?listener", "session?history=true", "export", "nothing"]
    with process("-m", "service", port=port, log=log, **settings), http(port) as client:
        statuses = [client.get(f"/v1/users/listener%20%C3%A9/{path}").status_code for path in paths]
        statuses.append(client.post("/v1/events", json=event).status_code)
        statuses.append(client.delete("/v1/users/listener%20%C3%A9").status_code)
    text = log.read_text()

    assert statuses == [200, 422, 422, 200, 200, 404, 200, 204]
    assert "listener%" not in text
    assert "listener é" not in text
    assert text.count(Pseudonyms(KEY).user("listener é")) == 8
