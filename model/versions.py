"""The versions of an artifact under one root: write a new one, list them, switch `current`, delete old ones.

    artifacts/
      current -> nexttrack-20261122T081500-3fa9c1    the version in use
      challenger -> …                                optional: the version that a share of listeners gets
      nexttrack-20261122T081500-3fa9c1/              see `model.artifact`
      nexttrack-20261121T081412-90b1aa/

A link is replaced in one step, and only by one to a verified artifact that is on the disk. So a reader finds the old artifact
or the new one, even after a power cut.
"""

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from model import json_slices
from model.artifact import MANIFEST, Artifact, ArtifactError, Manifest, load, read_manifest
from model.artifact_files import describe, digest

CURRENT, CHALLENGER = "current", "challenger"


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """A folder under the root that should be an artifact. If it cannot be read, `manifest` is None and `fault` says why."""

    folder: Path
    manifest: Manifest | None
    fault: str = ""
    links: tuple[str, ...] = ()  # the links that name it, such as `current`

    @property
    def bytes(self) -> int:
        """Return the size of the artifact's files in bytes, as the manifest states it."""
        return sum(record.bytes for record in self.manifest.files.values()) if self.manifest else 0


def save(root: Path, draft: Path, manifest: Manifest, *, check: Callable[[Artifact], object]) -> Path:
    """Make the finished folder `draft` (on the same disk as `root`) the artifact `root/VERSION` and point `current` at it.

    The manifest's `files` and `sha256` are filled in here. The artifact is loaded, and `check` must accept it, before it is
    published. If `check` raises, `current` stays as it was. Returns the artifact's folder.
    """
    files = {path.name: describe(path) for path in sorted(draft.iterdir()) if path.name != MANIFEST}
    plain = manifest.model_copy(update={"files": files}).model_dump(mode="json")
    text = json.dumps(plain | {"sha256": digest(plain)}, indent=2, ensure_ascii=False, allow_nan=False)
    _write_durably(draft / MANIFEST, text + "\n")
    check(load(draft))
    for path in (*draft.iterdir(), draft):
        _sync(path)
    final = root / manifest.version
    draft.rename(final)
    switch(root, manifest.version)
    return final


def switch(root: Path, version: str) -> None:
    """Point `root/current` at a folder of `root`, in one step."""
    link = root / f".{CURRENT}-{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(version, target_is_directory=True)
    os.replace(link, root / CURRENT)
    _sync(root)


def in_use(root: Path) -> str | None:
    """Return the name of the version that `root/current` names; None if there is none."""
    link = root / CURRENT
    return link.readlink().name if link.is_symlink() and link.is_dir() else None


def versions(root: Path) -> list[Version]:
    """Return the artifacts under `root`, newest first; unreadable ones come last. Only manifests are read."""
    folders = [path for path in root.iterdir() if not path.name.startswith(".") and not path.is_symlink() and path.is_dir()]
    found = [_version(folder, _links(root)) for folder in folders]
    return sorted(found, key=lambda one: (one.manifest is None, -_time(one), one.folder.name))


def version_before(root: Path) -> Version:
    """Return the newest readable version that is older than the current one. ArtifactError if there is none."""
    known = [one for one in versions(root) if one.manifest]
    current = next((one for one in known if CURRENT in one.links), None)
    if current is None:
        raise ArtifactError(f"{root / CURRENT} names no version under {root}, so there is none before it; name one")
    older = [one for one in known if _time(one) < _time(current)]
    if not older:
        raise ArtifactError(f"{current.folder.name} is the oldest version under {root}; found none before it")
    return older[0]


def delete_old(root: Path, keep: int) -> list[Path]:
    """Delete the oldest versions of the current artifact's name until `keep` are left. Returns the deleted folders.

    A version that a link under `root` names is always kept, and so is a folder that is no readable artifact.
    """
    known = [one for one in versions(root) if one.manifest]
    current = next((one.manifest for one in known if CURRENT in one.links), None)
    same = [one for one in known if current and one.manifest and one.manifest.name == current.name]
    old = [one.folder for one in same[max(1, keep) :] if not one.links]
    for folder in old:
        shutil.rmtree(folder)
    return old


_LONGEST_NAME = 60  # a request id has room for a version of 100 characters


def new_version(name: str, now: datetime | None = None) -> str:
    """Return a version name for a new artifact. Names sort by time and differ even within one second.

    Ids of replies carry the version, and outcomes are counted by it, so it has only the characters that such an id may have.
    The recipe `nexttrack:fit.epochs=3` is called `nexttrack epochs=3`.
    """
    now = now or datetime.now(UTC)
    name = re.sub(r"[^\w.+-]+", "-", name, flags=re.ASCII)[:_LONGEST_NAME].strip("-") or "model"
    return f"{name}-{now:%Y%m%dT%H%M%S}-{os.urandom(3).hex()}"


def write_json(path: Path, value: object) -> None:
    """Write one of the artifact's JSON files, compact, large lists in slices. ValueError on NaN or infinity."""
    _write_durably(path, json_slices.dumps(value))


def _version(folder: Path, links: dict[str, str]) -> Version:
    names = tuple(sorted(name for name, target in links.items() if target == folder.name))
    try:
        return Version(folder=folder, manifest=read_manifest(folder), links=names)
    except ArtifactError as error:
        return Version(folder=folder, manifest=None, fault=str(error), links=names)


def _links(root: Path) -> dict[str, str]:
    """Return all links under `root` to folders of `root`: the link's name and the folder's name."""
    links = [path for path in root.iterdir() if path.is_symlink() and not path.name.startswith(".")]
    return {path.name: target.name for path in links if (target := Path(os.path.realpath(path))).parent == root.resolve()}


def _time(one: Version) -> float:
    return one.manifest.created_at.timestamp() if one.manifest else 0.0


def _write_durably(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
