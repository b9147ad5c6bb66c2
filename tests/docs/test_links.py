"""Links of the documentation lead to files and headings that exist."""

import pytest

from tests.docs.pages import ROOT, Page, page, page_names, parse


def broken_links(found: Page) -> list[str]:
    """Return the page's links within the checkout whose file or heading does not exist."""
    return [link for link in found.links if not link.startswith(("https://", "mailto:")) and not _leads_somewhere(found, link)]


def _leads_somewhere(found: Page, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (ROOT / found.name).parent / path if path else ROOT / found.name
    if not target.exists():
        return False
    name = str(target.resolve().relative_to(ROOT))
    anchors = found.anchors if name == found.name else page(name).anchors if name.endswith(".md") else frozenset()
    return not anchor or anchor in anchors


@pytest.mark.parametrize("name", page_names())
def test_every_internal_link_leads_to_a_file_and_a_heading(name: str) -> None:
    """The test fails after a page was moved or a heading was renamed."""
    assert broken_links(page(name)) == []


def test_every_page_is_reached_from_the_readme() -> None:
    """A reader who starts at the README finds each page by links alone."""
    reached, left = set(), ["README.md"]
    while left:
        name = left.pop()
        if name not in reached:
            reached.add(name)
            inside = [link.partition("#")[0] for link in page(name).links if "://" not in link]
            targets = [((ROOT / name).parent / link).resolve() for link in inside if link.endswith(".md")]
            left += [str(target.relative_to(ROOT)) for target in targets]

    assert reached == set(page_names())


def test_a_broken_link_is_found() -> None:
    """The check can fail: for a missing file, and for a missing heading of this page or of another one."""
    text = "# Title\n\n[a](no.md) [b](#no) [c](api.md#no) [d](#title) [e](api.md#errors) [f](https://example.com/no)"

    assert broken_links(parse("docs/own-log.md", text)) == ["no.md", "#no", "api.md#no"]
