"""What the tracks are called: titles, artists and durations, in the order of the vocabulary's rows."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Catalogue:
    """What the tracks are called, in the order of their rows (entry 0 belongs to row `FIRST`); None where not known."""

    titles: Sequence[str | None]
    artists: Sequence[str | None]
    durations_ms: Sequence[int | None]
