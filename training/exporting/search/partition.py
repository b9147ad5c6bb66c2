"""Cuts a catalogue into blocks of nearby points, none of them larger than a limit.

It runs k-means (Lloyd) in steps: some tens of parts, each cut again until it is small, and then into blocks. Ten million
points therefore take minutes instead of hours. A block has a fixed number of places. If the nearest block is full of nearer
points, a point goes to the next nearest. The fuller blocks are to be, the more points end up in a block that is not their
nearest.

Distances are Euclidean. To get blocks with similar scores, pass points whose distance is a difference of scores (see
`index`).

Shapes: V points, Q width, C blocks, L places of a block, M points of a part.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.exporting.search.int8_search import Floats

Ints = npt.NDArray[np.int64]
SMALL, PARTS = 8_192, 64
"""A larger part is cut into at most this many parts."""
ROUNDS, A_CENTRE = 8, 64
"""Rounds of Lloyd, and sample points for each centre."""


def partition(points_VQ: Floats, places: int, *, filled: float, seed: int = 0) -> Ints:
    """Cut points into blocks of nearby points. Returns the points of each block [C, L], -1 in a free place. About the share
    `filled` of the places is taken.
    """
    random = torch.Generator().manual_seed(seed)
    points = torch.from_numpy(points_VQ)
    parts = _parts(points, torch.arange(len(points)), random)
    return np.concatenate([_blocks(points[part], part, places, filled, random) for part in parts])


def _parts(points_MQ: Tensor, members_M: Tensor, random: torch.Generator) -> Iterator[Tensor]:
    """Cut the points `members_M` into parts of at most `SMALL` nearby points."""
    if len(members_M) <= SMALL:
        yield members_M
        return
    centres = _centres(points_MQ, min(PARTS, -(-2 * len(members_M) // SMALL)), random)
    part_M = _nearest(points_MQ, centres)
    if int(torch.bincount(part_M).max()) == len(members_M):  # all points are equal, so distances cannot separate them
        part_M = torch.arange(len(members_M)) % len(centres)
    for places in torch.split(torch.argsort(part_M, stable=True), torch.bincount(part_M).tolist()):
        if len(places):
            yield from _parts(points_MQ[places], members_M[places], random)


def _blocks(points_MQ: Tensor, members_M: Tensor, places: int, filled: float, random: torch.Generator) -> Ints:
    """Cut one part into blocks, and return the points of each block [C, L]."""
    centres = _centres(points_MQ, int(len(members_M) / (filled * places)) + 1, random)
    closeness_MC = (points_MQ @ centres.T - (centres**2).sum(dim=1) / 2).numpy()
    block_M, place_M = seat(closeness_MC, places)
    blocks_CL = np.full((len(centres), places), -1, np.int64)
    blocks_CL[block_M, place_M] = members_M.numpy()
    return blocks_CL[(blocks_CL >= 0).any(axis=1)]


def seat(closeness_MC: Floats, places: int) -> tuple[Ints, Ints]:
    """Give each point a block and a place in it: the nearest block that is not full of points nearer to it."""
    closeness_MC = closeness_MC.copy()
    block_M, place_M = np.full(len(closeness_MC), -1, np.int64), np.zeros(len(closeness_MC), np.int64)
    taken_C = np.zeros(closeness_MC.shape[1], np.int64)
    waiting = np.arange(len(closeness_MC))
    while len(waiting):
        wish = closeness_MC[waiting].argmax(axis=1)
        order = np.lexsort((-closeness_MC[waiting, wish], wish))
        waiting, wish = waiting[order], wish[order]
        queue = np.arange(len(wish)) - np.searchsorted(wish, wish)  # the place in the queue of the wished block
        let_in = queue < places - taken_C[wish]
        block_M[waiting[let_in]], place_M[waiting[let_in]] = wish[let_in], (taken_C[wish] + queue)[let_in]
        taken_C += np.bincount(wish[let_in], minlength=len(taken_C))
        closeness_MC[:, taken_C == places] = -np.inf
        waiting = waiting[~let_in]
    return block_M, place_M


def _centres(points_VQ: Tensor, count: int, random: torch.Generator) -> Tensor:
    """Find centres [count, Q] by Lloyd's rounds over a sample. A centre without points restarts at a random point."""
    sample = torch.randperm(len(points_VQ), generator=random)[: max(count, A_CENTRE * count)]
    seen = points_VQ[sample]
    centres = seen[:count].clone()
    for _ in range(ROUNDS if count > 1 else 1):
        nearest = _nearest(seen, centres)
        sizes = torch.bincount(nearest, minlength=len(centres))
        sums = torch.zeros_like(centres).index_add_(0, nearest, seen)
        strays = seen[torch.randint(len(seen), (len(centres),), generator=random)]
        centres = torch.where((sizes > 0)[:, None], sums / sizes.clamp(min=1)[:, None], strays)
    return centres


def _nearest(points_VQ: Tensor, centres_CQ: Tensor) -> Tensor:
    """Return the nearest centre of each point, int64 [V], computed in slices."""
    half_C = (centres_CQ**2).sum(dim=1) / 2
    return torch.cat([torch.argmax(some @ centres_CQ.T - half_C, dim=1) for some in torch.split(points_VQ, 65_536)])
