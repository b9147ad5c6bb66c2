"""An index of the catalogue, inside the graph: blocks of tracks that score alike, of which only the likeliest are scanned.

The scan of `exporting.scan` reads every item for each listener. Here items lie in blocks of sixteen (`.partition`). The
query meets the blocks' means first, the same scan over a fourteenth of the rows; then the items of the best blocks, in eight
bits as well; then the exact vectors of the best rows. Small blocks, since what counts is that a mean says much of its members:
with the same number of rows scanned, blocks of 16 find .94 of the best where blocks of 128 find .74 (100,000 clustered
vectors, 2,048 rows a query). What is read of blocks and rows is gathered from the mapped file, so worker processes share it.

Blocks are cut so that a score differs little from its block's mean: distances are weighed by the second moment of real queries,
E[(q.x - q.y)^2] = (x - y)' E[q q'] (x - y).

What an index misses are tracks that no mean speaks for, popular ones among the unpopular above all. So those that lie furthest
from their block's mean leave it and stand alone: the query meets them as it meets the means. Of a million clustered vectors
1,024 blocks found .979 of the best; with a twentieth of the tracks alone .994, with a seventh 128 blocks find .991. Of 121,206
tracks trained on sessions of music 32 blocks find .9545, and all with a quarter of the tracks alone. Of two blocks with the
same mean the one whose scores spread more has the better best, so what is stored of a block is its mean and,
in the column for which every query has the same number (biases have one), twice the spread besides.

It stands in the graph, and not in a library beside it, because exclusions, exact scores and the one contract stay as they are.
faiss' inverted file found .93 of the best where blocks alone found .94, at as many rows a query, and is 66 MB to install.

Exclusions are compared with the rows that are to be scored exactly, of which there are as many more as are excluded; as many
blocks more are looked at as they could fill. So none gets through, and a list is as full as without.

Shapes: B batch, N excluded, K count, Q query width, W stored width, V rows, C blocks, X blocks looked at, L places of a block,
P places looked at, O rows that stand alone, R rows scored exactly, S samples.
"""

import numpy as np

from model.vocabulary import FIRST
from training.exporting.partition import Ints, partition
from training.exporting.scan import DEEP, ROUND_QUERY, Floats, Weights, best_places, fill_columns, largest, split_columns

PLACES, AT_A_TIME = 16, 4_096
ALONE, MOST_ALONE = 150, 0.25
"""Rows that stand alone: so many times the root of the catalogue's size, and this share of it at most."""
SPREADS = 2.0

TOP = """
top (float[B,Q] query, int64[B,N] excluded, int64 count) => (int64[B,K] rows, float[B,K] scores) {
    one = Constant<value_ints=[1]>()
    two = Constant<value_ints=[2]>()
    both = Constant<value_ints=[1, 2]>()
    probes = Constant<value_ints=[PROBES]>()
    places = Constant<value_ints=[PLACES]>()
    spare_columns = Constant<value_ints=[16]>()
    spare_exact = Constant<value_ints=[64]>()
    nobody = Constant<value=int32 {0}>()
    lowest = Constant<value=float {-inf}>()
    lowest_sum = Constant<value=int32 {-2147483648}>()
    rows_count = Shape<start=0, end=1>(items)
    count_1 = Reshape(count, one)
    twice = Add(count_1, count_1)
    excluded_count = Shape<start=1, end=2>(excluded)
    spare = Add(spare_exact, excluded_count)
    enough_exact = Add(twice, spare)
    enough_places = Add(enough_exact, enough_exact)
    to_fill = Div(enough_places, places)
    enough_blocks = Add(probes, to_fill)
    enough_columns_blocks = Add(enough_blocks, spare_columns)
    enough_alone = Identity(enough_exact)
    enough_columns_alone = Add(enough_alone, spare_columns)
ROUND_QUERY
    masked_blocks = MatMulInteger(query_uint8, means_int8, zero)
    masked_alone = MatMulInteger(query_uint8, alone_int8, zero)
BEST_BLOCKS
BEST_ALONE
    rows_BXL = Gather<axis=0>(block_rows, chosen_blocks)
    items_BXWL = Gather<axis=0>(blocks_int8, chosen_blocks)
    query_B11W = Unsqueeze(query_uint8, both)
    rough_BX1L = MatMulInteger(query_B11W, items_BXWL, zero)
    flat = Constant<value_ints=[0, -1]>()
    rough_BP = Reshape(rough_BX1L, flat)
    rows_BP = Reshape(rows_BXL, flat)
    left_over_BP = Equal(rows_BP, nobody)
    seated_BP = Where(left_over_BP, lowest_sum, rough_BP)
    seen_count = Shape<start=1, end=2>(seated_BP)
    exact_count = Min(enough_exact, seen_count)
    seated_sums, seats_BR = TopK<axis=1, sorted=0>(seated_BP, exact_count)
    seated_rows = GatherElements<axis=1>(rows_BP, seats_BR)
    alone_rows_BR = Gather<axis=0>(alone_rows, chosen_alone)
    short_rows_BR = Concat<axis=1>(seated_rows, alone_rows_BR)
    rows_BR = Cast<to=7>(short_rows_BR)

    items_BRQ = Gather<axis=0>(items, rows_BR)
    query_BQ1 = Unsqueeze(query, two)
    exact_BR1 = MatMul(items_BRQ, query_BQ1)
    exact_BR = Squeeze(exact_BR1, two)
    rows_BR1 = Unsqueeze(rows_BR, two)
    excluded_B1N = Unsqueeze(excluded, one)
    same_BRN = Equal(rows_BR1, excluded_B1N)
    same_number_BRN = Cast<to=6>(same_BRN)
    times_excluded_BR = ReduceSum<keepdims=0>(same_number_BRN, two)
    is_excluded_BR = Cast<to=9>(times_excluded_BR)
    is_nobody_BR = Equal(short_rows_BR, nobody)
    never_BR = Or(is_excluded_BR, is_nobody_BR)
    final_BR = Where(never_BR, lowest, exact_BR)
    final_count = Shape<start=1, end=2>(final_BR)
    count_K = Min(count_1, final_count, rows_count)
    scores, order_BK = TopK<axis=1>(final_BR, count_K)
    rows = GatherElements<axis=1>(rows_BR, order_BK)
}"""


def top(probes: int) -> str:
    """The graph's text for an index whose `probes` best blocks are looked at."""
    text = TOP.replace("ROUND_QUERY", ROUND_QUERY)
    text = text.replace("BEST_BLOCKS", best_places("blocks")).replace("BEST_ALONE", best_places("alone"))
    return text.replace("PROBES", str(probes)).replace("PLACES", str(PLACES))


def cut(items_VQ: Floats, queries_SQ: Floats) -> Weights:
    """What `TOP` needs beside `items`.

    The blocks' rows [C, L], 0 where none is, their items [C, W, L], their means and spreads [W, C]; the rows that stand
    alone [O] and their items [W, O].
    """
    rows_CL, alone_O, means_CQ = _seat(items_VQ, queries_SQ)
    columns_W, parts_W, step = split_columns(np.maximum(largest(items_VQ), largest(means_CQ)))
    stored_CWL = np.empty((len(rows_CL), len(columns_W), PLACES), np.int8)
    for some in _slices(len(rows_CL)):
        stored_WS = np.empty((len(columns_W), rows_CL[some].size), np.int8)
        fill_columns(stored_WS, items_VQ[rows_CL[some].ravel()], columns_W, parts_W, step)
        stored_CWL[some] = stored_WS.reshape(len(columns_W), -1, PLACES).transpose(1, 0, 2)
    means_WC = np.empty((len(columns_W), len(rows_CL)), np.int8)
    fill_columns(means_WC, means_CQ, columns_W, parts_W, step)
    alone_WO = np.empty((len(columns_W), len(alone_O)), np.int8)
    fill_columns(alone_WO, items_VQ[alone_O], columns_W, parts_W, step)
    return {
        "blocks_int8": stored_CWL,
        "block_rows": rows_CL.astype(np.int32),
        "means_int8": means_WC,
        "alone_int8": alone_WO,
        "alone_rows": alone_O.astype(np.int32),
        "item_columns": columns_W,
    }


def _seat(items_VQ: Floats, queries_SQ: Floats) -> tuple[Ints, Ints, Floats]:
    """The blocks' rows [C, L], the rows that stand alone [O], and what stands for the blocks [C, Q]: means and spreads."""
    weighed_VQ = _weighed(items_VQ, queries_SQ)
    blocks_CL = partition(weighed_VQ[FIRST:], PLACES)
    rows_CL = np.where(blocks_CL < 0, 0, blocks_CL + FIRST)
    distances_CL = np.concatenate([_distances(weighed_VQ, rows_CL[some]) for some in _slices(len(rows_CL))])
    tracks = len(items_VQ) - FIRST
    count = min(round(ALONE * tracks**0.5), round(MOST_ALONE * tracks))
    furthest = np.argpartition(distances_CL, -count, axis=None)[-count:] if count else np.empty(0, np.int64)
    alone_O = _padded(np.sort(rows_CL.ravel()[furthest]))
    rows_CL.ravel()[furthest] = 0
    rows_CL = _padded(rows_CL[rows_CL.any(axis=1)])
    means_CQ = np.concatenate([_means(items_VQ, rows_CL[some]) for some in _slices(len(rows_CL))])
    spread_C = np.concatenate([(_distances(weighed_VQ, rows_CL[some]) ** 2).sum(axis=1) for some in _slices(len(rows_CL))])
    means_CQ += np.outer(SPREADS * np.sqrt(spread_C / np.maximum(1, (rows_CL > 0).sum(axis=1))), _lift(queries_SQ))
    return rows_CL, alone_O, means_CQ


def _weighed(items_VQ: Floats, queries_SQ: Floats) -> Floats:
    """The items in a space where squared distances are those of their scores, on average over the queries."""
    values_Q, axes_QQ = np.linalg.eigh(queries_SQ.T.astype(np.float64) @ queries_SQ / len(queries_SQ))
    weighed: Floats = items_VQ @ (axes_QQ * np.sqrt(values_Q.clip(min=1e-6 * values_Q.max()))).astype(np.float32)
    return weighed


def _lift(queries_SQ: Floats) -> Floats:
    """The vector [Q] that every query scores 1, along the one column that is the same in all; nothing without such a one."""
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
    """Of each place from its block's mean [S, L]; 0 where no row is."""
    off_SLQ = points_VQ[rows_SL] - _means(points_VQ, rows_SL)[:, None]
    distances_SL: Floats = np.linalg.norm(off_SLQ, axis=2) * (rows_SL > 0)
    return distances_SL


def _padded(rows: Ints) -> Ints:
    """With rows 0 behind, which is no track, to a multiple of the grid's depth and at least that."""
    behind = -len(rows) % DEEP if len(rows) else DEEP
    return np.pad(rows, ((0, behind), *((0, 0),) * (rows.ndim - 1)))


def _slices(size: int) -> list[slice]:
    """At a time, to need little memory."""
    return [slice(start, start + AT_A_TIME) for start in range(0, size, AT_A_TIME)]
