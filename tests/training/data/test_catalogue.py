"""The catalogue of an artifact has the order of the vocabulary."""

from pathlib import Path

import polars as pl
import pytest

from model.vocabulary import FIRST, UNKNOWN
from tests.training.logs import TESTED, TRAINED, P, split_of
from training.data.catalogue import catalogue_of, with_new_tracks
from training.data.log import CATALOGUE, Log

COLUMNS = {"track_id": ["b", "a"], "title": ["B", "A"], "artist": ["y", "x"], "duration_ms": [2, 1]}


def test_groups_come_along_where_the_log_names_them(tmp_path: Path) -> None:
    """One recording across releases has one group."""
    pl.DataFrame(COLUMNS | {"group": ["song", "song"]}).write_parquet(tmp_path / CATALOGUE)
    part = split_of([*(("u", track, P, TRAINED) for track in ("a", "b", "c")), ("u", "a", P, TESTED)])
    found = catalogue_of(Log(folder=tmp_path, about={}), part)

    assert found is not None
    assert (found.albums, found.groups) == ((), ("song", "song", None))


@pytest.mark.parametrize(
    ("album", "albums"),
    [({}, ()), ({"album": [None, None]}, ()), ({"album": ["two", "one"]}, ("one", "two", None))],
)
def test_values_stand_in_the_order_of_the_rows(tmp_path: Path, album: dict[str, list[str]], albums: tuple[str, ...]) -> None:
    """A track without a line has no values. A log of an earlier version has no albums, and a log that names none has none."""
    pl.DataFrame(COLUMNS | album).write_parquet(tmp_path / CATALOGUE)
    part = split_of([*(("u", track, P, TRAINED) for track in ("a", "b", "c")), ("u", "a", P, TESTED)])
    found = catalogue_of(Log(folder=tmp_path, about={}), part)

    assert found is not None
    assert (found.titles, found.artists, found.durations_ms) == (("A", "B", None), ("x", "y", None), (1, 2, None))
    assert found.albums == albums


def test_new_tracks_have_rows_after_the_trained_ones(tmp_path: Path) -> None:
    """Trained tracks keep their rows. Entries of new tracks get rows, and a track that is listed twice gets one."""
    listed = {"track_id": ["new", "a", "unheard", "new"], "title": [None] * 4, "artist": ["x"] * 4, "duration_ms": [None] * 4}
    pl.DataFrame(listed).write_parquet(tmp_path / CATALOGUE)
    log = Log(folder=tmp_path, about={})
    part = split_of([("u", "b", P, TRAINED), ("u", "a", P, TRAINED), ("u", "new", P, TESTED), ("u", "unlisted", P, TESTED)])
    found = with_new_tracks(part, log)

    assert found.vocabulary.tracks == [*part.vocabulary.tracks, "new", "unheard"]
    assert part.row.tolist() == [FIRST, FIRST + 1, UNKNOWN, UNKNOWN]
    assert found.row.tolist() == [FIRST, FIRST + 1, FIRST + 2, UNKNOWN]
    assert found.part.tolist() == part.part.tolist()
    assert with_new_tracks(found, log) is found


def test_without_a_catalogue_no_track_is_new(tmp_path: Path) -> None:
    """The split stays as it is."""
    part = split_of([("u", "a", P, TRAINED), ("u", "new", P, TESTED)])

    assert with_new_tracks(part, Log(folder=tmp_path, about={})) is part
