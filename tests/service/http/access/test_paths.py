"""The table of paths covers every route, and the guard reads a path as the router does."""

from urllib.parse import unquote

import pytest

from service.http.access.paths import is_admin, is_open, opens_to_listener, routed, user_of


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/healthz", "/readyz", "/web/player.js", "/docs/assets/a.css"])
def test_pages_and_probes_are_open(path: str) -> None:
    assert is_open(path)


@pytest.mark.parametrize("path", ["", "/metrics", "/v1/model", "/v1/events", "/web", "/docs/", "/healthz/", "/nowhere", "//"])
def test_everything_else_needs_a_key(path: str) -> None:
    assert not is_open(path)


@pytest.mark.parametrize("path", ["/v1/status", "/v1/status/", "/v1/model/reload", "/v1/blocks", "/v1/blocks/tracks/t1"])
def test_operators_paths_need_an_admin_key(path: str) -> None:
    assert is_admin(path)


@pytest.mark.parametrize("path", ["/v1/model", "/v1/statuses", "/v1/users/v1/blocks", "/metrics"])
def test_other_paths_need_none(path: str) -> None:
    assert not is_admin(path)


OPENED = [
    ("POST", "/v1/events"),
    ("POST", "/v1/next"),
    ("GET", "/v1/users/ann/next"),
    ("GET", "/v1/users/ann/session"),
    ("GET", "/v1/users/ann/blocks"),
    ("PUT", "/v1/users/ann/blocks/tracks/t1"),
    ("DELETE", "/v1/users/ann/blocks/artists/a"),
]


@pytest.mark.parametrize(("method", "path"), OPENED)
def test_listener_token_opens_what_a_player_needs(method: str, path: str) -> None:
    assert opens_to_listener(method, path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/v1/users/ann"),
        ("GET", "/v1/users/ann/export"),
        ("POST", "/v1/users/ann/next"),
        ("GET", "/v1/users/ann/next/"),
        ("DELETE", "/v1/users/ann/session"),
        ("DELETE", "/v1/users/ann/blocks"),
        ("GET", "/v1/users/ann"),
        ("POST", "/v1/next/batch"),
        ("GET", "/v1/model"),
        ("GET", "/metrics"),
        ("GET", "/v1/status"),
        ("PUT", "/v1/blocks/tracks/t1"),
        ("GET", "/nowhere"),
    ],
)
def test_listener_token_opens_nothing_else(method: str, path: str) -> None:
    assert not opens_to_listener(method, path)


@pytest.mark.parametrize(
    ("raw", "path", "user"),
    [
        (b"/v1/users/ann/next", "/v1/users/ann/next", "ann"),
        (b"/v1/users/a%2Fb/next", "/v1/users/a%2Fb/next", "a/b"),
        (b"/v1/users/%C3%A9/next", "/v1/users/%C3%A9/next", "\u00e9"),
        (b"/v1/users/%FF/next", "/v1/users/%FF/next", None),
        (b"/v1/%75sers/a%2562/next", "/v1/users/a%62/next", "ab"),  # decoded by the server, and then as an id
        (b"/v1/%73tatus", "/v1/status", None),
    ],
)
def test_path_is_read_as_the_router_reads_it(raw: bytes, path: str, user: str | None) -> None:
    """The server decodes every path once; ids are decoded by their route."""
    scope = {"raw_path": raw, "path": unquote(raw.decode("latin-1"))}

    assert routed(scope) == path
    assert user_of(routed(scope)) == user
