"""A trained model's folder: the trainer writes it, the service reads it.

    artifacts/
      current -> sasrec-20261122T081500-3fa9c1       switched last, so it always names a whole artifact
      sasrec-20261122T081500-3fa9c1/
        manifest.json     schema, name, version, recipe, history rule, tensors, checksums, measured quality, origin
        model.onnx        (tracks, outcomes, excluded, count) -> (rows, scores), best first
        rank.onnx         (tracks, outcomes, candidates) -> scores; both may read more, which the manifest lists
        weights.bin       the weights of both graphs, as ONNX external data: memory-mapped, shared between processes
        tracks.json       track ids in the order of their rows
        popular.json      rows by recent popularity: the fallback
        golden.json       inputs and the trainer's answers to them, replayed before serving
        dropped.json      optional: rows that are never proposed, since they were taken down before the export
        catalogue.json    optional: titles, artists, albums, groups, durations, in the order of the rows

An artifact holds only JSON and ONNX, so reading one runs no code. An artifact that is damaged or has another schema is refused,
never patched. The error says what was found and what was expected. `load` reads every byte once, at each start. `model.graphs`
opens the graphs and replays the golden cases. `model.versions` writes artifacts and switches `current`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AwareDatetime, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from model import json_slices
from model.artifact_files import (
    ArtifactError,
    FileRecord,
    FileState,
    Record,
    WeightRecord,
    digest,
    faults_of,
    read_json,
    read_manifest_json,
    system_errors_named,
    verify_file,
    verify_weights,
)
from model.catalogue import Catalogue
from model.catalogue_index import CatalogueIndex
from model.encoding import GAP_CODES, RowHistory
from model.events import HistoryRule, Outcome
from model.long_history import LongHistories
from model.pauses import Pause, in_steps, no_pause
from model.vocabulary import FIRST, Vocabulary

__all__ = ["ArtifactError", "FileRecord", "WeightRecord"]  # defined in another module, but part of an artifact

SCHEMA = 4
MANIFEST, MODEL, RANK, WEIGHTS = "manifest.json", "model.onnx", "rank.onnx", "weights.bin"
TRACKS, POPULAR, GOLDEN, CATALOGUE = "tracks.json", "popular.json", "golden.json", "catalogue.json"
DROPPED = "dropped.json"
INPUTS = ("tracks", "outcomes", "excluded", "count")
RANK_INPUTS = ("tracks", "outcomes", "candidates")
FURTHER_INPUTS = ("gaps", "wanted_weight", *LongHistories._fields)
"""Optional inputs of the graphs: time gaps (`model.encoding.gap_codes`), the weight of the head that predicts 'wanted', and the
listener's long history (`model.long_history`).
"""
OUTPUTS = ("rows", "scores")
FALLBACK_LENGTH = 2_000
"""Number of popular tracks in an artifact: more than the session of a request can exclude."""
LONGEST_HISTORY = 10_000
LONGEST_GAP_MS = 366 * 24 * 60 * 60 * 1000
_NAME = r"^\w[\w .,=-]*$"
_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
FileName = Annotated[str, Field(pattern=r"^\w[\w.-]*$", max_length=100)]
TrackId = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^\P{Cc}*$")]
Row = Annotated[int, Field(ge=0)]


class RetrievalRecord(Record):
    """How `model.onnx` searches for the best rows: `bits` of a number, and `probes`, the searched blocks of an index (None: no
    index).

    If a faster search than the exact scan was tried, `overlap` and `ndcg_loss` compare the last one tried with the exact scan.
    `overlap` is the share of 20 tracks that are the same (recall@20), `ndcg_loss` the share of NDCG@20 that was lost.
    `index_overlap` is the best recall of an index that was tried and rejected.
    """

    bits: Literal[8, 32] = 32
    probes: int | None = None
    overlap: float | None = None
    ndcg_loss: float | None = None
    index_overlap: float | None = None


class Manifest(Record):
    """The artifact's description of itself: all settings that the service follows, and information for people."""

    schema_version: int = SCHEMA
    name: str = Field(pattern=_NAME, max_length=200)
    version: str = Field(pattern=_NAME, max_length=250)
    created_at: AwareDatetime
    tracks: int = Field(ge=1, lt=2**31)  # in the vocabulary, without padding and unknown
    history: HistoryRule
    inputs: tuple[str, ...] = INPUTS
    rank_inputs: tuple[str, ...] = RANK_INPUTS
    outputs: tuple[str, ...] = OUTPUTS
    recipe: dict[str, Any]
    origin: dict[str, Any]  # source, size and period of the training data
    quality: dict[str, Any]  # as measured by `python -m training evaluate`
    retrieval: RetrievalRecord = RetrievalRecord()
    long_history: int = Field(default=0, ge=0)  # number of plays of the long history that the graphs read; 0: none
    # chosen on the validation part; a setting of the service may replace it
    wanted_weight: float = Field(default=0.0, ge=-1e6, le=1e6)
    weights: dict[str, WeightRecord]
    files: dict[FileName, FileRecord]
    sha256: str = ""  # of everything above, as JSON with sorted keys, so that an edited manifest is refused


@checked_dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class Golden:
    """A golden case, an input with the trainer's answer: rows, outcomes and gaps of a history, excluded rows, best rows and
    their scores.
    """

    rows: Sequence[Row]
    outcomes: Sequence[Row]
    excluded: Sequence[Row]
    best: Sequence[Row]
    scores: Sequence[float]
    gaps: Sequence[Row] = ()
    own: Sequence[Sequence[Row]] = ()  # fields of `model.long_history.LongHistories`, if graphs read them

    def history(self) -> RowHistory:
        """Return the history of the golden case."""
        own = LongHistories(*(np.array([field], np.int64) for field in self.own)) if self.own else None
        return RowHistory(self.rows, self.outcomes, self.gaps, own)


_Duration = Annotated[int, Field(ge=0)] | None


@checked_dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class _CatalogueFile:
    titles: Sequence[str | None]
    artists: Sequence[str | None]
    durations_ms: Sequence[_Duration]
    albums: Sequence[str | None] = ()
    groups: Sequence[str | None] = ()


_TEXTS = ("titles", "artists", "albums", "groups")
_COLUMNS = {"durations_ms": _Duration} | dict.fromkeys(_TEXTS, str | None)
_NEEDED = {"titles", "artists", "durations_ms"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """A verified artifact: small files are in memory, graphs and weights stay on disk under `folder`."""

    folder: Path
    manifest: Manifest
    vocabulary: Vocabulary
    popular: Sequence[int]
    dropped: Sequence[int]
    """Rows that must never be proposed. The graphs score them all the same."""
    golden: Sequence[Golden]
    catalogue: Catalogue | None
    catalogue_index: CatalogueIndex
    weights: FileState
    """The state of `weights.bin` before it was verified, to detect later changes."""


def load(folder: Path, pause: Pause = no_pause) -> Artifact:
    """Read and verify the artifact in `folder`, which may be a link such as `artifacts/current`.

    Raises only ArtifactError: if the artifact is missing, damaged or has another schema, if a weight is not a finite number, or
    if its parts do not fit together. It does not open the graphs, see `model.graphs`. `pause` is called between short steps, so
    that a service can load one in a thread of its own.
    """
    with system_errors_named(folder):
        resolved = folder.resolve()
        manifest = read_manifest(resolved)
        for name in (MODEL, RANK, WEIGHTS, TRACKS, POPULAR, GOLDEN):
            if name not in manifest.files:
                raise ArtifactError(f"{resolved}: the manifest lists no {name}, which every artifact needs")
        weights = FileState.of((resolved / WEIGHTS).stat())
        for name, record in manifest.files.items():
            verify_file(resolved / name, record)
        verify_weights(resolved / WEIGHTS, manifest.weights)
        vocabulary = _read_vocabulary(resolved, manifest, pause)
        catalogue = _read_catalogue(resolved, manifest, pause)
        return Artifact(
            folder=resolved,
            manifest=manifest,
            vocabulary=vocabulary,
            popular=_read_popular(resolved, len(vocabulary)),
            dropped=_read_dropped(resolved, manifest, len(vocabulary)),
            golden=_read_golden(resolved, len(vocabulary), manifest.history.length),
            catalogue=catalogue,
            catalogue_index=CatalogueIndex.of(catalogue, pause),
            weights=weights,
        )


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of the artifact in `folder`. ArtifactError if it is missing, damaged or has another schema."""
    path = folder / MANIFEST
    with system_errors_named(folder):
        if not path.is_file():
            raise ArtifactError(f"no artifact at {folder}: found no {MANIFEST} there; `python -m training run` makes one")
        found = read_manifest_json(path)
    schema = found.get("schema_version")
    if schema != SCHEMA or isinstance(schema, bool):
        raise ArtifactError(f"{folder}: found manifest schema {schema!r:.50}; this version reads {SCHEMA}")
    wanted = digest(found)
    if found.get("sha256") != wanted:
        raise ArtifactError(f"{path} is damaged: found SHA-256 {wanted[:12]}…, it says {found.get('sha256')!r:.13}…")
    try:
        manifest = Manifest.model_validate(found)
    except ValidationError as error:
        raise ArtifactError(f"{path} does not describe an artifact: {faults_of(error)}") from error
    if manifest.history.length > LONGEST_HISTORY or manifest.history.gap_ms > LONGEST_GAP_MS:
        raise ArtifactError(
            f"{path}: found history.length {manifest.history.length} and history.gap_ms {manifest.history.gap_ms}; "
            f"wanted at most {LONGEST_HISTORY} and {LONGEST_GAP_MS}"
        )
    return manifest


def _read_vocabulary(folder: Path, manifest: Manifest, pause: Pause) -> Vocabulary:
    path = folder / TRACKS
    try:
        try:
            vocabulary = Vocabulary(json_slices.read_list(path, TrackId), pause)
        except json_slices.OtherFormError:  # written otherwise, or damaged: then this says what is wrong
            vocabulary = Vocabulary(read_json(path, list[TrackId]), pause)
    except ValueError as error:
        raise ArtifactError(f"{path}: {error}") from error
    rows = manifest.tracks + FIRST
    if len(vocabulary) != rows:
        found = len(vocabulary) - FIRST
        raise ArtifactError(f"{folder}: found {found} tracks in {TRACKS}, the manifest wants {manifest.tracks}")
    items = manifest.weights.get("items")
    if items is None or len(items.shape) != 2 or items.shape[0] != rows or items.dtype != "float32":
        described = "none" if items is None else f"{items.dtype} of shape {items.shape}"
        raise ArtifactError(f"{folder}: found as item matrix {described}, the vocabulary wants float32 with {rows} rows")
    return vocabulary


def _read_popular(folder: Path, rows: int) -> list[int]:
    popular = read_json(folder / POPULAR, list[int])
    if not popular or len(set(popular)) < len(popular) or any(not FIRST <= row < rows for row in popular):
        raise ArtifactError(f"{folder / POPULAR}: wanted rows from {FIRST} to {rows - 1}, at least one, and none twice")
    return popular


def _read_dropped(folder: Path, manifest: Manifest, rows: int) -> list[int]:
    if DROPPED not in manifest.files:
        return []
    dropped = read_json(folder / DROPPED, list[int])
    if any(not FIRST <= row < rows for row in dropped):
        raise ArtifactError(f"{folder / DROPPED}: wanted rows from {FIRST} to {rows - 1}")
    return dropped


def _read_golden(folder: Path, rows: int, length: int) -> list[Golden]:
    golden = read_json(folder / GOLDEN, list[Golden])
    if not any(case.best for case in golden):
        raise ArtifactError(f"{folder / GOLDEN}: found no case with an answer, so nothing says whether the graphs are right")
    for number, case in enumerate(golden):
        size = len(case.rows)
        if size > length or len(case.outcomes) != size or len(case.gaps) not in (0, size) or len(case.best) != len(case.scores):
            raise ArtifactError(f"{folder / GOLDEN}: case {number} has lists of different lengths, or over {length} entries")
        if case.own and (len(case.own) != len(LongHistories._fields) or len({len(field) for field in case.own}) != 1):
            raise ArtifactError(f"{folder / GOLDEN}: case {number} has a long history of lists of different lengths")
        end = max(rows, *(row + 1 for row in case.own[0])) if case.own else rows  # request-local rows come after the last one
        tracks_fit = all(FIRST <= row < rows for row in case.rows) and all(row < end for row in case.excluded)
        tracks_fit = tracks_fit and all(FIRST <= row < end for row in case.best)
        codes_fit = set(case.outcomes) <= {*map(int, Outcome)} and all(code < GAP_CODES for code in case.gaps)
        if not tracks_fit or not codes_fit or len(set(case.best)) != len(case.best):
            raise ArtifactError(
                f"{folder / GOLDEN}: case {number} has a row outside {FIRST} to {rows - 1}, an unknown outcome or gap, "
                "or a track twice in its answer"
            )
    return golden


def _read_catalogue(folder: Path, manifest: Manifest, pause: Pause) -> Catalogue | None:
    if CATALOGUE not in manifest.files:
        return None
    try:
        found = json_slices.read_columns(folder / CATALOGUE, _COLUMNS, pause)
    except json_slices.OtherFormError:
        found = {}
    if not found.keys() >= _NEEDED:  # written otherwise, or damaged: then this says what is wrong
        file = read_json(folder / CATALOGUE, _CatalogueFile)
        found = {name: getattr(file, name) for name in _COLUMNS}
    sizes = {len(column) for name, column in found.items() if column or name in _NEEDED}
    if sizes != {manifest.tracks}:
        described = " and ".join(map(str, sorted(sizes)))
        raise ArtifactError(f"{folder}: {CATALOGUE} describes {described} tracks, the vocabulary has {manifest.tracks}")
    return Catalogue(
        titles=found["titles"],
        artists=_shared(found["artists"], pause),
        durations_ms=found["durations_ms"],
        albums=_shared(found.get("albums", ()), pause),
        groups=_shared(found.get("groups", ()), pause),
    )


def _shared(names: Sequence[str | None], pause: Pause) -> Sequence[str | None]:
    """Return the same names, in which equal names are one object. This saves memory, because a million tracks have far fewer
    artists.
    """
    known: dict[str | None, str | None] = {}
    return [known.setdefault(name, name) for name in in_steps(names, pause)]
