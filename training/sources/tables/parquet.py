"""Parquet files: columns of any flat type become text, except times and durations. Reads slices that fit in memory."""

from collections.abc import Collection, Iterator, Sequence

import polars as pl

from training.data.log import LogError
from training.sources.tables.files import File
from training.sources.tables.streams import FREE, LARGEST_RATIO
from training.sources.tables.table import ABOUT_ROWS, LINE, Table

SLICE = 500_000
"""Number of rows read at a time."""
_WHOLE_FLOATS = 2.0**53  # above this, floats cannot represent every whole number
_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)


def open_parquet(file: File, *, booleans: Collection[str] = ()) -> Table:
    """Open a Parquet file as a table. `booleans` are the columns that may be true or false. LogError if it is damaged."""
    if file.member is not None or file.path.suffix.lower() not in (".parquet", ".pq"):
        raise LogError(f"{file.name}: a Parquet file is compressed inside; unpack it first")
    try:
        schema = pl.Schema(pl.read_parquet_schema(file.path))
    except _ERRORS as error:
        raise LogError(f"{file.name} cannot be read as Parquet: {_first_line(error)}") from error

    def rows(names: Sequence[str]) -> Iterator[pl.DataFrame]:
        for name in names:
            if (kind := schema.get(name)) is not None and not _readable(kind, boolean=name in booleans):
                raise LogError(f"{file.name}: column {name} is {kind}; wanted text, numbers or times")
        return _frames(file, schema, names)

    return Table(file=file, columns=tuple(schema), rows=rows, count=lambda: _count(file))


def _count(file: File) -> int:
    """Return the number of rows in the file's footer."""
    try:
        return int(pl.scan_parquet(file.path, hive_partitioning=False).select(pl.len()).collect().item())
    except _ERRORS as error:
        raise LogError(f"{file.name} cannot be read as Parquet: {_first_line(error)}") from error


def _frames(file: File, schema: pl.Schema, names: Sequence[str]) -> Iterator[pl.DataFrame]:
    rows = _count(file)
    wanted = [name for name in names if name in schema]
    size = 8 * max(1, len(wanted)) * rows
    if size > max(FREE, LARGEST_RATIO * file.path.stat().st_size):
        raise LogError(f"{file.name} expands to {size >> 20:,} MB, over {LARGEST_RATIO} times its size; real logs do not")
    columns = [_as_text(name, schema.get(name, pl.Null())) for name in names]
    about = [pl.lit(None, kind).alias(name) for name, kind in ABOUT_ROWS.items() if name != LINE]
    for first in range(0, rows, SLICE):
        try:
            part = pl.scan_parquet(file.path, hive_partitioning=False).select(wanted or next(iter(schema))).slice(first, SLICE)
            number = pl.int_range(first + 1, first + 1 + pl.len(), dtype=pl.Int64).alias(LINE)
            yield part.select(*columns, number, *about).collect()
        except _ERRORS as error:
            raise LogError(f"{file.name} cannot be read as Parquet: {_first_line(error)}") from error


def _readable(kind: pl.DataType, *, boolean: bool) -> bool:
    if isinstance(kind, pl.Boolean):
        return boolean
    return not kind.is_nested() and not isinstance(kind, (pl.Binary, pl.Object))


def _as_text(name: str, kind: pl.DataType) -> pl.Expr:
    """Convert a column to the text that other formats would contain: `1`, not `1.0`."""
    if isinstance(kind, pl.Null):
        return pl.lit(None, pl.String).alias(name)
    column = pl.col(name)
    if isinstance(kind, pl.Datetime):
        return column
    if isinstance(kind, pl.Duration):
        return column.dt.total_milliseconds().cast(pl.String)
    if kind.is_float():
        number = column.cast(pl.Float64).fill_nan(None)
        whole = (number == number.round()) & (number.abs() < _WHOLE_FLOATS)
        return (
            pl.when(whole)
            .then(number.cast(pl.Int64, strict=False).cast(pl.String))
            .otherwise(number.cast(pl.String))
            .alias(name)
        )
    return column.cast(pl.String)


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
