"""The catalogue of an artifact has the order of the vocabulary."""

from pathlib import Path

import polars as pl
import pytest

from tests.training.logs import TESTED, TRAINED, P, split_of
from training.data.catalogue import catalogue_of
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
