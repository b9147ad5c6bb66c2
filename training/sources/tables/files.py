"""Finds the files of an import: single files, folders, globs and zip archives.

A folder or an archive stands for all files of the wanted kinds in it, at any depth. Its other files are ignored and listed.
Files are also ignored if their name, or a folder's name, begins with `.` or `_`, as in Spark and Hive (`_delta_log/`).
"""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from training.data.log import LogError

COMPRESSIONS = (".gz", ".zst", ".xz", ".bz2")
_ARCHIVE = ".zip"
_MAGIC = "*?["


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """A file on disk, or a member of a zip archive on disk."""

    path: Path
    name: str  # path or URL as the person gave it; for a member of an archive also the member's name
    folders: tuple[str, ...]  # from the root down. An archive counts as a folder
    below: tuple[str, ...] = ()  # the part of the path below the folder or archive that was given
    given: bool = False  # the person named this file, and not only a folder with it
    member: str | None = None

    @property
    def kind(self) -> str:
        """Return the ending that decides how to read the file: `.csv` for `plays.csv.gz`."""
        return kind(self.member or self.path.name)

    @property
    def keys(self) -> dict[str, str]:
        """Return columns that folders name as in Hive: `type=skip/1.parquet` has a type."""
        pairs = dict(folder.split("=", 1) for folder in self.folders if "=" in folder)
        return {name: "" if value == "__HIVE_DEFAULT_PARTITION__" else unquote(value) for name, value in pairs.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Ignored:
    """A file that the import does not read."""

    name: str
    why: str


def kind(name: str) -> str:
    """Returns the ending of a file's name in lower case; an ending such as `.gz` does not count."""
    path = PurePosixPath(name.lower())
    return PurePosixPath(path.stem).suffix if path.suffix in COMPRESSIONS else path.suffix


def find(places: Mapping[str, str], kinds: Sequence[str]) -> tuple[list[File], list[Ignored]]:
    """Find all files of some `kinds` (endings such as `.csv`), and the ignored files beside them.

    `places` maps local paths to the paths or URLs that the person gave. LogError if one is missing or has no such file.
    """
    files: list[File] = []
    ignored: list[Ignored] = []
    for path, place in places.items():
        found = list(_under(path, place))
        before = len(files)
        for file in found:
            hidden = any(name.startswith((".", "_")) for name in file.below)
            if file.kind in kinds and not hidden:
                files.append(file)
            elif file.kind in kinds:
                ignored.append(Ignored(name=file.name, why="is hidden"))
            elif not hidden:
                ignored.append(Ignored(name=file.name, why=f"does not end in {', '.join(kinds)}"))
        if len(files) == before:
            raise LogError(f"{place}: wanted a name that ends in {', '.join(kinds)}; found {_some(found)}")
    if not files:
        raise LogError("no path was given; name the files, folders or URLs to read")
    return files, ignored


def _under(path: str, place: str) -> Iterator[File]:
    """Yield the files under a path. An archive yields its members."""
    local = Path(path)
    remote = PurePosixPath(place.partition("://")[2]).parts if "://" in place else None
    if local.is_dir():
        root = remote or local.resolve().parts
        for inside in sorted(file for file in local.rglob("*") if file.is_file()):
            below = inside.relative_to(local).parts
            name = "/".join((place.rstrip("/"), *below))
            yield from _members(File(path=inside, name=name, folders=(*root, *below[:-1]), below=below))
    elif local.is_file():
        yield from _members(File(path=local, name=place, folders=(remote or local.resolve().parts)[:-1], given=True))
    elif any(sign in path for sign in _MAGIC):
        for name in sorted(glob(path, recursive=True)):  # noqa: PTH207 # the pattern may be absolute
            if Path(name).is_file():
                yield from _members(File(path=Path(name), name=name, folders=Path(name).resolve().parts[:-1]))
    else:
        raise LogError(f"{place}: no such file or folder")


def _members(file: File) -> Iterator[File]:
    """Yield the file itself, or its members if it is a zip archive."""
    if file.path.suffix.lower() != _ARCHIVE:
        yield file
        return
    try:
        with zipfile.ZipFile(file.path) as archive:
            names = sorted(one.filename for one in archive.infolist() if not one.is_dir())
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise LogError(f"{file.name} cannot be read as a zip archive: {error}") from error
    for name in names:
        parts = PurePosixPath(name).parts
        folders = (*file.folders, file.path.stem, *parts[:-1])
        yield File(path=file.path, name=f"{file.name}: {name}", folders=folders, below=parts, member=name)


def _some(found: Sequence[File]) -> str:
    names = [file.name for file in found[:5]]
    more = f" and {len(found) - 5:,} more" if len(found) > 5 else ""
    return ", ".join(names) + more if names else "no file"
