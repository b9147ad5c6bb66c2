"""Batches by length: histories that wait together are run apart where that is cheaper.

A batch is padded to its longest history, and places that only pad cost as much as others. A second run costs too: the catalogue
is read once more. So what waits is cut where the padding saved is worth more than a run, by what both were measured to cost
when the graphs were loaded; the shorter part goes first. It knows nothing of graphs or of who waits.

CPU time of batches of 8, 16 and 32 histories of people's lengths, cut over uncut (`python -m tests.load.parts`, 27 November
2026, one thread of a busy AMD EPYC virtual machine): 1.00, .88, .68 at 1,000 tracks; 1.05, .98, .83 at 10,000; 1.06, .98, .95
at 50,000; 1.03, 1.01, .96 at 100,000. The larger the catalogue the more a run costs, and the rarer the cuts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class RunCost:
    """What a run costs more than to have its batch in another one, and what each place of a batch costs, in seconds."""

    run_s: float
    place_s: float


def parts(lengths: Sequence[int], cost: RunCost) -> list[list[int]]:
    """The places of histories of these lengths in parts that are run one after the other, short ones first."""
    return _cut(sorted(range(len(lengths)), key=lengths.__getitem__), lengths, cost) if lengths else []


def measured(run: Callable[[int, int], float], *, length: int, half: int = 8, rounds: int = 4) -> RunCost:
    """The costs, from `run`, which makes a run of so many histories of such a length and says what it took, in seconds.

    In turns, and of each the least, since others' work and the first runs, for which memory is found, only make it longer.
    """
    shapes = ((half, 1), (2 * half, 1), (half, length))
    halves, wholes, longs = zip(*([run(*shape) for shape in shapes] for _ in range(rounds)), strict=True)
    half_s, whole_s, long_s = min(halves), min(wholes), min(longs)
    return RunCost(run_s=max(0.0, 2 * half_s - whole_s), place_s=max(0.0, long_s - half_s) / (half * max(1, length - 1)))


def _cut(order: list[int], lengths: Sequence[int], cost: RunCost) -> list[list[int]]:
    """Cut where the most padding is saved, and what is left on either side again."""
    longest = lengths[order[-1]]
    saved, stop = max((count * (longest - lengths[order[count - 1]]), count) for count in range(1, len(order) + 1))
    if saved * cost.place_s <= cost.run_s:
        return [order]
    return [*_cut(order[:stop], lengths, cost), *_cut(order[stop:], lengths, cost)]
