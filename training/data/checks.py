"""What makes a row of a log a sound event, and the reason where it does not. Knows nothing of files or formats."""

from functools import reduce

import polars as pl

from training.data.log import PARTS, SCHEMA, TYPES

LONGEST_ID = 256  # bytes, as in the HTTP contract
EARLIEST_MS, LATEST_MS = 631_152_000_000, 4_102_444_800_000  # 1990 to 2100: seconds taken for milliseconds fall outside


def checked(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Rows with all canonical columns in their types, and `reason`: null for a sound row, else why it is broken.

    Where a row is broken in several ways, the first of them counts. What cannot be read is null, but a row keeps its place.
    """
    found = rows.collect_schema()
    given = {name: pl.col(name) if name in found else pl.lit(None, pl.String) for name in SCHEMA.names()}
    typed = {name: _typed(name, column, found.get(name)) for name, column in given.items()}
    faults = [
        *(fault for name in ("user_id", "track_id") for fault in _id_faults(name, typed[name])),
        ("missing or unreadable time", typed["at_ms"].is_null()),
        ("time not between 1990 and 2100", ~typed["at_ms"].is_between(EARLIEST_MS, LATEST_MS)),
        ("missing type", _absent(given["type"])),
        *((f"unreadable {name}", typed[name].is_null() & ~_absent(given[name])) for name in _READABLE),
        *((f"negative {name}", typed[name] < 0) for name in ("played_ms", "track_ms")),
        ("session_id over 256 bytes", typed["session_id"].str.len_bytes() > LONGEST_ID),
    ]
    reason = reduce(lambda rest, fault: pl.when(fault[1]).then(pl.lit(fault[0])).otherwise(rest), reversed(faults), _NO_REASON)
    filled = {**typed, "asked": typed["asked"].fill_null(value=True)}
    return rows.select(**filled, reason=reason)


_NO_REASON: pl.Expr = pl.lit(None, pl.String)
_READABLE = ("type", "played_ms", "track_ms", "asked", "part")


def _absent(column: pl.Expr) -> pl.Expr:
    return column.is_null() | (column.cast(pl.String) == "")


def _id_faults(name: str, column: pl.Expr) -> list[tuple[str, pl.Expr]]:
    return [
        (f"missing {name}", column.is_null()),
        (f"{name} over {LONGEST_ID} bytes", column.str.len_bytes() > LONGEST_ID),
        (f"{name} with a control character", column.str.contains(r"\p{Cc}")),
    ]


def _typed(name: str, column: pl.Expr, dtype: pl.DataType | None) -> pl.Expr:
    wanted = SCHEMA[name]
    if wanted == pl.Int64():
        if dtype is not None and dtype.is_integer():
            return column.cast(pl.Int64, strict=False)
        return column.cast(pl.Float64, strict=False).round().cast(pl.Int64, strict=False)  # other tools write 3000.0
    if wanted == pl.Boolean():
        text = column.cast(pl.String).str.to_lowercase()
        return pl.when(text.is_in(["true", "1"])).then(True).when(text.is_in(["false", "0"])).then(False)
    text = column.cast(pl.String)
    if wanted == pl.String():
        return pl.when(text != "").then(text)
    choices = TYPES if name == "type" else PARTS
    return pl.when(text.is_in(choices)).then(text).cast(wanted)
