"""The artifact's folder: refused when anything about it is wrong, and switched in one step.

The graphs here are a few bytes of text: loading an artifact checks sums, not mathematics.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from model import artifact
from model.artifact import Artifact, ArtifactError, FileRecord, Manifest, WeightRecord
from model.events import HistoryRule, SkipRule

TRACKS = ("a", "b", "ç")
ITEMS = np.arange(10, dtype=np.float32).reshape(5, 2)
FILES = (
    "manifest.json",
    "model.onnx",
    "rank.onnx",
    "weights.bin",
    "tracks.json",
    "popular.json",
    "golden.json",
    "catalogue.json",
)


def draft_of(root: Path, *, items: Any = ITEMS, tracks: Any = TRACKS, popular: Any = (3, 2, 4), titles: Any = TRACKS) -> Path:
    """A finished folder that is not an artifact yet."""
    draft = root / "draft"
    draft.mkdir(parents=True)
    (draft / artifact.MODEL).write_bytes(b"the model's graph")
    (draft / artifact.RANK).write_bytes(b"the ranker's graph")
    (draft / artifact.WEIGHTS).write_bytes(items.tobytes())
    artifact.write_json(draft / artifact.TRACKS, tracks)
    artifact.write_json(draft / artifact.POPULAR, popular)
    artifact.write_json(
        draft / artifact.GOLDEN, [{"rows": [2], "outcomes": [1], "excluded": [2], "best": [3], "scores": [0.5]}]
    )
    durations_ms = [1, None, 3][: len(titles)]
    artifact.write_json(draft / artifact.CATALOGUE, {"titles": titles, "artists": titles, "durations_ms": durations_ms})
    return draft


def manifest_of(version: str = "v1", **changes: Any) -> Manifest:
    """A manifest for `draft_of`."""
    fields: dict[str, Any] = {
        "name": "tiny",
        "version": version,
        "created_at": datetime(2026, 11, 22, tzinfo=UTC),
        "tracks": len(TRACKS),
        "history": HistoryRule(length=7, scope="session", gap_ms=5, skip=SkipRule(limit_ms=9, end_share=0.3)),
        "recipe": {"name": "tiny", "fit": {"learning_rate": 1e-3, "stop": None}},
        "origin": {"source": "made by hand"},
        "quality": {"hr@20": 0.1},
        "weights": {"items": WeightRecord(dtype="float32", shape=(5, 2), offset=0)},
        "files": {},
    }
    return Manifest(**(fields | changes))


def save(root: Path, version: str = "v1", *, manifest: Manifest | None = None, **changes: Any) -> Path:
    """Save an artifact under `root`."""
    return artifact.save(root, draft_of(root, **changes), manifest or manifest_of(version))


def refusal(folder: Path) -> str:
    """What `load` says about a folder."""
    with pytest.raises(ArtifactError) as caught:
        artifact.load(folder)
    return str(caught.value)


def rewrite_manifest(folder: Path, **changes: object) -> None:
    """A manifest that some other program wrote: sound in itself, with other contents."""
    path = folder / artifact.MANIFEST
    plain = json.loads(path.read_bytes()) | changes
    path.write_text(json.dumps(plain | {"sha256": artifact._digest(plain)}))


def test_what_was_saved_is_what_is_loaded(tmp_path: Path) -> None:
    """Vocabulary, rule, popular tracks, golden cases and catalogue, through the link as well as by name."""
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
    """Whatever lies in the folder is summed, but the manifest itself, which carries its own sum."""
    manifest = artifact.load(save(tmp_path)).manifest

    assert set(manifest.files) == set(FILES) - {"manifest.json"}
    assert len(manifest.sha256) == 64


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("bit", [0x01, 0x80])
def test_file_with_a_flipped_bit_is_refused(tmp_path: Path, name: str, bit: int) -> None:
    """At the start, in the middle and near the end; the message names the file and says that it is damaged or unreadable."""
    path = save(tmp_path) / name
    whole = path.read_bytes()
    for place in sorted({0, len(whole) // 3, len(whole) // 2, len(whole) - 3}):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        message = refusal(path.parent)

        assert "damaged: found" in message or "no JSON" in message or "found manifest schema" in message
        assert str(path.parent) in message


def test_manifest_with_any_flipped_bit_is_refused(tmp_path: Path) -> None:
    """It is what the service follows: a longer history or another skip rule would do harm without an error."""
    path = save(tmp_path) / artifact.MANIFEST
    whole = path.read_bytes()
    for place in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])

        assert refusal(path.parent)


@pytest.mark.parametrize("name", FILES)
def test_truncated_file_is_refused(tmp_path: Path, name: str) -> None:
    """A copy that broke off."""
    path = save(tmp_path) / name
    path.write_bytes(path.read_bytes()[:-4])

    assert "found" in refusal(path.parent) or "is no JSON" in refusal(path.parent)


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_refused(tmp_path: Path, name: str) -> None:
    """The message names it."""
    path = save(tmp_path) / name
    path.unlink()

    assert name in refusal(path.parent)


def test_folder_that_does_not_exist_is_refused_with_the_way_to_make_one(tmp_path: Path) -> None:
    """The first thing that a newcomer meets."""
    assert "found no manifest.json there; `python -m training run` makes one" in refusal(tmp_path / "current")


@pytest.mark.parametrize("schema", [0, 1, 2, 3, 5, None, "4"])
def test_another_schema_is_refused_with_found_and_wanted(tmp_path: Path, schema: object) -> None:
    """Before anything else is read: another schema may have other fields."""
    folder = save(tmp_path)
    rewrite_manifest(folder, schema_version=schema)

    assert f"found manifest schema {schema}; this version reads 4" in refusal(folder)


def test_manifest_of_this_schema_with_unknown_fields_is_refused(tmp_path: Path) -> None:
    """In one line that names the field."""
    folder = save(tmp_path)
    rewrite_manifest(folder, surprise=1)
    message = refusal(folder)

    assert "surprise" in message
    assert "\n" not in message


def test_manifest_that_is_no_object_is_refused(tmp_path: Path) -> None:
    """JSON, but not ours."""
    folder = save(tmp_path)
    (folder / artifact.MANIFEST).write_text("[1]")

    assert "found manifest schema None" in refusal(folder)


def test_manifest_that_lists_no_model_is_refused(tmp_path: Path) -> None:
    """A file that is not listed would not be verified."""
    folder = save(tmp_path)
    files = json.loads((folder / artifact.MANIFEST).read_bytes())["files"]
    rewrite_manifest(folder, files={name: record for name, record in files.items() if name != artifact.MODEL})

    assert "lists no model.onnx" in refusal(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 9])
def test_weight_that_is_no_finite_number_is_refused(tmp_path: Path, value: float, place: int) -> None:
    """Right checksums, wrong contents: the trainer's fault, found before it answers anybody."""
    items = ITEMS.copy()
    items.flat[place] = value
    with pytest.raises(ArtifactError, match="weight items has a value that is no finite number"):
        save(tmp_path, items=items)


def test_last_of_many_weights_is_looked_at_too(tmp_path: Path) -> None:
    """More of them than are looked at together, and none left over behind."""
    items = np.zeros((5, 300_001), np.float32)
    items[-1, -1] = np.nan
    manifest = manifest_of(weights={"items": WeightRecord(dtype="float32", shape=items.shape, offset=0)})
    with pytest.raises(ArtifactError, match="weight items has a value that is no finite number"):
        save(tmp_path, manifest=manifest, items=items)


def test_weight_past_the_end_of_its_file_is_refused(tmp_path: Path) -> None:
    """The runtime would read past the map."""
    manifest = manifest_of(weights={"items": WeightRecord(dtype="float32", shape=(5, 2), offset=4)})
    with pytest.raises(ArtifactError, match="weight items would end at byte 44"):
        save(tmp_path, manifest=manifest)


def test_vocabulary_of_another_size_than_the_manifest_says_is_refused(tmp_path: Path) -> None:
    """Names would belong to other rows."""
    with pytest.raises(ArtifactError, match=r"found 2 tracks in tracks\.json, the manifest wants 3"):
        save(tmp_path, tracks=TRACKS[:2], titles=TRACKS[:2])


@pytest.mark.parametrize("shape", [(4, 2), (2, 5)])
def test_vocabulary_of_another_size_than_the_weights_is_refused(tmp_path: Path, shape: tuple[int, int]) -> None:
    """Rows are the first dimension: a width that happens to be the same number does not count."""
    manifest = manifest_of(weights={"items": WeightRecord(dtype="float32", shape=shape, offset=0)})
    with pytest.raises(ArtifactError, match=r"found an item matrix of shape .*, the vocabulary wants 5 rows"):
        save(tmp_path, manifest=manifest)


def test_vocabulary_with_a_track_twice_is_refused(tmp_path: Path) -> None:
    """Said as a refusal, not as an error of ours."""
    with pytest.raises(ArtifactError, match="come more than once"):
        save(tmp_path, tracks=("a", "b", "a"))


def test_catalogue_of_another_size_is_refused(tmp_path: Path) -> None:
    """Titles would belong to other tracks."""
    with pytest.raises(ArtifactError, match="describes 2 tracks, the vocabulary has 3"):
        save(tmp_path, titles=TRACKS[:2])


@pytest.mark.parametrize("row", [0, 1, 5, -1])
def test_popular_row_that_is_no_track_is_refused(tmp_path: Path, row: int) -> None:
    """The fallback must not fail when it is needed."""
    with pytest.raises(ArtifactError, match="rows outside the vocabulary of 5 rows"):
        save(tmp_path, popular=[2, row])


def test_measure_that_is_no_number_is_written_as_null(tmp_path: Path) -> None:
    """JSON has no NaN; other readers would choke on it."""
    folder = save(tmp_path, manifest=manifest_of(quality={"hr@20": float("nan")}))

    assert artifact.load(folder).manifest.quality == {"hr@20": None}


def test_save_that_fails_leaves_the_current_artifact_alone(tmp_path: Path) -> None:
    """Verification comes before the switch, and nothing is left under the new version's name."""
    old = save(tmp_path, "old")
    with pytest.raises(ArtifactError):
        save(tmp_path, "new", items=np.full_like(ITEMS, np.nan))

    assert artifact.load(tmp_path / "current").folder == old
    assert not (tmp_path / "new").exists()


def test_save_can_be_tried_again_with_the_same_draft(tmp_path: Path) -> None:
    """The manifest of the failed try is no part of the artifact."""
    draft = draft_of(tmp_path)
    with pytest.raises(ArtifactError):
        artifact.save(tmp_path, draft, manifest_of(tracks=99))
    folder = artifact.save(tmp_path, draft, manifest_of())

    assert artifact.load(folder).manifest.tracks == 3


def test_save_never_writes_over_an_artifact(tmp_path: Path) -> None:
    """A version names one artifact for ever."""
    folder = save(tmp_path, "v1")
    before = (folder / artifact.MANIFEST).read_bytes()
    with pytest.raises(OSError, match="v1"):
        save(tmp_path, "v1", popular=[2])

    assert (folder / artifact.MANIFEST).read_bytes() == before


def test_leftover_of_a_switch_that_was_killed_does_not_stop_the_next(tmp_path: Path) -> None:
    """A link made, but not yet moved into place."""
    save(tmp_path, "old")
    (tmp_path / f".current-{os.getpid()}").symlink_to("nowhere")
    new = save(tmp_path, "new")

    assert artifact.load(tmp_path / "current").folder == new


def test_switch_goes_back_to_an_older_artifact(tmp_path: Path) -> None:
    """A bad model is undone by name."""
    old = save(tmp_path, "old")
    save(tmp_path, "new")
    artifact.switch(tmp_path, "old")

    assert artifact.load(tmp_path / "current").folder == old


def test_reader_beside_a_writer_always_sees_a_whole_artifact(tmp_path: Path) -> None:
    """A load that met a missing link or half an artifact would raise; the version and the contents belong together."""
    save(tmp_path, "v0", popular=[2])
    done = Event()

    def read() -> list[Artifact]:
        loaded: list[Artifact] = []
        while not done.is_set() or not loaded:
            loaded.append(artifact.load(tmp_path / "current"))
        return loaded

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        save(tmp_path, "v1", popular=[2, 2])
        for number in range(2_000):  # often enough to meet a reader between two steps, if a switch had two
            artifact.switch(tmp_path, f"v{number % 2}")
        done.set()
        seen = reader.result()

    assert all(one.manifest.version == f"v{len(one.popular) - 1}" for one in seen)


def test_versions_sort_by_time_and_differ_within_a_second() -> None:
    """A folder listing is a history."""
    moments = [datetime(2026, 11, 22, 8, 15, second, tzinfo=UTC) for second in (1, 1, 2, 10)]
    versions = [artifact.new_version("tiny", moment) for moment in moments]

    assert [version[:20] for version in versions] == sorted(version[:20] for version in versions)
    assert len(set(versions)) == 4


def test_file_record_refuses_what_it_does_not_know() -> None:
    """Records are closed: a field that nobody reads is a mistake."""
    with pytest.raises(ValueError, match="extra"):
        FileRecord.model_validate({"bytes": 1, "sha256": "", "more": 1})
