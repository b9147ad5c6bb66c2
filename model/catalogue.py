"""The catalogue: titles, artists, albums, groups and durations of the tracks, in the order of the vocabulary's rows."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Catalogue:
    """Titles, artists, albums, groups and durations by row; entry 0 belongs to row `FIRST`. None stands for an unknown value.

    `albums` is empty if no album is known. An album is whatever the log says, a name or an id: two albums of one name are one.
    `groups` is the same for tracks with one group: releases of one recording.
    """

    titles: Sequence[str | None]
    artists: Sequence[str | None]
    durations_ms: Sequence[int | None]
    albums: Sequence[str | None] = ()
    groups: Sequence[str | None] = ()
