"""Blocks: tracks, artists and albums that must not be proposed.

An artist or an album stands for its tracks in the catalogue of the model that answers. The name must be the catalogue's, letter
for letter. `Blocked` applies blocks to one model.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

from model.artifact import Artifact
from model.catalogue_index import NO_NAME, NameIndex
from service.look_up import known_rows

Kind = Literal["tracks", "artists", "albums"]
KINDS: tuple[Kind, ...] = get_args(Kind)
FEW = 64
"""Most rows of a list that each request gives to the model to mask. More of them cost a request more than spare tracks do."""


class Block(NamedTuple):
    """A track, an artist or an album that must not be proposed."""

    kind: Kind
    value: str

    def __str__(self) -> str:
        """Return the block as stored text, which is also the end of its path in the API."""
        return f"{self.kind}/{self.value}"


def read_block(text: str) -> Block | None:
    """Parse a stored text into a block. Returns None if the text is no block."""
    name, _, value = text.partition("/")
    kind = _KIND_OF.get(name)
    return Block(kind, value) if kind and value else None


_KIND_OF: dict[str, Kind] = {kind: kind for kind in KINDS}


@dataclass(frozen=True, slots=True)
class Blocks:
    """A list of blocks, stored as the blocked values of each kind."""

    tracks: frozenset[str] = frozenset()
    artists: frozenset[str] = frozenset()
    albums: frozenset[str] = frozenset()

    @classmethod
    def of(cls, blocks: Iterable[Block]) -> "Blocks":
        """Make a list from single blocks."""
        values: dict[str, list[str]] = {kind: [] for kind in KINDS}
        for kind, value in blocks:
            values[kind].append(value)
        return cls(*map(frozenset, values.values()))

    def with_block(self, block: Block) -> "Blocks":
        """Return a copy of this list with one more block."""
        return replace(self, **{block.kind: getattr(self, block.kind) | {block.value}})

    def without(self, block: Block) -> "Blocks":
        """Return a copy of this list without one block."""
        return replace(self, **{block.kind: getattr(self, block.kind) - {block.value}})

    def __len__(self) -> int:
        """Return how many blocks there are."""
        return len(self.tracks) + len(self.artists) + len(self.albums)

    def __iter__(self) -> Iterator[Block]:
        """Yield each block."""
        for kind in KINDS:
            for value in getattr(self, kind):
                yield Block(kind, value)


NO_BLOCKS = Blocks()


def index_of(artifact: Artifact, kind: Kind) -> NameIndex | None:
    """Return the index of the catalogue's artist or album names. Returns None for tracks, which need no catalogue."""
    index = artifact.catalogue_index
    return {"tracks": None, "artists": index.artists, "albums": index.albums}[kind]


def without_effect(artifact: Artifact, blocks: Blocks) -> str | None:
    """Return a sentence if the artifact cannot apply some of these blocks, because its catalogue names no artists or albums.
    Returns None if it can.
    """
    for kind in ("artists", "albums"):
        index = index_of(artifact, kind)
        if getattr(blocks, kind) and index is not None and not len(index):
            wanted = f"export it from a log that names {kind}, or block tracks"
            return f"found no {kind} in its catalogue, so blocks of {kind} would have no effect; {wanted}"
    return None


def tracks_of(artifact: Artifact, block: Block) -> int:
    """Return how many of the model's tracks a block excludes."""
    index = index_of(artifact, block.kind)
    return int(artifact.vocabulary.knows(block.value)) if index is None else len(index.rows(block.value))


class Blocked:
    """The tracks of one model that are excluded by a list of blocks, or by a second list `beside`."""

    def __init__(self, artifact: Artifact, blocks: Blocks, beside: "Blocked | None" = None) -> None:
        """`beside` is a second list of blocks for the same artifact."""
        self._vocabulary, self._tracks, self._beside = artifact.vocabulary, blocks.tracks, beside
        index = artifact.catalogue_index
        numbers = [
            (names, {names.number_of(name) for name in blocked} - {NO_NAME})
            for names, blocked in ((index.artists, blocks.artists), (index.albums, blocks.albums))
        ]
        self._numbers = [(names, blocked) for names, blocked in numbers if blocked]
        self._few = self._few_rows()
        self._rows: list[int] | None = None

    def __contains__(self, track_id: str) -> bool:
        """Return whether a track is blocked."""
        if track_id in self._tracks or (self._beside is not None and track_id in self._beside):
            return True
        if not self._numbers:
            return False
        row = self._vocabulary.row(track_id)
        return any(names.number(row) in blocked for names, blocked in self._numbers)

    def few(self) -> list[int] | None:
        """Return the rows of the blocked tracks; None if one of the two lists has more than `FEW`."""
        beside = [] if self._beside is None else self._beside.few()
        return None if self._few is None or beside is None else [*self._few, *beside]

    async def rows(self) -> list[int]:
        """Return the rows of all blocked tracks. Gives other requests time in between."""
        if self._rows is None:
            by_name = [row for names, blocked in self._numbers for number in blocked for row in names.rows_of(number).tolist()]
            self._rows = [*await known_rows(self._vocabulary, self._tracks), *by_name]
        return self._rows if self._beside is None else [*self._rows, *await self._beside.rows()]

    def _few_rows(self) -> list[int] | None:
        if len(self._tracks) > FEW or any(len(blocked) > FEW for _, blocked in self._numbers):
            return None
        rows = self._vocabulary.known_rows(self._tracks)
        for names, blocked in self._numbers:
            for number in blocked:
                rows += names.rows_of(number)[: FEW + 1].tolist() if len(rows) <= FEW else []
        return rows if len(rows) <= FEW else None
