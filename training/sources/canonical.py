"""Logs in nexttrack's own columns: CSV, JSON Lines or Parquet; a file, several, a glob, or a folder, partitioned or not.

| column | |
|---|---|
| user_id, track_id | required; text or whole numbers |
| at, at_s or at_ms | one is required: RFC 3339 with its offset, Unix seconds, Unix milliseconds |
| type | required: play, skip, complete, like, dislike |
| played_ms, track_ms, session_id, asked, part | optional, see `training.data.log` |
| title, artist | optional; of a track the first row that has one of them counts |

Columns of other names are renamed by `--column track_id=song`; columns that are not needed are passed over. Everything is
read as text first, so that one odd value breaks one row and not the file. Skips: the event's type, and `played_ms` where
given (`model.events.SkipRule`). Licence: the log's own.

Parquet files need not agree on types: those alike are read together. A folder `type=skip/` gives its files a column of that
name, where it is one of ours. Each file's columns are looked at before a row is read, so that a bad partition is named.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import polars as pl

from training.data.log import SCHEMA, LogError
from training.sources.reading import Reading, Source, files, wanted

_CSV, _JSON, _PARQUET = (".csv", ".csv.gz", ".csv.zst"), (".jsonl", ".ndjson"), (".parquet",)
_LINE = "as read"  # of JSON, to be shown: a broken line has no columns
_TIMES = ("at", "at_s", "at_ms")
_TITLES = ("title", "artist")
_NAMES = (*_TIMES, *(name for name in SCHEMA.names() if name != "at_ms"), *_TITLES)


def read(paths: Sequence[str], columns: Mapping[str, str]) -> Reading:
    """Read `paths`; `columns` says which of theirs stands for one of ours."""
    if unknown := sorted(set(columns) - set(_NAMES)):
        raise LogError(f"--column {unknown[0]}=…: no such column; the columns are {', '.join(_NAMES)}")
    found = files(paths, *_CSV, *_JSON, *_PARQUET)
    mine = [[path for path in found if path.lower().endswith(suffixes)] for suffixes in (_CSV, _JSON, _PARQUET)]
    lots = [(paths, suffixes) for paths, suffixes in zip(mine[:2], (_CSV, _JSON), strict=True) if paths]
    lots += [(alike, _PARQUET) for alike in _alike(mine[2], columns)]
    frames = [_scan(paths, suffixes, columns) for paths, suffixes in lots]
    strays = [path for path in found if not path.lower().endswith((*_CSV, *_JSON, *_PARQUET))]
    if strays or not frames:
        raise LogError(f"{strays[0]}: wanted a name that ends in .csv, .jsonl, .ndjson or .parquet")
    rows = pl.concat(frames, how="diagonal_relaxed")
    return Reading(events=rows, catalogue=_catalogue(rows))


SOURCE = Source(
    about="CSV, JSON Lines or Parquet in nexttrack's own columns",
    skips="the event's type; where played_ms is given, the recipe's skip rule",
    licence="the log's own",
    read=read,
)


def _scan(mine: list[str], suffixes: tuple[str, ...], columns: Mapping[str, str]) -> pl.LazyFrame:
    theirs = {name: columns.get(name, name) for name in _NAMES}
    if suffixes is _CSV:
        raw = pl.scan_csv(mine, infer_schema=False, truncate_ragged_lines=True, encoding="utf8-lossy", missing_columns="insert")
    elif suffixes is _JSON:
        raw = _scan_json(mine, list(theirs.values()))
    else:
        keys = dict.fromkeys(_keys(mine[0], theirs.values()), pl.String())
        raw = pl.scan_parquet(mine, hive_partitioning=bool(keys), hive_schema=keys or None, extra_columns="ignore")
    found = wanted(raw, _required(columns), mine[0]).collect_schema()
    ours = [pl.col(old).alias(new) for new, old in theirs.items() if old in found]
    frame = raw.select(*ours, *([_LINE] if suffixes is _JSON else []))
    return _timed(frame, f"{mine[0]}: wanted a column at, at_s or at_ms; found {', '.join(found)}")


def _catalogue(rows: pl.LazyFrame) -> pl.LazyFrame | None:
    """Titles and artists, an empty one being none; None where the log has no column for either."""
    named = [name for name in _TITLES if name in rows.collect_schema()]
    if not named:
        return None
    titles = rows.select("track_id", *(pl.col(name).cast(pl.String).replace("", None) for name in named))
    return titles.filter(pl.any_horizontal(pl.col(name).is_not_null() for name in named))


def _required(columns: Mapping[str, str]) -> list[str]:
    return list(dict.fromkeys([*(columns.get(name, name) for name in ("user_id", "track_id", "type")), *columns.values()]))


def _alike(paths: Sequence[str], columns: Mapping[str, str]) -> list[list[str]]:
    """Parquet files in lots of the same columns and types, of those that are read. LogError names a file that cannot be."""
    lots: dict[tuple[object, ...], list[str]] = {}
    theirs = [columns.get(name, name) for name in _NAMES]
    for path in paths:
        try:
            schema = pl.read_parquet_schema(path)
        except pl.exceptions.PolarsError as error:
            raise LogError(f"{path} cannot be read as Parquet: {error}") from error
        keys = _keys(path, theirs)
        if missing := [name for name in _required(columns) if name not in (*schema, *keys)]:
            raise LogError(f"{path}: wanted columns {', '.join(missing)}; found {', '.join((*schema, *keys))}")
        for name in theirs:
            if name in schema and (schema[name].is_nested() or schema[name] == pl.Binary):
                raise LogError(f"{path}: column {name} is {schema[name]}; wanted text, numbers or times")
        read = tuple((name, str(schema[name])) for name in theirs if name in schema)
        lots.setdefault((read, keys), []).append(path)
    return list(lots.values())


def _keys(path: str, theirs: Iterable[str]) -> tuple[str, ...]:
    """The columns of ours that a file's folders give it: `type=skip/1.parquet` has a type."""
    named = {folder.partition("=")[0] for folder in Path(path).parts[:-1] if "=" in folder}
    return tuple(name for name in theirs if name in named)


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
