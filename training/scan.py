"""The scan of the catalogue in eight bits: a rough score of every row, an exact one of the best few hundred.

A query meets each item as int8, a step size an item (`MatMulInteger`: a quarter of the memory to read, and four products an
instruction where the processor has them). The rough scores only choose whom to score exactly, so what a list shows are the
network's own scores. Exclusions are masked before anything is chosen, so none costs a place and none gets through.

To find the best of a million rough scores costs as much as to compute them. So rows stand in a grid of `DEEP` lines; one pass
takes each column's best, the best columns are picked, and their rows looked at one by one. The row with the n-th best rough
score stands in one of the n best columns, so nothing is lost there.

Shapes: B batch, N excluded, K count, Q query width, V rows, P rows padded to the grid, C columns, D depth, M looked at.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Weights = dict[str, npt.NDArray[np.generic]]
DEEP = 8

TOP = """
top (float[B,Q] query, int64[B,N] excluded, int64 count) => (int64[B,K] rows, float[B,K] scores) {
    one = Constant<value_ints=[1]>()
    two = Constant<value_ints=[2]>()
    flat = Constant<value_ints=[0, -1]>()
    grid = Constant<value_ints=[0, 8, -1]>()
    depths_D1 = Constant<value=int64[8,1] {0, 1, 2, 3, 4, 5, 6, 7}>()
    spare_columns = Constant<value_ints=[32]>()
    spare_rows = Constant<value_ints=[128]>()
    lowest = Constant<value=float {-inf}>()
    least = Constant<value=float {1e-30}>()
    rows_count = Shape<start=0, end=1>(items)
    count_1 = Reshape(count, one)
    count_K = Min(count_1, rows_count)
    twice = Add(count_1, count_1)

    sizes_BQ = Abs(query)
    size_B1 = ReduceMax<keepdims=1>(sizes_BQ, one)
    divisor_B1 = Max(size_B1, least)
    even_BQ = Div(query, divisor_B1)
    query_int8, step, zero = DynamicQuantizeLinear(even_BQ)
    sums_BP = MatMulInteger(query_int8, items_int8, zero)
    counted_BP = Cast<to=1>(sums_BP)
    steps_P = Mul(step, item_steps)
    rough_BP = Mul(counted_BP, steps_P)

    batch = Shape<start=0, end=1>(excluded)
    reserved_size = Shape(reserved)
    reserved_shape = Concat<axis=0>(batch, reserved_size)
    reserved_BR = Expand(reserved, reserved_shape)
    never = Concat<axis=1>(excluded, reserved_BR)
    never_shape = Shape(never)
    lowest_BN = Expand(lowest, never_shape)
    masked_BP = ScatterElements<axis=1>(rough_BP, never, lowest_BN)

    masked_BDC = Reshape(masked_BP, grid)
    best_BC = ReduceMax<keepdims=0>(masked_BDC, one)
    columns = Shape<start=1, end=2>(best_BC)
    enough_columns = Add(twice, spare_columns)
    columns_taken = Min(enough_columns, columns)
    column_scores, columns_BM = TopK<axis=1, sorted=0>(best_BC, columns_taken)
    columns_B1M = Unsqueeze(columns_BM, one)
    starts_D1 = Mul(depths_D1, columns)
    near_BDM = Add(columns_B1M, starts_D1)
    near_BM = Reshape(near_BDM, flat)
    rough_BM = GatherElements<axis=1>(masked_BP, near_BM)
    near_count = Shape<start=1, end=2>(near_BM)
    enough_rows = Add(twice, spare_rows)
    rows_taken = Min(enough_rows, near_count)
    chosen_scores, places_BM = TopK<axis=1, sorted=0>(rough_BM, rows_taken)
    chosen_BM = GatherElements<axis=1>(near_BM, places_BM)

    real_BM = Mod(chosen_BM, rows_count)
    items_BMQ = Gather<axis=0>(items, real_BM)
    query_BQ1 = Unsqueeze(query, two)
    exact_BM1 = MatMul(items_BMQ, query_BQ1)
    exact_BM = Squeeze(exact_BM1, two)
    excluded_BM = IsInf<detect_positive=0>(chosen_scores)
    final_BM = Where(excluded_BM, lowest, exact_BM)
    scores, order_BK = TopK<axis=1>(final_BM, count_K)
    rows = GatherElements<axis=1>(real_BM, order_BK)
}"""


def quantise(items_VQ: npt.NDArray[Any]) -> Weights:
    """What `TOP` needs beside `items`: int8 items [Q, P], their steps [P], and the rows that are never proposed."""
    rows = len(items_VQ)
    padded = rows + -rows % DEEP
    steps_V = np.maximum(np.abs(items_VQ).max(axis=1) / 127, np.float32(1e-30))
    items_QP = np.zeros((items_VQ.shape[1], padded), np.int8)
    items_QP[:, :rows] = np.rint(items_VQ / steps_V[:, None]).T
    return {
        "items_int8": items_QP,
        "item_steps": np.pad(steps_V, (0, padded - rows)).astype(np.float32),
        "reserved": np.array([0, 1, *range(rows, padded)], np.int64),
    }
