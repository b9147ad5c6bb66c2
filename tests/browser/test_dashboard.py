"""The dashboard in a real browser, against a real service that has traffic."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from service.store import embedded_valkey
from tests.browser.listening import listen
from tests.service import artifacts
from tests.service.processes import free_port, http, process, stop, until

POINT_MS = 60_000
"""Long enough for the first point of a plot on a busy machine."""


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service that listeners have used.

    The first point of its plots comes after 15 seconds. Tests that need no point run first, and start it too.
    """
    folder, port = tmp_path_factory.mktemp("dashboard"), free_port()
    artifact = artifacts.build(folder / "artifacts", catalogue=True)
    with process("-m", "service", port=port, log=folder / "log", artifact=artifact, state_dir=folder):
        url = f"http://127.0.0.1:{port}"
        listen(url, listeners=4, tracks=6)
        yield url


def ask_again(page: Page) -> None:
    """Let the time pass in the page until it asks for the next status."""
    page.clock.fast_forward(5_000)


@pytest.mark.usefixtures("busy")
def test_redis_dies_under_the_dashboard_and_then_the_service(page: Page, tmp_path: Path) -> None:
    """Both are said in words, and what was known stays on the page."""
    artifact, port = artifacts.build(tmp_path / "artifacts", catalogue=True), free_port()
    with ExitStack() as first:
        url = first.enter_context(embedded_valkey.running(tmp_path))
        settings = {"artifact": artifact, "redis_url": url, "redis_timeout": 0.5}
        with process("-m", "service", port=port, log=tmp_path / "log", **settings) as service:
            page.clock.install()
            page.goto(f"http://127.0.0.1:{port}/dashboard")
            expect(page.locator("#updated")).to_contain_text("As of")
            expect(page.locator("#redis")).to_contain_text("ready")

            first.close()  # Redis is gone
            ask_again(page)
            expect(page.locator("#notice")).to_contain_text("Redis cannot be used", timeout=POINT_MS)
            expect(page.locator("#redis")).to_have_text("out of reach")

            with embedded_valkey.running(tmp_path), http(port) as client:  # and back, at the same address
                until(lambda: client.get("/readyz").status_code == 200)
                ask_again(page)
                expect(page.locator("#redis")).to_contain_text("ready", timeout=POINT_MS)
                expect(page.locator("#notice")).to_be_hidden()

                stop(service)
                ask_again(page)
                expect(page.locator("#notice")).to_contain_text("does not answer", timeout=POINT_MS)
                expect(page.locator("#version")).to_have_text("tiny-1")


@pytest.mark.usefixtures("busy")
def test_locked_service_asks_for_an_admin_key(page: Page, tmp_path: Path) -> None:
    """The player takes an ordinary key, the dashboard asks again for an admin key. Whoever declines is not asked for ever."""
    artifact, port = artifacts.build(tmp_path / "artifacts", catalogue=True), free_port()
    keys = {"api_keys": "player:an-ordinary-key-of-a-player", "admin_keys": "ops:an-admin-key-of-an-operator"}
    with process("-m", "service", port=port, log=tmp_path / "log", artifact=artifact, state_dir=tmp_path, **keys):
        page.goto(f"http://127.0.0.1:{port}/")
        page.fill("#key", "an-ordinary-key-of-a-player")
        page.click("text=Use it")
        expect(page.locator("#queue li").first).to_be_visible()

        page.click("text=Dashboard")
        expect(page.locator("#key-why")).to_contain_text("admin key")
        page.keyboard.press("Escape")
        expect(page.locator("#notice")).to_contain_text("No status")
        page.click("text=Enter a key")
        page.fill("#key", "an-admin-key-of-an-operator")
        page.keyboard.press("Enter")
        expect(page.locator("#version")).to_have_text("tiny-1")
        expect(page.locator("#refresh")).to_be_hidden()
        expect(page.locator("#notice")).to_be_hidden()


def test_refresh_replaces_nothing_that_stays(page: Page, busy: str) -> None:
    """A mark in a cell and on a line is still there after new numbers have arrived: nothing was drawn anew."""
    page.clock.install()
    page.goto(f"{busy}/dashboard")
    expect(page.locator("#outcomes tr")).to_have_count(1)
    page.evaluate("for (const at of document.querySelectorAll('td, path, dd')) at.dataset.mark = 'here'")
    marks = page.locator("[data-mark=here]").count()
    before = page.locator("#outcomes td").nth(1).text_content()
    listen(busy, listeners=1, tracks=3)
    ask_again(page)

    expect(page.locator("#outcomes td").nth(1)).not_to_have_text(before or "", timeout=POINT_MS)
    assert page.locator("[data-mark=here]").count() == marks


def test_what_an_operator_looks_at_first_is_there(page: Page, busy: str) -> None:
    """The model and its quality, traffic, latency, degraded replies, outcomes by version; each plot with a table behind it."""
    page.goto(f"{busy}/")
    page.click("text=Dashboard")
    model = httpx.get(f"{busy}/v1/model").json()
    status = httpx.get(f"{busy}/v1/status").json()
    [outcomes] = status["outcomes"]

    expect(page.locator("#version")).to_have_text(model["version"])
    expect(page.locator("#quality tr")).to_have_count(len(model["quality"]))
    expect(page.locator("#redis")).to_contain_text("ready")
    expect(page.locator("#outcomes tr")).to_contain_text(model["version"])
    assert page.locator("#outcomes td").all_text_contents()[2:4] == [str(outcomes["completed"]), str(outcomes["skipped"])]
    expect(page.locator("#routes")).to_contain_text("/v1/users/{user_id}/next")
    for name in ("traffic", "latency", "degraded"):
        expect(page.locator(f"#{name} svg")).to_be_visible(timeout=POINT_MS)
        expect(page.locator(f"#{name} tbody tr")).not_to_have_count(0)
    expect(page.locator("#hours svg")).to_have_attribute("aria-label", re.compile(r"at most \d+"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_no_violation(page: Page, busy: str, scheme: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(f"{busy}/dashboard")
    expect(page.locator("#traffic svg")).to_be_visible(timeout=POINT_MS)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    found = Axe().run(page)

    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= width  # nothing is cut off at the side
