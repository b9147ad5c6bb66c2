"""Databases of music servers, with tables as their programs make them and invented rows."""

import sqlite3
from pathlib import Path

import pytest

from tests.training.sources.imports import imported, rows
from training.data.log import LogError
from training.sources.jellyfin import NO_MUSIC

TEN_MS = 1_769_853_600_000  # 2026-01-31 10:00 UTC


def database(path: Path, *statements: str) -> Path:
    """Make an SQLite file."""
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return path


NAVIDROME = (
    "CREATE TABLE user (id TEXT PRIMARY KEY, user_name TEXT)",
    "CREATE TABLE media_file (id TEXT PRIMARY KEY, title TEXT, artist TEXT, album TEXT, duration REAL)",
    "CREATE TABLE annotation (user_id TEXT, item_id TEXT, item_type TEXT, starred BOOL, starred_at DATETIME)",
    "CREATE TABLE scrobbles (media_file_id TEXT, user_id TEXT, submission_time INTEGER)",
    "INSERT INTO user VALUES ('u1', 'ann')",
    "INSERT INTO media_file VALUES ('m1', '12\" mix', 'Band', 'Album', 215.5)",
)


def test_navidromes_scrobbles_and_stars_are_a_log(tmp_path: Path) -> None:
    """Listeners have their names, and tracks the id of the Subsonic API. Rows of a deleted file or user are not lost."""
    path = database(
        tmp_path / "navidrome.db",
        *NAVIDROME,
        *(
            f"INSERT INTO scrobbles VALUES ({track}, '{user}', {TEN_MS // 1000})"  # noqa: S608 # constants
            for track, user in (("'m1'", "u1"), ("'gone'", "u2"), ("NULL", "u1"))
        ),
        "INSERT INTO annotation VALUES ('u1', 'm1', 'media_file', 1, '2026-01-31 11:00:00+00:00')",
        "INSERT INTO annotation VALUES ('u1', 'a1', 'album', 1, '2026-01-31 11:00:00+00:00')",
        "INSERT INTO annotation VALUES ('u1', 'm2', 'media_file', 0, NULL)",
    )

    log = imported("navidrome", tmp_path / "log", path, max_broken=0.3)
    catalogue = log.catalogue()

    assert rows(log, "user_id", "track_id", "type", "at_ms") == [
        ("ann", "m1", "complete", TEN_MS),
        ("ann", "m1", "like", TEN_MS + 3_600_000),
        ("u2", "gone", "complete", TEN_MS),
    ]
    assert log.about["rows"]["in_files"] == 4
    assert log.about["rows"]["broken"] == {"missing track_id": 1}
    assert catalogue is not None
    assert catalogue.row(0) == ("m1", '12" mix', "Band", "Album", None, 215_500)


def test_a_database_without_scrobbles_is_refused(tmp_path: Path) -> None:
    """The error has the database's words. A file that is no database and one that is compressed are refused too."""
    old = database(tmp_path / "navidrome.db", NAVIDROME[0])
    (tmp_path / "text.db").write_text("not a database, but text that is long enough to be looked at" * 20)
    (tmp_path / "packed.db.gz").write_bytes(b"")

    for path, words in (
        (old, "no such table"),
        (tmp_path / "text.db", "file is not a database"),
        (tmp_path / "packed.db.gz", "unpack it first"),
    ):
        with pytest.raises(LogError, match=f"{path.name}.*{words}"):
            imported("navidrome", tmp_path / "log", path)


PLAYBACK = (
    "2026-01-31 11:00:00.1234567\tu1\ti1\tAudio\tBand - Song (Album)\tDirectPlay\tWeb\tPhone\t200",
    '2026-01-31 11:04:00.0000000\tu1\ti2\tAudio\tBand - "Other (Album)\tDirectPlay\tWeb\tPhone\t29',
    "2026-01-31 12:00:00.0000000\tu1\ti3\tMovie\tFilm\tTranscode\tWeb\tTV\t5400",
    "2026-01-31 12:00:00.0000000\tu2\ti1\tAudio\tBand - Song (Album)\tDirectPlay\tWeb\tPhone\t",
)


@pytest.mark.parametrize("form", ["db", "tsv"])
def test_jellyfins_playback_is_a_log(tmp_path: Path, form: str) -> None:
    """The plugin's database and its backup are read. Films are passed over, and times follow the server's clock."""
    path = tmp_path / f"playback_reporting.{form}"
    if form == "tsv":
        path.write_text("\n".join(PLAYBACK) + "\n")
    else:
        values = ["(" + ", ".join("NULL" if not cell else f"'{cell}'" for cell in line.split("\t")) + ")" for line in PLAYBACK]
        columns = "ItemId TEXT, ItemType TEXT, ItemName TEXT, PlaybackMethod TEXT, ClientName TEXT, DeviceName TEXT"
        database(
            path,
            f"CREATE TABLE PlaybackActivity (DateCreated DATETIME NOT NULL, UserId TEXT, {columns}, PlayDuration INT)",
            f"INSERT INTO PlaybackActivity VALUES {', '.join(values)}",  # noqa: S608 # constants
        )

    log = imported("jellyfin", tmp_path / "log", path, zone="Europe/Berlin", max_broken=0.4)

    assert rows(log, "user_id", "track_id", "at_ms", "type", "played_ms") == [
        ("u1", "i1", TEN_MS + 123, "complete", 200_000),
        ("u1", "i2", TEN_MS + 240_000, "skip", 29_000),
    ]
    assert log.about["rows"]["passed_over"] == {NO_MUSIC: 1}
    assert log.about["rows"]["broken"] == {"missing type": 1}


def test_jellyfins_clock_must_be_known(tmp_path: Path) -> None:
    """The database does not contain the server's time zone."""
    (tmp_path / "backup.tsv").write_text(PLAYBACK[0] + "\n")

    with pytest.raises(LogError, match=r"time without a zone.*--timezone"):
        imported("jellyfin", tmp_path / "log", tmp_path / "backup.tsv")
