r"""Decides whether a row of a log is a sound event, and gives the reason if not. It knows nothing of files or formats.

An id is the same in every kind of file: `1.0`, which a table of floats writes, is `1`. A word for a missing value (NULL, NaN,
None, \N, …) is never an id. The list of these words is pandas', and a few more.
"""

from collections.abc import Collection
from functools import reduce

import polars as pl

from training.data.log import PARTS, SCHEMA, TYPES

LONGEST_ID = 256  # bytes, as in the HTTP contract
EARLIEST_MS, LATEST_MS = 631_152_000_000, 4_102_444_800_000  # 1990 to 2100: seconds taken for milliseconds fall outside
NO_YEAR = "time not between 1990 and 2100 (at_s wants Unix seconds, at_ms Unix milliseconds)"
MISSING = (
    "",
    *("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"),
    *("NULL", "NaN", "None", "n/a", "nan", "null"),
    *("NAN", "NaT", "Null", "\\N", "undefined", "inf", "-inf", "Infinity", "-Infinity"),
)
"""Texts that stand for a missing value."""


def present(column: pl.Expr) -> pl.Expr:
    """Return an expression that strips spaces from a column of text, and replaces words for a missing value by null."""
    text = column.str.strip_chars()
    return pl.when(~text.is_in(MISSING)).then(text)


def checked(rows: pl.DataFrame, fault: str) -> pl.DataFrame:
    """Convert rows to all canonical columns and their types. Adds the column `reason`: null for a sound row, else why the row
    is broken.

    The column `fault` holds the reason that the reader of the format found already, or null. Where a row is broken in several
    ways, the first reason counts. A value that cannot be read becomes null, but a row keeps its place.
    """
    found = [name for name in SCHEMA.names() if name in rows.columns or name in _REQUIRED]
    others = [name for name in rows.columns if name not in SCHEMA.names()]
    given = rows.with_columns(pl.lit(None, pl.String).alias(name) for name in found if name not in rows.columns)
    texts = given.with_columns(
        (pl.col(name) if given.schema[name].is_numeric() else present(pl.col(name).cast(pl.String))).alias(_text(name))
        for name in found
    )
    typed = texts.with_columns(_typed(name).alias(name) for name in found)
    faults = _faults(found)
    broken = (
        typed.select(pl.any_horizontal(pl.col(fault).is_not_null(), *(found for _, found in faults)))
        .to_series()
        .fill_null(value=False)
    )
    reasons = pl.Series("reason", [None] * len(rows), pl.String)
    if broken.any():
        first = reduce(lambda rest, one: pl.when(one[1]).then(pl.lit(one[0])).otherwise(rest), reversed(faults), pl.lit(None))
        reasons = reasons.scatter(broken.arg_true(), typed.filter(broken).select(pl.coalesce(fault, first)).to_series())
    absent = [name for name in SCHEMA.names() if name not in found]
    fill = (pl.lit(True if name == "asked" else None, SCHEMA[name]).alias(name) for name in absent)  # a literal
    return typed.with_columns(*fill).select(*others, *SCHEMA.names()).with_columns(reasons)


_REQUIRED = ("user_id", "track_id", "at_ms", "type")
_READABLE = ("type", "played_ms", "track_ms", "asked", "part")


def _text(name: str) -> str:
    """Return the name of the column that holds a value as text. The value is null if it is missing."""
    return f"text of {name}"


def _faults(found: Collection[str]) -> list[tuple[str, pl.Expr]]:
    """Return the possible faults of the given columns, each with an expression that finds it. If a row has several, the first
    one counts.
    """
    unread = [name for name in _READABLE if name in found]
    faults = [
        *(fault for name in ("user_id", "track_id") for fault in _id_faults(name, pl.col(name))),
        ("missing time", pl.col("at_ms").is_null()),
        (NO_YEAR, ~pl.col("at_ms").is_between(EARLIEST_MS, LATEST_MS)),
        ("missing type", pl.col(_text("type")).is_null()),
        *(
            (f"unreadable {name}{_TAKES.get(name, '')}", pl.col(name).is_null() & pl.col(_text(name)).is_not_null())
            for name in unread
        ),
        *((f"negative {name}", pl.col(name) < 0) for name in unread if name.endswith("_ms")),
    ]
    if "session_id" in found:
        faults.append((f"session_id over {LONGEST_ID} bytes", pl.col("session_id").str.len_bytes() > LONGEST_ID))
    return faults


_TAKES = {
    "type": f" (wanted one of {', '.join(TYPES)})",
    "part": f" (wanted one of {', '.join(PARTS)})",
    "asked": " (wanted true or false)",
}
"""What a column takes, where its name does not say it."""
_FLOAT = r"^(-?\d+)\.0+$"
_SCIENTIFIC = r"^-?\d(\.\d+)?[eE]\+\d+$"  # a number whose digits a program has lost


def _id_faults(name: str, column: pl.Expr) -> list[tuple[str, pl.Expr]]:
    return [
        (f"missing {name}", column.is_null()),
        (f"{name} over {LONGEST_ID} bytes", column.str.len_bytes() > LONGEST_ID),
        (f"{name} with a control character", column.str.contains(r"\p{Cc}")),
        (f"{name} like 1.2E+17: a number that lost its digits (write ids as text)", column.str.contains(_SCIENTIFIC)),
    ]


def _typed(name: str) -> pl.Expr:
    text, wanted = pl.col(_text(name)), SCHEMA[name]
    if wanted == pl.Int64():
        whole = text.cast(pl.Int64, strict=False)
        return pl.coalesce(
            whole, text.cast(pl.Float64, strict=False).round().cast(pl.Int64, strict=False)
        )  # 3000.0 is a number
    if wanted == pl.Boolean():
        lower = text.str.to_lowercase()
        yes = text.is_null() | lower.is_in(["true", "1"])
        return pl.when(yes).then(statement=True).when(lower.is_in(["false", "0"])).then(statement=False)
    if wanted == pl.String():
        given = pl.col(name).cast(pl.String)  # an id keeps spaces around it
        given = pl.when(given.str.ends_with("0")).then(given.str.replace(_FLOAT, "$1")).otherwise(given)
        return pl.when(text.is_not_null()).then(given)
    lower = text.str.to_lowercase()
    return lower.cast(wanted, strict=False)
