"""Artifacts from a faulty exporter, a broken copy or a curious person are refused in one line, without a traceback.

Checksums are computed again after each change, so the content itself must be checked.
"""

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from model import artifact
from model.artifact import ArtifactError
from model.artifact_files import describe, digest
from tests.model.drafts import FILES, save

NUMBERS: list[Any] = [True, -1, 2**63, 10**30, 0.5, float("nan"), float("inf")]
WRONG: list[Any] = [*NUMBERS, None, "x", "", "\x00", "NaN", list[Any](), dict[str, Any](), [None], [[list[Any]()]], {"a": 1}]
"""Wrong values that replace each value in turn. NaN and infinity are written as Python's JSON writes them."""


def accepted_or_refused(folder: Path) -> str:
    """Return the error of `load`, empty if the folder is accepted. Any other exception fails the test."""
    said = ""
    try:
        artifact.load(folder)
    except ArtifactError as error:
        said = str(error)
    assert "\n" not in said
    assert not said or str(folder.parent) in said
    return said


def sign(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest with right checksums, of all files that it lists and of itself."""
    if isinstance(manifest.get("files"), dict):
        for name in manifest["files"]:
            if (folder / name).is_file():
                manifest["files"][name] = describe(folder / name).model_dump()
    (folder / artifact.MANIFEST).write_text(json.dumps(manifest | {"sha256": digest(manifest)}))


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path to each value of a JSON document, including the document; in lists only the first and the last entry."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list) and value:
        for index in {0, len(value) - 1}:
            yield from places(value[index], (*path, index))


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Copy a document with another value at a path."""
    if not path:
        return value
    copy = json.loads(json.dumps(document))
    inner = copy
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return copy


def without(document: Any, path: tuple[Any, ...]) -> Any:
    """Copy a document without the value at a path."""
    copy = json.loads(json.dumps(document))
    inner = copy
    for step in path[:-1]:
        inner = inner[step]
    del inner[path[-1]]
    return copy


JSON_FILES = [artifact.TRACKS, artifact.POPULAR, artifact.GOLDEN, artifact.CATALOGUE]


@pytest.mark.parametrize("name", JSON_FILES)
def test_any_value_of_a_json_file_may_be_of_another_kind(tmp_path: Path, name: str) -> None:
    """Every value in turn becomes every wrong one, or is removed. Most must be refused; none may end in a traceback."""
    folder = save(tmp_path)
    manifest = json.loads((folder / artifact.MANIFEST).read_text())
    document = json.loads((folder / name).read_text())
    spoilt = [replaced(document, path, value) for path in places(document) for value in WRONG]
    spoilt += [without(document, path) for path in places(document) if path]
    refused = []
    for changed in spoilt:
        (folder / name).write_text(json.dumps(changed))
        sign(folder, manifest)
        refused.append(accepted_or_refused(folder) != "")
    (folder / name).write_text(json.dumps(document))
    sign(folder, manifest)

    assert accepted_or_refused(folder) == ""
    assert sum(refused) > 0.7 * len(spoilt)


def test_any_value_of_the_manifest_may_be_of_another_kind(tmp_path: Path) -> None:
    """Likewise for the manifest. Fields for people only (recipe, origin, quality) may hold any JSON without NaN."""
    folder = save(tmp_path)
    document = json.loads((folder / artifact.MANIFEST).read_text())
    refused = []
    for path in places(document):
        for value in WRONG:
            changed = replaced(document, path, value)
            text = json.dumps(changed | {"sha256": digest(changed)}) if isinstance(changed, dict) else json.dumps(changed)
            (folder / artifact.MANIFEST).write_text(text)
            refused.append(accepted_or_refused(folder) != "" or path[0] in ("recipe", "origin", "quality", "sha256"))

    assert sum(refused) > 0.9 * len(refused)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"tracks": 0}, "tracks: Input should be greater than or equal to 1"),
        ({"history": {"length": 10**9}}, "wanted at most 10000"),
        ({"history": {"gap_ms": 10**30}}, "wanted at most 10000 and 31622400000"),
        ({"name": "a\x1b[31m"}, "name: String should match pattern"),
        ({"version": "../x"}, "version: String should match pattern"),
        ({"name": "n" * 10**6}, "name: String should have at most 200 characters"),
        ({"created_at": "2026-11-22T00:00:00"}, "created_at: Input should have timezone info"),
        ({"quality": {"hr@20": 1e400}}, "found Infinity, wanted a finite number"),
        ({"files": {"../../../etc/passwd": {"bytes": 1, "sha256": "0" * 64}}}, "String should match pattern"),
        ({"weights": {"items": {"dtype": "object", "shape": [5, 2], "offset": 0}}}, "weights.items.dtype: Input should be"),
        ({"weights": {"items": {"dtype": "float32", "shape": [2**62, 4], "offset": 0}}}, "the file has 40"),
        ({"weights": {"items": {"dtype": "float32", "shape": [-5, 2], "offset": 0}}}, "greater than or equal to 0"),
        ({"weights": {"items": {"dtype": "float32", "shape": [5, 2], "offset": 10**18}}}, "the file has 40"),
        ({"weights": {"items": {"dtype": "int32", "shape": [5, 2], "offset": 0}}}, "wants float32 with 5 rows"),
        ({"weights": {"items": {"dtype": "float32", "shape": [5], "offset": 0}}}, "wants float32 with 5 rows"),
        ({"weights": {}}, "found as item matrix none"),
    ],
)
def test_manifest_of_a_faulty_exporter_is_refused_with_the_field(tmp_path: Path, change: dict[str, Any], wanted: str) -> None:
    """The error says what was found, or in which field, and what was expected."""
    folder = save(tmp_path)
    manifest = json.loads((folder / artifact.MANIFEST).read_text())
    for key, value in change.items():
        merge = isinstance(value, dict) and key == "history"
        manifest[key] = manifest[key] | value if merge else value
    sign(folder, manifest)

    assert wanted in accepted_or_refused(folder)


@pytest.mark.parametrize(
    ("golden", "wanted"),
    [
        ([], "found no case with an answer"),
        ([{"rows": [2], "outcomes": [1], "excluded": [], "best": [], "scores": []}], "found no case with an answer"),
        ([{"rows": [2], "outcomes": [1, 1], "excluded": [], "best": [3], "scores": [1.0]}], "lists of different lengths"),
        ([{"rows": [2], "outcomes": [1], "gaps": [1, 1], "excluded": [], "best": [3], "scores": [1.0]}], "different lengths"),
        ([{"rows": [2], "outcomes": [1], "excluded": [], "best": [3, 4], "scores": [1.0]}], "lists of different lengths"),
        ([{"rows": [2] * 8, "outcomes": [1] * 8, "excluded": [], "best": [3], "scores": [1.0]}], "or over 7 entries"),
        ([{"rows": [5], "outcomes": [1], "excluded": [], "best": [3], "scores": [1.0]}], "a row outside 2 to 4"),
        ([{"rows": [1], "outcomes": [1], "excluded": [], "best": [3], "scores": [1.0]}], "a row outside 2 to 4"),
        ([{"rows": [2], "outcomes": [9], "excluded": [], "best": [3], "scores": [1.0]}], "an unknown outcome or gap"),
        ([{"rows": [2], "outcomes": [1], "gaps": [99], "excluded": [], "best": [3], "scores": [1.0]}], "an unknown outcome or"),
        ([{"rows": [2], "outcomes": [1], "excluded": [], "best": [3, 3], "scores": [1.0, 1.0]}], "a track twice"),
        ([{"rows": [2], "outcomes": [1], "excluded": [], "best": [3], "scores": [1.0], "x": 1}], "0.x: Unexpected keyword"),
    ],
)
def test_golden_cases_that_check_nothing_or_cannot_be_run_are_refused(tmp_path: Path, golden: Any, wanted: str) -> None:
    """They are required, and each must be a case that a service could meet."""
    folder = save(tmp_path)
    manifest = json.loads((folder / artifact.MANIFEST).read_text())
    (folder / artifact.GOLDEN).write_text(json.dumps(golden))
    sign(folder, manifest)

    assert wanted in accepted_or_refused(folder)


@pytest.mark.parametrize(
    ("tracks", "wanted"),
    [
        (["a", "", "c"], "1: String should have at least 1 character"),
        (["a", "b\x00", "c"], "1: String should match pattern"),
        (["a", "b\x9b", "c"], "1: String should match pattern"),
        (["a", "b" * 257, "c"], "1: String should have at most 256 characters"),
        ([1, 2, 3], "0: Input should be a valid string"),
        (["a", "\ud800", "c"], "Invalid JSON"),
    ],
)
def test_track_ids_that_no_event_could_name_are_refused(tmp_path: Path, tracks: Any, wanted: str) -> None:
    """The rule is the same as for events: text of 1 to 256 bytes without control characters."""
    folder = save(tmp_path)
    manifest = json.loads((folder / artifact.MANIFEST).read_text())
    (folder / artifact.TRACKS).write_text(json.dumps(tracks))
    sign(folder, manifest)

    assert wanted in accepted_or_refused(folder)


def directory(path: Path) -> None:
    """Make a folder of that name."""
    path.mkdir()


def pipe(path: Path) -> None:
    """Make a named pipe, from which a reader would wait for ever."""
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    """Make a socket, which cannot be opened. Its own path must be short."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))


def endless(path: Path) -> None:
    """Make a link to a device that never ends."""
    path.symlink_to("/dev/zero")


def loop(path: Path) -> None:
    """Make a link to itself."""
    path.symlink_to(path)


def dangling(path: Path) -> None:
    """Make a link to nothing."""
    path.symlink_to("nowhere")


def nested(path: Path) -> None:
    """Write JSON that is a hundred thousand lists deep."""
    path.write_text("[" * 100_000)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("make", [directory, pipe, unix_socket, endless, loop, dangling, nested])
def test_another_kind_of_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, make: Callable[[Path], None]
) -> None:
    """It is refused at once: nothing waits for a pipe or reads an endless device."""
    folder = save(tmp_path)
    monkeypatch.chdir(folder)
    (folder / name).unlink()
    make(folder / name)

    assert name in accepted_or_refused(folder)


def test_link_that_leads_to_itself_is_refused(tmp_path: Path) -> None:
    """The link is in place of the artifact's folder."""
    loop(tmp_path / "current")

    assert accepted_or_refused(tmp_path / "current")


def test_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    """It could be an artifact that was packed into a file."""
    (tmp_path / "current").write_text("x")

    assert "found no manifest.json there" in accepted_or_refused(tmp_path / "current")


def test_manifest_of_many_megabytes_is_not_read(tmp_path: Path) -> None:
    """The file only has the manifest's name. It is sparse, so the test writes nothing."""
    folder = save(tmp_path)
    os.truncate(folder / artifact.MANIFEST, 1 << 40)

    assert "wanted at most 67108864" in accepted_or_refused(folder)


def test_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the system's reason. Tests may run as root, who may read everything, so opening fails artificially here."""
    folder = save(tmp_path)
    name = str(folder / artifact.TRACKS)
    opened = Path.open

    def refusing(path: Path, *args: Any, **kwargs: Any) -> Any:
        if str(path) == name:
            raise PermissionError(13, "Permission denied", name)
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refusing)

    assert accepted_or_refused(folder) == f"{name} cannot be read: Permission denied"
