"""An artifact's folder is refused with a sentence if anything in it is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest

from model import artifact
from model.artifact import ArtifactError, FileRecord, WeightRecord
from model.artifact_files import digest
from tests.model.drafts import FILES, ITEMS, TRACKS, manifest_of, save


def refusal(folder: Path) -> str:
    """Return the error with which `load` refuses a folder."""
    with pytest.raises(ArtifactError) as caught:
        artifact.load(folder)
    return str(caught.value)


def rewrite_manifest(folder: Path, **changes: object) -> None:
    """Write a manifest as another program could: valid in itself, with other contents."""
    path = folder / artifact.MANIFEST
    plain = json.loads(path.read_bytes()) | changes
    path.write_text(json.dumps(plain | {"sha256": digest(plain)}))


def test_what_was_saved_is_what_is_loaded(tmp_path: Path) -> None:
    """Vocabulary, rule, popular tracks, golden cases and catalogue are the same, loaded by name and through the link."""
    folder = save(tmp_path)
    loaded = artifact.load(tmp_path / "current")

    assert loaded.folder == folder
    assert list(loaded.vocabulary.tracks) == list(TRACKS)
    assert loaded.manifest.history == manifest_of().history
    assert loaded.manifest.recipe == manifest_of().recipe
    assert list(loaded.popular) == [3, 2, 4]
    assert [list(golden.best) for golden in loaded.golden] == [[3]]
    assert loaded.catalogue is not None
    assert list(loaded.catalogue.titles) == list(TRACKS)


def test_manifest_describes_every_file(tmp_path: Path) -> None:
    """It has the checksum of every file in the folder and its own."""
    manifest = artifact.load(save(tmp_path)).manifest

    assert set(manifest.files) == set(FILES) - {"manifest.json"}
    assert len(manifest.sha256) == 64


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("bit", [0x01, 0x80])
def test_file_with_a_flipped_bit_is_refused(tmp_path: Path, name: str, bit: int) -> None:
    """The bit is at the start, in the middle or near the end. The error names the file and says that it is damaged or
    unreadable.
    """
    path = save(tmp_path) / name
    whole = path.read_bytes()
    for place in sorted({0, len(whole) // 3, len(whole) // 2, len(whole) - 3}):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        message = refusal(path.parent)

        assert any(words in message for words in ("damaged: found", "is not JSON", "found manifest schema"))
        assert str(path.parent) in message


def test_manifest_with_any_flipped_bit_is_refused(tmp_path: Path) -> None:
    """The service follows the manifest: a longer history or another skip rule would do harm without an error."""
    path = save(tmp_path) / artifact.MANIFEST
    whole = path.read_bytes()
    for place in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])

        assert refusal(path.parent)


@pytest.mark.parametrize("name", FILES)
def test_truncated_file_is_refused(tmp_path: Path, name: str) -> None:
    """A copy that was interrupted leaves such a file."""
    path = save(tmp_path) / name
    path.write_bytes(path.read_bytes()[:-4])

    assert "is damaged: found" in refusal(path.parent) or "is not JSON" in refusal(path.parent)


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_refused(tmp_path: Path, name: str) -> None:
    """The error names the file."""
    path = save(tmp_path) / name
    path.unlink()

    assert name in refusal(path.parent)


def test_folder_that_does_not_exist_is_refused_with_the_way_to_make_one(tmp_path: Path) -> None:
    """For a newcomer, this is often the first error."""
    assert "found no manifest.json there; `python -m training run` makes one" in refusal(tmp_path / "current")


@pytest.mark.parametrize("schema", [0, 1, 2, 3, 5, None, "4", 4.5, True, [4]])
def test_another_schema_is_refused_with_found_and_wanted(tmp_path: Path, schema: object) -> None:
    """It is refused before anything else is read, because another schema may have other fields."""
    folder = save(tmp_path)
    rewrite_manifest(folder, schema_version=schema)

    assert f"found manifest schema {schema!r}; this version reads 4" in refusal(folder)


def test_manifest_of_this_schema_with_unknown_fields_is_refused(tmp_path: Path) -> None:
    """The error is one line that names the field."""
    folder = save(tmp_path)
    rewrite_manifest(folder, surprise=1)
    message = refusal(folder)

    assert "surprise" in message
    assert "\n" not in message


def test_manifest_that_is_no_object_is_refused(tmp_path: Path) -> None:
    """It is JSON, but not a manifest."""
    folder = save(tmp_path)
    (folder / artifact.MANIFEST).write_text("[1]")

    assert "found a JSON list, wanted an object" in refusal(folder)


def test_manifest_that_lists_no_model_is_refused(tmp_path: Path) -> None:
    """A file that is not listed would not be verified."""
    folder = save(tmp_path)
    files = json.loads((folder / artifact.MANIFEST).read_bytes())["files"]
    rewrite_manifest(folder, files={name: record for name, record in files.items() if name != artifact.MODEL})

    assert "lists no model.onnx" in refusal(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 9])
def test_weight_that_is_no_finite_number_is_refused(tmp_path: Path, value: float, place: int) -> None:
    """The checksums are right, but the trainer wrote bad numbers. They are found before the service answers a request."""
    items = ITEMS.copy()
    items.flat[place] = value
    with pytest.raises(ArtifactError, match="weight items has a value that is no finite number"):
        save(tmp_path, items=items)


def test_last_of_many_weights_is_looked_at_too(tmp_path: Path) -> None:
    """There are more weights than are checked at a time, and none is left out."""
    items = np.zeros((5, 300_001), np.float32)
    items[-1, -1] = np.nan
    manifest = manifest_of(weights={"items": WeightRecord(dtype="float32", shape=items.shape, offset=0)})
    with pytest.raises(ArtifactError, match="weight items has a value that is no finite number"):
        save(tmp_path, manifest=manifest, items=items)


def test_weight_past_the_end_of_its_file_is_refused(tmp_path: Path) -> None:
    """The runtime would read past the memory map."""
    manifest = manifest_of(weights={"items": WeightRecord(dtype="float32", shape=(5, 2), offset=4)})
    with pytest.raises(ArtifactError, match="weight items would end at byte 44"):
        save(tmp_path, manifest=manifest)


def test_vocabulary_of_another_size_than_the_manifest_says_is_refused(tmp_path: Path) -> None:
    """Otherwise tracks would have other rows."""
    with pytest.raises(ArtifactError, match=r"found 2 tracks in tracks\.json, the manifest wants 3"):
        save(tmp_path, tracks=TRACKS[:2], titles=TRACKS[:2])


@pytest.mark.parametrize("shape", [(4, 2), (2, 5)])
def test_vocabulary_of_another_size_than_the_weights_is_refused(tmp_path: Path, shape: tuple[int, int]) -> None:
    """Rows are the first dimension. If only the width has this number, the weights are refused."""
    manifest = manifest_of(weights={"items": WeightRecord(dtype="float32", shape=shape, offset=0)})
    with pytest.raises(ArtifactError, match=r"item matrix float32 of shape .*, the vocabulary wants float32 with 5 rows"):
        save(tmp_path, manifest=manifest)


def test_vocabulary_with_a_track_twice_is_refused(tmp_path: Path) -> None:
    """The error is an ArtifactError."""
    with pytest.raises(ArtifactError, match="repeated track ids"):
        save(tmp_path, tracks=("a", "b", "a"))


def test_catalogue_of_another_size_is_refused(tmp_path: Path) -> None:
    """Otherwise titles would belong to other tracks."""
    with pytest.raises(ArtifactError, match="describes 2 tracks, the vocabulary has 3"):
        save(tmp_path, titles=TRACKS[:2])


@pytest.mark.parametrize("popular", [[2, 0], [2, 1], [2, 5], [2, -1], [2, 2], []])
def test_popular_tracks_that_cannot_be_proposed_are_refused(tmp_path: Path, popular: list[int]) -> None:
    """The fallback must neither fail nor name a track twice."""
    with pytest.raises(ArtifactError, match="wanted rows from 2 to 4, at least one, and none twice"):
        save(tmp_path, popular=popular)


def test_measure_that_is_no_number_is_written_as_null(tmp_path: Path) -> None:
    """JSON has no NaN, and other programs could not read it."""
    folder = save(tmp_path, manifest=manifest_of(quality={"hr@20": float("nan")}))

    assert artifact.load(folder).manifest.quality == {"hr@20": None}


def test_file_record_refuses_what_it_does_not_know() -> None:
    """An unknown field is an error, because nothing would read it."""
    with pytest.raises(ValueError, match="extra"):
        FileRecord.model_validate({"bytes": 1, "sha256": "", "more": 1})
