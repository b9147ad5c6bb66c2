"""Logs in our own columns, in each of the forms they come in."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from training.data.import_log import import_log
from training.data.log import SCHEMA, Log, LogError

NOON_MS = 1_704_110_400_000  # 2024-01-01 12:00 UTC


def _import(path: Path | str, out: Path, **columns: str) -> Log:
    return import_log("canonical", [str(path)], out, columns=columns)


def _times(log: Log) -> list[int]:
    return log.events().collect()["at_ms"].to_list()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("at", "2024-01-01T12:00:00Z"),
        ("at", "2024-01-01T13:30:00.000+01:30"),
        ("at_s", "1704110400"),
        ("at_s", "1704110400.0"),
        ("at_ms", str(NOON_MS)),
    ],
)
def test_a_time_may_be_written_in_several_ways(tmp_path: Path, column: str, value: str) -> None:
    """RFC 3339 with its offset, Unix seconds and milliseconds are the same moment; the column's name says which."""
    (tmp_path / "log.csv").write_text(f"user_id,track_id,type,{column}\nu,t,play,{value}\n")

    assert _times(_import(tmp_path / "log.csv", tmp_path / "log")) == [NOON_MS]


def test_a_time_without_offset_is_unreadable(tmp_path: Path) -> None:
    """Nobody can know whose noon it was."""
    (tmp_path / "log.csv").write_text("user_id,track_id,type,at\nu,t,play,2024-01-01T12:00:00\n")

    with pytest.raises(LogError, match="missing or unreadable time: 1"):
        _import(tmp_path / "log.csv", tmp_path / "log")


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    """A log with its own names needs no rewriting; columns that are not needed are passed over."""
    (tmp_path / "log.csv").write_text(f"who,song,what,when,weather\nu,t,play,{NOON_MS},rain\n")

    log = _import(tmp_path / "log.csv", tmp_path / "log", user_id="who", track_id="song", type="what", at_ms="when")

    assert log.events().select("user_id", "track_id", "type", "at_ms").collect().rows() == [("u", "t", "play", NOON_MS)]


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    """The refusal says what was wanted and what was found."""
    (tmp_path / "log.csv").write_text("user_id,song,type,at_ms\nu,t,play,1\n")

    with pytest.raises(LogError, match="wanted columns track_id; found user_id, song, type, at_ms"):
        _import(tmp_path / "log.csv", tmp_path / "log")


def test_a_log_without_times_is_refused(tmp_path: Path) -> None:
    """Without times there is no order to learn from; the refusal names the three forms."""
    (tmp_path / "log.csv").write_text("user_id,track_id,type\nu,t,play\n")

    with pytest.raises(LogError, match="wanted a column at, at_s or at_ms; found user_id, track_id, type"):
        _import(tmp_path / "log.csv", tmp_path / "log")


def test_a_rename_to_a_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """`--column track_id=sogn` is a typing error, not a log without tracks."""
    (tmp_path / "log.csv").write_text("user_id,song,type,at_ms\nu,t,play,1\n")

    with pytest.raises(LogError, match="wanted columns sogn; found user_id, song"):
        _import(tmp_path / "log.csv", tmp_path / "log", track_id="sogn")


def test_an_unknown_column_of_ours_is_refused(tmp_path: Path) -> None:
    """`--column track=song` names the columns that there are."""
    (tmp_path / "log.csv").write_text("user_id,song,type,at_ms\nu,t,play,1\n")

    with pytest.raises(LogError, match=r"--column track=….*track_id"):
        _import(tmp_path / "log.csv", tmp_path / "log", track="song")


def test_json_lines_are_read_whatever_their_types(tmp_path: Path) -> None:
    """Numbers or text, keys in any order, null or absent: the same event."""
    (tmp_path / "log.jsonl").write_text(
        f'{{"user_id": 7, "track_id": "t", "type": "skip", "at_ms": {NOON_MS}, "played_ms": 900, "asked": false}}\n'
        f'{{"type": "skip", "extra": {{"a": 1}}, "at_ms": "{NOON_MS}", "track_id": "s", "user_id": "7", "played_ms": null}}\n'
    )

    events = _import(tmp_path / "log.jsonl", tmp_path / "log").events().collect()

    assert events.select("user_id", "track_id", "at_ms", "played_ms", "asked").rows() == [
        ("7", "s", NOON_MS, None, True),
        ("7", "t", NOON_MS, 900, False),
    ]


def test_a_line_that_is_no_json_breaks_one_row(tmp_path: Path) -> None:
    """A line cut short by a crash does not cost the other lines of the file."""
    sound = [f'{{"user_id": "u", "track_id": "t{number}", "type": "play", "at_ms": {NOON_MS}}}' for number in range(199)]
    (tmp_path / "log.jsonl").write_text("\n".join([*sound[:90], sound[0][:20], *sound[90:]]) + "\n")

    log = _import(tmp_path / "log.jsonl", tmp_path / "log")

    assert log.about["rows"] == {"read": 200, "kept": 199, "duplicates": 0, "broken": {"missing user_id": 1}}


def test_a_folder_of_parquet_parts_is_one_log(tmp_path: Path) -> None:
    """Partitioned Parquet is read from its top folder; a datetime column is taken as it is."""
    for user in ("a", "b"):
        part = tmp_path / "parts" / f"day={user}"
        part.mkdir(parents=True)
        at = [datetime(2024, 1, 1, 12, tzinfo=UTC)]
        pl.DataFrame({"user_id": [user], "track_id": [5], "type": ["play"], "at": at}).write_parquet(part / "0.parquet")

    events = _import(tmp_path / "parts", tmp_path / "log").events().collect()

    assert events.select("user_id", "track_id", "at_ms").rows() == [("a", "5", NOON_MS), ("b", "5", NOON_MS)]


def test_a_glob_and_several_formats_make_one_log(tmp_path: Path) -> None:
    """Months in different forms are one log."""
    (tmp_path / "may 1.csv").write_text(f"user_id,track_id,type,at_ms\nu,csv,play,{NOON_MS}\n")
    (tmp_path / "may 2.jsonl").write_text(f'{{"user_id": "u", "track_id": "json", "type": "play", "at_ms": {NOON_MS}}}\n')

    log = import_log("canonical", [str(tmp_path / "*.csv"), str(tmp_path / "may 2.jsonl")], tmp_path / "log")

    assert log.events().collect()["track_id"].to_list() == ["csv", "json"]


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A wrong path is said in a sentence."""
    with pytest.raises(LogError, match="no such file or folder"):
        _import(tmp_path / "absent.csv", tmp_path / "log")


def test_a_file_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    """The ending decides how a file is read; others are not guessed at."""
    (tmp_path / "log.xlsx").write_bytes(b"PK")

    with pytest.raises(LogError, match=r"log.xlsx: wanted a name that ends in"):
        _import(tmp_path / "log.xlsx", tmp_path / "log")


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    """A damaged file is said in a sentence, without a traceback."""
    (tmp_path / "log.parquet").write_bytes(b"not at all")

    with pytest.raises(LogError, match=r"log.parquet cannot be read"):
        _import(tmp_path / "log.parquet", tmp_path / "log")


@pytest.mark.parametrize(
    ("form", "write"),
    [("csv", pl.DataFrame.write_csv), ("jsonl", pl.DataFrame.write_ndjson), ("parquet", pl.DataFrame.write_parquet)],
)
def test_titles_and_artists_make_a_catalogue(tmp_path: Path, form: str, write: Callable[..., object]) -> None:
    """A track's first row that names one of them counts; what is empty is no name, and who is never heard has no line."""
    rows = [("t", "", ""), ("t", "Song", "Ann"), ("t", "Other", "Bob"), ("v", "", ""), ("w", None, "Ann"), (None, "Lost", "Cy")]
    frame = pl.DataFrame(rows, schema=["track_id", "name", "artist"], orient="row")
    frame = frame.with_columns(user_id=pl.lit("u"), type=pl.lit("play"), at_ms=NOON_MS + pl.int_range(pl.len()) * 60_000)
    path = tmp_path / f"log.{form}"
    write(frame, path)

    log = import_log("canonical", [str(path)], tmp_path / "log", columns={"title": "name"}, max_broken=0.5)

    catalogue = log.catalogue()
    assert catalogue is not None
    assert catalogue.rows() == [("t", "Song", "Ann", None), ("w", None, "Ann", None)]
    assert log.events().collect().columns == SCHEMA.names()


def test_a_log_without_titles_has_no_catalogue(tmp_path: Path) -> None:
    """Then nothing is told apart by artists."""
    (tmp_path / "log.csv").write_text(f"user_id,track_id,type,at_ms\nu,t,play,{NOON_MS}\n")

    assert _import(tmp_path / "log.csv", tmp_path / "log").catalogue() is None
