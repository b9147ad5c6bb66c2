"""Every row of every file is accounted for, or the import fails."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from training.data.account import Account, take
from training.data.log import LogError
from training.sources.reading import EXTRA, Part
from training.sources.tables.files import Ignored
from training.sources.tables.table import ABOUT_ROWS, FAULT, LINE, PASSED, RAW


def frame(rows: int, **columns: object) -> pl.DataFrame:
    """Make sound rows, except for the given columns."""
    sound = {"user_id": "u", "track_id": "t", "at_ms": 1_700_000_000_000, "type": "play"} | dict.fromkeys(ABOUT_ROWS)
    whole = pl.DataFrame({LINE: range(1, rows + 1)}, schema={LINE: pl.Int64()})
    literal = {name: pl.lit(value, ABOUT_ROWS.get(name)) for name, value in sound.items() if name != LINE}
    return whole.with_columns(**literal).with_columns(**columns)  # type: ignore[arg-type] # expressions


def taken(folder: Path, *parts: Part | Ignored) -> Account:
    """Return the account of some parts."""
    return take(parts, folder / "rows", folder / "titles")


def part(frames: Iterator[pl.DataFrame], count: int) -> Part:
    """Make a part for a file with this many rows."""
    return Part(name="log.csv", rows=frames, count=lambda: count)


def test_rows_add_up(tmp_path: Path) -> None:
    """Rows read, broken and passed over add up to the rows in the files. A second event of one row does not count as a row."""
    place = pl.int_range(pl.len())
    frames = [
        frame(5, **{PASSED: pl.when(place == 0).then(pl.lit("blank line")), FAULT: pl.when(place == 1).then(pl.lit("torn"))}),
        frame(2, user_id=pl.when(place == 0).then(pl.lit("u"))),
        frame(3, **{EXTRA: place == 2}),
    ]
    account = taken(tmp_path, part(iter(frames), 9), Ignored(name="readme", why="is no log"), part(iter([frame(1)]), 1))

    assert (account.in_files, account.read, account.sound, account.events) == (10, 9, 7, 8)
    assert account.passed == {"blank line": 1}
    assert account.broken == {"torn": 1, "missing user_id": 1}
    assert account.ignored == [Ignored(name="readme", why="is no log")]
    assert len(pl.read_parquet(tmp_path / "rows/*.parquet")) == 8


@pytest.mark.parametrize("in_file", [2, 4])
def test_a_file_whose_rows_do_not_add_up_is_refused(tmp_path: Path, in_file: int) -> None:
    """A reader that loses or invents rows must not pass."""
    with pytest.raises(LogError, match=rf"log.csv: the file has {in_file} rows, but 3 were read, so nothing was written"):
        taken(tmp_path, part(iter([frame(3)]), in_file))


def test_an_engines_exception_names_the_file(tmp_path: Path) -> None:
    """Whatever exception polars raises, the error names the file."""

    def frames() -> Iterator[pl.DataFrame]:
        yield frame(1)
        yield frame(1).select("absent")

    with pytest.raises(LogError, match=r"log.csv cannot be read: .*absent"):
        taken(tmp_path, part(frames(), 2))


def test_a_log_without_a_sound_row_is_not_read_to_its_end(tmp_path: Path) -> None:
    """A hundred million rows whose times cannot be read are refused after the first of them. The second frame would fail."""

    def frames(rows: int) -> Iterator[pl.DataFrame]:
        yield frame(rows, type=pl.lit("paused"))
        yield frame(1).select("absent")

    with pytest.raises(
        LogError, match=r"none of the first 1,000 rows is sound.*unreadable type .*: log.csv, row 1: user_id='u'"
    ):
        take([part(frames(1_000), 1_001)], tmp_path / "rows", tmp_path / "titles", max_broken=0.99)
    for rows, max_broken in ((999, 0.99), (1_000, 1.0)):  # few rows say little of the rest, and 1 allows all to be broken
        with pytest.raises(LogError, match="absent"):
            take([part(frames(rows), rows + 1)], tmp_path / "rows", tmp_path / "titles", max_broken=max_broken)


def test_a_row_that_an_option_would_read_ends_the_import(tmp_path: Path) -> None:
    """It ends before the second frame, even if few rows are like this: the option is better than losing them."""

    def frames() -> Iterator[pl.DataFrame]:
        yield frame(500, **{FAULT: pl.when(pl.int_range(pl.len()) == 7).then(pl.lit("no zone"))})
        yield frame(1).select("absent")

    with pytest.raises(LogError, match=r"^no zone: log.csv, row 8: user_id='u'"):
        take([part(frames(), 501)], tmp_path / "rows", tmp_path / "titles", avoidable=["no zone"])


def test_a_broken_row_is_shown_with_its_place(tmp_path: Path) -> None:
    """For each reason the first broken row is shown: file, number, and values."""
    frames = [frame(3, type=pl.when(pl.col(LINE) == 1).then(pl.lit("play")).otherwise(pl.lit("paused")))]

    account = taken(tmp_path, part(iter(frames), 3))

    assert account.examples == {
        "unreadable type (wanted one of play, skip, complete, like, dislike)": (
            "log.csv, row 2: user_id='u', track_id='t', at_ms=1700000000000, type='paused'"
        )
    }


def test_a_line_is_shown_without_its_control_characters(tmp_path: Path) -> None:
    """A terminal would execute them."""
    torn = frame(1).with_columns(pl.lit("torn").alias(FAULT), pl.lit("a\x1b[31m\0").alias(RAW))

    assert taken(tmp_path, part(iter([torn]), 1)).examples == {"torn": "log.csv, row 1: a\\x1b[31m\\x00"}


def test_what_rows_say_of_tracks_is_kept_once_a_lot(tmp_path: Path) -> None:
    """The catalogue gets the first row of a track that has a title or another value."""
    titles = pl.Series(["", "Song", "Other"])
    taken(tmp_path, part(iter([frame(3).with_columns(titles.alias("title"))]), 3))

    assert pl.read_parquet(tmp_path / "titles/*.parquet").rows() == [("t", "Song")]
