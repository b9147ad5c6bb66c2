"""Imports a log from its own format into nexttrack's: `python -m training import`.

`training.data.account` reads every row once, checks it and writes the sound ones to a temporary folder. If too many are broken,
the log is refused, with an example for each reason. `training.data.sorting` sorts the sound ones, and the finished folder is
put in place in one step. Memory is bounded by a slice of the log and the number of listeners, not by the log. The price is that
the log is written twice, and a log of several slices four times (temporary, cut, sorted, joined), with disk space for three.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from importlib import import_module
from itertools import chain, islice
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console

from training.counts import counted
from training.data.account import ENGINE_ERRORS, Account, take
from training.data.fetch import fetch
from training.data.log import EVENTS, Log, LogError, describe, open_log, replacing, write_about
from training.data.sorting import SLICE, sort_events
from training.data.summary import lines, summarise, warnings
from training.data.titles import Named, TitleTable, open_titles, read_titles, write_catalogue
from training.sources import SOURCES
from training.sources.reading import Part, Reader, Request
from training.sources.tables.files import Ignored
from training.sources.tables.query import hide_password
from training.sources.times import AVOIDABLE, Clock

_COMMAND = "command"
"""The key of `log.json` that identifies the command which wrote the log."""
_FETCHED, _ROWS, _TITLES, _BESIDE = "fetched", "rows", "titles", "fetched-catalogue"
_SHOWN, _KEPT = 5, 100
"""Number of ignored files that are shown, and that `log.json` names."""


def import_log(
    source: str,
    paths: Sequence[str],
    out: Path,
    *,
    columns: Mapping[str, str] | None = None,
    user: str | None = None,
    type: str | None = None,
    query: str | None = None,
    encoding: str | None = None,
    clock: Clock | None = None,
    catalogue: str | None = None,
    catalogue_columns: Mapping[str, str] | None = None,
    max_broken: float = 0.01,
    force: bool = False,
    slice_rows: int = SLICE,
    console: Console | None = None,
) -> Log:
    """Import `paths`, in the format of `source`, into the new folder `out`.

    A path is a file, a folder, a glob, a zip archive, a URL of one of these that fsspec knows, or for the source `sql` the URL
    of a database. `columns` renames columns (ours -> theirs). `user` and `type` hold for all rows. `catalogue` is a path or URL
    of titles, and `catalogue_columns` renames its columns. `console` shows counts of rows and a summary.

    A log that the same paths and options wrote before is replaced, unless it would lose events. `force` replaces every log.

    LogError in these cases; nothing is written then: a file cannot be read, rows do not add up, the share of broken rows is
    over `max_broken`, no sound row is left, a time wants an option, the source does not take an option, or `out` may not be
    replaced.
    """
    request = Request(
        places={}, columns=columns or {}, user=user, type=type, query=query, encoding=encoding, clock=clock or Clock()
    )
    _check_options(source, request)
    if catalogue_columns and catalogue is None:
        raise LogError("--catalogue-column wants --catalogue FILE")
    console = console or Console(stderr=True)
    database = SOURCES[source].database
    shown = list(map(hide_password, paths)) if database else paths
    command = _identity(source, shown, request, catalogue, catalogue_columns or {})
    former = None if force else _former(out, command)
    with replacing(out, force=force or former is not None) as folder:
        places = {path: hide_password(path) for path in paths} if database else fetch(paths, folder / _FETCHED)
        read: Reader = import_module(f"training.sources.{source}").read
        try:
            parts = read(replace(request, places=places))
            if catalogue is not None:  # first, so that a wrong one is noticed before a large log is read
                beside = fetch([catalogue], folder / _BESIDE)
                parts, opened = _opened(parts, partial(open_titles, beside, catalogue_columns or {}, encoding))
                titles = read_titles(catalogue, opened, folder / _TITLES)
                shutil.rmtree(folder / _BESIDE, ignore_errors=True)
                if titles.broken > max_broken * titles.rows:
                    raise LogError(f"{catalogue}: {titles.broken:,} of {titles.rows:,} rows have no track_id or are broken")
            account = take(
                parts,
                folder / _ROWS,
                folder / _TITLES,
                max_broken=max_broken,
                avoidable=AVOIDABLE if "timezone" in SOURCES[source].takes else (),
            )
            shutil.rmtree(folder / _FETCHED, ignore_errors=True)
            _show(account, console)
            if not account.sound or account.broken.total() > max_broken * account.read:
                raise LogError(_refusal(account, max_broken))
            kept = sort_events(folder / _ROWS, account.events, folder, slice_rows)
            named = write_catalogue(folder, folder / _TITLES)
            shutil.rmtree(folder / _ROWS)
            shutil.rmtree(folder / _TITLES)
            about = describe(pl.scan_parquet(folder / EVENTS))
        except ENGINE_ERRORS as error:
            raise LogError(f"the log cannot be written: {error}") from error
        if about["events"] != kept:
            raise LogError(f"{kept:,} events were sorted, but {about['events']:,} were written; please report this")
        if former is not None:
            _check_grown(out, former, about)
            _print(console, [f"replaces the log that the same command wrote; it had {counted(former['events'], 'event')}"])
        summary = summarise(Log(folder=folder, about=about))
        found = {
            **_about(source, shown, account, about),
            _COMMAND: command,
            "summary": summary.facts(),
            "named_tracks": named.lines,
        }
        doubts = warnings(summary)
        if catalogue is not None and not named.beside:
            doubts.append(f"{catalogue} has none of the log's tracks: are its ids those of track_id?")
        write_about(folder, {**found, "warnings": doubts})
        _print(console, [*lines(summary), _told(named, about["tracks"], catalogue), *(f"warning: {doubt}" for doubt in doubts)])
    return open_log(out)


def _opened(
    parts: Iterator[Part | Ignored], titles: Callable[[], list[TitleTable]]
) -> tuple[Iterator[Part | Ignored], list[TitleTable]]:
    """Open the log and its catalogue. LogError that says at once what is wrong with either."""
    faults = []
    first: list[Part | Ignored] = []
    opened: list[TitleTable] = []
    try:
        first = list(islice(parts, 1))
    except LogError as error:
        faults.append(str(error))
    try:
        opened = titles()
    except LogError as error:
        faults.append(str(error))
    if faults:
        raise LogError("\n".join(faults))
    return chain(first, parts), opened


def _told(named: Named, tracks: int, catalogue: str | None) -> str:
    """Say how many of a log's tracks have a title, and how many an artist."""
    hint = "" if catalogue or (named.titles and named.artists) else " (--catalogue FILE adds them)"
    return f"{counted(tracks, 'track')}: {named.titles:,} with a title, {named.artists:,} with an artist{hint}"


def _check_options(source: str, request: Request) -> None:
    """LogError if there is no such source, or if it does not take an option."""
    if source not in SOURCES:
        raise LogError(f"no source {source!r}; the sources are {', '.join(SOURCES)}")
    if request.columns and "column" not in SOURCES[source].takes:
        column = next(iter(request.columns))
        raise LogError(f"source {source} has fixed columns; --column {column}=… goes with canonical and sql only")
    given = {
        "user": request.user is not None,
        "type": request.type is not None,
        "query": request.query is not None,
        "timezone": request.clock.zone is not None,
        "dates": request.clock.dates is not None,
    }
    for option in (option for option, there in given.items() if there and option not in SOURCES[source].takes):
        takers = [name for name, one in SOURCES.items() if option in one.takes]
        raise LogError(f"source {source} has no use for --{option}; it goes with {', '.join(takers)} only")


def _identity(
    source: str, paths: Sequence[str], request: Request, catalogue: str | None, catalogue_columns: Mapping[str, str]
) -> str:
    """Return the SHA-256 of what a command reads and how. A relative path counts from the working directory."""
    read = {
        **asdict(request),
        "source": source,
        "places": [_absolute(path) for path in paths],
        "catalogue": None if catalogue is None else _absolute(catalogue),
        "catalogue_columns": dict(catalogue_columns),
    }
    return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()


def _absolute(path: str) -> str:
    return path if "://" in path else str(Path(path).absolute())


def _former(out: Path, command: str) -> Mapping[str, Any] | None:
    """Return `log.json` of the log at `out` if the same command wrote it, else None."""
    try:
        about = open_log(out).about
    except LogError:
        return None
    return about if about.get(_COMMAND) == command else None


def _check_grown(out: Path, former: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """LogError if a log has fewer events than the one that it replaces, or begins later: the files may have been rotated."""
    if about["events"] < former["events"] or about["first"] > former["first"]:
        found = f"{out} has {counted(former['events'], 'event')} from {former['first']} on"
        raise LogError(
            f"{found}; the same command now found {about['events']:,} from {about['first']} on. --force replaces it anyway"
        )


def _show(account: Account, console: Console) -> None:
    """Print how many rows were not kept, one line for each reason."""
    text = [f"{name}: {note}" for note, name in account.notes.items()]
    if account.broken:
        text.append(f"broken rows: {account.broken.total():,} of {account.in_files:,}")
        for reason, count in account.broken.most_common():
            text.append(f"  {reason}: {count:,}, for example {account.examples[reason]}")
    if account.passed:
        text.append(f"rows passed over: {account.passed.total():,} of {account.in_files:,}")
        text += [f"  {reason}: {count:,}" for reason, count in account.passed.most_common()]
    if account.ignored:
        text.append(f"ignored files: {len(account.ignored):,}")
        text += [f"  {one.name} {one.why}" for one in account.ignored[:_SHOWN]]
        text += [f"  and {len(account.ignored) - _SHOWN:,} more"] if len(account.ignored) > _SHOWN else []
    _print(console, text)


def _print(console: Console, text: Sequence[str]) -> None:
    for line in text:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _refusal(account: Account, max_broken: float) -> str:
    if not account.read:
        return "the log has no rows"
    reasons = "; ".join(f"{reason}: {count:,}" for reason, count in account.broken.most_common())
    limit = f"{max_broken:.2%} may be (--max-broken)" if account.sound else "none is left"
    return f"{account.broken.total():,} of {account.read:,} rows are broken, {limit}. {reasons}"


def _about(source: str, paths: Sequence[str], account: Account, about: Mapping[str, Any]) -> dict[str, Any]:
    """Make the content of `log.json`. In `rows`, in_files = read + passed_over, and read = kept - added + duplicates +
    broken.
    """
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
        "notes": list(account.notes),
        "ignored": [f"{one.name} {one.why}" for one in account.ignored[:_KEPT]],
        **about,
    }
