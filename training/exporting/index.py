"""An index of the catalogue, inside the graph: blocks of tracks that score alike, of which only the likeliest are scanned.

The scan of `exporting.scan` reads every item for each listener. Here items lie in blocks of sixteen (`.partition`). The
query meets the blocks' means first, the same scan over a fourteenth of the rows; then the items of the best blocks, in eight
bits as well; then the exact vectors of the best rows. Small blocks, since what counts is that a mean says much of its members:
with the same number of rows scanned, blocks of 16 find .94 of the best where blocks of 128 find .74 (100,000 clustered
vectors, 2,048 rows a query). What is read of blocks and rows is gathered from the mapped file, so worker processes share it.

Blocks are cut so that a score differs little from its block's mean: distances are weighed by the second moment of real queries,
E[(q.x - q.y)^2] = (x - y)' E[q q'] (x - y).

It stands in the graph, and not in a library beside it, because exclusions, exact scores and the one contract stay as they are.
faiss' inverted file found .93 of the best where this finds .94, at as many rows a query, and is 66 MB to install.

Exclusions are compared with the rows that are to be scored exactly, of which there are as many more as are excluded; as many
blocks more are looked at as they could fill. So none gets through, and a list is as full as without.

Shapes: B batch, N excluded, K count, Q query width, W stored width, V rows, C blocks, X blocks looked at, L places of a block,
P places looked at, R rows scored exactly, S samples.
"""

import numpy as np

from model.vocabulary import FIRST
from training.exporting.partition import partition
from training.exporting.scan import BEST_PLACES, DEEP, ROUND_QUERY, Floats, Weights, fill_columns, split_columns

PLACES = 16

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
    enough_rows = Add(probes, to_fill)
    enough_columns = Add(enough_rows, spare_columns)
ROUND_QUERY
    masked_BP = MatMulInteger(query_uint8, means_int8, zero)
BEST_PLACES
    rows_BXL = Gather<axis=0>(block_rows, chosen_BM)
    items_BXWL = Gather<axis=0>(blocks_int8, chosen_BM)
    query_B11W = Unsqueeze(query_uint8, both)
    rough_BX1L = MatMulInteger(query_B11W, items_BXWL, zero)
    rough_BP = Reshape(rough_BX1L, flat)
    rows_BP = Reshape(rows_BXL, flat)
    left_over_BP = Equal(rows_BP, nobody)
    seated_BP = Where(left_over_BP, lowest_sum, rough_BP)
    seen_count = Shape<start=1, end=2>(seated_BP)
    exact_count = Min(enough_exact, seen_count)
    seated_sums, seats_BR = TopK<axis=1, sorted=0>(seated_BP, exact_count)
    short_rows_BR = GatherElements<axis=1>(rows_BP, seats_BR)
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
    count_K = Min(count_1, exact_count, rows_count)
    scores, order_BK = TopK<axis=1>(final_BR, count_K)
    rows = GatherElements<axis=1>(rows_BR, order_BK)
}"""


def top(probes: int) -> str:
    """The graph's text for an index whose `probes` best blocks are looked at."""
    text = TOP.replace("ROUND_QUERY", ROUND_QUERY).replace("BEST_PLACES", BEST_PLACES)
    return text.replace("PROBES", str(probes)).replace("PLACES", str(PLACES))


def cut(items_VQ: Floats, queries_SQ: Floats) -> Weights:
    """What `TOP` needs beside `items`: the blocks' rows [C, L], 0 where none is, their items [C, W, L], their means [W, C]."""
    blocks_CL = partition(_weighed(items_VQ[FIRST:], queries_SQ), PLACES)
    blocks_CL = np.pad(blocks_CL, ((0, -len(blocks_CL) % DEEP), (0, 0)), constant_values=-1)
    rows_CL = np.where(blocks_CL < 0, 0, blocks_CL + FIRST).astype(np.int32)
    columns_W, parts_W, step = split_columns(items_VQ)
    stored_CWL = np.empty((len(rows_CL), len(columns_W), PLACES), np.int8)
    means_CQ = np.empty((len(rows_CL), items_VQ.shape[1]), np.float32)
    for start in range(0, len(rows_CL), 4096):  # at a time, to need little memory
        some = slice(start, start + 4096)
        items_SQ = items_VQ[rows_CL[some].ravel()]
        stored_WS = np.empty((len(columns_W), len(items_SQ)), np.int8)
        fill_columns(stored_WS, items_SQ, columns_W, parts_W, step)
        stored_CWL[some] = stored_WS.reshape(len(columns_W), -1, PLACES).transpose(1, 0, 2)
        there_CL = (rows_CL[some] > 0).astype(np.float32)
        sums_CQ = np.einsum("clq,cl->cq", items_SQ.reshape(-1, PLACES, items_SQ.shape[1]), there_CL)
        means_CQ[some] = sums_CQ / np.maximum(there_CL.sum(axis=1, keepdims=True), 1)
    means_WC = np.empty((len(columns_W), len(rows_CL)), np.int8)
    fill_columns(means_WC, means_CQ, columns_W, parts_W, step)
    return {"blocks_int8": stored_CWL, "block_rows": rows_CL, "means_int8": means_WC, "item_columns": columns_W}


def _weighed(items_VQ: Floats, queries_SQ: Floats) -> Floats:
    """The items in a space where squared distances are those of their scores, on average over the queries."""
    values_Q, axes_QQ = np.linalg.eigh(queries_SQ.T.astype(np.float64) @ queries_SQ / len(queries_SQ))
    weighed: Floats = items_VQ @ (axes_QQ * np.sqrt(values_Q.clip(min=1e-6 * values_Q.max()))).astype(np.float32)
    return weighed
