"""The web player of `docs/integrations.md`, in a real browser: another origin than the service's, and a listener token."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import httpx
import jwt
import pytest
from playwright.sync_api import Page, expect

from tests.docs.pages import page as document
from tests.service import artifacts
from tests.service.processes import free_port, process

SECRET = "a secret of the backend, long enough for HS256"  # noqa: S105  # of this test's service
DOCUMENTED = "http://127.0.0.1:8000"


class Backend(ThreadingHTTPServer):
    """An application's own backend: it serves the page, and `/token` with a token of its listener."""

    daemon_threads = True
    page = b""
    user_id = "ann"
    lifetime_s = 600
    tokens = 0

    def token(self) -> bytes:
        """What `/token` answers."""
        self.tokens += 1
        claims = {"sub": self.user_id, "exp": int(time.time()) + self.lifetime_s}
        return json.dumps({"user_id": self.user_id, "token": jwt.encode(claims, SECRET)}).encode()


class _Handler(BaseHTTPRequestHandler):
    server: Backend

    def do_GET(self) -> None:  # the name of http.server
        body = self.server.token() if self.path == "/token" else self.server.page
        self.send_response(200 if self.path in ("/", "/token") else 404)
        self.send_header("Content-Type", "application/json" if self.path == "/token" else "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Site(NamedTuple):
    """The page's origin, its backend, and the service."""

    origin: str
    backend: Backend
    service: str


def documented() -> str:
    """The page as the documentation shows it."""
    [block] = [block for block in document("docs/integrations.md").blocks if block.note == "page: web player"]
    return block.text


@contextmanager
def serving(port: int, service: str) -> Iterator[Backend]:
    """Run the backend at a port."""
    backend = Backend(("127.0.0.1", port), _Handler)
    backend.page = documented().replace(DOCUMENTED, service).encode()
    thread = threading.Thread(target=backend.serve_forever, daemon=True)
    thread.start()
    try:
        yield backend
    finally:
        backend.shutdown()
        thread.join()
        backend.server_close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A service that asks for listener tokens and allows the origin of the backend's page."""
    folder, port, pages_port = tmp_path_factory.mktemp("web"), free_port(), free_port()
    artifact = artifacts.build(folder / "artifacts", catalogue=True)
    origin, service = f"http://127.0.0.1:{pages_port}", f"http://127.0.0.1:{port}"
    settings = {"artifact": artifact, "state_dir": folder, "jwt_key": SECRET, "cors_origins": origin}
    with process("-m", "service", port=port, log=folder / "log", **settings), serving(pages_port, service) as backend:
        yield Site(origin, backend, service)


def session(site: Site) -> list[tuple[str, str]]:
    """The listener's session as the service has it."""
    token = json.loads(site.backend.token())["token"]
    reply = httpx.get(f"{site.service}/v1/users/{site.backend.user_id}/session", headers={"Authorization": f"Bearer {token}"})
    return [(entry["track_id"], entry["outcome"]) for entry in reply.json()["session"]]


def test_page_is_as_short_as_promised() -> None:
    assert len(documented().splitlines()) <= 40


def test_page_plays_skips_and_plays_on(site: Site, page: Page) -> None:
    """Each click is heard by the service, and the next track is another one. One token serves all calls."""
    site.backend.user_id, site.backend.tokens = "ann", 0
    page.goto(site.origin)
    expect(page.locator("#now")).to_have_text("title t0")
    page.click("#skip")
    expect(page.locator("#now")).not_to_have_text("title t0")
    second = page.locator("#now").inner_text()
    page.click("#done")
    expect(page.locator("#now")).not_to_have_text(second)
    expect(page.locator("#fault")).to_have_text("")
    tokens = site.backend.tokens

    assert session(site)[:2] == [("t0", "skipped"), (second.removeprefix("title "), "played")]
    assert tokens == 1


def test_expired_token_is_shown_and_replaced(site: Site, page: Page) -> None:
    """The first call fails with the service's words. The next click gets a new token."""
    site.backend.user_id, site.backend.lifetime_s = "bob", -3600
    page.goto(site.origin)
    expect(page.locator("#fault")).to_contain_text("expired")
    site.backend.lifetime_s = 600
    page.click("#skip")
    expect(page.locator("#now")).to_have_text("title t0")
    expect(page.locator("#fault")).to_have_text("")
