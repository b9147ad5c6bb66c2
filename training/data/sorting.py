"""Sorts the events of an import's temporary files, in slices that fit in memory, and keeps each event once."""

import shutil
from pathlib import Path

import polars as pl

from training.data.log import EVENTS, ORDER, ROW_GROUP, SCHEMA

SLICE = 2_000_000
"""Number of events sorted at a time; they take about 0.5 GB."""
WAITING = 5_000
"""Number of events buffered for each slice while all slices are cut in one pass. 400 slices buffer as many as one has."""


def sort_events(rows: Path, count: int, folder: Path, slice_rows: int = SLICE) -> int:
    """Sort the `count` events in the Parquet files of `rows` into a log's folder, without duplicates. Returns how many are
    left.
    """
    events = pl.scan_parquet(rows / "*.parquet")
    if count <= slice_rows:
        ordered = _in_order(events)
        ordered.write_parquet(folder / EVENTS, row_group_size=ROW_GROUP)
        return len(ordered)
    apart = folder / "slices"
    slices: list[Path] = []
    kept = 0
    for unsorted in _cut(events, apart, slice_rows):
        ordered = _in_order(pl.scan_parquet(unsorted / "*.parquet"))
        slices.append(apart / f"{len(slices):05d}.parquet")
        ordered.write_parquet(slices[-1], compression="lz4", row_group_size=ROW_GROUP)
        kept += len(ordered)
        shutil.rmtree(unsorted)
    pl.scan_parquet(slices).sink_parquet(folder / EVENTS, row_group_size=ROW_GROUP)
    shutil.rmtree(apart)
    return kept


def _in_order(events: pl.LazyFrame) -> pl.DataFrame:
    ordered = events.collect().sort(*ORDER, *(name for name in SCHEMA.names() if name not in ORDER))
    repeated = pl.all_horizontal(pl.col(name) == pl.col(name).shift() for name in ORDER)
    return ordered.filter(~repeated.fill_null(value=False))


def _cut(events: pl.LazyFrame, apart: Path, slice_rows: int) -> list[Path]:
    """Cut the listeners, in order, into lots of about `slice_rows` events, in one pass. Returns a folder for each.

    No listener is in two lots.
    """
    users = events.group_by("user_id").len().collect(engine="streaming").sort("user_id")
    lot = (pl.col("len").cum_sum() - pl.col("len")) // slice_rows
    lots = users.select("user_id", lot=lot.rle_id())
    by_lot = pl.PartitionBy(apart, key="lot", include_key=False)
    events.join(lots.lazy(), on="user_id").sink_parquet(
        by_lot, compression="lz4", row_group_size=WAITING, maintain_order=False, mkdir=True
    )
    return [apart / f"lot={number}" for number in lots["lot"].unique().sort().to_list()]
