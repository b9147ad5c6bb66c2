"""Conditions of a sound event, and the rule that an id is the same in every format."""

import polars as pl
import pytest

from training.data.checks import MISSING, NO_YEAR, checked
from training.data.log import SCHEMA


def judged(**columns: object) -> tuple[object, str | None]:
    """Return the track id of a sound row with the given columns changed, and the reason if it is broken."""
    sound = {"user_id": "u", "track_id": "t", "at_ms": 1_700_000_000_000, "type": "play", "fault": None}
    row = pl.DataFrame({name: [value] for name, value in {**sound, **columns}.items()}, schema_overrides={"fault": pl.String()})
    found = checked(row, "fault")
    assert found.select(SCHEMA.names()).schema == SCHEMA
    return found["track_id"][0], found["reason"][0]


@pytest.mark.parametrize(
    ("given", "id"),
    [
        ("7", "7"),
        (7, "7"),
        ("7.0", "7"),
        ("-7.00", "-7"),
        ("007", "007"),
        ("7.5", "7.5"),
        ("1.0.0", "1.0.0"),
        ("a.0", "a.0"),
        (".0", ".0"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("3e8", "3e8"),
        ("true", "true"),
        (" t ", " t "),
    ],
)
def test_an_id_is_its_text(given: object, id: str) -> None:
    """A whole number has no decimals. Every other text stays as it is, with spaces and leading zeros."""
    assert judged(track_id=given) == (id, None)


@pytest.mark.parametrize("word", [*MISSING, " ", "\t", " NULL "])
def test_a_missing_value_is_no_id(word: str) -> None:
    """Otherwise all listeners without an id would be one listener called NULL."""
    assert judged(track_id=word) == (None, "missing track_id")


@pytest.mark.parametrize("text", ["1.23457E+17", "1e+16", "-1.5e+300"])
def test_a_number_that_lost_its_digits_is_no_id(text: str) -> None:
    """Spreadsheets write many different ids as one such number."""
    assert judged(track_id=text)[1] == "track_id like 1.2E+17: a number that lost its digits (write ids as text)"


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("played_ms", "NULL", None),
        ("played_ms", "\\N", None),
        ("played_ms", " 3000.0 ", None),
        ("played_ms", "inf", None),
        ("played_ms", "1e400", "unreadable played_ms"),
        ("played_ms", "true", "unreadable played_ms"),
        ("played_ms", -1, "negative played_ms"),
        ("track_ms", "9" * 30, "unreadable track_ms"),
        ("type", " Skip ", None),
        ("type", "None", "missing type"),
        ("type", "stopped", "unreadable type (wanted one of play, skip, complete, like, dislike)"),
        ("asked", "FALSE", None),
        ("asked", "maybe", "unreadable asked (wanted true or false)"),
        ("part", "holdout", "unreadable part (wanted one of train, valid, test)"),
        ("session_id", "nan", None),
        ("session_id", "s" * 257, "session_id over 256 bytes"),
        ("at_ms", None, "missing time"),
        ("at_ms", 1_700_000_000, NO_YEAR),
        ("fault", "torn", "torn"),
    ],
)
def test_a_column_is_read_or_the_row_is_broken(column: str, value: object, reason: str | None) -> None:
    """A missing optional value is null. A value that cannot be read makes the row broken, with a reason."""
    assert judged(**{column: value})[1] == reason


def test_the_first_reason_counts() -> None:
    """A reason found by the reader of the format comes first."""
    assert judged(user_id=None, type="stopped", fault="torn")[1] == "torn"
    assert judged(user_id=None, type="stopped")[1] == "missing user_id"
