"""From a log in its own format to the canonical log: `python -m training import`.

Rows are read once, checked, and written aside as they come; so many broken ones that something must be wrong with the log
refuse it, with the reasons and a row to look at for each. The sound ones are then sorted by listener in slices that fit in
memory, and the finished folder takes its place in one step. SessionMemory is bounded by the slice and the number of listeners,
not by the log; the price is that the log is written twice, one of several slices four times (aside, cut, sorted, joined), with
room on disk for three.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from training.data.checks import checked
from training.data.fetch import fetch
from training.data.log import (
    CATALOGUE,
    EVENTS,
    ORDER,
    ROW_GROUP,
    SCHEMA,
    TITLES,
    Log,
    LogError,
    describe,
    open_log,
    replacing,
    write_about,
)
from training.sources import SOURCES
from training.sources.reading import Reading

_FETCHED = "fetched"
SLICE = 2_000_000
"""Events sorted at a time, some 0.5 GB."""
WAITING = 5_000
"""Events of each slice that may wait to be written, as all slices are cut in one pass: of 400 slices as many as one has."""


def import_log(
    source: str,
    paths: Sequence[str],
    out: Path,
    *,
    columns: Mapping[str, str] | None = None,
    max_broken: float = 0.01,
    force: bool = False,
    slice_rows: int = SLICE,
    console: Console | None = None,
) -> Log:
    """Import `paths`, in the format of `source`, into the new folder `out`.

    A path is a file, a folder, a glob, or a URL of one of these that fsspec knows. `columns` renames the canonical source's
    columns (ours -> theirs). LogError, and nothing written, where the share of broken rows is over `max_broken`, where no sound
    row is left, or where `out` exists and not `force`. What was broken is shown on `console`.
    """
    if source not in SOURCES:
        raise LogError(f"no source {source!r}; the sources are {', '.join(SOURCES)}")
    with replacing(out, force=force) as folder:
        reading = _read(source, fetch(paths, folder / _FETCHED), columns or {})
        rows = folder / "rows.parquet"
        counts = _write_rows(reading, rows)
        kept, broken = counts.pop(None, 0), sum(count for reason, count in counts.items() if reason)
        if broken:
            _show_broken(reading, counts, kept + broken, console or Console(stderr=True))
        if not kept or broken > max_broken * (kept + broken):
            raise LogError(_refusal(kept, broken, counts, max_broken))
        _sort(rows, kept, folder, slice_rows)
        rows.unlink()
        _write_catalogue(reading, folder)
        shutil.rmtree(folder / _FETCHED, ignore_errors=True)
        about = describe(pl.scan_parquet(folder / EVENTS))
        write_about(folder, _about(source, paths, kept, counts, about))
    return open_log(out)


def _read(source: str, places: Mapping[str, str], columns: Mapping[str, str]) -> Reading:
    """The reading of local paths; what is wrong is said of the places that they stand for."""
    try:
        return SOURCES[source].read(list(places), columns)
    except (LogError, pl.exceptions.PolarsError, OSError) as error:
        text = str(error)
        for path, place in places.items():
            text = text.replace(path, place)
        told = isinstance(error, LogError)
        raise LogError(text if told else f"{', '.join(places.values())} cannot be read: {text}") from error


def _write_rows(reading: Reading, rows: Path) -> dict[str | None, int]:
    """Write all rows aside, unsorted, and count them by reason; None counts the sound ones."""
    try:
        checked(reading.events).sink_parquet(rows, compression="lz4", maintain_order=False)
    except pl.exceptions.PolarsError as error:
        raise LogError(f"the log cannot be read: {error}") from error
    found = pl.scan_parquet(rows).group_by("reason").len().collect(engine="streaming")
    return dict(found.sort("len", "reason", descending=[True, False]).iter_rows())


def _show_broken(reading: Reading, counts: Mapping[str | None, int], total: int, console: Console) -> None:
    table = Table(title=f"Broken rows, of {total:,}", title_justify="left")
    table.add_column("why")
    table.add_column("rows", justify="right")
    table.add_column("for example", overflow="fold")
    shown = reading.events.collect_schema().names()
    examples = (
        pl.concat(
            [reading.events.select(pl.struct(shown).alias("row")), checked(reading.events).select("reason")], how="horizontal"
        )
        .filter(pl.col("reason").is_not_null())
        .group_by("reason")
        .agg(pl.col("row").first())
        .collect(engine="streaming")
    )
    rows = dict(examples.iter_rows())
    for reason, count in counts.items():
        row = ", ".join(f"{name}={value!r:.60}" for name, value in rows.get(reason, {}).items() if value is not None)
        table.add_row(reason, f"{count:,}", escape(row))
    console.print(table)


def _refusal(kept: int, broken: int, counts: Mapping[str | None, int], max_broken: float) -> str:
    if not kept + broken:
        return "the log has no rows"
    reasons = "; ".join(f"{reason}: {count:,}" for reason, count in counts.items())
    limit = f"{max_broken:.2%} may be (--max-broken)" if kept else "none is left"
    return f"{broken:,} of {kept + broken:,} rows are broken, {limit}. {reasons}"


def _sort(rows: Path, kept: int, folder: Path, slice_rows: int) -> None:
    """Write the sound rows, sorted and each only once, as the log's events."""
    sound = pl.scan_parquet(rows).filter(pl.col("reason").is_null()).select(SCHEMA.names())
    if kept <= slice_rows:
        _in_order(sound).write_parquet(folder / EVENTS, row_group_size=ROW_GROUP)
        return
    apart = folder / "slices"
    slices: list[Path] = []
    for unsorted in _cut(sound, apart, slice_rows):
        slices.append(apart / f"{len(slices):05d}.parquet")
        _in_order(pl.scan_parquet(unsorted / "*.parquet")).write_parquet(
            slices[-1], compression="lz4", row_group_size=ROW_GROUP
        )
        shutil.rmtree(unsorted)
    pl.scan_parquet(slices).sink_parquet(folder / EVENTS, row_group_size=ROW_GROUP)
    shutil.rmtree(apart)


def _in_order(events: pl.LazyFrame) -> pl.DataFrame:
    ordered = events.collect().sort(*ORDER, *(name for name in SCHEMA.names() if name not in ORDER))
    repeated = pl.all_horizontal(pl.col(name) == pl.col(name).shift() for name in ORDER)
    return ordered.filter(~repeated.fill_null(value=False))


def _cut(sound: pl.LazyFrame, apart: Path, slice_rows: int) -> list[Path]:
    """Cut the listeners, in order, into lots of about `slice_rows` events, nobody in two; a folder each, in one pass."""
    users = sound.group_by("user_id").len().collect(engine="streaming").sort("user_id")
    lot = (pl.col("len").cum_sum() - pl.col("len")) // slice_rows
    lots = users.select("user_id", lot=lot.rle_id())
    by_lot = pl.PartitionBy(apart, key="lot", include_key=False)
    sound.join(lots.lazy(), on="user_id").sink_parquet(
        by_lot, compression="lz4", row_group_size=WAITING, maintain_order=False, mkdir=True
    )
    return [apart / f"lot={number}" for number in lots["lot"].unique().sort().to_list()]


def _write_catalogue(reading: Reading, folder: Path) -> None:
    if reading.catalogue is None:
        return
    events = pl.scan_parquet(folder / EVENTS)
    found = reading.catalogue.collect_schema()
    titles = reading.catalogue.select(
        (pl.col(name) if name in found else pl.lit(None)).cast(TITLES[name]).alias(name) for name in TITLES
    )
    known = titles.unique("track_id", keep="first", maintain_order=True)
    known.join(events.select("track_id").unique(), on="track_id", how="semi").sort("track_id").sink_parquet(folder / CATALOGUE)


def _about(
    source: str, paths: Sequence[str], kept: int, broken: Mapping[str | None, int], about: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "source": source,
        "paths": list(paths),
        "licence": SOURCES[source].licence,
        "skips": SOURCES[source].skips,
        "rows": {
            "read": kept + sum(broken.values()),
            "kept": about["events"],
            "duplicates": kept - about["events"],
            "broken": {str(reason): count for reason, count in broken.items()},
        },
        **about,
    }
