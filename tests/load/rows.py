"""What is measured against what: the rows of the benchmark, as data.

Two tiers that are never mixed: `model` is the bare model call, a history in the request and no state; `full` and the rest are
the service's whole job, with sessions in Redis.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.load.traffic import Kind

OURS, CEILING = "nexttrack", "ceiling"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of the result: what our service does in a setting, and who does the same beside it."""

    work: str
    kind: Kind
    tracks: int = 100_000
    connections: int = 64
    rate: float | None = None
    beside: Sequence[str] = ()
    each: int = 1  # how many events a request carries

    @property
    def setting(self) -> str:
        """The row's setting for people and for `grep`."""
        loop = f"open loop {self.rate:g} req/s" if self.rate else f"closed loop, {self.connections} connections"
        return f"{self.tracks} tracks, {loop}"


def plan(*, sizes: Sequence[int], rivals: Sequence[str]) -> list[Row]:
    """All rows; the first of `sizes` is the one at which everything is measured, the others have the full job alone."""
    first, *others = sizes
    loops = (1, 16, 64)
    rows = [Row(work="model", kind="history", tracks=first, connections=number, beside=rivals) for number in loops]
    rows += [Row(work="full", kind="next", tracks=first, connections=number, beside=(CEILING,)) for number in loops]
    rows += [Row(work="full", kind="next", tracks=first, rate=rate) for rate in (500.0, 1000.0, 2000.0)]
    rows += [
        Row(work="event", kind="event", tracks=first),
        Row(work="events in batches of 100", kind="batch", tracks=first, connections=4, each=100),
        Row(work="2 events to 1 next", kind="mixed", tracks=first, rate=1500.0),
    ]
    for size in others:
        rows.append(Row(work="full", kind="next", tracks=size, connections=16))
        rows.append(Row(work="full", kind="next", tracks=size, rate=500.0))
    return rows
