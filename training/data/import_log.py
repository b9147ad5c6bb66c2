"""From a log in its own format to the canonical log: `python -m training import`.

`training.data.account` reads every row once, checks it and writes the sound ones aside. If too many are broken, the log is
refused, with a row to look at for each reason. `training.data.sorting` puts the sound ones in order, and the finished folder
takes its place in one step. Memory is bounded by a slice of the log and the number of listeners, not by the log. The price is
that the log is written twice, and one of several slices four times (aside, cut, sorted, joined), with room on disk for three.
"""

import shutil
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console

from training.data.account import ENGINE_ERRORS, Account, take
from training.data.fetch import fetch
from training.data.log import CATALOGUE, EVENTS, TITLES, Log, LogError, describe, open_log, replacing, write_about
from training.data.sorting import SLICE, sort_events
from training.sources import SOURCES
from training.sources.reading import Reader, Request
from training.sources.times import Clock

_FETCHED, _ROWS, _TITLES = "fetched", "rows", "titles"
_SHOWN, _KEPT = 5, 100
"""Ignored files that are shown, and that `log.json` names."""


def import_log(
    source: str,
    paths: Sequence[str],
    out: Path,
    *,
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
    clock: Clock | None = None,
    max_broken: float = 0.01,
    force: bool = False,
    slice_rows: int = SLICE,
    console: Console | None = None,
) -> Log:
    """Import `paths`, in the format of `source`, into the new folder `out`.

    A path is a file, a folder, a glob, a zip archive, or a URL of one of these that fsspec knows. `columns` renames the columns
    of the canonical source (ours -> theirs). `console` shows what was broken, passed over and ignored.

    LogError, and nothing written, where a file cannot be read or its rows do not add up, where the share of broken rows is over
    `max_broken`, where no sound row is left, or where `out` exists and not `force`.
    """
    if source not in SOURCES:
        raise LogError(f"no source {source!r}; the sources are {', '.join(SOURCES)}")
    if columns and source != "canonical":
        raise LogError(f"source {source} has fixed columns; --column {next(iter(columns))}=… goes with --source canonical only")
    read: Reader = import_module(f"training.sources.{source}").read
    with replacing(out, force=force) as folder:
        request = Request(
            places=fetch(paths, folder / _FETCHED), columns=columns or {}, encoding=encoding, clock=clock or Clock()
        )
        try:
            account = take(read(request), folder / _ROWS, folder / _TITLES)
            shutil.rmtree(folder / _FETCHED, ignore_errors=True)
            _show(account, console or Console(stderr=True))
            if not account.sound or account.broken.total() > max_broken * account.read:
                raise LogError(_refusal(account, max_broken))
            kept = sort_events(folder / _ROWS, account.events, folder, slice_rows)
            _write_catalogue(folder)
            shutil.rmtree(folder / _ROWS)
            shutil.rmtree(folder / _TITLES)
            about = describe(pl.scan_parquet(folder / EVENTS))
        except ENGINE_ERRORS as error:
            raise LogError(f"the log cannot be written: {error}") from error
        if about["events"] != kept:
            raise LogError(f"{kept:,} events were sorted, but {about['events']:,} were written; please report this")
        write_about(folder, _about(source, paths, account, about))
    return open_log(out)


def _show(account: Account, console: Console) -> None:
    """Say what became of the rows that were not kept, a reason a line."""
    lines = []
    if account.broken:
        lines.append(f"broken rows: {account.broken.total():,} of {account.in_files:,}")
        for reason, count in account.broken.most_common():
            lines.append(f"  {reason}: {count:,}, for example {account.examples[reason]}")
    if account.passed:
        lines.append(f"rows passed over: {account.passed.total():,} of {account.in_files:,}")
        lines += [f"  {reason}: {count:,}" for reason, count in account.passed.most_common()]
    if account.ignored:
        lines.append(f"ignored files: {len(account.ignored):,}")
        lines += [f"  {one.name} {one.why}" for one in account.ignored[:_SHOWN]]
        lines += [f"  and {len(account.ignored) - _SHOWN:,} more"] if len(account.ignored) > _SHOWN else []
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _refusal(account: Account, max_broken: float) -> str:
    if not account.read:
        return "the log has no rows"
    reasons = "; ".join(f"{reason}: {count:,}" for reason, count in account.broken.most_common())
    limit = f"{max_broken:.2%} may be (--max-broken)" if account.sound else "none is left"
    return f"{account.broken.total():,} of {account.read:,} rows are broken, {limit}. {reasons}"


def _write_catalogue(folder: Path) -> None:
    if not any((folder / _TITLES).iterdir()):
        return
    titles = pl.scan_parquet(folder / _TITLES / "*.parquet", missing_columns="insert", schema=TITLES)
    known = titles.unique("track_id", keep="first", maintain_order=True)
    known.sort("track_id").sink_parquet(folder / CATALOGUE)


def _about(source: str, paths: Sequence[str], account: Account, about: Mapping[str, Any]) -> dict[str, Any]:
    """What `log.json` says. In `rows`, in_files = read + passed_over, and read = kept - added + duplicates + broken."""
    return {
        "source": source,
        "paths": list(paths),
        "licence": SOURCES[source].licence,
        "skips": SOURCES[source].skips,
        "rows": {
            "in_files": account.in_files,
            "passed_over": dict(account.passed.most_common()),
            "read": account.read,
            "broken": dict(account.broken.most_common()),
            "duplicates": account.events - about["events"],
            "added": account.events - account.sound,
            "kept": about["events"],
        },
        "ignored": [f"{one.name} {one.why}" for one in account.ignored[:_KEPT]],
        **about,
    }
