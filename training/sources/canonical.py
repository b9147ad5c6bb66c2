"""Logs in nexttrack's own columns: CSV, JSON Lines or Parquet; a file, several, a glob, a folder, or a URL that polars reads.

| column | |
|---|---|
| user_id, track_id | required; text or whole numbers |
| at, at_s or at_ms | one is required: RFC 3339 with its offset, Unix seconds, Unix milliseconds |
| type | required: play, skip, complete, like, dislike |
| played_ms, track_ms, session_id, asked, part | optional, see `training.log` |

Columns of other names are renamed by `--column track_id=song`; columns that are not needed are passed over. Everything is
read as text first, so that one odd value breaks one row and not the file. Skips: the event's type, and `played_ms` where
given (`model.events.SkipRule`). Licence: the log's own.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from training.log import SCHEMA, LogError
from training.sources.reading import Reading, Source, files, wanted

_CSV, _JSON, _PARQUET = (".csv", ".csv.gz", ".csv.zst"), (".jsonl", ".ndjson"), (".parquet",)
_LINE = "as read"  # of JSON, to be shown: a broken line has no columns
_TIMES = ("at", "at_s", "at_ms")
_NAMES = (*_TIMES, *(name for name in SCHEMA.names() if name != "at_ms"))


def read(paths: Sequence[str], columns: Mapping[str, str]) -> Reading:
    """Read `paths`; `columns` says which of theirs stands for one of ours."""
    if unknown := sorted(set(columns) - set(_NAMES)):
        raise LogError(f"--column {unknown[0]}=…: no such column; the columns are {', '.join(_NAMES)}")
    found = files(paths, *_CSV, *_JSON, *_PARQUET)
    parts = [_scan(found, suffixes, columns) for suffixes in (_CSV, _JSON, _PARQUET)]
    frames = [part for part in parts if part is not None]
    strays = [path for path in found if not path.lower().endswith((*_CSV, *_JSON, *_PARQUET))]
    if strays or not frames:
        raise LogError(f"{strays[0]}: wanted a name that ends in .csv, .jsonl, .ndjson or .parquet")
    return Reading(events=pl.concat(frames, how="diagonal"))


SOURCE = Source(
    about="CSV, JSON Lines or Parquet in nexttrack's own columns",
    skips="the event's type; where played_ms is given, the recipe's skip rule",
    licence="the log's own",
    read=read,
)


def _scan(paths: Sequence[str], suffixes: tuple[str, ...], columns: Mapping[str, str]) -> pl.LazyFrame | None:
    mine = [path for path in paths if path.lower().endswith(suffixes)]
    if not mine:
        return None
    theirs = {name: columns.get(name, name) for name in _NAMES}
    if suffixes is _CSV:
        raw = pl.scan_csv(mine, infer_schema=False, truncate_ragged_lines=True, encoding="utf8-lossy", missing_columns="insert")
    elif suffixes is _JSON:
        raw = _scan_json(mine, list(theirs.values()))
    else:
        raw = pl.scan_parquet(mine, missing_columns="insert", extra_columns="ignore")
    required = [theirs[name] for name in ("user_id", "track_id", "type")]
    found = wanted(raw, list(dict.fromkeys([*required, *columns.values()])), mine[0]).collect_schema()
    ours = [pl.col(old).alias(new) for new, old in theirs.items() if old in found]
    frame = raw.select(*ours, *([_LINE] if suffixes is _JSON else []))
    return _timed(frame, f"{mine[0]}: wanted a column at, at_s or at_ms; found {', '.join(found)}")


def _timed(frame: pl.LazyFrame, refusal: str) -> pl.LazyFrame:
    """Put `at_ms` in the place of the log's own time column, which stays as `time` to be shown."""
    schema = frame.collect_schema()
    times = [name for name in _TIMES if name in schema]
    if not times:
        raise LogError(refusal)
    given = pl.coalesce(pl.col(name).cast(pl.String) for name in times)
    at_ms = pl.coalesce(_milliseconds(name, schema[name]) for name in times)
    return frame.select(pl.exclude(times), given.alias("time"), at_ms.alias("at_ms"))


def _milliseconds(name: str, dtype: pl.DataType) -> pl.Expr:
    time = pl.col(name)
    if isinstance(dtype, pl.Datetime):
        return time.dt.epoch("ms")
    if name == "at":
        return time.cast(pl.String).str.to_datetime("%+", time_unit="ms", time_zone="UTC", strict=False).dt.epoch("ms")
    number = time.cast(pl.Float64, strict=False) * (1000 if name == "at_s" else 1)
    return number.round().cast(pl.Int64, strict=False)


def _scan_json(paths: Sequence[str], names: Sequence[str]) -> pl.LazyFrame:
    """A column of text for each of `names`; all null where a line is no JSON object."""
    record = pl.Struct(dict.fromkeys(names, pl.String()))

    def decode(lines: pl.Series) -> pl.Series:
        try:
            return lines.str.json_decode(record)
        except pl.exceptions.ComputeError:  # says that a line is broken, but not which: find out, at a tenth of the speed
            sound = pl.when(lines.str.json_path_match("$").is_not_null()).then(lines)
            return lines.to_frame().select(sound).to_series().str.json_decode(record)

    lines = pl.concat([pl.scan_lines(path) for path in paths])
    decoded = pl.col("line").map_batches(decode, record, is_elementwise=True)
    return lines.select(pl.col("line").alias(_LINE), decoded.alias("record")).unnest("record")
