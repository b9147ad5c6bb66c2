"""Takes the pictures of the documentation: the player in light, dark and on a phone, the dashboard, and a report.

    .venv/bin/python -m training backfill .nexttrack/logs/demo
    .venv/bin/python -m tests.browser.screenshots --listeners u000 u007 u009 --report REPORT.html

It uses a running service whose model has titles, as a listener would. Further listeners play until the dashboard has
something to draw. Each step waits for what the page shows, so a slow machine gives the same pictures.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.conftest import ARGUMENTS
from tests.browser.listening import listen

MOST_BYTES = 150_000
_PLAYERS = (
    ("player.png", "light", 1040, 720),
    ("player-dark.png", "dark", 1040, 720),
    ("player-phone.png", "dark", 390, 1150),
)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m tests.browser.screenshots", description="The pictures of the documentation.")
    made.add_argument("--url", default="http://127.0.0.1:8000", help="where a service without keys answers (%(default)s)")
    made.add_argument("--report", type=Path, metavar="HTML", help="a run's report.html; without it, no picture of a report")
    made.add_argument("--listeners", nargs=len(_PLAYERS), metavar="ID", help="whose players to show (default: made-up ones)")
    made.add_argument("--points", type=int, default=8, help="points of 15 s to add to the dashboard's plots (%(default)s)")
    made.add_argument("--out", type=Path, default=Path("docs"), help="a folder (%(default)s)")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Take all pictures. RuntimeError if one is too large for a repository."""
    options = parser().parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        listeners = options.listeners or [f"ann-{uuid4().hex[:4]}" for _ in _PLAYERS]
        for listener, (name, scheme, width, height) in zip(listeners, _PLAYERS, strict=True):
            _player(_page(browser, scheme, width, height), options.url, listener, options.out / name)
        _dashboard(_page(browser, "light", 1100, 1050), options.url, options.points, options.out / "dashboard.png")
        if options.report:
            page = _page(browser, "light", 1000, 900)
            page.goto(options.report.resolve().as_uri())
            page.screenshot(path=options.out / "report.png")
        browser.close()
    for picture in sorted(options.out.glob("*.png")):
        print(picture, picture.stat().st_size)  # noqa: T201 (a script's output)
        if picture.stat().st_size > MOST_BYTES:
            raise RuntimeError(f"{picture} has {picture.stat().st_size:,} bytes; wanted at most {MOST_BYTES:,}")


def _page(browser: Browser, scheme: str, width: int, height: int) -> Page:
    return browser.new_page(viewport={"width": width, "height": height}, color_scheme="dark" if scheme == "dark" else "light")


def _player(page: Page, url: str, listener: str, picture: Path) -> None:
    """A session of six tracks with two skips and a like; the last action is a skip."""
    _open(page, url, listener)
    page.click("#play")
    _wait_for_plays(page, 1)
    _hear_to_its_end(page, plays=2)
    page.click("#skip")
    _wait_for_plays(page, 3)
    page.click("#like")
    page.locator("#ribbon li.liked").wait_for()
    _hear_to_its_end(page, plays=4)
    _hear_to_its_end(page, plays=5)
    page.click("#skip")
    _wait_for_plays(page, 6)
    page.locator("#last-skip").wait_for()
    _take(page, picture)


def _open(page: Page, url: str, listener: str) -> None:
    """Open the player as this listener, at normal speed: a track takes longer than any step of this script."""
    page.goto(url)
    page.locator("#queue li").first.wait_for()
    page.select_option("#speed", "1")
    page.fill("#listener", listener)
    with page.expect_response(lambda reply: f"/users/{listener}/session" in reply.url):
        page.click("text=Switch")


def _wait_for_plays(page: Page, plays: int) -> None:
    """Wait until the session has so many plays. The queue then is the one after the last of them."""
    page.locator(f"#ribbon li:nth-child({plays})").wait_for()


def _hear_to_its_end(page: Page, *, plays: int) -> None:
    """Let time run fast until the session has so many plays. A track that was sought to its end would count as skipped.

    The page itself slows down again, before the next track starts.
    """
    page.evaluate(
        """plays => new Promise((done) => {
          const speed = document.getElementById("speed"), ribbon = document.getElementById("ribbon");
          const run = (times) => { speed.value = times; speed.dispatchEvent(new Event("change")); };
          const watcher = new MutationObserver(() => {
            if (ribbon.children.length < plays) return;
            watcher.disconnect();
            run("1");
            done();
          });
          watcher.observe(ribbon, { childList: true });
          run("60");
        })""",
        plays,
    )


def _take(page: Page, picture: Path) -> None:
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=picture)


def _dashboard(page: Page, url: str, points: int, picture: Path) -> None:
    page.goto(f"{url}/dashboard")
    page.locator("#traffic svg path.line").first.wait_for(state="attached")
    rows = page.locator("#traffic tbody tr")
    enough = rows.count() + points
    while rows.count() < enough:
        listen(url, listeners=3, tracks=4)
    _take(page, picture)


if __name__ == "__main__":
    main()
