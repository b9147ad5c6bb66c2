"""Cuts text files into lines, one block at a time. Only line feeds and carriage returns end a line, not U+2028 and the like."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from training.data.log import LogError
from training.sources.tables.files import File
from training.sources.tables.streams import LONGEST_LINE, text_blocks

NOT_UTF8 = "bytes that are not UTF-8 (--encoding names another encoding, for example cp1252)"
SHOWN = 300
"""Number of characters of a line or value that are shown."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ESCAPED = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Lines:
    """Consecutive whole lines, without line ends."""

    first: int  # number of the first line, from 1
    lines: list[str]
    sound: bool  # all could be decoded
    last: bool  # this is the end of the file


def line_blocks(file: File, encoding: str | None) -> Iterator[Lines]:
    """Yield all lines of a file. The last block may be empty. LogError if a line has more than `LONGEST_LINE` characters."""
    rest, done, end, started = "", 0, "\n", False
    for text in text_blocks(file, encoding):
        if not started:
            text, started = text.removeprefix("\ufeff"), True  # noqa: PLW2901 # the same block without its mark
            if "\n" not in text and "\r" in text.rstrip("\r"):
                end = "\r"
        whole, found, tail = (rest + text).rpartition(end)
        rest = tail
        if found:
            lines = _lines(whole, end)
            yield Lines(first=done + 1, lines=lines, sound=not escaped(whole), last=False)
            done += len(lines)
        if len(rest) > LONGEST_LINE:
            raise LogError(f"{file.name}: line {done + 1:,} has more than {LONGEST_LINE:,} characters; a log has a row a line")
    yield Lines(first=done + 1, lines=_lines(rest, end) if rest else [], sound=not escaped(rest), last=True)


def escaped(text: str) -> bool:
    """Say whether a text has bytes that could not be decoded, or lone surrogates."""
    return not text.isascii() and _ESCAPED.search(text) is not None


def printable(text: str) -> str:
    """Return the start of a text in a form that can be stored and shown on a terminal, whatever it contains."""
    sound = text[:SHOWN].encode("utf-8", "backslashreplace").decode("utf-8")
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], sound)


def _lines(text: str, end: str) -> list[str]:
    return text.replace("\r\n", "\n").removesuffix("\r").split("\n") if end == "\n" else text.split("\r")
