"""The scoring graphs, which follow the encoder: scoring, masking and top-k, written by hand in ONNX's text form.

`items` is the item matrix [V, I] and `query` the query [B, Q], both from the encoder. With a session memory the encoder also
gives `remembered`, rows, and `more`, the score bonus of each. The kind of network decides the scoring; masking and top-k are
the same for all.

Shapes: B batch, N excluded, M candidates, K count, Q query width, I item width, V rows, G sub-interests, D width of one with
its bias, R remembered, L places of long histories, U request-local rows, W = V + U.
"""

from collections.abc import Mapping

from onnx import ModelProto, helper, parser

from model.nets.network import Network
from model.nets.sine import SineNetwork
from training.exporting.search import index, int8_search

_HEADER = '<ir_version: 10, opset_import: ["" : 20]>'

_TOP = """
top (float[B,Q] query, MEMORYint64[B,N] excluded, int64 count) => (int64[B,K] rows, float[B,K] scores)
<VALUESfloat[B,V] scores_BV, float[B,V] masked_BV> {
SCORING
    batch = Shape<start=0, end=1>(excluded)
    reserved = Constant<value_ints=[0, 1]>()
    two = Shape(reserved)
    reserved_shape = Concat<axis=0>(batch, two)
    reserved_B2 = Expand(reserved, reserved_shape)
    never = Concat<axis=1>(excluded, reserved_B2)
    lowest = Constant<value=float {-inf}>()
    never_shape = Shape(never)
    lowest_BN = Expand(lowest, never_shape)
    masked_BV = ScatterElements<axis=1>(scores_BV, never, lowest_BN)
    rows_count = Shape<start=0, end=1>(items)
    one = Constant<value_ints=[1]>()
    count_1 = Reshape(count, one)
    count_K = Min(count_1, rows_count)
    scores, rows = TopK<axis=1>(masked_BV, count_K)
}"""

_RANK = """
rank (float[B,Q] query, MEMORYint64[B,M] candidates) => (float[B,M] scores) {
CANDIDATES
    items_BMI = Gather<axis=0>(items, named)
SCORING
}"""

_DOT_ALL = """
    scores_BV = Gemm<transB=1>(query, items)"""

_DOT_CANDIDATES = """
    last = Constant<value_ints=[2]>()
    query_BQ1 = Unsqueeze(query, last)
    scores_BM1 = MatMul(items_BMI, query_BQ1)
    scores = Squeeze(scores_BM1, last)"""

_COPIED = "int64[B,L] copied, float[B,L] own_scores, "

_COPIED_PARTS = """
    items_height = Shape<start=0, end=1>(items)
    axis_one = Constant<value_ints=[1]>()
    no_score = Constant<value=float {0.0}>()
    never_score = Constant<value=float {-inf}>()
    share = Constant<value=float {SHARE}>()
    copied_lines = Shape<start=0, end=1>(copied)
    own_last = ReduceMax<keepdims=0>(copied)
    own_last_1 = Reshape(own_last, axis_one)
    own_end = Add(own_last_1, axis_one)"""

_COPIED_ALL = (
    _COPIED_PARTS
    + """
    no_row = Constant<value_int=0>()
    nothing_more = Constant<value_ints=[0]>()
    beyond_all = Sub(own_end, items_height)
    beyond = Max(beyond_all, nothing_more)
    beyond_shape = Concat<axis=0>(copied_lines, beyond)
    beyond_BU = Expand(never_score, beyond_shape)
    wide_BW = Concat<axis=1>(alone_BV, beyond_BU)
    has_row_BL = Less(copied, items_height)
    known_BL = Where(has_row_BL, copied, no_row)
    network_own_BL = GatherElements<axis=1>(alone_BV, known_BL)
    given_own_BL = Where(has_row_BL, network_own_BL, no_score)
    shared_own_BL = Mul(given_own_BL, share)
    mixed_own_BL = Add(shared_own_BL, own_scores)
    scores_BV = ScatterElements<axis=1>(wide_BW, copied, mixed_own_BL)"""
)

_COPIED_CANDIDATES = (
    _COPIED_PARTS
    + """
    asked_last = ReduceMax<keepdims=0>(candidates)
    asked_last_1 = Reshape(asked_last, axis_one)
    asked_end = Add(asked_last_1, axis_one)
    breadth = Max(items_height, own_end, asked_end)
    placed_shape = Concat<axis=0>(copied_lines, breadth)
    empty_BW = Expand(never_score, placed_shape)
    placed_BW = ScatterElements<axis=1>(empty_BW, copied, own_scores)
    own_BM = GatherElements<axis=1>(placed_BW, candidates)
    is_other_BM = IsInf<detect_positive=0>(own_BM)
    has_row_BM = Less(candidates, items_height)
    given_BM = Where(has_row_BM, alone_BM, no_score)
    shared_BM = Mul(given_BM, share)
    mixed_BM = Add(shared_BM, own_BM)
    other_BM = Where(has_row_BM, alone_BM, never_score)
    scores = Where(is_other_BM, other_BM, mixed_BM)"""
)
"""`model.nets.copy_head.CopyHead.mix` in ONNX: own tracks get the copy head's scores plus a share of the network's.

`copied` [B, L] are rows of own tracks; request-local tracks have rows after the last one. `own_scores` [B, L] are the copy
head's scores. The result has columns for all rows and for the batch's request-local rows.
"""

_REMEMBERED = "int64[B,R] remembered, float[B,R] more, "

_REMEMBERED_ALL = """
    before_BR = GatherElements<axis=1>(network_BV, remembered)
    after_BR = Add(before_BR, more)
    scores_BV = ScatterElements<axis=1>(network_BV, remembered, after_BR)"""

_REMEMBERED_CANDIDATES = """
    batch = Shape<start=0, end=1>(candidates)
    height = Shape<start=0, end=1>(items)
    whole_shape = Concat<axis=0>(batch, height)
    nothing_BV = ConstantOfShape(whole_shape)
    more_BV = ScatterElements<axis=1>(nothing_BV, remembered, more)
    more_BM = GatherElements<axis=1>(more_BV, named)
    scores = Add(network_BM, more_BM)"""

_BEFORE_SEARCH = """
asked (int64[B,N] excluded, int64 count) => (int64[B,N] excluded_rows, int64 found_count) {
    no_row = Constant<value_int=0>()
    items_height = Shape<start=0, end=1>(items)
    excluded_row_BN = Less(excluded, items_height)
    excluded_rows = Where(excluded_row_BN, excluded, no_row)
    copied_length = Shape<start=1, end=2>(copied)
    copied_length_0 = Squeeze(copied_length)
    spare_own = Constant<value_int=100>()
    likely_own = Add(count, spare_own)
    more_found = Min(copied_length_0, likely_own)
    found_count = Add(count, more_found)
}"""
"""The part before a fast search for a network with a copy head. The search does not know request-local rows.

Own tracks are dropped from its list later. So the list is longer, by their number or by count + 100. With more own tracks than
that among the network's best, a reply may lack a new track; the export measures how often lists differ.
"""

_COPIED_BESIDE = """
beside (int64[B,L] copied) => (int64[B,K] near, float[B,K] near_scores)
<int32[B,W] own_blank_BW, int32[B,W] own_placed_BW, int32[B,W] own_free_BW> {
    own_axis = Constant<value_ints=[1]>()
    own_begin = Constant<value_int=1>()
    own_outside = Constant<value=int32 {0}>()
    own_bottom = Constant<value=float {-inf}>()
    own_first_row = Constant<value=int64 {2}>()
    share = Constant<value=float {SHARE}>()
    copied_lines = Shape<start=0, end=1>(copied)
    own_last = ReduceMax<keepdims=0>(copied)
    own_last_1 = Reshape(own_last, own_axis)
    own_end = Add(own_last_1, own_axis)
    breadth = Max(items_height, own_end)
    own_table_shape = Concat<axis=0>(copied_lines, breadth)
    own_stop = Add(copied_length_0, own_begin)
    own_numbers_L = Range(own_begin, own_stop, own_begin)
    own_short_numbers_L = Cast<to=6>(own_numbers_L)
    copied_shape = Shape(copied)
    own_number_BL = Expand(own_short_numbers_L, copied_shape)
    own_excluded_shape = Shape(excluded)
    own_outside_BN = Expand(own_outside, own_excluded_shape)
    own_blank_BW = ConstantOfShape<value=int32[1] {0}>(own_table_shape)
    own_placed_BW = ScatterElements<axis=1>(own_blank_BW, copied, own_number_BL)
    own_free_BW = ScatterElements<axis=1>(own_placed_BW, excluded, own_outside_BN)
MIXED_SCORES
    own_at_BL = GatherElements<axis=1>(own_free_BW, copied)
    own_is_its_place_BL = Equal(own_at_BL, own_number_BL)
    own_is_track_BL = GreaterOrEqual(copied, own_first_row)
    own_counts_BL = And(own_is_its_place_BL, own_is_track_BL)
    listed_own_BL = Where(own_counts_BL, mixed_BL, own_bottom)
    found_at_BK = GatherElements<axis=1>(own_free_BW, found)
    is_own_BK = Greater(found_at_BK, own_outside)
    found_others_BK = Where(is_own_BK, own_bottom, found_scores)
    near_scores = Concat<axis=1>(found_others_BK, listed_own_BL)
    near = Concat<axis=1>(found, copied)
}"""
_COPIED_BESIDE = _COPIED_BESIDE.replace("MIXED_SCORES", int8_search.mixed_scores("BL", rows="copied", part="own_scores"))
"""The part behind a fast search whose lists, `found`, contain network scores only. It adds the copy head, whose own tracks are
all scored exactly. A row of `found` that is an own track counts with its own score only.
"""

_LISTED = """
listed (int64 count) => (int64[B,K] rows, float[B,K] scores) {
    list_axis = Constant<value_ints=[1]>()
    asked_count = Reshape(count, list_axis)
    near_length = Shape<start=1, end=2>(near)
    listed_count = Min(asked_count, near_length, items_height)
    scores, listed_order = TopK<axis=1>(near_scores, listed_count)
    rows = GatherElements<axis=1>(near, listed_order)
}"""

_OWN_BASE = """
    own_at_BR = GatherElements<axis=1>(own_free_BW, remembered)
    is_own_BR = Greater(own_at_BR, own_outside)
    long_own_at_BR = Cast<to=7>(own_at_BR)
    own_before_BR = Sub(long_own_at_BR, own_begin)
    own_place_BR = Max(own_before_BR, no_row)
    own_base_BR = GatherElements<axis=1>(mixed_BL, own_place_BR)
    base_BR = Where(is_own_BR, own_base_BR, network_BR)"""
"""A remembered row that is an own track: the bonus is added to its own score."""

_NETWORK_BASE = """
    base_BR = Identity(network_BR)"""

_REMEMBERED_BESIDE = """
beside (int64[B,R] remembered) => (int64[B,K] rows)
<int32[B,V] blank_BV, int32[B,V] placed_BV, int32[B,V] free_BV> {
    second = Constant<value_ints=[1]>()
    third = Constant<value_ints=[2]>()
    begin = Constant<value_int=1>()
    outside = Constant<value=int32 {0}>()
    bottom = Constant<value=float {-inf}>()
    first_row = Constant<value=int64 {2}>()
    height = Shape<start=0, end=1>(items)
    remembered_shape = Shape(remembered)
    lines = Shape<start=0, end=1>(remembered)
    length = Shape<start=1, end=2>(remembered)
    length_scalar = Squeeze(length)
    end = Add(length_scalar, begin)
    numbers_R = Range(begin, end, begin)
    short_numbers_R = Cast<to=6>(numbers_R)
    number_BR = Expand(short_numbers_R, remembered_shape)
    excluded_shape = Shape(excluded)
    outside_BN = Expand(outside, excluded_shape)
    whole_shape = Concat<axis=0>(lines, WIDE)
    blank_BV = ConstantOfShape<value=int32[1] {0}>(whole_shape)
    placed_BV = ScatterElements<axis=1>(blank_BV, remembered, number_BR)
    free_BV = ScatterElements<axis=1>(placed_BV, excluded, outside_BN)

    remembered_BRQ = Gather<axis=0>(items, remembered)
    query_beside_BQ1 = Unsqueeze(query, third)
    network_BR1 = MatMul(remembered_BRQ, query_beside_BQ1)
    network_BR = Squeeze(network_BR1, third)
BASE
    raised_BR = Add(base_BR, more)
    at_BR = GatherElements<axis=1>(free_BV, remembered)
    is_its_place_BR = Equal(at_BR, number_BR)
    is_track_BR = GreaterOrEqual(remembered, first_row)
    counts_BR = And(is_its_place_BR, is_track_BR)
    beside_BR = Where(counts_BR, raised_BR, bottom)
    near_at_BK = GatherElements<axis=1>(free_BV, near)
    is_beside_BK = Greater(near_at_BK, outside)
    others_BK = Where(is_beside_BK, bottom, near_scores)
    both_scores = Concat<axis=1>(others_BK, beside_BR)
    both_rows = Concat<axis=1>(near, remembered)
    wanted_count = Reshape(count, second)
    there_count = Shape<start=1, end=2>(both_rows)
    list_count = Min(wanted_count, there_count, height)
    scores, order_beside = TopK<axis=1>(both_scores, list_count)
    rows = GatherElements<axis=1>(both_rows, order_beside)
}"""
"""The part behind a fast search whose lists, `near`, contain network scores only. It adds the session memory.

The memory only raises scores. So a track that is neither in `near` nor remembered cannot be among the best, and it is enough to
score all remembered rows exactly. A row may be remembered at several places. `free_BV` is the number, from 1, of the place that
counts; it is 0 if the row is not remembered or is excluded.
"""

_PARTS = """
    zero = Constant<value_ints=[0]>()
    first = Constant<value_ints=[1]>()
    last = Constant<value_ints=[2]>()
    width = Constant<value_ints=[WIDTH]>()
    fused_width = Constant<value_ints=[FUSED]>()
    end = Constant<value_ints=[1000000000]>()
    fused_shape = Constant<value_ints=[0, INTERESTS, WIDTH]>()
    fused_flat = Slice(query, zero, fused_width, first)
    fused_BGD = Reshape(fused_flat, fused_shape)
    leaning_BG = Slice(query, fused_width, end, first)"""

_INTERESTS_ALL = (
    _PARTS
    + """
    vectors_VD = Slice(items, zero, width, first)
    answers_VG = Slice(items, width, end, first)
    vectors_DV = Transpose<perm=[1, 0]>(vectors_VD)
    answers_GV = Transpose<perm=[1, 0]>(answers_VG)
    leaning_BG1 = Unsqueeze(leaning_BG, last)
    logits_BGV = Add(leaning_BG1, answers_GV)
    shares_BGV = Softmax<axis=1>(logits_BGV)
    scores_BGV = MatMul(fused_BGD, vectors_DV)
    shared_BGV = Mul(shares_BGV, scores_BGV)
    scores_BV = ReduceSum<keepdims=0>(shared_BGV, first)"""
)

_INTERESTS_CANDIDATES = (
    _PARTS
    + """
    vectors_BMD = Slice(items_BMI, zero, width, last)
    answers_BMG = Slice(items_BMI, width, end, last)
    leaning_B1G = Unsqueeze(leaning_BG, first)
    logits_BMG = Add(leaning_B1G, answers_BMG)
    shares_BMG = Softmax<axis=2>(logits_BMG)
    fused_BDG = Transpose<perm=[0, 2, 1]>(fused_BGD)
    scores_BMG = MatMul(vectors_BMD, fused_BDG)
    shared_BMG = Mul(shares_BMG, scores_BMG)
    scores = ReduceSum<keepdims=0>(shared_BMG, last)"""
)


def top(network: Network) -> ModelProto:
    """Build the scoring graph of `model.onnx`, (query, excluded, count) -> (rows, scores): the best of all items, best first.
    The reserved rows score -inf.

    If the network proposes no repeats, the encoder's `tracks` are excluded as well.
    """
    return _proposing(
        _parse(_TOP, network, _DOT_ALL, _INTERESTS_ALL, copied=_COPIED_ALL, remembered=_REMEMBERED_ALL), repeats=network.repeats
    )


def top_in_eight_bits(*, repeats: bool = True, remembers: bool = False, share: float | None = None) -> ModelProto:
    """Build the graph of `top` with int8 search, for networks whose scores are dot products. It needs the weights of
    `int8_search.quantise`.

    `repeats` says that the network may propose tracks of the history, `remembers` that it has a session memory. `share` is the
    share of the network's score in its copy head; None if it has no copy head.
    """
    if share is not None and not remembers:
        return _proposing(parser.parse_model(_HEADER + int8_search.top_with_copy_head(share)), repeats=repeats)
    return _quicker(int8_search.top(), repeats=repeats, remembers=remembers, share=share)


def top_by_index(probes: int, *, repeats: bool = True, remembers: bool = False, share: float | None = None) -> ModelProto:
    """Build the graph of `top` that searches only the `probes` best blocks of an index. It needs the weights of `index.cut`.

    The other arguments are those of `top_in_eight_bits`.
    """
    return _quicker(index.top(probes), repeats=repeats, remembers=remembers, share=share)


def rank(network: Network) -> ModelProto:
    """Build the scoring graph of `rank.onnx`, (query, candidates) -> scores, in the order of the candidates."""
    return _parse(
        _RANK,
        network,
        _DOT_CANDIDATES,
        _INTERESTS_CANDIDATES,
        copied=_COPIED_CANDIDATES,
        remembered=_REMEMBERED_CANDIDATES,
    )


def _quicker(text: str, *, repeats: bool, remembers: bool, share: float | None) -> ModelProto:
    tail = parser.parse_model(_HEADER + text)
    found = ("near", "near_scores") if share is None else ("found", "found_scores")
    if remembers or share is not None:
        _rename(tail, {"rows": found[0], "scores": found[1]})
    if share is not None:
        _rename(tail, {"count": "found_count", "excluded": "excluded_rows"})
        search = list(tail.graph.node)
        del tail.graph.node[:]
        _append(tail, _BEFORE_SEARCH)
        tail.graph.node.extend(search)
        _append(tail, _COPIED_BESIDE.replace("SHARE", repr(share)))
    if remembers:
        wide, base = ("height", _NETWORK_BASE) if share is None else ("breadth", _OWN_BASE)
        _append(tail, _REMEMBERED_BESIDE.replace("WIDE", wide).replace("BASE", base))
    elif share is not None:
        _append(tail, _LISTED)
    return _proposing(tail, repeats=repeats)


def _rename(tail: ModelProto, names: Mapping[str, str]) -> None:
    """Rename values of a graph's nodes."""
    for node in tail.graph.node:
        for used in (node.input, node.output):
            used[:] = [names.get(name, name) for name in used]


def _append(tail: ModelProto, text: str) -> None:
    """Append the nodes of another graph, which read the values of `tail` by name."""
    graph = parser.parse_model(_HEADER + text).graph
    tail.graph.node.extend(graph.node)
    tail.graph.value_info.extend(graph.value_info)


def _proposing(tail: ModelProto, *, repeats: bool) -> ModelProto:
    """Return the graph unchanged if `repeats`. Otherwise let it also exclude the encoder's `tracks`."""
    if repeats:
        return tail
    nodes = list(tail.graph.node)
    for node in nodes:
        node.input[:] = ["excluded_or_read" if name == "excluded" else name for name in node.input]
    del tail.graph.node[:]
    tail.graph.node.append(helper.make_node("Concat", ["excluded", "tracks"], ["excluded_or_read"], axis=1))
    tail.graph.node.extend(nodes)
    return tail


_NAMED = """
    rows_there = Shape<start=0, end=1>(items)
    padding_row = Constant<value_int=0>()
    in_vocabulary_BM = Less(candidates, rows_there)
    named = Where(in_vocabulary_BM, candidates, padding_row)"""
"""Replace request-local rows among the candidates by padding, because they have no item."""


def _parse(text: str, network: Network, dot: str, interests: str, *, copied: str, remembered: str) -> ModelProto:
    scoring = dot
    if isinstance(network, SineNetwork):
        count, width = network.interests, network.fused_width
        sizes = {"INTERESTS": count, "WIDTH": width, "FUSED": count * width}
        scoring = interests
        for name, size in sizes.items():
            scoring = scoring.replace(name, str(size))
    given = values = ""
    named = "    named = Identity(candidates)"
    if network.copy_head is not None:
        given, values = _COPIED, "float[B,V] alone_BV, float[B,U] beyond_BU, float[B,W] wide_BW, "
        scoring = scoring.replace(" scores_BV = ", " alone_BV = ").replace(" scores = ", " alone_BM = ")
        scoring += copied.replace("SHARE", repr(network.copy_head.share.item()))
        named = _NAMED
    if network.session_memory is not None:
        given, values = _REMEMBERED + given, values + "float[B,V] network_BV, "
        scoring = scoring.replace(" scores_BV = ", " network_BV = ").replace(" scores = ", " network_BM = ") + remembered
    text = text.replace("MEMORY", given).replace("VALUES", values).replace("SCORING", scoring).replace("CANDIDATES", named)
    return parser.parse_model(_HEADER + text)
