"""Reads and checks the files of an artifact. Every fault is an ArtifactError that names the file.

A file may be missing, truncated, of another kind, or hold unexpected JSON. None of these faults ends in a traceback, and no
file can make the reader run code.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

LARGEST_MANIFEST = 1 << 26
"""In bytes. A real manifest has a few kilobytes, so a larger file is none."""
_AT_A_TIME = 1 << 20
_SHOWN = 3  # number of faults that a message lists
Value = TypeVar("Value")


class ArtifactError(Exception):
    """The artifact cannot be used. The text says what was found and what was expected."""


class Record(BaseModel):
    """Base of all parts of the manifest. A field that this version does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FileRecord(Record):
    """A file's size in bytes and its SHA-256 in hexadecimal."""

    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class WeightRecord(Record):
    """Where a tensor lies in `weights.bin`: numpy dtype name, shape, offset in bytes."""

    dtype: Literal["float16", "float32", "float64", "int8", "int32"]
    shape: tuple[Annotated[int, Field(ge=0)], ...] = Field(max_length=8)
    offset: int = Field(ge=0)

    @property
    def bytes(self) -> int:
        """Return the tensor's size in the file, in bytes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class FileState(NamedTuple):
    """Attributes that change when a file is written to or replaced: device, inode, size, time of the last change in
    nanoseconds.
    """

    device: int
    inode: int
    bytes: int
    changed_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> "FileState":
        """Make a `FileState` from the result of `stat`."""
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


@contextmanager
def system_errors_named(path: Path) -> Iterator[None]:
    """Turn errors of the operating system in the `with` block, such as a missing permission, into an ArtifactError that names
    the file.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:  # `Path.resolve` raises RuntimeError for a loop of links
        if isinstance(error, OSError):
            raise ArtifactError(f"{error.filename or path} cannot be read: {error.strerror or error}") from error
        raise ArtifactError(f"{path} cannot be read: {error}") from error


def read_manifest_json(path: Path) -> dict[str, Any]:
    """Return the manifest's plain JSON after checking the manifest's own SHA-256."""
    size = path.stat().st_size
    if size > LARGEST_MANIFEST:
        raise ArtifactError(f"{path} is no manifest: found {size} bytes, wanted at most {LARGEST_MANIFEST}")
    try:
        found = json.loads(path.read_bytes(), parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ArtifactError(f"{path} is no manifest: found a JSON {type(found).__name__}, wanted an object")
    return found


def _finite(text: str) -> float:
    """Parse a JSON number. Raises ValueError for NaN, infinity and numbers that are too large."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"found {text}, wanted a finite number")
    return number


def digest(manifest: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a manifest's plain JSON without its field `sha256`."""
    plain = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def read_json(path: Path, kind: type[Value]) -> Value:
    """Return a JSON file's content, which must be of the type `kind`."""
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes(), strict=True)
    except ValidationError as error:
        raise ArtifactError(f"{path} has other content than expected: {faults_of(error)}") from error


def faults_of(error: ValidationError) -> str:
    """Return the first errors of a validation error, in one line."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [f"{'.'.join(map(str, fault['loc'])) or 'file'}: {fault['msg']}" for fault in faults[:_SHOWN]]
    more = [f"{len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
    return " ".join("; ".join([*shown, *more]).split())


def describe(path: Path) -> FileRecord:
    """Return a file's size and checksum."""
    with path.open("rb") as file:
        return FileRecord(bytes=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())


def verify_file(path: Path, wanted: FileRecord) -> None:
    """Check that a file is there, is a regular file, and has the size and checksum that the manifest states."""
    if not path.is_file():
        found = "found no regular file of this name" if path.exists() else "the file is missing"
        raise ArtifactError(f"{path}: {found}; the manifest wants {wanted.bytes} bytes")
    found_bytes = path.stat().st_size
    if found_bytes != wanted.bytes:
        raise ArtifactError(f"{path} is damaged: found {found_bytes} bytes, the manifest wants {wanted.bytes}")
    found = describe(path).sha256
    if found != wanted.sha256:
        raise ArtifactError(f"{path} is damaged: found SHA-256 {found[:12]}…, the manifest wants {wanted.sha256[:12]}…")


def verify_weights(path: Path, weights: Mapping[str, WeightRecord]) -> None:
    """Check that each tensor lies within the file and holds finite numbers only."""
    size = path.stat().st_size
    for name, record in weights.items():
        end = record.offset + record.bytes
        if end > size:
            raise ArtifactError(f"{path}: weight {name} would end at byte {end}, the file has {size}")
        if record.dtype.startswith("float") and record.bytes:
            values = np.memmap(path, record.dtype, "r", record.offset, (math.prod(record.shape),))
            # all at once, the flags of ten million tracks would take half a gigabyte
            for start in range(0, len(values), _AT_A_TIME):
                if not np.isfinite(values[start : start + _AT_A_TIME]).all():
                    raise ArtifactError(f"{path}: weight {name} has a value that is no finite number")
