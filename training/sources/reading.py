"""What a reader of a log format hands over, and how it finds its files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path

import polars as pl

from training.data.log import LogError


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """Unchecked rows in canonical columns, as text or already typed; null where a value cannot be read.

    Optional columns may be absent. Columns that are not canonical are carried along to show a broken row as it was.
    """

    events: pl.LazyFrame
    catalogue: pl.LazyFrame | None = None  # track_id, and what there is of title, artist, duration_ms


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A log format: its reader, and what `log.json` and the help text say about it."""

    about: str
    skips: str  # what counts as a skip
    licence: str
    read: Callable[[Sequence[str], Mapping[str, str]], Reading]  # paths, renamed columns


def files(paths: Sequence[str], *suffixes: str) -> list[str]:
    """Files of some kind: a folder stands for all of them in it, however deep, a glob for what matches (`**`: any depth)."""
    found: list[str] = []
    for path in paths:
        if Path(path).is_dir():
            inside = sorted(str(file) for file in Path(path).rglob("*") if file.name.lower().endswith(suffixes))
            if not inside:
                raise LogError(f"{path}: found no file that ends in {', '.join(suffixes)}")
            found += inside
        elif Path(path).is_file():
            found.append(path)
        elif any(sign in path for sign in "*?["):
            matching = sorted(name for name in glob(path, recursive=True) if Path(name).is_file())  # noqa: PTH207 # may be absolute
            if not matching:
                raise LogError(f"{path}: no file matches")
            found += matching
        else:
            raise LogError(f"{path}: no such file or folder")
    if not found:
        raise LogError("no path given: which files are to be read?")
    return found


def plain(name: str, columns: Mapping[str, str]) -> None:
    """LogError where columns are renamed for a format that has fixed ones."""
    if columns:
        raise LogError(f"source {name} has fixed columns; --column {next(iter(columns))}=… goes with --source canonical only")


def wanted(frame: pl.LazyFrame, names: Sequence[str], what: str) -> pl.LazyFrame:
    """The frame itself; LogError where a column is missing."""
    found = frame.collect_schema().names()
    if missing := [name for name in names if name not in found]:
        raise LogError(f"{what}: wanted columns {', '.join(missing)}; found {', '.join(found)}")
    return frame
