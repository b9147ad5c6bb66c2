"""Take-downs at an export: tracks that the exported model must never propose.

The list is the reply of `GET /v1/blocks`, from a running service or from a file. An artist or an album stands for its tracks
in the log's catalogue.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from model.artifact_files import faults_of
from model.catalogue import Catalogue
from model.catalogue_index import CatalogueIndex, NameIndex
from model.vocabulary import Vocabulary
from training.errors import TrainingError
from training.running_service import connect, send

PATH = "/v1/blocks"


class TakeDownError(TrainingError):
    """Take-downs that cannot be read or applied. The text says why, and what to do."""


class TakeDowns(BaseModel):
    """The list of take-downs in the form of the service's reply."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tracks: list[str]
    artists: list[str]
    albums: list[str]


def read_take_downs(source: str, key: str | None) -> TakeDowns:
    """Read the list from the service at an address, or from a file.

    Raises TakeDownError if the list has another form than the service's reply, and ServiceError if the service does not answer.
    """
    if source.startswith(("http://", "https://")):
        return _checked(asyncio.run(_asked(source, key)), source)
    return _checked(Path(source).read_bytes(), source)


def rows_taken_down(listed: TakeDowns, vocabulary: Vocabulary, catalogue: Catalogue | None) -> list[int]:
    """Return the rows of all tracks that the list takes down, ascending. Entries that the vocabulary or catalogue lacks are
    ignored.

    Raises TakeDownError if artists or albums are taken down but the catalogue names none: their tracks would be proposed again.
    """
    index = CatalogueIndex.of(catalogue)
    rows = {*vocabulary.known_rows(listed.tracks)}
    for kind, names, wanted in (("artists", index.artists, listed.artists), ("albums", index.albums, listed.albums)):
        rows |= _rows_of(kind, names, wanted)
    return sorted(rows)


def _rows_of(kind: str, names: NameIndex, wanted: Sequence[str]) -> set[int]:
    if wanted and not len(names):
        raise TakeDownError(
            f"{len(wanted)} {kind} are taken down, and the log's catalogue names no {kind}; import the log with its {kind}"
        )
    return {row for name in wanted for row in names.rows(name).tolist()}


async def _asked(url: str, key: str | None) -> object:
    async with connect(url.removesuffix(PATH), key) as client:
        return await send(client, "GET", PATH)


def _checked(found: object, source: str) -> TakeDowns:
    try:
        if isinstance(found, bytes):
            return TakeDowns.model_validate_json(found)
        return TakeDowns.model_validate(found)
    except ValidationError as error:
        raise TakeDownError(
            f"{source}: found no list of take-downs ({faults_of(error)}); wanted what GET {PATH} replies"
        ) from error
