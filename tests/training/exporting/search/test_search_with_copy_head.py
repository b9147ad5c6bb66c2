"""Int8 search and the index give the lists of the exact graph where a copy head scores the listener's own tracks."""

from itertools import product

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest

from model import artifact
from model.nets import build
from model.nets.config import NetworkConfig
from model.nets.copy_head import NOTHING, CopyHead
from model.nets.session_memory import SessionMemory
from model.vocabulary import FIRST
from training.exporting import scoring_graphs
from training.exporting.export import names_of, open_graph
from training.exporting.graphs import write_graph, write_weights
from training.exporting.search import index
from training.exporting.search.int8_search import Weights, quantise
from training.fitting.session_memory import tables

ROWS, WIDTH, OWN, LOCAL, REMEMBERED, BATCH = 3_003, 12, 60, 5, 90, 9
ENCODER = """
<ir_version: 10, opset_import: ["" : 20]>
encoder (float[B,Q] given, int64[B,L] tracks, float[B,L] given_scores, int64[B,R] given_rows, float[B,R] given_more)
  => (float[B,Q] query, int64[B,L] copied, float[B,L] own_scores, int64[B,R] remembered, float[B,R] more) {
    query = Identity(given)
    copied = Identity(tracks)
    own_scores = Identity(given_scores)
    remembered = Identity(given_rows)
    more = Identity(given_more)
}"""
Given = dict[str, npt.NDArray[np.generic]]
Sessions = dict[str, onnxruntime.InferenceSession]
Floats = npt.NDArray[np.float32]


@pytest.fixture(scope="module", params=[False, True], ids=["copy head", "copy head and memory"])
def sessions(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, onnxruntime.InferenceSession]:
    """Make the graph of each search. The encoder passes its inputs on, and the index searches all of its blocks."""
    random = np.random.default_rng(0)
    items, queries = random.normal(size=(ROWS, WIDTH)).astype(np.float32), random.normal(size=(50, WIDTH)).astype(np.float32)
    network = build(NetworkConfig(width=16, heads=2), FIRST, 1)
    network.copy_head = CopyHead(FIRST, OWN)
    network.copy_head.share.data.fill_(0.25)
    if request.param:
        nothing = np.zeros(1, np.int64)
        network.session_memory = SessionMemory(tables(nothing, nothing, nothing, FIRST), recent=1)
    ways: dict[str, tuple[onnx.ModelProto, Weights]] = {
        "exact": (scoring_graphs.top(network), {}),
        "eight bits": (scoring_graphs.top_in_eight_bits(remembers=request.param, share=0.25), quantise(items)),
        "index": (scoring_graphs.top_by_index(ROWS, remembers=request.param, share=0.25), index.cut(items, queries)),
    }
    opened = {}
    for name, (tail, further) in ways.items():
        folder, weights = tmp_path_factory.mktemp("way"), {"items": items} | further
        write_graph(folder / artifact.MODEL, onnx.parser.parse_model(ENCODER), tail, weights, write_weights(folder, weights))
        opened[name] = open_graph(folder / artifact.MODEL)
    return opened


def _given(excluded: int) -> Given:
    """Make requests of listeners with 0 to `OWN` own tracks, a few without a row; some own tracks are remembered too.

    Excluded tracks are own, remembered or neither, with or without a row.
    """
    random = np.random.default_rng(1)
    tracks, scores = np.zeros((BATCH, OWN), np.int64), np.full((BATCH, OWN), NOTHING, np.float32)
    remembered = random.integers(FIRST, ROWS, (BATCH, REMEMBERED))
    more = np.full((BATCH, REMEMBERED), 3, np.float32)
    out = random.integers(FIRST, ROWS, (BATCH, excluded))
    for line, size in enumerate(np.linspace(0, OWN, BATCH, dtype=np.int64)):
        local = min(LOCAL, int(size))
        known = random.choice(np.arange(FIRST, ROWS), size - local, replace=False)
        tracks[line, OWN - size :] = random.permutation([*known, *range(ROWS, ROWS + local)])
        scores[line, OWN - size :] = random.normal(8, 3, size)
        remembered[line, :10] = 0
        remembered[line, 10 : 10 + len(known) // 2] = known[: len(known) // 2]
        out[line, : min(size, excluded) // 2] = tracks[line, OWN - min(size, excluded) // 2 :]
    remembered[:, :10], more[:, :10] = 0, 0
    return {
        "given": random.normal(size=(BATCH, WIDTH)).astype(np.float32),
        "tracks": tracks,
        "given_scores": scores,
        "given_rows": remembered,
        "given_more": more,
        "excluded": out,
    }


def _answers(
    session: onnxruntime.InferenceSession, given: Given, count: int
) -> tuple[list[list[int]], npt.NDArray[np.float32]]:
    given = given | {"count": np.array(count)}
    rows, scores = session.run(None, {name: given[name] for name in names_of(session)})
    return rows.tolist(), scores


@pytest.mark.parametrize(("way", "count", "excluded"), list(product(["eight bits", "index"], [1, 20, 150], [1, 40])))
def test_lists_and_scores_are_those_of_the_exact_graph(sessions: Sessions, way: str, count: int, excluded: int) -> None:
    """Own tracks, with or without a row, have the copy head's scores, and remembered ones their bonus. Each is listed once."""
    given = _given(excluded)
    (wanted, wanted_scores), (rows, scores) = (_answers(sessions[name], given, count) for name in ("exact", way))

    assert np.mean(np.array(rows) == np.array(wanted)) > 0.99
    assert np.allclose(scores, wanted_scores, rtol=1e-5, atol=1e-5)
    assert all(len(set(line)) == count for line in rows)
    assert count == 1 or any(max(line) >= ROWS for line in rows)
    assert not any(set(line) & {0, 1, *out} for line, out in zip(rows, given["excluded"].tolist(), strict=True))


def test_the_copy_head_decides_the_lists(sessions: Sessions) -> None:
    """So the comparison above is about own tracks: without their scores, the lists are others."""
    given = _given(1)
    lower = given | {"given_scores": given["given_scores"] - 20}

    with_own, without = (_answers(sessions["index"], one, 20)[0] for one in (given, lower))

    assert sum(len(set(line) - set(other)) for line, other in zip(with_own, without, strict=True)) > 3 * BATCH
