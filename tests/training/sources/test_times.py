"""Times in every form that databases, spreadsheets and programs write."""

from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest

from training.data.log import LogError
from training.sources.times import (
    DAY_FIRST,
    LEFT_OUT,
    MONTH_FIRST,
    NO_HOUR,
    NO_ORDER,
    NO_ORDER_AND_ZONE,
    NO_ZONE,
    UNREADABLE,
    Clock,
    read_times,
    read_unix,
)

TEN = datetime(2026, 1, 31, 10, tzinfo=UTC)
BERLIN = Clock(zone="Europe/Berlin")


def moment(text: str | None, clock: Clock | None = None) -> datetime | str | None:
    """Convert one time. Returns the moment, or the reason why it cannot be read."""
    at_ms, fault = read_times(pl.Series([text], dtype=pl.String), clock or Clock()).row(0)
    return fault if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31T10:00:00Z",
        "2026-01-31t10:00:00z",
        "2026-01-31T10:00:00.000Z",
        "2026-01-31T11:00:00+01:00",
        "2026-01-31T11:00:00+0100",
        "2026-01-31T04:30-05:30",
        "20260131T100000Z",
        "2026-01-31 10:00:00+00",
        "2026-01-31 11:00:00.000000+01",
        "2026-01-31 10:00:00 UTC",
        "2026-01-31 10:00:00 +0000",
        " 2026-01-31 10:00:00+00:00 ",
        "31 Jan 2026 10:00:00 GMT",
        "Sat, 31 Jan 2026 10:00:00 +0000",
        "1769853600",
        "1769853600.0",
        "1769853600000",
        "1769853600000000",
        "1769853600000000000",
    ],
)
def test_a_time_that_says_all_is_read(text: str) -> None:
    """ISO 8601, Postgres, pandas, BigQuery, e-mail and Unix time in four units give the same moment."""
    assert moment(text) == TEN


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31 11:00:00",
        "2026-01-31T11:00",
        "2026-01-31 11:00:00.000000",
        "2026/01/31 11:00:00",
        "2026/1/31 11:00",
        "2026-1-31 11:00:00",
        "31.01.26 11:00",
        "31-Jan-26 11:00",
        "31.01.2026 11:00",
        "31 Jan 2026, 11:00",
        "46053.458333333336",
        "46053,458333333336",
    ],
)
def test_a_time_without_a_zone_wants_one(text: str) -> None:
    """Eleven o'clock is another moment in each zone, so the person must give one."""
    assert moment(text) == NO_ZONE
    assert moment(text, BERLIN) == TEN


@pytest.mark.parametrize("text", ["1/31/2026 11:00", "01/31/2026 11:00:00 AM", "1-31-2026 11:00", "1/31/26 11:00"])
def test_dates_with_slashes_want_their_order(text: str) -> None:
    """In America, the month comes first. One refusal also says that the zone is missing."""
    assert moment(text, BERLIN) == NO_ORDER
    assert moment(text) == NO_ORDER_AND_ZONE
    assert moment(f"{text} UTC") == NO_ORDER
    assert moment(text, Clock(zone="Europe/Berlin", dates=MONTH_FIRST)) == TEN
    assert moment(text, Clock(zone="Europe/Berlin", dates=DAY_FIRST)) == UNREADABLE


def test_the_clock_of_twelve_hours_is_read() -> None:
    """Noon and midnight are both written as 12."""
    clock = Clock(zone="UTC", dates=DAY_FIRST)
    hours = [moment(f"31/1/2026 {hour}", clock) for hour in ("12:00 AM", "12:00 PM", "1:05:09 pm", "13:00 pm")]

    assert hours == [TEN.replace(hour=0), TEN.replace(hour=12), TEN.replace(hour=13, minute=5, second=9), UNREADABLE]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("2026-01-31", NO_HOUR),
        ("31.01.2026", NO_HOUR),
        ("1/31/2026", NO_HOUR),
        ("2026-02-30 10:00:00Z", UNREADABLE),
        ("2026-01-31T25:00:00Z", UNREADABLE),
        ("0000-00-00 00:00:00", UNREADABLE),
        ("infinity", UNREADABLE),
        ("yesterday", UNREADABLE),
        ("12", UNREADABLE),
        ("26-01-31 10:00:00Z", UNREADABLE),
        ("1.76985E+09", UNREADABLE),
        ("-1769853600", UNREADABLE),
        ("17698536001769853600", UNREADABLE),
    ],
)
def test_what_is_no_time_says_so(text: str, fault: str) -> None:
    """It includes MySQL's zero date and Postgres' infinity."""
    assert moment(text) == fault


@pytest.mark.parametrize("fault", [NO_ZONE, NO_ORDER, NO_ORDER_AND_ZONE, NO_HOUR, LEFT_OUT, UNREADABLE])
def test_a_time_that_is_refused_says_what_it_takes(fault: str) -> None:
    """Each reason names a form that is read, or the option that reads it."""
    assert any(word in fault for word in ("(wanted ", "(--dates "))


def test_a_missing_time_is_no_fault() -> None:
    """A missing time is reported under another reason."""
    assert (moment(None), moment(" ")) == (None, None)


def test_clocks_that_are_put_forward_or_back() -> None:
    """If an hour comes twice, the first one is meant. A time in an hour that was left out is invalid."""
    assert moment("2026-10-25 02:30:00", BERLIN) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert moment("2026-03-29 02:30:00", BERLIN) == LEFT_OUT


def test_fractions_keep_their_milliseconds() -> None:
    """They may have any number of digits, with a point or a comma."""
    texts = ["2026-01-31 10:00:00.5+00", "2026-01-31T10:00:00,123456789Z", "1769853600.25"]

    assert [moment(text) for text in texts] == [TEN + timedelta(milliseconds=ms) for ms in (500, 123, 250)]


def test_times_that_are_typed_need_no_reading() -> None:
    """Datetimes of Parquet keep their zone, or get the given one."""
    zoned = pl.Series([TEN.astimezone(timezone(timedelta(hours=1))), None])
    naive = pl.Series([TEN.replace(tzinfo=None, hour=11)])

    assert read_times(zoned, Clock()).rows() == [(1_769_853_600_000, None), (None, None)]
    assert read_times(naive, BERLIN).rows() == [(1_769_853_600_000, None)]
    assert read_times(naive, Clock()).rows() == [(None, NO_ZONE)]


def test_odd_times_keep_their_places() -> None:
    """Common forms are read first and the others afterwards, but the order of rows stays."""
    texts = ["x", "2026-01-31T10:00:00Z", None, "2026-01-31 10:00:00+00", "2026-01-31"]

    assert [moment(text) for text in texts] == [
        fault or (at_ms and TEN) for at_ms, fault in read_times(pl.Series(texts), Clock()).iter_rows()
    ]


@pytest.mark.parametrize(
    ("text", "milliseconds", "at_ms"), [("1.5", False, 1500), ("1500", True, 1500), ("1500.0", True, 1500)]
)
def test_unix_times_are_in_the_unit_that_their_column_names(text: str, milliseconds: bool, at_ms: int) -> None:
    """The units of `at_s` and `at_ms` are not guessed from the size."""
    assert read_unix(pl.Series([text]), milliseconds=milliseconds).rows() == [(at_ms, None)]


def test_what_is_no_unix_time_says_so() -> None:
    """The error names the expected unit."""
    assert read_unix(pl.Series(["noon", None]), milliseconds=False).rows() == [
        (None, "unreadable time (wanted Unix seconds such as 1769853600)"),
        (None, None),
    ]


def test_an_unknown_zone_is_refused() -> None:
    """The error has examples."""
    with pytest.raises(LogError, match="--timezone CEST: no such time zone; examples are Europe/Berlin, UTC"):
        Clock(zone="CEST")
