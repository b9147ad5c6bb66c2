"""Blocks hold every point once, none is too large, and the points of a block are near each other."""

import numpy as np
import pytest

from training.exporting.search.partition import SMALL, partition, seat


@pytest.mark.parametrize("size", [1, 17, SMALL + 500])
def test_every_point_has_one_place(size: int) -> None:
    """It holds for every number of points, and few places stay free."""
    blocks = partition(np.random.default_rng(0).normal(size=(size, 3)).astype(np.float32), 16, filled=0.9)

    assert blocks.shape[1] == 16
    assert sorted(blocks[blocks >= 0].tolist()) == list(range(size))
    assert blocks.size <= size / 0.85 + 32


def test_points_that_are_all_the_same_are_cut_all_the_same() -> None:
    """Distances cannot separate them, and still no block is too large."""
    blocks = partition(np.ones((SMALL + 100, 2), np.float32), 16, filled=0.9)

    assert sorted(blocks[blocks >= 0].tolist()) == list(range(SMALL + 100))


def test_blocks_hold_neighbours() -> None:
    """Points differ far less within a block than overall. In random blocks they would differ as much."""
    points = np.random.default_rng(1).normal(size=(3_000, 2)).astype(np.float32)
    blocks = partition(points, 16, filled=0.9)
    within = np.mean([points[block[block >= 0]].var(axis=0).sum() for block in blocks])

    assert within < 0.1 * points.var(axis=0).sum()


def test_full_block_keeps_the_closer_ones() -> None:
    """Three points prefer the first block, which has two places. The furthest of them goes to the other block."""
    block, place = seat(np.array([[-1.0, -9.0], [-3.0, -4.0], [-2.0, -9.0], [-9.0, -1.0]], np.float32), 2)

    assert block.tolist() == [0, 1, 0, 1]
    assert sorted(zip(block.tolist(), place.tolist(), strict=True)) == [(0, 0), (0, 1), (1, 0), (1, 1)]
