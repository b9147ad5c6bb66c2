"""The canonical log: one table of events, whatever format they had.

    LOG/
      events.parquet       the columns below, sorted by user, time and kind
      catalogue.parquet    optional: track_id, title, artist, album, duration_ms, and group, which is the same for one recording
      log.json             source, licence, counts, dates, and how many rows were refused for which reason

The sources (training/sources/) write it, and all later steps read it. It depends on no vocabulary, model or skip rule. These
belong to recipes, so one import serves many recipes.

| column | type | |
|---|---|---|
| user_id, track_id | String | required |
| at_ms | Int64 | required; Unix time in milliseconds |
| type | String | required: play, skip, complete, like, dislike |
| played_ms, track_ms | Int64 | how much was heard, how long the track is; null if unknown |
| session_id | String | the player's own session; null: sessions end with a gap |
| asked | Boolean | false: this event is context only and no case of the evaluation. Default true |
| part | String | train, valid or test, for all events of a published split; null: split by time |
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from filelock import FileLock, Timeout

from training.errors import TrainingError

EVENTS, CATALOGUE, ABOUT = "events.parquet", "catalogue.parquet", "log.json"
TYPES = ("play", "skip", "complete", "like", "dislike")
PARTS = ("train", "valid", "test")
SCHEMA = pl.Schema(
    {
        "user_id": pl.String(),
        "track_id": pl.String(),
        "at_ms": pl.Int64(),
        "type": pl.Enum(TYPES),
        "played_ms": pl.Int64(),
        "track_ms": pl.Int64(),
        "session_id": pl.String(),
        "asked": pl.Boolean(),
        "part": pl.Enum(PARTS),
    }
)
TITLES = pl.Schema({**dict.fromkeys(("track_id", "title", "artist", "album", "group"), pl.String()), "duration_ms": pl.Int64()})
"""The catalogue's columns; all but the first may be null."""
_LOCK, _OLD = "lock", "old"  # in a draft's folder: a lock that its process holds, and the log that it replaces
ORDER = ("user_id", "at_ms", "type", "track_id")
ROW_GROUP = 100_000
"""Number of rows in a Parquet row group, which a reader must decode at once."""


class LogError(TrainingError):
    """A log that cannot be used. The text says what was found, and what nexttrack expected."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Log:
    """An imported log on disk."""

    folder: Path
    about: Mapping[str, Any]

    def events(self) -> pl.LazyFrame:
        """Return the events, sorted by `ORDER`."""
        return pl.scan_parquet(self.folder / EVENTS)

    def catalogue(self) -> pl.DataFrame | None:
        """Return titles, artists and durations. None if the source had none."""
        path = self.folder / CATALOGUE
        return pl.read_parquet(path) if path.exists() else None

    def content(self) -> str:
        """Return the SHA-256 of the content that a model learns from: the events, and the artists of their tracks.

        Titles, durations and tracks without events do not count, so they can change without training again. Reads the whole
        log, in bounded memory: about a second for every gigabyte.
        """
        with (self.folder / EVENTS).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
        catalogue = self.catalogue()
        if catalogue is not None:
            heard = self.events().select("track_id").unique().collect(engine="streaming")
            artists = catalogue.select("track_id", "artist").join(heard, on="track_id", how="semi").sort("track_id")
            for rows in artists.iter_slices(1 << 16):
                digest.update(repr(rows.rows()).encode())
        return digest.hexdigest()


def open_log(folder: Path) -> Log:
    """Open the log in `folder`. LogError if there is none."""
    if not (folder / EVENTS).is_file() or not (folder / ABOUT).is_file():
        raise LogError(
            f"no log at {folder}: found no {EVENTS} and {ABOUT}; `python -m training import --help` says how to make one"
        )
    try:
        about = json.loads((folder / ABOUT).read_text("utf-8"))
    except ValueError as error:
        raise LogError(f"{folder / ABOUT} is damaged ({error}); import the log again, with --force") from error
    if not isinstance(about, dict):
        raise LogError(f"{folder / ABOUT} is damaged: found {type(about).__name__}, wanted an object; import the log again")
    return Log(folder=folder, about=about)


@contextmanager
def replacing(out: Path, *, force: bool) -> Iterator[Path]:
    """Yield a new folder that becomes `out` if the block succeeds, and is deleted if it fails.

    LogError if `out` exists already, unless `force`: then the old folder is replaced once the new one is complete. Unfinished
    folders of killed processes are deleted first; those of running processes stay.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    _clear_drafts(out)
    if out.exists() and not (out / ABOUT).is_file():
        raise LogError(f"{out} exists and is no log (found no {ABOUT} there), so it is not replaced; --out wants a new folder")
    if out.exists() and not force:
        raise LogError(f"{out} exists already; choose another --out, or --force to replace that log")
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch, FileLock(Path(scratch) / _LOCK):
        draft, old = Path(scratch) / "new", Path(scratch) / _OLD
        draft.mkdir()
        yield draft
        if out.exists():
            os.replace(out, old)
        os.replace(draft, out)


def _clear_drafts(out: Path) -> None:
    """Delete the unfinished folders of killed processes beside `out`. If one was about to replace the log, put the old log
    back.
    """
    name = re.compile(re.escape(f".{out.name}-") + "[a-z0-9_]{8}")
    for scratch in out.parent.iterdir():
        if not name.fullmatch(scratch.name) or not (scratch / _LOCK).is_file():
            continue
        try:
            with FileLock(scratch / _LOCK, blocking=False):
                if (scratch / _OLD).is_dir() and not out.exists():
                    os.replace(scratch / _OLD, out)
                shutil.rmtree(scratch, ignore_errors=True)
        except Timeout:  # its process is running
            continue


def write_about(folder: Path, about: Mapping[str, Any]) -> None:
    """Write `log.json` into a log's folder."""
    (folder / ABOUT).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", "utf-8")


def describe(events: pl.LazyFrame) -> dict[str, Any]:
    """Count for `log.json`: events, listeners, tracks, types, first and last time."""
    found = (
        events.select(
            pl.len().alias("events"),
            pl.col("user_id").n_unique().alias("users"),
            pl.col("track_id").n_unique().alias("tracks"),
            pl.col("at_ms").min().alias("first"),
            pl.col("at_ms").max().alias("last"),
            *((pl.col("type") == name).sum().alias(name) for name in TYPES),
        )
        .collect(engine="streaming")
        .row(0, named=True)
    )
    types = {name: found.pop(name) for name in TYPES}
    times = {name: _rfc3339(found.pop(name)) for name in ("first", "last")}
    return {**found, "types": types, **times}


def _rfc3339(at_ms: int | None) -> str | None:
    return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
