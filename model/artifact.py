"""A trained model's folder: what the trainer hands to the service.

    artifacts/
      current -> sasrec-20261122T081500-3fa9c1       switched last, so it always names a whole artifact
      sasrec-20261122T081500-3fa9c1/
        manifest.json     schema, name, version, recipe, history rule, tensors, checksums, measured quality, origin
        model.onnx        (tracks, outcomes, excluded, count) -> (rows, scores), best first
        rank.onnx         (tracks, outcomes, candidates) -> scores; both may read more, which the manifest lists
        weights.bin       the weights of both graphs, as ONNX external data: memory-mapped, shared between processes
        tracks.json       track ids in the order of their rows
        popular.json      rows by recent popularity: the designed fallback
        golden.json       inputs and the answers that the trainer got for them, replayed before serving
        catalogue.json    optional: titles, artists, durations, in the order of the rows

JSON and ONNX only: nothing here can run code when it is read. A damaged artifact, or one of another schema, is refused with
what was found and what was wanted, never patched. Verifying reads every byte once, at each start.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from model.catalogue import Catalogue
from model.events import HistoryRule
from model.vocabulary import FIRST, Vocabulary

SCHEMA = 4
MANIFEST, MODEL, RANK, WEIGHTS = "manifest.json", "model.onnx", "rank.onnx", "weights.bin"
TRACKS, POPULAR, GOLDEN, CATALOGUE = "tracks.json", "popular.json", "golden.json", "catalogue.json"
INPUTS = ("tracks", "outcomes", "excluded", "count")
RANK_INPUTS = ("tracks", "outcomes", "candidates")
FURTHER_INPUTS = ("gaps", "wanted_weight")
"""What graphs may read besides: time gaps (`model.encoding.gap_codes`), and what the head that predicts 'wanted' weighs."""
OUTPUTS = ("rows", "scores")
FALLBACK_LENGTH = 2_000
"""How many popular tracks an artifact carries: more than a request can exclude by its session."""
_AT_A_TIME = 1 << 20


class ArtifactError(Exception):
    """An artifact that cannot be used; the text says what was found and what was wanted."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FileRecord(_Record):
    """A file's size in bytes and SHA-256 in hexadecimal."""

    bytes: int
    sha256: str


class WeightRecord(_Record):
    """Where a tensor lies in `weights.bin`: numpy dtype name, shape, offset in bytes."""

    dtype: str
    shape: tuple[int, ...]
    offset: int


class RetrievalRecord(_Record):
    """How `model.onnx` looks for the best rows: in how many bits, and in how many of the index' blocks, None without an index.

    Where it is not exact, or something else was tried: how near to the exact scan the last that was tried came, as the
    share of 20 tracks that are the same (recall@20), and as the part of NDCG@20 that was lost. `index_overlap` is the best
    that an index came to which was tried and not taken.
    """

    bits: Literal[8, 32] = 32
    probes: int | None = None
    overlap: float | None = None
    ndcg_loss: float | None = None
    index_overlap: float | None = None


class Manifest(_Record):
    """The artifact's own description: everything that the service follows and a person may ask."""

    schema_version: int = SCHEMA
    name: str
    version: str
    created_at: datetime
    tracks: int  # in the vocabulary, padding and unknown not counted
    history: HistoryRule
    inputs: tuple[str, ...] = INPUTS
    rank_inputs: tuple[str, ...] = RANK_INPUTS
    outputs: tuple[str, ...] = OUTPUTS
    recipe: dict[str, Any]
    origin: dict[str, Any]  # where the training data came from, how much of it, from when to when
    quality: dict[str, Any]  # as measured by `python -m training evaluate`
    retrieval: RetrievalRecord = RetrievalRecord()
    wanted_weight: float = 0.0  # chosen on validation; fed to graphs that read it unless the service is told another
    weights: dict[str, WeightRecord]
    files: dict[str, FileRecord]
    sha256: str = ""  # of everything above, as JSON with sorted keys: a manifest that was touched is no longer one


@dataclass(frozen=True, kw_only=True, slots=True)
class Golden:
    """One answer that the trainer got: rows, outcomes and gaps of a history, excluded rows, and the best rows with scores."""

    rows: Sequence[int]
    outcomes: Sequence[int]
    excluded: Sequence[int]
    best: Sequence[int]
    scores: Sequence[float]
    gaps: Sequence[int] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """A verified artifact in memory, the graphs and weights left on disk under `folder`."""

    folder: Path
    manifest: Manifest
    vocabulary: Vocabulary
    popular: Sequence[int]
    golden: Sequence[Golden]
    catalogue: Catalogue | None


def load(folder: Path) -> Artifact:
    """Read and verify the artifact in `folder`, which may be a link such as `artifacts/current`.

    ArtifactError where it is missing, damaged, of another schema, has a weight that is no finite number, or a vocabulary
    of another size than its manifest and weights say.
    """
    folder = _resolve(folder)
    manifest = _read_manifest(folder)
    for name in (MODEL, RANK, WEIGHTS, TRACKS, POPULAR, GOLDEN):
        if name not in manifest.files:
            raise ArtifactError(f"{folder}: the manifest lists no {name}, which every artifact needs")
    for name, record in manifest.files.items():
        _verify_file(folder / name, record)
    _verify_weights(folder / WEIGHTS, manifest.weights)
    vocabulary = _read_vocabulary(folder, manifest)
    catalogue = Catalogue(**_read_json(folder / CATALOGUE)) if CATALOGUE in manifest.files else None
    if catalogue and {len(catalogue.titles), len(catalogue.artists), len(catalogue.durations_ms)} != {manifest.tracks}:
        raise ArtifactError(
            f"{folder}: {CATALOGUE} describes {len(catalogue.titles)} tracks, the vocabulary has {manifest.tracks}"
        )
    popular = _read_json(folder / POPULAR)
    if any(not FIRST <= row < len(vocabulary) for row in popular):
        raise ArtifactError(f"{folder}: {POPULAR} names rows outside the vocabulary of {len(vocabulary)} rows")
    return Artifact(
        folder=folder,
        manifest=manifest,
        vocabulary=vocabulary,
        popular=popular,
        golden=[Golden(**case) for case in _read_json(folder / GOLDEN)],
        catalogue=catalogue,
    )


def save(root: Path, draft: Path, manifest: Manifest) -> Path:
    """Make the finished folder `draft` (on the same disk as `root`) the artifact `root/VERSION` and point `root/current` at it.

    The manifest's `files` and `sha256` are filled in here. The artifact is verified and on the disk before `current` moves, and
    `current` moves in one step, so that a reader, or a power cut, sees the old artifact or the new one. Returns the
    artifact's folder.
    """
    files = {path.name: _describe(path) for path in sorted(draft.iterdir()) if path.name != MANIFEST}
    plain = manifest.model_copy(update={"files": files}).model_dump(mode="json")
    text = json.dumps(plain | {"sha256": _digest(plain)}, indent=2, ensure_ascii=False, allow_nan=False)
    _write_durably(draft / MANIFEST, text + "\n")
    load(draft)
    for path in (*draft.iterdir(), draft):
        _sync(path)
    final = root / manifest.version
    draft.rename(final)
    switch(root, manifest.version)
    return final


def switch(root: Path, version: str) -> None:
    """Point `root/current` at an artifact of `root`, in one step."""
    link = root / f".current-{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(version, target_is_directory=True)
    os.replace(link, root / "current")
    _sync(root)


def new_version(name: str, now: datetime | None = None) -> str:
    """A version for a new artifact: sorts by time, unlike any other made in the same second."""
    now = now or datetime.now(UTC)
    return f"{name}-{now:%Y%m%dT%H%M%S}-{os.urandom(3).hex()}"


def write_json(path: Path, value: object) -> None:
    """Write one of the artifact's JSON files, compact; ValueError on NaN or infinity."""
    _write_durably(path, json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False))


def _resolve(folder: Path) -> Path:
    resolved = folder.resolve()
    if not (resolved / MANIFEST).is_file():
        raise ArtifactError(f"no artifact at {folder}: found no {MANIFEST} there; `python -m training run` makes one")
    return resolved


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ArtifactError(f"{path} is no JSON: {error}") from error


def _read_manifest(folder: Path) -> Manifest:
    found = _read_json(folder / MANIFEST)
    schema = found.get("schema_version") if isinstance(found, Mapping) else None
    if schema != SCHEMA:
        raise ArtifactError(f"{folder}: found manifest schema {schema}; this version reads {SCHEMA}")
    digest = _digest(found)
    if found.get("sha256") != digest:
        wanted = str(found.get("sha256"))
        raise ArtifactError(f"{folder / MANIFEST} is damaged: found SHA-256 {digest[:12]}…, it says {wanted[:12]}…")
    try:
        return Manifest.model_validate(found)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise ArtifactError(f"{folder / MANIFEST} does not describe an artifact: {faults}") from error


def _digest(manifest: Mapping[str, Any]) -> str:
    """The SHA-256 of a manifest's plain JSON, without the field that holds it."""
    plain = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _read_vocabulary(folder: Path, manifest: Manifest) -> Vocabulary:
    tracks = _read_json(folder / TRACKS)
    if len(tracks) != manifest.tracks:
        raise ArtifactError(f"{folder}: found {len(tracks)} tracks in {TRACKS}, the manifest wants {manifest.tracks}")
    rows = manifest.tracks + FIRST
    items = manifest.weights.get("items")
    if items is None or items.shape[:1] != (rows,):
        raise ArtifactError(
            f"{folder}: found an item matrix of shape {items and items.shape}, the vocabulary wants {rows} rows"
        )
    try:
        return Vocabulary(tracks)
    except ValueError as error:
        raise ArtifactError(f"{folder / TRACKS}: {error}") from error


def _describe(path: Path) -> FileRecord:
    with path.open("rb") as file:
        return FileRecord(bytes=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())


def _verify_file(path: Path, wanted: FileRecord) -> None:
    if not path.is_file():
        raise ArtifactError(f"{path} is missing; the manifest wants {wanted.bytes} bytes")
    found = _describe(path)
    if found.bytes != wanted.bytes:
        raise ArtifactError(f"{path} is damaged: found {found.bytes} bytes, the manifest wants {wanted.bytes}")
    if found.sha256 != wanted.sha256:
        raise ArtifactError(f"{path} is damaged: found SHA-256 {found.sha256[:12]}…, the manifest wants {wanted.sha256[:12]}…")


def _verify_weights(path: Path, weights: Mapping[str, WeightRecord]) -> None:
    for name, record in weights.items():
        dtype = np.dtype(record.dtype)
        size = int(np.prod(record.shape, dtype=np.int64)) * dtype.itemsize
        if record.offset < 0 or record.offset + size > path.stat().st_size:
            raise ArtifactError(f"{path}: weight {name} would end at byte {record.offset + size}, past the file's end")
        if dtype.kind == "f" and size:
            values = np.memmap(path, dtype, "r", record.offset, record.shape).reshape(-1)
            for start in range(0, len(values), _AT_A_TIME):  # a flag for each of ten million tracks' numbers is half a gigabyte
                if not np.isfinite(values[start : start + _AT_A_TIME]).all():
                    raise ArtifactError(f"{path}: weight {name} has a value that is no finite number")


def _write_durably(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
