"""Clusters of an index: rows in blocks, blocks in groups, and rows that stand alone.

This module knows nothing of graphs or int8; `index` stores the clusters and searches them. The figures behind the constants
are in docs/measurements/large-catalogues.md.

Shapes: V rows, Q width of a vector, S samples or slices, C blocks, G groups, L places of one, O rows that stand alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from model.vocabulary import FIRST
from training.exporting.search.int8_search import DEEP, Floats
from training.exporting.search.partition import Ints, partition

PLACES, AT_A_TIME = 16, 4_096
FILLED = 0.6
"""Share of a block's places that are filled.

Free places cost memory (blocks of 64 dimensions take some 120 bytes a track, or 80 with .9 filled). But no row must lie in a
far block because the near one is full.
"""
ALONE, MOST_ALONE = 100, 0.25
"""Rows that stand alone: this many times the square root of the catalogue's size, and at most this share of the catalogue."""
SPREADS = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Clusters:
    """The catalogue as blocks of rows and groups of blocks, 0 in a free place. Each block and each group has a vector that
    represents it.
    """

    rows_CL: Ints
    alone_O: Ints
    blocks_CQ: Floats
    groups_GL: Ints
    groups_GQ: Floats


def cluster_catalogue(items_VQ: Floats, queries_SQ: Floats) -> Clusters:
    """Cut a catalogue into blocks, and blocks into groups, so that queries like `queries_SQ` score the members alike. Block 0
    is empty.
    """
    weights_QQ, lift_Q = _weights(queries_SQ), _lift(queries_SQ)
    weighed_VQ = items_VQ @ weights_QQ
    rows_CL = _cut(weighed_VQ, FIRST)
    alone_O = _take_furthest(weighed_VQ, rows_CL, len(items_VQ) - FIRST)
    rows_CL = np.concatenate([np.zeros((1, PLACES), np.int64), rows_CL[rows_CL.any(axis=1)]])
    blocks_CQ = _stand_ins(items_VQ, weighed_VQ, rows_CL, lift_Q)
    weighed_CQ = blocks_CQ @ weights_QQ
    groups_GL = _padded(_cut(weighed_CQ, 1))
    return Clusters(
        rows_CL=rows_CL,
        alone_O=_padded(alone_O),
        blocks_CQ=blocks_CQ,
        groups_GL=groups_GL,
        groups_GQ=_stand_ins(blocks_CQ, weighed_CQ, groups_GL, lift_Q),
    )


def slices(size: int) -> Iterator[slice]:
    """Yield slices of `AT_A_TIME` places that cover `size` places, so that one step needs little memory."""
    return (slice(start, start + AT_A_TIME) for start in range(0, size, AT_A_TIME))


def _cut(weighed_VQ: Floats, first: int) -> Ints:
    """Cluster vectors from `first` on. Returns the indices of each cluster's members [C, L], 0 in a free place."""
    if len(weighed_VQ) == first:
        return np.zeros((0, PLACES), np.int64)
    places_CL = partition(weighed_VQ[first:], PLACES, filled=FILLED)
    return np.where(places_CL < 0, 0, places_CL + first)


def _take_furthest(weighed_VQ: Floats, rows_CL: Ints, tracks: int) -> Ints:
    """Remove from `rows_CL` the rows that are furthest from their blocks' means, and return these rows in order [O]."""
    count = min(round(ALONE * tracks**0.5), round(MOST_ALONE * tracks))
    if not count:
        return np.empty(0, np.int64)
    distances_CL = np.concatenate([_distances(weighed_VQ, rows_CL[some]) for some in slices(len(rows_CL))])
    furthest = np.argpartition(distances_CL, -count, axis=None)[-count:]
    alone_O = np.sort(rows_CL.ravel()[furthest])
    rows_CL.ravel()[furthest] = 0
    return alone_O


def _stand_ins(vectors_VQ: Floats, weighed_VQ: Floats, rows_CL: Ints, lift_Q: Floats) -> Floats:
    """Return a vector for each block [C, Q] that represents it: its mean, raised by the spread of its members' scores."""
    means_CQ = np.concatenate([_means(vectors_VQ, rows_CL[some]) for some in slices(len(rows_CL))])
    spread_C = np.concatenate([(_distances(weighed_VQ, rows_CL[some]) ** 2).sum(axis=1) for some in slices(len(rows_CL))])
    means_CQ += np.outer(SPREADS * np.sqrt(spread_C / np.maximum(1, (rows_CL > 0).sum(axis=1))), lift_Q)
    return means_CQ


def _weights(queries_SQ: Floats) -> Floats:
    """Return a matrix [Q, Q]. After multiplication with it, the squared distance of two items is the mean squared difference of
    their scores.
    """
    values_Q, axes_QQ = np.linalg.eigh(queries_SQ.T.astype(np.float64) @ queries_SQ / len(queries_SQ))
    weights_QQ: Floats = (axes_QQ * np.sqrt(values_Q.clip(min=1e-6 * values_Q.max()))).astype(np.float32)
    return weights_QQ


def _lift(queries_SQ: Floats) -> Floats:
    """Return a vector [Q] that has the score 1 with every query. It uses the column that is the same in all queries; zeros if
    there is none.
    """
    lift_Q = np.zeros(queries_SQ.shape[1], np.float32)
    same = np.flatnonzero((queries_SQ == queries_SQ[0]).all(axis=0) & (queries_SQ[0] != 0))
    if len(same):
        lift_Q[same[0]] = 1 / queries_SQ[0, same[0]]
    return lift_Q


def _means(items_VQ: Floats, rows_SL: Ints) -> Floats:
    there_SL = (rows_SL > 0).astype(np.float32)
    sums_SQ = np.einsum("slq,sl->sq", items_VQ[rows_SL], there_SL)
    means_SQ: Floats = sums_SQ / np.maximum(1, there_SL.sum(axis=1, keepdims=True))
    return means_SQ


def _distances(points_VQ: Floats, rows_SL: Ints) -> Floats:
    """Return the distance [S, L] of each item from the mean of its block. `rows_SL` has the items of each block, 0 for none."""
    off_SLQ = points_VQ[rows_SL] - _means(points_VQ, rows_SL)[:, None]
    distances_SL: Floats = np.linalg.norm(off_SLQ, axis=2) * (rows_SL > 0)
    return distances_SL


def _padded(rows: Ints) -> Ints:
    """Pad with 0 (no track) to a multiple of `DEEP`, at least to `DEEP`."""
    behind = -len(rows) % DEEP if len(rows) else DEEP
    return np.pad(rows, ((0, behind), *((0, 0),) * (rows.ndim - 1)))
