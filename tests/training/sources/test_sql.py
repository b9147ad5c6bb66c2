"""Logs in a database, here SQLite: the rows of a query, counted by the database, in the canonical columns."""

import sqlite3
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from training.data.import_log import import_log
from training.data.log import Log, LogError
from training.sources.tables.query import hide_password, open_query
from training.sources.tables.table import FAULT
from training.sources.times import Clock

QUERY = "SELECT listener AS user_id, song, heard AS played_ms, listened_at AS at FROM plays ORDER BY listened_at;"


def database(folder: Path) -> str:
    """Make a database with all kinds of odd rows, and return its URL."""
    with sqlite3.connect(folder / "plays.db") as connection:
        connection.execute("CREATE TABLE plays (listener INTEGER, song, heard, listened_at TEXT)")
        connection.executemany(
            "INSERT INTO plays VALUES (?, ?, ?, ?)",
            [
                (7, 12, 200_000, "2026-01-31 11:00:00"),
                (7, 12.0, 1_000.0, "2026-01-31 11:05:00"),
                (7, b"\x00", 1_000, "2026-01-31 11:06:00"),
                (None, "12", None, "2026-01-31 11:07:00"),
                (8, 'say "hi", 7" mix', None, "2026-01-31 11:08:00+01"),
            ],
        )
    connection.close()
    return f"sqlite:///{folder / 'plays.db'}"


def imported(url: str, out: Path, query: str = QUERY, **options: object) -> Log:
    """Import the rows of a query, and return the log."""
    given: dict[str, object] = {
        "columns": {"track_id": "song"},
        "clock": Clock(zone="Europe/Berlin"),
        "max_broken": 0.5,
        **options,
    }
    console = Console(file=StringIO())
    return import_log("sql", [url], out, query=query, console=console, **given)  # type: ignore[arg-type] # of several types


def test_a_query_is_a_log(tmp_path: Path) -> None:
    """Columns may be renamed, and ids that are whole floats have no decimals. Values that cannot be read break their rows."""
    log = imported(database(tmp_path), tmp_path / "log")

    assert log.events().collect().select("user_id", "track_id", "type").rows() == [
        ("7", "12", "complete"),
        ("7", "12", "skip"),
        ("8", 'say "hi", 7" mix', "complete"),
    ]
    assert log.about["rows"]["in_files"] == 5
    assert log.about["rows"]["broken"] == {"song is bytes; wanted text or a number": 1, "missing user_id": 1}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT * FROM absent", "plays.db cannot be read: no such table: absent"),
        ("SELECT FROM", "plays.db cannot be read: near"),
        ("SELECT listener FROM plays", "plays.db: wanted columns user_id, song, one of at, at_s, at_ms; found listener"),
        ("", "source sql wants --query"),
    ],
)
def test_what_the_database_refuses_is_said(tmp_path: Path, query: str, words: str) -> None:
    """The error has the database's own words, without a traceback."""
    with pytest.raises(LogError, match=words):
        imported(database(tmp_path), tmp_path / "log", query)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("plays.csv", "wanted a database URL such as"),
        ("cupboard://shelf/plays", "cupboard://shelf/plays: SQLAlchemy knows no such database"),
        (
            "mysql+pymysql://me:secret@localhost/x",
            r"me:\*\*\*@localhost/x wants a driver that is not installed",
        ),
        ("sqlite:////absent/plays.db", "cannot be read: unable to open database file"),
    ],
)
def test_a_database_that_cannot_be_reached_is_said(tmp_path: Path, url: str, words: str) -> None:
    """The error says what to install, and never contains the password."""
    with pytest.raises(LogError, match=words):
        imported(url, tmp_path / "log")


def test_passwords_are_not_kept() -> None:
    """log.json becomes part of artifacts."""
    assert hide_password("postgresql://me:secret@host/db") == "postgresql://me:***@host/db"


def test_rows_are_counted_by_the_database(tmp_path: Path) -> None:
    """They are counted before they are read, in one transaction. Columns that are not needed are not fetched."""
    table = open_query(database(tmp_path), "SELECT * FROM plays")
    [frame] = table.rows(["listener"])

    assert table.columns == ("listener", "song", "heard", "listened_at")
    assert (len(frame), table.count()) == (5, 5)
    assert frame["listener"].to_list() == ["7", "7", "7", None, "8"]
    assert frame[FAULT].null_count() == 5
