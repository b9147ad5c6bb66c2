"""Versions under one root are written as a whole, switched in one step, listed and deleted."""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest

from model import artifact, versions
from model.artifact import Artifact, ArtifactError
from tests.model.drafts import ITEMS, draft_of, manifest_of, save


def test_save_that_fails_leaves_the_current_artifact_alone(tmp_path: Path) -> None:
    """Verification comes before the switch, and nothing is left under the new version's name."""
    old = save(tmp_path, "old")
    with pytest.raises(ArtifactError):
        save(tmp_path, "new", items=np.full_like(ITEMS, np.nan))

    assert artifact.load(tmp_path / "current").folder == old
    assert not (tmp_path / "new").exists()


def test_artifact_that_the_check_refuses_is_not_published(tmp_path: Path) -> None:
    """The check gets the loaded artifact. Its error reaches the caller, and the version in use stays."""
    old = save(tmp_path, "old")

    def refuse(made: Artifact) -> None:
        raise ArtifactError(f"{made.manifest.version} answers otherwise")

    with pytest.raises(ArtifactError, match="new answers otherwise"):
        save(tmp_path, "new", check=refuse)
    assert artifact.load(tmp_path / "current").folder == old
    assert not (tmp_path / "new").exists()


def test_save_can_be_tried_again_with_the_same_draft(tmp_path: Path) -> None:
    """The failed attempt's manifest is not part of the artifact."""
    draft = draft_of(tmp_path)
    with pytest.raises(ArtifactError):
        versions.save(tmp_path, draft, manifest_of(tracks=99), check=str)
    folder = versions.save(tmp_path, draft, manifest_of(), check=str)

    assert artifact.load(folder).manifest.tracks == 3


def test_save_never_writes_over_an_artifact(tmp_path: Path) -> None:
    """A version names one artifact for ever."""
    folder = save(tmp_path, "v1")
    before = (folder / artifact.MANIFEST).read_bytes()
    with pytest.raises(OSError, match="v1"):
        save(tmp_path, "v1", popular=[2])

    assert (folder / artifact.MANIFEST).read_bytes() == before


def test_leftover_of_a_switch_that_was_killed_does_not_stop_the_next(tmp_path: Path) -> None:
    """A new link was made but not yet moved into place."""
    save(tmp_path, "old")
    (tmp_path / f".current-{os.getpid()}").symlink_to("nowhere")
    new = save(tmp_path, "new")

    assert artifact.load(tmp_path / "current").folder == new


def test_switch_goes_back_to_an_older_artifact(tmp_path: Path) -> None:
    """A bad model can be replaced by naming an older version."""
    old = save(tmp_path, "old")
    save(tmp_path, "new")
    versions.switch(tmp_path, "old")

    assert artifact.load(tmp_path / "current").folder == old


def test_reader_beside_a_writer_always_sees_a_whole_artifact(tmp_path: Path) -> None:
    """A missing link or half an artifact would raise an error. Version and contents belong together."""
    save(tmp_path, "v0", popular=[2])
    save(tmp_path, "v1", popular=[2, 3])

    def read() -> list[Artifact]:
        # often enough to find a moment between two steps of a switch, if there were two
        return [artifact.load(tmp_path / "current") for _ in range(1_500)]

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        for version in cycle(("v0", "v1")):
            versions.switch(tmp_path, version)
            if reader.done():
                break
        seen = reader.result()

    assert all(one.manifest.version == f"v{len(one.popular) - 1}" for one in seen)


def test_versions_sort_by_time_and_differ_within_a_second() -> None:
    """A folder's listing shows the history."""
    moments = [datetime(2026, 11, 22, 8, 15, second, tzinfo=UTC) for second in (1, 1, 2, 10)]
    made = [versions.new_version("tiny", moment) for moment in moments]

    assert [version[:20] for version in made] == sorted(version[:20] for version in made)
    assert len(set(made)) == 4


def dated(root: Path, day: int, name: str = "tiny") -> Path:
    """Save a version of this day of November."""
    manifest = manifest_of(f"{name}-{day}", name=name, created_at=datetime(2026, 11, day, tzinfo=UTC))
    return save(root, manifest=manifest)


def test_oldest_versions_of_the_same_name_are_deleted(tmp_path: Path) -> None:
    """As many are left as requested. Versions with a link, other models, and folders that are no artifacts stay, too."""
    folders = {day: dated(tmp_path, day) for day in (1, 2, 3, 4, 5)}
    other = dated(tmp_path, 1, "other")
    (tmp_path / "notes").mkdir()
    (tmp_path / "challenger").symlink_to(folders[1].name)
    versions.switch(tmp_path, folders[2].name)

    assert versions.delete_old(tmp_path, 2) == [folders[3]]
    assert {path.name for path in tmp_path.iterdir()} == {
        "current",
        "challenger",
        "notes",
        other.name,
        *(folders[day].name for day in (1, 2, 4, 5)),
    }
    assert versions.delete_old(tmp_path, 0) == [folders[4]]
    assert artifact.load(tmp_path / "current").folder == folders[2]


def test_nothing_is_deleted_where_no_version_is_in_use(tmp_path: Path) -> None:
    """Without a current version, it is unknown which name the caller means."""
    for day in (1, 2):
        dated(tmp_path, day)
    (tmp_path / "current").unlink()

    assert versions.delete_old(tmp_path, 1) == []
