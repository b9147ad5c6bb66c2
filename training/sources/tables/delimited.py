"""CSV and similar formats: a header line, then one row in each line, with any separator.

Quotes follow RFC 4180, with tolerance: a quote opens a field only at its start, and closes it only before a separator or the
end of the line. So `12" Mix` and `"Song (12" Mix)"` are read as intended. A quoted field may contain line ends, but no line
that looks like a row of its own. If such a line follows, only the row with the open quote is broken, and the rows below are
read.

polars reads the lines without a quote and those that are strict CSV. The few others are split one by one in Python.
"""

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import polars as pl

from training.data.log import LogError
from training.sources.tables.files import File
from training.sources.tables.lines import NOT_UTF8, SHOWN, escaped, line_blocks, printable
from training.sources.tables.streams import count_lines
from training.sources.tables.table import ABOUT_ROWS, BLANK, FAULT, LINE, PASSED, RAW, Table


@dataclass(frozen=True, kw_only=True, slots=True)
class Delimited:
    """How a delimited file is written, if its format prescribes it."""

    separator: str | None = None  # None: the most frequent one in the header
    names: tuple[str, ...] | None = None  # of the columns; None: the first line has them
    quotes: bool = True  # a quote at the start of a field opens it


INSIDE = "line inside a quoted field"
REPEATED = "header line repeated"
_UNCLOSED = "a quote opens a field and nothing closes it"
_SEPARATORS = (",", "\t", ";", "|")
_MOST_LINES, _MOST_TEXT = 100, 1 << 20  # largest number of lines and characters in one row
_QUOTED = '"(?:[^"]|"")*"'
_TYPES = pl.Schema({**ABOUT_ROWS, "fields": pl.List(pl.String)})
_HINT = re.compile(r'"?sep=(.)"?$')  # Excel's own first line


def open_delimited(file: File, encoding: str | None, form: "Delimited | None" = None) -> Table | None:
    """Open a delimited file as a table. None if it has no text at all."""
    head = _head(file, encoding, form or Delimited())
    if head is None:
        return None

    def rows(names: Sequence[str]) -> Iterator[pl.DataFrame]:
        for name in names:
            if head.names.count(name) > 1:
                raise LogError(f"{file.name}: found {head.names.count(name)} columns called {name}; wanted one")
        return _frames(file, encoding, head, names)

    def count() -> int:
        return count_lines(file, encoding) - len(head.lines)

    return Table(file=file, columns=head.names, rows=rows, count=count, unit="line")


@dataclass(frozen=True, kw_only=True)
class _Head:
    file: str
    names: tuple[str, ...]
    text: str | None  # of the header
    separator: str
    quotes: bool
    lines: frozenset[int]  # numbers of the lines that are no rows: the header and Excel's hint

    @cached_property
    def quoted(self) -> re.Pattern[str]:
        """Match a field in quotes, with the separator after it. Possessive, so that no input makes it slow."""
        ends = rf" *(?:{re.escape(self.separator)}|\Z)"
        return re.compile(rf' *"((?:[^"]|""|"(?!{ends}))*+)"{ends}')

    @property
    def strict(self) -> str:
        """Match a line that is valid in RFC 4180 and closes all its quotes."""
        field = f'(?:{_QUOTED}|[^"{re.escape(self.separator)}]*)'
        return f"^{field}(?:{re.escape(self.separator)}{field})*$"


def _head(file: File, encoding: str | None, form: Delimited) -> _Head | None:
    separator = form.separator
    hints: set[int] = set()
    for block in line_blocks(file, encoding):
        for number, text in enumerate(block.lines, block.first):
            if form.names is None and not hints and (hint := _HINT.match(text)):
                separator = hint[1]
                hints.add(number)
            elif text.strip():
                if form.names is not None:
                    return _Head(
                        file=file.name,
                        names=form.names,
                        text=None,
                        separator=separator or ",",
                        quotes=form.quotes,
                        lines=frozenset(),
                    )
                if escaped(text):
                    raise LogError(f"{file.name}: line {number}, the header, has {NOT_UTF8}")
                head = _Head(
                    file=file.name,
                    names=(),
                    text=text,
                    separator=separator or max(_SEPARATORS, key=text.count),
                    quotes=form.quotes,
                    lines=frozenset({*hints, number}),
                )
                fields, opened = _split(text, head)
                if opened:
                    raise LogError(f"{file.name}: line {number}, the header: {_UNCLOSED}")
                return replace(head, names=tuple(name.strip() for name in fields))
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """The result of parsing some lines: fields, a fault, or a reason to pass over them."""

    fields: list[str] | None = None
    fault: str | None = None
    passed: str | None = None


def _frames(file: File, encoding: str | None, head: _Head, names: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Yield one frame for each block. Lines of a quoted field that continues are kept for the next block."""
    waiting: list[str] = []
    for block in line_blocks(file, encoding):
        lines, first = waiting + block.lines, block.first - len(waiting)
        special = {} if block.sound else {place: _Row(fault=NOT_UTF8) for place, text in enumerate(lines) if escaped(text)}
        quoted = [place for place, text in enumerate(lines) if '"' in text and place not in special] if head.quotes else []
        simple = _simple(lines, quoted, head)
        whole = _add_odd(special, lines, quoted, set(simple[LINE]), head, last=block.last)
        waiting, lines, simple = lines[whole:], lines[:whole], simple.filter(pl.col(LINE) < whole)
        frames = [_plain(lines, simple, special, head, names), *([_read(simple, head, names)] if len(simple) else [])]
        if special:
            frames.append(_parsed(lines, special, head, names))
        frame = pl.concat(frames).sort(LINE).with_columns(pl.col(LINE) + first)
        yield frame.filter(~pl.col(LINE).is_in(head.lines)) if head.lines and first <= max(head.lines) else frame


def _simple(lines: list[str], quoted: list[int], head: _Head) -> pl.DataFrame:
    """Select the lines with quotes that are valid CSV and one row each. Returns their text and place."""
    found = pl.DataFrame({RAW: [lines[place] for place in quoted], LINE: quoted}, schema={RAW: pl.String(), LINE: pl.Int64()})
    outside = pl.col(RAW).str.replace_all(_QUOTED, "")
    width = outside.str.count_matches(head.separator, literal=True) + 1
    return found.filter(pl.col(RAW).str.contains(head.strict) & (width == len(head.names)))


def _add_odd(
    special: dict[int, _Row], lines: list[str], quoted: list[int], sound: Container[int], head: _Head, *, last: bool
) -> int:
    """Parse the other lines with quotes, and add their rows to `special` by place. Returns how many lines belong to complete
    rows.
    """
    below = 0
    for place in quoted:
        if place < below or place in sound:
            continue
        row, below = _row(lines, place, sound, head, last=last)
        if row is None:
            for later in [later for later in special if later >= place]:
                del special[later]
            return place
        special[place] = row
        special |= dict.fromkeys(range(place + 1, below), _Row(passed=INSIDE))
    return len(lines)


def _row(lines: list[str], place: int, sound: Container[int], head: _Head, *, last: bool) -> tuple[_Row | None, int]:
    """Parse the row that begins at `place`. Returns the row and the place after it; no row if it may continue in a later
    block.
    """
    text, separators = lines[place], len(head.names) - 1
    fields, opened = _split(text, head)
    below = place + 1
    while opened:
        too_long = below - place == _MOST_LINES or len(text) > _MOST_TEXT
        if below == len(lines) and not last and not too_long:
            return None, place
        if below == len(lines) or too_long or below in sound or lines[below].count(head.separator) == separators:
            return _Row(fault=_UNCLOSED), place + 1
        text += "\n" + lines[below]
        fields, opened = _split(text, head)
        below += 1
    if below > place + 1 and len(fields) != len(head.names):
        return _Row(fault=_UNCLOSED), place + 1
    return _Row(fields=fields), below


def _split(text: str, head: _Head) -> tuple[list[str], bool]:
    """Split a line into fields. Also returns whether the last field is in quotes that are not closed."""
    fields: list[str] = []
    place = 0
    while True:
        match = head.quoted.match(text, place)
        if match is not None:
            fields.append(match[1].replace('""', '"'))
            place = match.end()
            ended = not match[0].endswith(head.separator)
        elif text.startswith('"', place):
            return fields, True
        else:
            end = text.find(head.separator, place)
            fields.append(text[place : len(text) if end < 0 else end])
            place, ended = end + 1, end < 0
        if ended:
            return fields, False


def _plain(
    lines: list[str], simple: pl.DataFrame, special: Mapping[int, _Row], head: _Head, names: Sequence[str]
) -> pl.DataFrame:
    """Split the lines that are neither in `simple` nor in `special` at each separator."""
    others: Sequence[int] = range(len(lines))
    if special or len(simple):
        taken = {*special, *simple[LINE]}
        others = [place for place in others if place not in taken]
    texts = lines if len(others) == len(lines) else [lines[place] for place in others]
    split = pl.DataFrame({RAW: texts, LINE: others}, schema={RAW: pl.String(), LINE: pl.Int64()})
    return _columns(split.with_columns(fields=pl.col(RAW).str.split(head.separator)), head, names)


def _read(simple: pl.DataFrame, head: _Head, names: Sequence[str]) -> pl.DataFrame:
    """Parse lines that are valid CSV by polars."""
    columns = [str(number) for number in range(len(head.names))]
    text = "\n".join(simple[RAW]).encode()
    read = pl.read_csv(text, has_header=False, separator=head.separator, schema=dict.fromkeys(columns, pl.String))
    if len(read) != len(simple):
        raise LogError(f"{head.file}: {len(simple):,} lines of strict CSV were read as {len(read):,} rows; nothing was written")
    fields = pl.concat_list(pl.col(columns).fill_null(""))
    return _columns(pl.concat([simple, read], how="horizontal").select(RAW, LINE, fields=fields), head, names)


def _parsed(lines: list[str], special: Mapping[int, _Row], head: _Head, names: Sequence[str]) -> pl.DataFrame:
    """Make rows of the lines that were split in Python, and of lines that are no rows."""
    given = {
        RAW: [printable(lines[place]) for place in special],
        LINE: list(special),
        "fields": [row.fields for row in special.values()],
        FAULT: [row.fault for row in special.values()],
        PASSED: [row.passed for row in special.values()],
    }
    return _columns(pl.DataFrame(given, schema={name: _TYPES[name] for name in given}), head, names)


def _columns(rows: pl.DataFrame, head: _Head, names: Sequence[str]) -> pl.DataFrame:
    """Select the fields under `names`, and judge each row."""
    width, fields = len(head.names), pl.col("fields")
    given = fields.list.len()
    empty = fields.list.eval(pl.element().str.strip_chars() == "").list.all()
    extra = fields.list.slice(width).list.eval(pl.element() != "").list.any()
    fault = (
        pl.when(given < width)
        .then(pl.lit(f"fewer fields than the {width} columns"))
        .when((given > width) & extra)
        .then(pl.lit(f"more fields than the {width} columns"))
    )
    passed = pl.when(empty).then(pl.lit(BLANK)).when(pl.col(RAW) == pl.lit(head.text, pl.String)).then(pl.lit(REPEATED))
    known = {name: pl.col(name) if name in rows.columns else pl.lit(None, pl.String) for name in (FAULT, PASSED)}
    judged = rows.with_columns(pl.coalesce(known[PASSED], passed).alias(PASSED))
    judged = judged.with_columns(pl.when(pl.col(PASSED).is_null()).then(pl.coalesce(known[FAULT], fault)).alias(FAULT))
    return judged.select(
        *(_field(name, head) for name in names),
        LINE,
        FAULT,
        PASSED,
        pl.when(pl.col(FAULT).is_not_null()).then(pl.col(RAW).str.slice(0, SHOWN)).alias(RAW),
    )


def _field(name: str, head: _Head) -> pl.Expr:
    if name not in head.names:
        return pl.lit(None, pl.String).alias(name)
    return pl.col("fields").list.get(head.names.index(name), null_on_oob=True).alias(name)
