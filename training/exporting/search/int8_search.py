"""Searches the whole catalogue in int8: rough scores of every row choose the best hundred, which are scored exactly.

The query is multiplied with int8 items (`MatMulInteger`). This reads a quarter of the memory and does four products in an
instruction, where the processor can. All items share one step size, so that sums of integers can be compared directly;
scaling each sum would take longer than the product itself. The query is rounded by hand for the same reason: ONNX Runtime
would fuse `DynamicQuantizeLinear` and the product into a kernel ten times as slow. A column with larger values than the
others, such as biases, is stored as a sum of several columns. Otherwise it would coarsen the step of all columns.

Rough scores only choose the rows that are scored exactly, so a list shows the network's own scores. Excluded rows are masked
before the choice, so they neither take places nor appear.

Finding the best of a million rough scores costs as much as computing them. So rows lie in a grid of `DEEP` lines. One pass
takes the best of each column, the best columns are picked, and their rows are compared one by one. The row with the n-th best
rough score lies in one of the n best columns, so nothing is lost.

The graph states the shapes of the scores before and after masking. ONNX Runtime masks in place if it knows that they are
equal. Otherwise it copies all scores, a tenth of a run at 100,000 tracks.

Shapes: B batch, N excluded, K count, Q query width, W stored width, V rows, P rows padded to the grid, C columns, D depth, M
compared rows, L places of long histories, O compared own tracks, S places of own tracks without a row, and one for others.
"""

import numpy as np
import numpy.typing as npt

Weights = dict[str, npt.NDArray[np.generic]]
Floats = npt.NDArray[np.float32]
DEEP = 16
SPARE_COLUMNS = 8
"""Stored columns beyond those of the items, for columns that are split."""

ROUND_QUERY = """
    half_range = Constant<value=float {63}>()
    least = Constant<value=float {1e-30}>()
    first = Constant<value_ints=[1]>()
    wide_BW = Gather<axis=1>(query, item_columns)
    sizes_BW = Abs(wide_BW)
    size_B1 = ReduceMax<keepdims=1>(sizes_BW, first)
    divisor_B1 = Max(size_B1, least)
    even_BW = Div(wide_BW, divisor_B1)
    stretched_BW = Mul(even_BW, half_range)
    shifted_BW = Add(stretched_BW, half_range)
    rounded_BW = Round(shifted_BW)
    query_uint8 = Cast<to=2>(rounded_BW)
    zero = Constant<value=uint8 {63}>()
"""
"""Seven bits instead of eight: two full products together exceed 16 bits, at which processors without VNNI saturate."""

_BEST_PLACES = """
    grid_OF = Constant<value_ints=[0, DEEP, -1]>()
    flat_OF = Constant<value_ints=[0, -1]>()
    depths_OF_D1 = Constant<value=int64[DEEP,1] {DEPTHS}>()
    masked_OF_BDC = Reshape(masked_OF, grid_OF)
    best_OF_BC = ReduceMax<keepdims=0>(masked_OF_BDC, first)
    columns_OF = Shape<start=1, end=2>(best_OF_BC)
    columns_taken_OF = Min(enough_columns_OF, columns_OF)
    column_sums_OF, columns_OF_BM = TopK<axis=1, sorted=0>(best_OF_BC, columns_taken_OF)
    columns_OF_B1M = Unsqueeze(columns_OF_BM, first)
    starts_OF_D1 = Mul(depths_OF_D1, columns_OF)
    near_OF_BDM = Add(columns_OF_B1M, starts_OF_D1)
    near_OF_BM = Reshape(near_OF_BDM, flat_OF)
    rough_OF_BM = GatherElements<axis=1>(masked_OF, near_OF_BM)
    near_count_OF = Shape<start=1, end=2>(near_OF_BM)
    taken_OF = Min(enough_OF, near_count_OF)
    sums_OF, places_OF = TopK<axis=1, sorted=0>(rough_OF_BM, taken_OF)
    chosen_OF = GatherElements<axis=1>(near_OF_BM, places_OF)
"""
_BEST_PLACES = _BEST_PLACES.replace("DEPTHS", ", ".join(map(str, range(DEEP)))).replace("DEEP", str(DEEP))


def best_places(of: str) -> str:
    """Return a part of a graph's text that finds the best places of a tensor. `of` completes the names of its tensors.

    It reads `masked_{of}` [B, P] and searches its `enough_columns_{of}` best columns. It writes the `enough_{of}` best places
    to `chosen_{of}` [B, M] and their values to `sums_{of}`.
    """
    return _BEST_PLACES.replace("OF", of)


_MIXED_SCORES = """
    height_OF = Shape<start=0, end=1>(items)
    no_row_OF = Constant<value_int=0>()
    depth_OF = Constant<value_ints=[2]>()
    no_score_OF = Constant<value=float {0.0}>()
    in_items_OF = Less(ROWS, height_OF)
    item_rows_OF = Where(in_items_OF, ROWS, no_row_OF)
    items_OFQ = Gather<axis=0>(items, item_rows_OF)
    query_OFQ1 = Unsqueeze(query, depth_OF)
    network_OF1 = MatMul(items_OFQ, query_OFQ1)
    network_OF = Squeeze(network_OF1, depth_OF)
    given_OF = Where(in_items_OF, network_OF, no_score_OF)
    shared_OF = Mul(given_OF, share)
    mixed_OF = Add(shared_OF, PART)"""


def mixed_scores(of: str, *, rows: str, part: str) -> str:
    """Return a part of a graph's text that scores own tracks exactly. `of` completes the names of its tensors.

    It reads `query`, `items`, `share`, the tracks' `rows`, and their `part` of the score, which comes from the copy head. It
    writes `share` times the network's score plus this part to `mixed_{of}`. A row after the last one has network score 0.
    """
    return _MIXED_SCORES.replace("OF", of).replace("ROWS", rows).replace("PART", part)


_TOP = """
top (float[B,Q] query, OWN_INPUTSint64[B,N] excluded, int64 count) => (int64[B,K] rows, float[B,K] scores)
<int32[B,P] rough_BP, OWN_VALUESint32[B,P] masked_rows> {
    one = Constant<value_ints=[1]>()
    two = Constant<value_ints=[2]>()
    spare_columns = Constant<value_ints=[16]>()
    spare_rows = Constant<value_ints=[64]>()
    lowest = Constant<value=float {-inf}>()
    lowest_sum = Constant<value=int32 {-2147483648}>()
    rows_count = Shape<start=0, end=1>(items)
    count_1 = Reshape(count, one)
    count_K = Min(count_1, rows_count)
    twice = Add(count_1, count_1)
    enough_columns_rows = Add(twice, spare_columns)
    enough_rows = Add(twice, spare_rows)
ROUND_QUERY
    rough_BP = MatMulInteger(query_uint8, items_int8, zero)

    batch = Shape<start=0, end=1>(excluded)
    reserved_size = Shape(reserved)
    reserved_shape = Concat<axis=0>(batch, reserved_size)
    reserved_BR = Expand(reserved, reserved_shape)
MASKING

BEST_PLACES
    real_BM = Mod(chosen_rows, rows_count)
    items_BMQ = Gather<axis=0>(items, real_BM)
    query_BQ1 = Unsqueeze(query, two)
    exact_BM1 = MatMul(items_BMQ, query_BQ1)
    exact_BM = Squeeze(exact_BM1, two)
    excluded_BM = Equal(sums_rows, lowest_sum)
    final_BM = Where(excluded_BM, lowest, exact_BM)
LISTING
}"""
_TOP = _TOP.replace("ROUND_QUERY", ROUND_QUERY).replace("BEST_PLACES", best_places("rows"))

_MASKING = """
    never = Concat<axis=1>(excluded, reserved_BR)
    never_shape = Shape(never)
    lowest_BN = Expand(lowest_sum, never_shape)
    masked_rows = ScatterElements<axis=1>(rough_BP, never, lowest_BN)"""

_LISTING = """
    scores, order_BK = TopK<axis=1>(final_BM, count_K)
    rows = GatherElements<axis=1>(real_BM, order_BK)"""

_OWN_MASKING = """
    padding = Constant<value_int=0>()
    has_row_BN = Less(excluded, rows_count)
    excluded_rows = Where(has_row_BN, excluded, padding)
    never = Concat<axis=1>(excluded_rows, reserved_BR)
    never_shape = Shape(never)
    lowest_BN = Expand(lowest_sum, never_shape)
    masked_BP = ScatterElements<axis=1>(rough_BP, never, lowest_BN)
    has_row_BL = Less(copied, rows_count)
    known_BL = Where(has_row_BL, copied, padding)
    own_rough_BL = GatherElements<axis=1>(masked_BP, known_BL)
    out_BL = Min(own_rough_BL, lowest_sum)
    masked_rows = ScatterElements<axis=1>(masked_BP, known_BL, out_BL)

    own_length = Shape<start=1, end=2>(copied)
    local_BL = Sub(copied, rows_count)
    local_BN = Sub(excluded, rows_count)
    nowhere_BL = Where(has_row_BL, own_length, local_BL)
    is_local_BN = GreaterOrEqual(local_BN, padding)
    is_near_BN = Less(local_BN, own_length)
    is_asked_BN = And(is_local_BN, is_near_BN)
    nowhere_BN = Where(is_asked_BN, local_BN, own_length)
    places_count = Add(own_length, one)
    places_shape = Concat<axis=0>(batch, places_count)
    allowed_BS = ConstantOfShape<value=int32[1] {0}>(places_shape)
    excluded_shape = Shape(excluded)
    lowest_out_BN = Expand(lowest_sum, excluded_shape)
    placed_BS = ScatterElements<axis=1>(allowed_BS, nowhere_BN, lowest_out_BN)
    local_out_BL = GatherElements<axis=1>(placed_BS, nowhere_BL)
    sum_or_out_BL = Where(has_row_BL, own_rough_BL, local_out_BL)
    own_out_BL = Equal(sum_or_out_BL, lowest_sum)

    share = Constant<value=float {SHARE}>()
    unit_B1 = Div(divisor_B1, half_range)
    step_B1 = Mul(unit_B1, item_step)
    shared_step_B1 = Mul(step_B1, share)
    sums_BL = Cast<to=1>(sum_or_out_BL)
    shared_BL = Mul(sums_BL, shared_step_B1)
    about_BL = Add(shared_BL, own_scores)
    choice_BL = Where(own_out_BL, lowest, about_BL)
    own_taken = Min(enough_rows, own_length)
    about_BO, own_places_BO = TopK<axis=1, sorted=0>(choice_BL, own_taken)
    own_rows_BO = GatherElements<axis=1>(copied, own_places_BO)
    own_part_BO = GatherElements<axis=1>(own_scores, own_places_BO)
MIXED_SCORES
    is_out_BO = IsInf(about_BO)
    own_final_BO = Where(is_out_BO, lowest, mixed_BO)"""

_OWN_MASKING = _OWN_MASKING.replace("MIXED_SCORES", mixed_scores("BO", rows="own_rows_BO", part="own_part_BO"))

_OWN_LISTING = """
    near_scores = Concat<axis=1>(final_BM, own_final_BO)
    near = Concat<axis=1>(real_BM, own_rows_BO)
    scores, order_BK = TopK<axis=1>(near_scores, count_K)
    rows = GatherElements<axis=1>(near, order_BK)"""


def top() -> str:
    """Return the text of a graph, (query, excluded, count) -> (rows, scores)."""
    return _TOP.replace("OWN_INPUTS", "").replace("OWN_VALUES", "").replace("MASKING", _MASKING).replace("LISTING", _LISTING)


def top_with_copy_head(share: float) -> str:
    """Return the text of a graph, (query, copied, own_scores, excluded, count) -> (rows, scores).

    Own tracks are masked in the search. Their rough scores choose those that are scored exactly: `own_scores` plus `share`
    times the network's score. Tracks without a row have rows after the last one, and the network's score 0.
    """
    inputs = "int64[B,L] copied, float[B,L] own_scores, "
    values = "int32[B,P] masked_BP, int32[B,S] allowed_BS, int32[B,S] placed_BS, "
    text = _TOP.replace("OWN_INPUTS", inputs).replace("OWN_VALUES", values)
    return text.replace("MASKING", _OWN_MASKING.replace("SHARE", repr(share))).replace("LISTING", _OWN_LISTING)


def quantise(items_VQ: Floats) -> Weights:
    """Round the items to int8. Returns the weights that the search graph needs in addition to `items`.

    They are the int8 items [W, P], the size of a step [1], the query's column for each stored column [W], and the mask.
    """
    rows = len(items_VQ)
    padded = rows + -rows % DEEP
    columns_W, parts_W, step = split_columns(largest(items_VQ))
    items_WP = np.zeros((len(columns_W), padded), np.int8)
    fill_columns(items_WP[:, :rows], items_VQ, columns_W, parts_W, step)
    return {
        "items_int8": items_WP,
        "item_step": np.array([step], np.float32),
        "item_columns": columns_W,
        "reserved": np.array([0, 1, *range(rows, padded)], np.int64),
    }


def largest(vectors_VQ: Floats) -> Floats:
    """Return the largest absolute value of each column [Q]."""
    sizes_Q: Floats = np.maximum(vectors_VQ.max(axis=0), -vectors_VQ.min(axis=0))
    return sizes_Q


def split_columns(largest_Q: Floats) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], float]:
    """Choose for each of the W stored columns which of the Q columns it holds, and which part of this column. Also returns the
    step of rounding.

    Columns with large values are split into several stored columns, so that the common step is as small as W columns allow.
    """
    parts_Q = np.ones(len(largest_Q), np.int64)
    width = len(parts_Q) + SPARE_COLUMNS
    for _ in range(width + -width % 4 - len(parts_Q)):  # processors multiply four columns at a time
        parts_Q[np.argmax(largest_Q / parts_Q)] += 1
    step = max(float((largest_Q / parts_Q).max()) / 127, 1e-30)
    return np.repeat(np.arange(len(parts_Q)), parts_Q), np.concatenate([np.arange(count) for count in parts_Q]), step


def fill_columns(
    out_WV: npt.NDArray[np.int8],
    items_VQ: Floats,
    columns_W: npt.NDArray[np.int64],
    parts_W: npt.NDArray[np.int64],
    step: float,
) -> None:
    """Round items to whole steps and write them to `out_WV`. The parts of a split column add up to it exactly (Hermite: t = sum
    of floor((t + i) / n)).
    """
    counts_Q = np.bincount(columns_W)
    for out_V, column, part in zip(out_WV, columns_W, parts_W, strict=True):
        steps_V = np.rint(items_VQ[:, column] / step)
        out_V[:] = np.floor((steps_V + part) / counts_Q[column])
