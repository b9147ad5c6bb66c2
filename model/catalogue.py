"""The catalogue: titles, artists and durations of the tracks, in the order of the vocabulary's rows."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Catalogue:
    """Titles, artists and durations by row; entry 0 belongs to row `FIRST`. None stands for an unknown value."""

    titles: Sequence[str | None]
    artists: Sequence[str | None]
    durations_ms: Sequence[int | None]
