"""Converts times, as databases, spreadsheets and programs write them, into Unix time in milliseconds.

| written as | by |
|---|---|
| 2026-01-31T10:00:00Z, 2026-01-31T10:00:00.123+01:00, 20260131T100000Z | ISO 8601, RFC 3339, JavaScript |
| 2026-01-31 10:00:00+00, 2026-01-31 10:00:00.123456+01, … UTC | Postgres, pandas, BigQuery |
| 2026-01-31 10:00:00, 2026-01-31T10:00 | MySQL, pandas, SQLite: a time zone must be given |
| 31.01.2026 10:00, 31 Jan 2026, 10:00 | spreadsheets, Last.fm: a time zone must be given |
| 1/31/2026 10:00 AM, 31/01/2026 10:00, 1/31/26 10:00 | Excel: a time zone must be given, and the order of day and month |
| 2026/1/31 10:00, 2026-1-31 10:00 | Excel in China and Japan: a time zone must be given |
| 46053.4166667, 46053,4166667 | Excel, as a number of days: a time zone must be given |
| 1769853600, 1769853600000, … | Unix time; its size tells seconds, milliseconds, microseconds and nanoseconds apart |

A year of two digits is one from 1970 to 2069. If clocks show an hour twice in autumn, the first one is meant. A time in the
hour that they leave out in spring is invalid.
"""

from dataclasses import dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from training.data.log import LogError

NO_ZONE = "time without a zone (wanted an offset as in RFC 3339, such as Z or +01:00; --timezone Europe/Berlin gives one)"
NO_ORDER = "date with slashes (--dates day-first or --dates month-first says how to read it)"
NO_ORDER_AND_ZONE = f"{NO_ORDER[:-1]}; it has no zone either, and --timezone Europe/Berlin gives one)"
AVOIDABLE = (NO_ZONE, NO_ORDER, NO_ORDER_AND_ZONE)
"""The faults that an option takes away."""
NO_HOUR = "date without a time of day (wanted one such as 2026-01-31T10:00:00Z: a model learns from the order within a day)"
LEFT_OUT = "time that the clocks of --timezone leave out (wanted an offset as in RFC 3339, such as +01:00)"
UNREADABLE = (
    "unreadable time (wanted RFC 3339 such as 2026-01-31T10:00:00Z, Unix time, or what a database or a spreadsheet writes)"
)
DAY_FIRST, MONTH_FIRST = "day-first", "month-first"

_CLOCK = r"(?P<h>\d{1,2}):?(?P<m>\d\d)(?::?(?P<s>\d\d)(?:[.,](?P<f>\d{1,9}))?)?\s*(?P<half>[AaPp][Mm])?"
_ZONE = r"\s*(?P<zone>Z|z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?"
_YEAR_FIRST = rf"^(?P<y>\d{{4}})[-/](?P<mo>\d{{1,2}})[-/](?P<d>\d{{1,2}})(?:[T ]\s*{_CLOCK}{_ZONE})?$"
_COMPACT = rf"^(?P<y>\d{{4}})(?P<mo>\d\d)(?P<d>\d\d)(?:[T ]\s*{_CLOCK}{_ZONE})?$"
_YEAR_LAST = rf"^(?P<a>\d{{1,2}})(?P<sign>[/.-])(?P<b>\d{{1,2}})[/.-](?P<y>\d{{4}})(?:,?\s+{_CLOCK}{_ZONE})?$"
_SHORT_LAST = rf"^(?P<a>\d{{1,2}})(?P<sign>[/.])(?P<b>\d{{1,2}})[/.](?P<y>\d\d)(?:,?\s+{_CLOCK}{_ZONE})?$"
_MONTH = r"(?P<name>[A-Za-z]{3})[a-z]*\.?"
_NAMED = rf"^(?:[A-Za-z]{{3}},?\s+)?(?P<d>\d{{1,2}})[ -]{_MONTH}[ -](?P<y>\d{{4}}|\d\d)(?:,?\s+{_CLOCK}{_ZONE})?$"
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAY_MS = 86_400_000
_EXCEL_DAY_0 = 25_569  # Excel's number for 1 January 1970
_FIRST_S, _LAST_S = 631_152_000, 4_102_444_800  # 1990 to 2100
_RESULT = pl.Schema({"at_ms": pl.Int64(), "fault": pl.String()})


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """How to read incomplete times: the time zone of times without one, and the order of day and month."""

    zone: str | None = None
    dates: str | None = None  # DAY_FIRST or MONTH_FIRST

    def __post_init__(self) -> None:
        """LogError if there is no such time zone."""
        if self.zone is not None:
            try:
                ZoneInfo(self.zone)
            except (ZoneInfoNotFoundError, ValueError, OSError) as error:
                raise LogError(f"--timezone {self.zone}: no such time zone; examples are Europe/Berlin, UTC") from error


def read_times(values: pl.Series, clock: Clock) -> pl.DataFrame:
    """Convert times. Returns the columns `at_ms` and `fault`, one row for each value.

    Both are null for a null or empty value. If a value cannot be read, `at_ms` is null and `fault` gives the reason.
    """
    if isinstance(values.dtype, pl.Datetime):
        zoned = values if values.dtype.time_zone else _in_zone(values, clock)
        return pl.DataFrame({"at_ms": zoned.dt.epoch("ms"), "fault": _clock_fault(values, zoned, clock)}, schema=_RESULT)
    text = values.cast(pl.String).str.strip_chars().replace("", None)
    quick = text.str.to_datetime("%+", time_unit="ms", time_zone="UTC", strict=False).dt.epoch("ms")
    quick = quick.set(quick < 0, None)  # 26-01-31 is read as a day of the year 26
    found = pl.DataFrame({"at_ms": quick, "fault": pl.Series([None] * len(text), dtype=pl.String), "text": text})
    odd = found.with_row_index("place").filter(pl.col("at_ms").is_null() & pl.col("text").is_not_null())
    if len(odd):
        read = _read_odd(odd["text"], clock).with_columns(odd["place"])
        found = (
            found.with_row_index("place")
            .join(read, on="place", how="left", maintain_order="left", suffix="_odd")
            .with_columns(pl.coalesce("at_ms", "at_ms_odd"), pl.coalesce("fault", "fault_odd"))
        )
    return found.select("at_ms", "fault")


def read_unix(values: pl.Series, *, milliseconds: bool) -> pl.DataFrame:
    """Convert Unix seconds or milliseconds in the same way."""
    text = values.cast(pl.String).str.strip_chars().replace("", None)
    number = text.cast(pl.Float64, strict=False) * (1 if milliseconds else 1000)
    unit = "milliseconds such as 1769853600000" if milliseconds else "seconds such as 1769853600"
    frame = pl.DataFrame({"text": text, "at_ms": number.round().cast(pl.Int64, strict=False)})
    unread = pl.col("at_ms").is_null() & pl.col("text").is_not_null()
    return frame.select("at_ms", fault=pl.when(unread).then(pl.lit(f"unreadable time (wanted Unix {unit})")))


def _in_zone(naive: pl.Series, clock: Clock) -> pl.Series:
    """Interpret times without a zone in the clock's zone. They become null if the clock has none."""
    if clock.zone is None:
        return naive.clear(len(naive)).dt.replace_time_zone("UTC")
    return naive.dt.replace_time_zone(clock.zone, ambiguous="earliest", non_existent="null")


def _clock_fault(naive: pl.Series, zoned: pl.Series, clock: Clock) -> pl.Series:
    fault = NO_ZONE if clock.zone is None else LEFT_OUT
    lost = naive.is_not_null() & zoned.is_null()
    return pl.select(pl.when(lost).then(pl.lit(fault))).to_series()


def _read_odd(text: pl.Series, clock: Clock) -> pl.DataFrame:
    """Convert times that are not plain RFC 3339, by their parts."""
    parts = _parts(text.to_frame("text").lazy(), clock).collect()
    naive = parts["local"].str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="ms", strict=False)
    parts = parts.with_columns(naive.alias("naive"), _in_zone(naive, clock).dt.epoch("ms").alias("zoned"))
    number = pl.col("text").str.extract(r"^(\d+(?:[.,]\d+)?)$").str.replace(",", ".").cast(pl.Float64, strict=False)
    at_ms = (
        pl.when(pl.col("minutes").is_null())
        .then("zoned")
        .otherwise(pl.col("naive").dt.epoch("ms") - pl.col("minutes") * 60_000)
    )
    no_order = NO_ORDER if clock.zone is not None else NO_ORDER_AND_ZONE
    fault = (
        pl.when(pl.col("unordered") & pl.col("hour").is_not_null())
        .then(pl.when(pl.col("minutes").is_null()).then(pl.lit(no_order)).otherwise(pl.lit(NO_ORDER)))
        .when(pl.col("year").is_not_null() & pl.col("hour").is_null())
        .then(pl.lit(NO_HOUR))
        .when(pl.col("naive").is_null())
        .then(pl.lit(UNREADABLE))
        .when(pl.col("minutes").is_null() & pl.col("zoned").is_null())
        .then(pl.lit(NO_ZONE if clock.zone is None else LEFT_OUT))
    )
    dated = parts.select(at_ms=at_ms + pl.col("ms"), fault=fault, number=number)
    return _numbers(dated, clock)


def _parts(frame: pl.LazyFrame, clock: Clock) -> pl.LazyFrame:
    """Extract the parts of a time: the local time from year to second as text, milliseconds, and minutes from UTC if stated."""
    text = pl.col("text")
    forms = {"first": _YEAR_FIRST, "compact": _COMPACT, "last": _YEAR_LAST, "short": _SHORT_LAST, "named": _NAMED}
    frame = frame.with_columns(text.str.extract_groups(form).alias(name) for name, form in forms.items())

    def group(name: str, *places: str) -> pl.Expr:
        return pl.coalesce(pl.col(place).struct.field(name) for place in places or tuple(forms))

    ambiguous = group("sign", "last", "short") != "."
    day_first = pl.when(~ambiguous).then(statement=True).otherwise(None if clock.dates is None else clock.dates == DAY_FIRST)
    a, b = group("a", "last", "short"), group("b", "last", "short")
    name = group("name", "named").str.to_lowercase()
    month = pl.coalesce(
        group("mo", "first", "compact"),
        pl.when(day_first).then(b).when(~day_first).then(a),
        name.replace_strict(_MONTHS, [str(number) for number in range(1, 13)], default=None, return_dtype=pl.String),
    )
    day = pl.coalesce(group("d", "first", "compact", "named"), pl.when(day_first).then(a).when(~day_first).then(b))
    year = group("y")
    short = pl.when(year.cast(pl.Int32) < 70).then(pl.lit("20")).otherwise(pl.lit("19")) + year
    year = pl.when(year.str.len_chars() == 4).then(year).otherwise(short)
    half = group("half").str.to_lowercase()
    hour = group("h").cast(pl.Int32)
    hour = (
        pl.when(half.is_null())
        .then(hour)
        .when(hour.is_between(1, 12))
        .then(hour % 12 + pl.when(half == "pm").then(12).otherwise(0))
    )
    zone = group("zone").str.to_uppercase()
    away = zone.str.extract(r"[+-](\d\d)").cast(pl.Int64) * 60 + zone.str.extract(r"(\d\d)$").cast(pl.Int64) * (
        zone.str.len_chars() > 3
    ).cast(pl.Int64)
    minutes = pl.when(zone.is_in(["Z", "UTC", "GMT"])).then(0).when(zone.str.starts_with("-")).then(-away).otherwise(away)
    two = [part.cast(pl.String).str.zfill(2) for part in (month, day, hour, group("m"), group("s").fill_null("0"))]
    return frame.select(
        "text",
        year=year,
        hour=group("h"),
        unordered=(ambiguous & pl.lit(clock.dates is None)).fill_null(value=False),
        local=pl.format("{}-{}-{} {}:{}:{}", year, *two),
        ms=group("f").str.pad_end(3, "0").str.slice(0, 3).cast(pl.Int64).fill_null(0),
        minutes=minutes,
    )


def _numbers(frame: pl.DataFrame, clock: Clock) -> pl.DataFrame:
    """Convert numbers by their size: Unix time in one of four units, or Excel's days."""
    number = pl.col("number")
    units = {1: 1000.0, 1_000: 1.0, 1_000_000: 1e-3, 1_000_000_000: 1e-6}
    unix = pl.coalesce(
        pl.when(number.is_between(_FIRST_S * unit, _LAST_S * unit)).then(number * factor) for unit, factor in units.items()
    )
    days = number.is_between(_EXCEL_DAY_0 + _FIRST_S // 86_400, _EXCEL_DAY_0 + _LAST_S // 86_400)
    naive = frame.select(
        pl.when(days).then((number - _EXCEL_DAY_0) * _DAY_MS).round().cast(pl.Int64).cast(pl.Datetime("ms"))
    ).to_series()
    frame = frame.with_columns(_in_zone(naive, clock).dt.epoch("ms").alias("excel"), naive.is_not_null().alias("days"))
    at_ms = pl.coalesce(pl.when(pl.col("number").is_null()).then("at_ms"), unix.round().cast(pl.Int64), "excel")
    fault = (
        pl.when(at_ms.is_not_null())
        .then(None)
        .when("days")
        .then(pl.lit(NO_ZONE if clock.zone is None else LEFT_OUT))
        .otherwise("fault")
    )
    return frame.select(at_ms=at_ms, fault=fault)
