"""Each row has one place in a block or alone, each block has one place in a group, and their vectors represent their members.

Shapes: V rows, Q width of a vector, S samples.
"""

import numpy as np
import pytest

from model.vocabulary import FIRST
from training.exporting.search.clusters import MOST_ALONE, Clusters, cluster_catalogue
from training.exporting.search.int8_search import DEEP, Floats

ROWS = 2_002


def world(rows: int) -> tuple[Floats, Floats]:
    """Make items [V, 5] and queries [64, 5] in all directions. The queries' last column is constant."""
    random = np.random.default_rng(3)
    queries = random.normal(size=(64, 5))
    queries[:, 4] = 1
    return random.normal(size=(rows, 5)).astype(np.float32), queries.astype(np.float32)


@pytest.fixture(scope="module")
def seats() -> Clusters:
    """Cluster two thousand tracks."""
    return cluster_catalogue(*world(ROWS))


def test_each_track_sits_in_one_block_or_stands_alone(seats: Clusters) -> None:
    """A quarter of so small a catalogue stands alone. Row 0 is padding."""
    alone = seats.alone_O[seats.alone_O > 0].tolist()
    seated = seats.rows_CL[seats.rows_CL > 0].tolist()

    assert sorted(alone + seated) == list(range(FIRST, ROWS))
    assert len(alone) == MOST_ALONE * (ROWS - FIRST)


def test_each_block_sits_in_one_group_and_the_first_is_nobodys(seats: Clusters) -> None:
    """Block 0 is empty, so that 0 can mean a free place, as it does for rows."""
    grouped = seats.groups_GL[seats.groups_GL > 0].tolist()

    assert sorted(grouped) == list(range(1, len(seats.rows_CL)))
    assert not seats.rows_CL[0].any()
    assert len(seats.groups_GL) % DEEP == len(seats.alone_O) % DEEP == 0


def test_a_block_stands_for_the_mean_of_its_tracks_and_twice_the_spread_of_their_scores(seats: Clusters) -> None:
    """Computed by hand over real queries: the score of the mean, plus twice the root of the mean squared difference."""
    items, queries = world(ROWS)
    members = items[seats.rows_CL[5][seats.rows_CL[5] > 0]]
    scores = queries @ members.T
    means = scores.mean(axis=1)
    spread = np.sqrt(((scores - means[:, None]) ** 2).mean())

    assert np.allclose(queries @ seats.blocks_CQ[5], means + 2 * spread, atol=1e-4)


def test_a_catalogue_of_two_tracks_has_seats_too() -> None:
    """No track stands alone, and one block holds both."""
    seats = cluster_catalogue(*world(4))

    assert sorted(seats.rows_CL[seats.rows_CL > 0].tolist()) == [2, 3]
    assert not seats.alone_O.any()
