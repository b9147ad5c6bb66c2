"""The documentation as data: code blocks, code spans, links, headings and tables of each Markdown page."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
_PARSER = MarkdownIt("commonmark").enable("table")
_COMMENT = re.compile(r"<!-- (.+) -->")


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A fenced code block. `note` is the text of an HTML comment directly above it, "" without one."""

    page: str
    line: int
    language: str
    text: str
    note: str

    def __str__(self) -> str:
        """Return the block's place, which becomes a test's name."""
        return f"{self.page}:{self.line}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """One page. `tables` has the rows of each table. A row is a list of cells in Markdown, and the first row is the header."""

    name: str  # relative to the root, such as "docs/api.md"
    text: str
    blocks: Sequence[Block]
    spans: Sequence[str]  # inline code
    links: Sequence[str]
    anchors: frozenset[str]
    tables: Sequence[Sequence[Sequence[str]]]


def page_names() -> list[str]:
    """Return the names of all Markdown pages for readers."""
    return sorted(str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))


@cache
def page(name: str) -> Page:
    """Read a page of the checkout."""
    return parse(name, (ROOT / name).read_text("utf-8"))


def pages() -> list[Page]:
    """Read all pages."""
    return [page(name) for name in page_names()]


def parse(name: str, text: str) -> Page:
    """Parse a page's Markdown."""
    tokens = _PARSER.parse(text)
    inline = [child for token in tokens for child in token.children or ()]
    return Page(
        name=name,
        text=text,
        blocks=list(_blocks(name, tokens)),
        spans=[token.content for token in inline if token.type == "code_inline"],
        links=[str(token.attrs[target]) for token in inline for target in ("href", "src") if target in token.attrs],
        anchors=frozenset(_anchors(tokens)),
        tables=list(_tables(tokens)),
    )


def _blocks(name: str, tokens: Sequence[Token]) -> Iterator[Block]:
    for place, token in enumerate(tokens):
        if token.type in ("fence", "code_block"):
            above = tokens[place - 1] if place else None
            comment = _COMMENT.match(above.content) if above and above.type == "html_block" else None
            line = token.map[0] + 1 if token.map else 0
            yield Block(page=name, line=line, language=token.info, text=token.content, note=comment[1] if comment else "")


def _anchors(tokens: Sequence[Token]) -> Iterator[str]:
    """Yield the anchors that GitHub gives to headings: lower case, hyphens for spaces, a number for a repetition."""
    seen: dict[str, int] = {}
    for opening, heading in pairwise(tokens):
        if opening.type == "heading_open":
            text = "".join(child.content for child in heading.children or () if child.type in ("text", "code_inline"))
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            count = seen[slug] = seen.get(slug, -1) + 1
            yield f"{slug}-{count}" if count else slug


def _tables(tokens: Sequence[Token]) -> Iterator[list[list[str]]]:
    rows: list[list[str]] = []
    for place, token in enumerate(tokens):
        if token.type == "table_open":
            rows = []
        elif token.type == "tr_open":
            rows.append([])
        elif token.type in ("td_open", "th_open"):
            rows[-1].append(tokens[place + 1].content)
        elif token.type == "table_close":
            yield rows
