"""An index of the catalogue inside the graph: items with similar scores lie in one block, and only the best blocks are
searched.

The exhaustive search of `int8_search` reads every item. Here items lie in blocks of sixteen places (`clusters`), and blocks lie
in groups of sixteen. The query is compared in int8 with the means of the groups, which are a ninetieth of the rows. Next it is
compared with the means of the blocks in the best groups, then with the items of the best blocks. Last, the best rows are scored
exactly. Groups, blocks and rows are gathered from the memory-mapped file, so worker processes share them.

Blocks are cut so that a score differs little from its block's mean. Distances are weighted by the second moment of real
queries: E[(q.x - q.y)^2] = (x - y)' E[q q'] (x - y). Blocks are small, because a mean says more about few members.

An index misses tracks that no mean represents: popular tracks among unpopular ones, and tracks whose nearest block was full. So
blocks have free places. The rows furthest from their block's mean leave it and stand alone; the query is compared with each of
them, as with each group. docs/measurements/large-catalogues.md has the figures behind these choices. If two blocks have the
same mean, the block whose scores spread more has the better best item. So a block is represented by its mean, plus twice the
spread in the column that is the same for every query (biases have one).

The index is part of the graph and not a library, so that exclusions, exact scores and the one ONNX contract stay as they are.
Excluded rows are compared with the rows to be scored exactly. For every excluded row, one more row is scored, and more blocks
are searched accordingly. So no excluded row appears, and the list is as long as without exclusions.

Shapes: B batch, N excluded, K count, Q query width, W stored width, V rows, G groups, C blocks, X searched blocks or groups, L
places of one, P searched places, O rows that stand alone, M the best of them, S seen rows (in weights: samples), R rows scored
exactly.
"""

import numpy as np
import numpy.typing as npt

from training.exporting.search.clusters import PLACES, cluster_catalogue, slices
from training.exporting.search.int8_search import (
    ROUND_QUERY,
    Floats,
    Weights,
    best_places,
    fill_columns,
    largest,
    split_columns,
)
from training.exporting.search.partition import Ints

GROUPS = 4
"""Number of groups that are searched for each block that is searched."""

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
    groups_a_block = Constant<value_ints=[GROUPS]>()
    enough_groups = Mul(enough_blocks, groups_a_block)
    enough_columns_groups = Add(enough_groups, spare_columns)
    enough_alone = Identity(enough_exact)
    enough_columns_alone = Add(enough_alone, spare_columns)
    flat = Constant<value_ints=[0, -1]>()
ROUND_QUERY
    query_B11W = Unsqueeze(query_uint8, both)
    masked_groups = MatMulInteger(query_uint8, means_int8, zero)
BEST_GROUPS
INSIDE_GROUPS
    seen_blocks_count = Shape<start=1, end=2>(sums_in_groups)
    blocks_taken = Min(enough_blocks, seen_blocks_count)
    block_sums, block_places = TopK<axis=1, sorted=0>(sums_in_groups, blocks_taken)
    chosen_blocks = GatherElements<axis=1>(inside_groups, block_places)
INSIDE_BLOCKS
    masked_alone = MatMulInteger(query_uint8, alone_int8, zero)
BEST_ALONE
    alone_rows_BM = Gather<axis=0>(alone_rows, chosen_alone)
    nobody_alone_BM = Equal(alone_rows_BM, nobody)
    there_alone_BM = Where(nobody_alone_BM, lowest_sum, sums_alone)
    seen_sums_BS = Concat<axis=1>(sums_in_blocks, there_alone_BM)
    seen_rows_BS = Concat<axis=1>(inside_blocks, alone_rows_BM)
    seen_count = Shape<start=1, end=2>(seen_sums_BS)
    exact_count = Min(enough_exact, seen_count)
    best_sums, places_BR = TopK<axis=1, sorted=0>(seen_sums_BS, exact_count)
    short_rows_BR = GatherElements<axis=1>(seen_rows_BS, places_BR)
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


_INSIDE = """
    inside_OF_BXL = Gather<axis=0>(NUMBERS, chosen_OF)
    vectors_OF_BXWL = Gather<axis=0>(OF_int8, chosen_OF)
    rough_OF_BX1L = MatMulInteger(query_B11W, vectors_OF_BXWL, zero)
    rough_OF_BP = Reshape(rough_OF_BX1L, flat)
    inside_OF = Reshape(inside_OF_BXL, flat)
    left_over_OF = Equal(inside_OF, nobody)
    sums_in_OF = Where(left_over_OF, lowest_sum, rough_OF_BP)
"""


def top(probes: int) -> str:
    """Return the text of a graph that searches the `probes` best blocks of an index."""
    text = TOP.replace("ROUND_QUERY", ROUND_QUERY)
    text = text.replace("BEST_GROUPS", best_places("groups")).replace("BEST_ALONE", best_places("alone"))
    for of, numbers in (("groups", "group_blocks"), ("blocks", "block_rows")):
        text = text.replace(f"INSIDE_{of.upper()}", _INSIDE.replace("OF", of).replace("NUMBERS", numbers))
    return text.replace("PROBES", str(probes)).replace("PLACES", str(PLACES)).replace("[GROUPS]", f"[{GROUPS}]")


def cut(items_VQ: Floats, queries_SQ: Floats) -> Weights:
    """Build the index of a catalogue. Returns the weights that the graph of `top` needs in addition to `items`.

    block_rows [C, L], blocks_int8 [C, W, L]     rows of each block, 0 in a free place, and their items
    group_blocks [G, L], groups_int8 [G, W, L]   blocks of each group (block 0 is empty), and their means and spreads
    means_int8 [W, G]                            means and spreads of the groups
    alone_rows [O], alone_int8 [W, O]            rows that stand alone, and their items
    item_columns [W]                             the query's column for each stored column
    """
    clusters = cluster_catalogue(items_VQ, queries_SQ)
    largest_Q = np.max([largest(vectors) for vectors in (items_VQ, clusters.blocks_CQ, clusters.groups_GQ)], axis=0)
    columns_W, parts_W, step = split_columns(largest_Q)

    def stored(vectors_NQ: Floats) -> npt.NDArray[np.int8]:
        stored_WN = np.empty((len(columns_W), len(vectors_NQ)), np.int8)
        fill_columns(stored_WN, vectors_NQ, columns_W, parts_W, step)
        return stored_WN

    def stored_inside(vectors_VQ: Floats, rows_CL: Ints) -> npt.NDArray[np.int8]:
        stored_CWL = np.empty((len(rows_CL), len(columns_W), PLACES), np.int8)
        for some in slices(len(rows_CL)):
            stored_WS = stored(vectors_VQ[rows_CL[some].ravel()])
            stored_CWL[some] = stored_WS.reshape(len(columns_W), -1, PLACES).transpose(1, 0, 2)
        return stored_CWL

    return {
        "blocks_int8": stored_inside(items_VQ, clusters.rows_CL),
        "block_rows": clusters.rows_CL.astype(np.int32),
        "groups_int8": stored_inside(clusters.blocks_CQ, clusters.groups_GL),
        "group_blocks": clusters.groups_GL.astype(np.int32),
        "means_int8": stored(clusters.groups_GQ),
        "alone_int8": stored(items_VQ[clusters.alone_O]),
        "alone_rows": clusters.alone_O.astype(np.int32),
        "item_columns": columns_W,
    }
