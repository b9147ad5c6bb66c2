"""Takes the pictures of the documentation: the player in light, dark and on a phone, the dashboard, and a report.

    .venv/bin/python -m tests.browser.screenshots --url http://127.0.0.1:8000 --report .nexttrack/runs/demo-demo-1/report.html

It uses a running service whose model has titles, as a listener would, and lets further listeners play for two minutes, so
that the dashboard has something to draw.
"""

import argparse
import shutil
import time
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
    made.add_argument("--seconds", type=int, default=120, help="how long listeners play before the dashboard (%(default)s)")
    made.add_argument("--out", type=Path, default=Path("docs"), help="a folder (%(default)s)")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Take all pictures. RuntimeError if one is too large for a repository."""
    options = parser().parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        for name, scheme, width, height in _PLAYERS:
            _player(_page(browser, scheme, width, height), options.url, options.out / name)
        _dashboard(_page(browser, "light", 1100, 1050), options.url, options.seconds, options.out / "dashboard.png")
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


def _player(page: Page, url: str, picture: Path) -> None:
    """A session of six tracks with two skips and a like; the last action is a skip."""
    page.goto(url)
    page.locator("#queue li").first.wait_for()
    page.fill("#listener", f"ann-{uuid4().hex[:4]}")
    page.click("text=Switch")
    page.click("#play")
    for action, count in (("complete", 2), ("skip", 3), ("like", 3), ("complete", 4), ("complete", 5), ("skip", 6)):
        page.select_option("#speed", "60" if action == "complete" else "1")  # a late skip would count as a play
        if action != "complete":  # a track ends by itself; one that was sought to its end would count as skipped
            page.click(f"#{action}")
        page.locator(f"#ribbon li:nth-child({count})").wait_for()
    page.locator("#ribbon li:nth-child(7), #last-skip:not([hidden])").first.wait_for()
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=picture)


def _dashboard(page: Page, url: str, seconds: int, picture: Path) -> None:
    page.goto(f"{url}/dashboard")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        listen(url, listeners=3, tracks=4)
    page.locator("#traffic svg path.line").first.wait_for(state="attached")
    page.locator("#traffic tbody tr").nth(3).wait_for(state="attached")
    page.screenshot(path=picture)


if __name__ == "__main__":
    main()
