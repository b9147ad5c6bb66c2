"""The interface between the importer and the readers of log formats: a request, and the parts that a reader returns."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from training.data.log import LogError
from training.sources.tables.delimited import Delimited
from training.sources.tables.files import File, Ignored, find
from training.sources.tables.lines import printable
from training.sources.tables.opening import open_table
from training.sources.tables.table import Table
from training.sources.times import Clock

EXTRA = "__extra"
"""Marks an event that stands beside another of the same row: a like of a play that is an event too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """The files or databases to read, and the options of the command line."""

    places: Mapping[str, str]  # local path -> path or URL as the person gave it
    columns: Mapping[str, str] = field(default_factory=dict)  # our column -> the log's column
    user: str | None = None  # the listener of all rows
    type: str | None = None  # the type of all rows
    query: str | None = None  # the query for a database
    encoding: str | None = None  # of text files. None: UTF-8, or the encoding of a byte order mark
    clock: Clock = field(default_factory=Clock)


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """The rows of one file.

    `rows` are frames in canonical columns (`training.data.log`), as text or typed, null for values that cannot be read, and
    with the columns `ABOUT_ROWS`. Optional columns may be absent. title, artist, album, group and duration_ms make the
    catalogue. Other columns are shown with a broken row. `count` gives the rows in the file, counted without the code that
    reads them.
    """

    name: str
    rows: Iterator[pl.DataFrame]
    count: Callable[[], int]
    unit: str = "row"
    note: str | None = None  # a remark for the person on how the rows were read


Reader = Callable[[Request], Iterator[Part | Ignored]]


def tables(request: Request, kinds: Sequence[str], *, form: Delimited | None = None) -> Iterator[Table | Ignored]:
    """Yield the files of a request as tables, and the files that are ignored."""
    files, ignored = find(request.places, kinds)
    yield from ignored
    for file in files:
        table = open_table(file, request.encoding, form=form)
        yield Ignored(name=file.name, why="is empty") if table is None else table


def part(table: Table, rows: Iterator[pl.DataFrame], note: str | None = None) -> Part:
    """Make a part from a table and its rows."""
    return Part(name=table.file.name, rows=rows, count=table.count, unit=table.unit, note=note)


def require(table: Table, names: Sequence[str]) -> None:
    """LogError if the table lacks some of these columns. It names all of them."""
    if missing := [name for name in names if name not in table.columns]:
        raise missing_columns(table.file, missing, table.columns)


def missing_columns(file: File, missing: Sequence[str], found: Sequence[str], hint: str = "") -> LogError:
    """Make the error that names the columns that a file lacks, and those that it has."""
    shown = ", ".join(map(printable, found[:30])) + (f" and {len(found) - 30} more" if len(found) > 30 else "")
    return LogError(f"{file.name}: wanted columns {', '.join(missing)}; found {shown or 'none'}{hint and f'; {hint}'}")
