"""Accounts for every row of every file that an import reads, and writes the sound ones to a temporary folder.

A row is either read, and then sound or broken, or it is passed over. Broken rows and rows passed over are counted by reason.
The sum must be the number of rows in the file, which is counted without the code that reads them. This module knows nothing of
formats.

A log that will be refused is refused early: at the first row that an option of the command would read. It is also refused if
none of the first rows is sound.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from training.data.checks import checked
from training.data.log import SCHEMA, TITLES, LogError
from training.sources.reading import EXTRA, Part
from training.sources.tables.files import Ignored
from training.sources.tables.lines import printable
from training.sources.tables.table import ABOUT_ROWS, FAULT, LINE, PASSED, RAW

ENGINE_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
_LOT = 250_000
"""Number of rows in a temporary file."""
_HOPELESS = 1_000
"""If so many rows were read and none is sound, no more are read."""
_HIDDEN = {*ABOUT_ROWS, EXTRA}


@dataclass(kw_only=True, slots=True)
class Account:
    """The rows of an import, counted by their fate."""

    in_files: int = 0  # counted without the code that reads them
    sound: int = 0
    events: int = 0  # of the sound rows: one each, and one more if a row also holds an opinion
    broken: Counter[str] = field(default_factory=Counter)
    passed: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)  # a broken row for each reason
    ignored: list[Ignored] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)  # remarks on how rows were read, each with the first file it applies to

    @property
    def read(self) -> int:
        """Return the number of rows that were not passed over."""
        return self.sound + self.broken.total()


def take(
    parts: Iterable[Part | Ignored], rows: Path, titles: Path, *, max_broken: float = 1.0, avoidable: Collection[str] = ()
) -> Account:
    """Read and check all parts. Writes sound events to the folder `rows`, and titles to `titles`. Returns the counts of rows.

    `avoidable` are the reasons that an option of the command takes away. Raises LogError if a file cannot be read, if its rows
    do not add up, or if a row is broken for an avoidable reason. If none of many rows is sound, LogError before the rest is
    read, unless `max_broken` is 1.
    """
    account, aside = Account(), _Aside(rows=rows, titles=titles)
    for part in parts:
        if isinstance(part, Ignored):
            account.ignored.append(part)
            continue
        if part.note is not None:
            account.notes.setdefault(part.note, part.name)
        try:
            found = 0
            for frame in part.rows:
                found += _take(frame, part, account, aside)
                _check_hope(account, avoidable, max_broken)
        except ENGINE_ERRORS as error:
            raise LogError(f"{part.name} cannot be read: {str(error).partition(chr(10))[0]}") from error
        in_file = part.count()
        if found != in_file:
            raise LogError(
                f"{part.name}: the file has {in_file:,} rows, but {found:,} were read, so nothing was written."
                " If the file was not changed meanwhile, this is a fault of nexttrack: please report it"
            )
        account.in_files += in_file
    aside.write()
    return account


def _check_hope(account: Account, avoidable: Collection[str], max_broken: float) -> None:
    """LogError if a row is broken for an avoidable reason, or if no row is sound and many were read."""
    for reason in avoidable:
        if reason in account.broken:
            raise LogError(f"{reason}: {account.examples[reason]}")
    if not account.sound and account.broken.total() >= _HOPELESS and max_broken < 1:
        reasons = "; ".join(f"{reason}: {account.examples[reason]}" for reason in account.broken)
        raise LogError(f"none of the first {account.read:,} rows is sound, so the rest was not read. {reasons}")


def _take(frame: pl.DataFrame, part: Part, account: Account, aside: "_Aside") -> int:
    """Check the rows of a frame, count them in `account`, and store the sound ones in `aside`. Returns how many rows of the
    file it holds.
    """
    passed = frame.filter(pl.col(PASSED).is_not_null())
    account.passed.update(dict(passed.group_by(PASSED).len().iter_rows()))
    kept = frame.filter(pl.col(PASSED).is_null())
    judged = checked(kept, FAULT)
    main = pl.lit(value=True) if EXTRA not in kept.columns else ~pl.col(EXTRA)
    reasons = judged.filter(main & pl.col("reason").is_not_null()).group_by("reason", maintain_order=True).len()
    for reason, count in reasons.iter_rows():
        account.broken[reason] += count
        if reason not in account.examples:
            place = (judged["reason"] == reason).arg_max()
            account.examples[reason] = _example(kept.row(place or 0, named=True), part)
    sound = judged.filter(pl.col("reason").is_null())
    account.sound += len(sound.filter(main))
    account.events += len(sound)
    aside.add(sound)
    return len(passed) + len(kept.filter(main))


def _example(row: dict[str, Any], part: Part) -> str:
    """Describe a row: its place and its values."""
    values = printable(row[RAW] or "") or ", ".join(
        f"{name}={value!r:.60}" for name, value in row.items() if value is not None and name not in _HIDDEN
    )
    return f"{part.name}, {part.unit} {row[LINE]:,}: {values}"


@dataclass(kw_only=True, slots=True)
class _Aside:
    """Collects sound events and writes them to disk, in files of `_LOT` events."""

    rows: Path
    titles: Path
    waiting: list[pl.DataFrame] = field(default_factory=list)
    lots: int = 0

    def add(self, sound: pl.DataFrame) -> None:
        """Add sound events, and write a file if there are enough."""
        self.waiting.append(sound)
        if sum(map(len, self.waiting)) >= _LOT:
            self.write()

    def write(self) -> None:
        """Write the events in memory, and the titles of their tracks."""
        if not self.waiting:
            return
        events = pl.concat(self.waiting, how="diagonal_relaxed")
        self.waiting.clear()
        for folder in (self.rows, self.titles):
            folder.mkdir(exist_ok=True)
        name = f"{self.lots:06d}.parquet"
        self.lots += 1
        events.select(SCHEMA.names()).write_parquet(self.rows / name, compression="lz4")
        said = [column for column in TITLES.names() if column in events.columns and column != "track_id"]
        named = events.select("track_id", *(_said(column) for column in said))
        named = named.filter(pl.any_horizontal(pl.col(said).is_not_null())) if said else named.clear()
        if len(named):
            named.unique("track_id", keep="first", maintain_order=True).write_parquet(self.titles / name, compression="lz4")


def _said(column: str) -> pl.Expr:
    """Select a column of titles; an empty text becomes null."""
    if TITLES[column] == pl.String():
        return pl.col(column).cast(pl.String).replace("", None)
    return pl.col(column).cast(pl.Float64, strict=False).round().cast(TITLES[column], strict=False)
