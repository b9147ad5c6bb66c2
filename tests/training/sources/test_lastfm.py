"""Scrobbles of Last.fm, with invented rows in the forms that exporters write."""

from pathlib import Path

import pytest

from tests.training.sources.imports import imported, rows
from training.data.log import LogError
from training.sources.lastfm import LOST, PLAYING

TEN_MS = 1_769_853_600_000  # 2026-01-31 10:00 UTC


@pytest.mark.parametrize(
    ("name", "text", "listener"),
    [
        (
            "recenttracks-rj-1769853700.csv",
            '"uts","utc_time","artist","artist_mbid","album","album_mbid","track","track_mbid"\n'
            '"1769853600","31 Jan 2026, 10:00","Sigur Rós","","Takk...","","Hoppípolla ""live""","abc"\n',
            "rj",
        ),
        ("lastfmstats.csv", 'Artist;Album;AlbumId;Track;Date#ann\nSigur Rós;Takk...;;Hoppípolla "live";1769853600000\n', "ann"),
        ("ben.csv", 'Sigur Rós,Takk...,"Hoppípolla ""live""",31 Jan 2026 10:00\n', "ben"),
        ("cid.csv", 'artist,album,name,date\nSigur Rós,Takk...,Hoppípolla "live",2026-01-31T10:00:00Z\n', "cid"),
        (
            "userid-timestamp-artid-artname-traid-traname.tsv",
            'user_000001\t2026-01-31T10:00:00Z\tf27\tSigur Rós\t\tHoppípolla "live"\n',
            "user_000001",
        ),
    ],
)
def test_every_form_gives_the_same_play(tmp_path: Path, name: str, text: str, listener: str) -> None:
    """With or without a header, in Last.fm's own times or Unix time. The listener's name is in the file or is the file's
    name.
    """
    (tmp_path / name).write_text(text, "utf-8")

    log = imported("lastfm", tmp_path / "log", tmp_path / name)
    catalogue = log.catalogue()

    assert rows(log, "user_id", "track_id", "at_ms", "type") == [
        (listener, 'Sigur Rós - Hoppípolla "live"', TEN_MS, "complete")
    ]
    assert catalogue is not None
    assert catalogue.row(0)[1:3] == ('Hoppípolla "live"', "Sigur Rós")


def test_a_person_may_be_named(tmp_path: Path) -> None:
    """`--user` takes precedence over the file's name."""
    (tmp_path / "export (1).csv").write_text("Band,Album,Song,31 Jan 2026 10:00\n")

    assert rows(imported("lastfm", tmp_path / "log", tmp_path / "export (1).csv", user="ann"), "user_id") == [("ann",)]


def test_rows_without_a_time_are_passed_over_by_reason(tmp_path: Path) -> None:
    """These are the track that was playing, and scrobbles whose time was lost. A time that cannot be read breaks its row."""
    lines = [
        "Band,Album,Now,",
        "Band,Album,Lost,01 Jan 1970 00:00",
        "Band,Album,Odd,soon",
        "Band,,Kept,31 Jan 2026 10:00",
        ",,,x",
    ]
    (tmp_path / "ann.csv").write_text("\n".join(lines))

    rows_of = imported("lastfm", tmp_path / "log", tmp_path / "ann.csv", max_broken=0.7).about["rows"]

    assert rows_of["passed_over"] == {PLAYING: 1, LOST: 1}
    assert (rows_of["in_files"], rows_of["kept"], sum(rows_of["broken"].values())) == (5, 1, 2)


def test_quotes_in_the_data_set_are_letters(tmp_path: Path) -> None:
    """The TSV quotes nothing, so a quote at the start of a title is a letter."""
    lines = [f'u\t2026-01-31T10:0{n}:00Z\t\tBand\t\t"Song {n}' for n in range(3)]
    (tmp_path / "1k.tsv").write_text("\n".join(lines) + "\n")

    assert imported("lastfm", tmp_path / "log", tmp_path / "1k.tsv").about["rows"]["kept"] == 3


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    """The error names the columns found and the columns expected."""
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")

    with pytest.raises(LogError, match=r"x.csv: wanted columns artist, track and one of uts, date, utc_time; found a, b"):
        imported("lastfm", tmp_path / "log", tmp_path / "x.csv")
