"""The catalogue: titles, artists, albums, groups and durations of the tracks, in the order of the vocabulary's rows."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Catalogue:
    """Titles, artists, albums, groups and durations of tracks. Item 0 of each belongs to row `FIRST`. None stands for an
    unknown value.

    `albums` is empty if no album is known. An album is a name or an id, as in the log: two albums with one name count as one.
    `groups` has the same value for all releases of one recording.
    """

    titles: Sequence[str | None]
    artists: Sequence[str | None]
    durations_ms: Sequence[int | None]
    albums: Sequence[str | None] = ()
    groups: Sequence[str | None] = ()
