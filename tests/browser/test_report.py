"""The report in a real browser is not cut: on a screen of 1,000 pixels, on a phone, and on paper."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from training.evaluation.evaluate import Measured
from training.reporting.examples import Example, Play
from training.reporting.page import write_page
from training.reporting.report import METRICS, Report

NAMES = ("best possible", "nexttrack", "popular", "popular, 2 days", "markov, knows skips", "session-kNN", "own back-off")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Make a report with every metric, long names, and spreads over seeds. Returns its address."""
    lengths = [{"from": start, "cases": 99, "hr@20": 0.5, "ndcg@10": 0.2} for start in (0, 1, 5, 10, 20, 50)]
    thirds = [{"tracks": 1_234_567, "cases": 99, "hr@20": 0.5 / part, "ndcg@10": 0.1} for part in (1, 2, 3)]
    values = dict.fromkeys(METRICS, 0.1234)
    counts = {"cases": 1000, "refused": 190}
    rankers = [Measured(name=name, values=values, counts=counts, by_length=lengths, by_popularity=thirds) for name in NAMES]
    long = Play(title="A Title That Goes On And On, Part Two", artist="The Somewhat Longer Band Name", outcome="skipped")
    report = Report(
        title="nexttrack on a-log-with-a-long-name-2026-12-01",
        rankers=rankers,
        model="nexttrack",
        examples=[Example(heard=[long] * 5, proposed=[long] * 5, then=long, rank=3)] * 10,
        facts={"machine": "AMD EPYC (family 25, model 17), 2 of 2 cores, torch 2.13.0+cpu", "seed": "1"},
        spreads={name: dict.fromkeys(METRICS, 0.0123) for name in NAMES},
    )
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_page(report.title, [report], path)
    return path.as_uri()


def overflow(page: Page) -> list[str]:
    """Return the names of elements wider than the window: the document, or a table beyond its box."""
    found: list[str] = page.evaluate(
        """() => [document.documentElement, ...document.querySelectorAll(".wide")]
            .filter(box => box.scrollWidth > box.clientWidth + 1).map(box => box.outerHTML.slice(0, 200))"""
    )
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_report_fits_a_thousand_pixels_and_is_accessible(browser: Browser, address: str, scheme: str) -> None:
    """Every table is unfolded, and axe finds no fault in either colour scheme."""
    page = browser.new_page(viewport={"width": 1000, "height": 800}, color_scheme="dark" if scheme == "dark" else "light")
    page.goto(address)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    found = Axe().run(page)

    assert overflow(page) == []
    assert found.violations_count == 0, found.generate_report()
    page.close()


def test_report_scrolls_only_its_tables_on_a_phone(browser: Browser, address: str) -> None:
    """The page itself is as wide as the window."""
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(address)

    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


def test_printed_report_cuts_no_column(browser: Browser, address: str) -> None:
    """Its width is A4 with the browser's margins."""
    page = browser.new_page(viewport={"width": 718, "height": 1000})
    page.goto(address)
    page.emulate_media(media="print")
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")

    assert overflow(page) == []
    page.close()


def test_headings_say_in_words_what_the_columns_are(browser: Browser, address: str) -> None:
    """The words are in a tooltip, and in the explanation at the end of the page."""
    page = browser.new_page()
    page.goto(address)
    headings = page.locator("table").first.locator("th[title]")

    assert headings.count() == 5
    assert headings.nth(0).get_attribute("title") == f"{METRICS['hr@20'].meaning}; higher is better"
    page.close()
