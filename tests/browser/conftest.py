"""A real Chromium for the tests of the pages. Without one they are skipped; in CI they fail."""

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.service import artifacts
from tests.service.processes import free_port, process

ARGUMENTS = [
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start headless Chromium, as installed by Debian's package `chromium`.

    It ends with each module. While it runs, Playwright runs an event loop in this thread, and other tests need their own.
    """
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        assert not os.environ.get("CI"), "CI must install chromium"
        pytest.skip("no Chromium on this machine; Debian's package is called chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a service with a small artifact and an embedded Valkey, and yield its address."""
    folder, port = tmp_path_factory.mktemp("browser"), free_port()
    artifact = artifacts.build(folder / "artifacts", catalogue=True)
    with process("-m", "service", port=port, log=folder / "log", artifact=artifact, state_dir=folder):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Yield an empty page. The test fails if a script of the page fails or if the page calls another host."""
    made = browser.new_page()
    faults: list[str] = []
    made.on("pageerror", lambda error: faults.append(str(error)))
    made.on("request", lambda request: None if "127.0.0.1" in request.url else faults.append(request.url))
    yield made
    made.close()
    assert faults == []
