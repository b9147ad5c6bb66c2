"""The index of artists and albums agrees with a search through the catalogue's lists."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import artifact, versions
from model.artifact import ArtifactError
from model.catalogue_index import NO_NAME, CatalogueIndex, NameIndex
from model.vocabulary import FIRST
from tests.model.drafts import TRACKS, draft_of, manifest_of


@given(st.lists(st.none() | st.sampled_from("abcde")))
def test_rows_and_numbers_are_those_of_a_search(names: list[str | None]) -> None:
    """Every name has its rows in order, and rows have one number if and only if they have one name."""
    index = NameIndex(names)

    for name in "abcdef":
        assert index.rows(name).tolist() == [row for row, found in enumerate(names, FIRST) if found == name]
        assert all(index.number(row) == index.number_of(name) for row in index.rows(name).tolist())
        assert all(index.others(row).tolist() == index.rows(name).tolist() for row in index.rows(name).tolist())
    assert len(index) == len(set(names) - {None}) == len({index.number(row) for row in range(FIRST + len(names))} - {NO_NAME})


def test_rows_that_are_no_tracks_have_no_name() -> None:
    """Padding, the unknown track, and a listener's own tracks after the last row; also without any catalogue."""
    index, nothing = NameIndex(["a", None]), CatalogueIndex.of(None)

    assert [index.number(row) for row in (0, 1, 2, 3, 4, 900)] == [NO_NAME, NO_NAME, 0, NO_NAME, NO_NAME, NO_NAME]
    assert [index.label(row) for row in (0, 1, 2, 3, 4, 900)] == [None, None, 0, None, None, None]
    assert index.number_of("b") == nothing.artists.number_of("a") == nothing.artists.number(FIRST) == NO_NAME
    assert not len(nothing.albums)


def test_artifact_is_indexed_by_artist_and_album(tmp_path: Path) -> None:
    """As it is loaded. An artifact that was exported before there were albums has none."""
    draft = draft_of(tmp_path)
    named = {"titles": TRACKS, "artists": ["x", None, "x"], "durations_ms": [None] * 3}
    versions.write_json(draft / artifact.CATALOGUE, named)
    older = artifact.load(versions.save(tmp_path, draft, manifest_of("v1"), check=lambda _: None)).catalogue_index
    draft = draft_of(tmp_path)
    versions.write_json(draft / artifact.CATALOGUE, named | {"albums": ["one", "two", "one"]})
    newer = artifact.load(versions.save(tmp_path, draft, manifest_of("v2"), check=lambda _: None)).catalogue_index

    assert (older.artists.rows("x").tolist(), older.albums.rows("one").tolist()) == ([2, 4], [])
    assert (newer.artists.rows("x").tolist(), newer.albums.rows("one").tolist()) == ([2, 4], [2, 4])


def test_albums_of_another_number_are_refused(tmp_path: Path) -> None:
    draft = draft_of(tmp_path)
    versions.write_json(
        draft / artifact.CATALOGUE, {"titles": TRACKS, "artists": TRACKS, "durations_ms": [1, 2, 3], "albums": ["one"]}
    )

    with pytest.raises(ArtifactError, match="describes 1 and 3 tracks, the vocabulary has 3"):
        versions.save(tmp_path, draft, manifest_of(), check=lambda _: None)


def test_equal_names_are_one_string(tmp_path: Path) -> None:
    """A million tracks of few artists take few strings."""
    draft = draft_of(tmp_path)
    versions.write_json(draft / artifact.CATALOGUE, {"titles": TRACKS, "artists": ["artist"] * 3, "durations_ms": [None] * 3})
    catalogue = artifact.load(versions.save(tmp_path, draft, manifest_of(), check=lambda _: None)).catalogue

    assert catalogue is not None
    assert len(set(map(id, catalogue.artists))) == 1
