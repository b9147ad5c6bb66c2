"""Int8 search and the index give the exact lists, exclude exactly, and are not used if they do not.

Shapes: B batch, N excluded, K count, V rows, Q query width.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
import torch
from onnx import ModelProto

from model import artifact, versions
from model.artifact import ArtifactError, RetrievalRecord
from model.encoding import RowHistory
from model.nets import build
from model.nets.network import Network
from model.nets.session_memory import SessionMemory
from model.vocabulary import FIRST
from tests.model.drafts import manifest_of
from tests.training.worlds import small_recipe
from training.exporting import scoring_graphs
from training.exporting.export import open_graph
from training.exporting.graphs import Encoder, export_encoder, write_graph, write_weights
from training.exporting.search import index, select_retrieval
from training.exporting.search.int8_search import DEEP, Weights, quantise
from training.fitting.session_memory import tables

Sessions = dict[str, onnxruntime.InferenceSession]

ROWS = 3_003  # not a multiple of the grid's depth
RECIPE = small_recipe("shrunk")
RANDOM = np.random.default_rng(0)
HISTORIES = [
    RowHistory(RANDOM.integers(FIRST, ROWS, size).tolist(), RANDOM.integers(1, 5, size).tolist()) for size in (1, 4, 8) * 8
]


@pytest.fixture(scope="module", params=[0.0, 4.0], ids=["no memory", "memory"])
def network(request: pytest.FixtureRequest) -> Network:
    """Make a network; also one with a memory that holds most rows."""
    return untrained(request.param)


def untrained(memory: float) -> Network:
    """Make an untrained network with spread biases and tracks in all directions. `memory` is the weight of its memory."""
    torch.manual_seed(0)
    made = build(RECIPE.network, ROWS, RECIPE.history.length)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        made.get_parameter("track.weight").copy_(torch.randn(ROWS, RECIPE.network.width))
    if memory:
        random, sessions = np.random.default_rng(3), 600
        heard, session = random.integers(FIRST, ROWS, 12 * sessions), np.repeat(np.arange(sessions), 12)
        made.session_memory = SessionMemory(
            tables(heard, session, np.zeros(sessions, np.int64), ROWS), recent=20, weight=memory
        )
    return made


@pytest.fixture(scope="module")
def encoder(network: Network) -> Encoder:
    """The network's encoder as torch exports it."""
    return export_encoder(network)


@pytest.fixture(scope="module")
def sessions(network: Network, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Sessions:
    """Make `model.onnx` for each search method. The index searches all of its blocks."""
    items = np.asarray(encoder.weights["items"], np.float32)
    queries = np.random.default_rng(0).normal(size=(50, items.shape[1])).astype(np.float32)
    ways: dict[str, tuple[ModelProto, Weights]] = {
        "exact": (scoring_graphs.top(network), {}),
        "eight bits": (scoring_graphs.top_in_eight_bits(remembers=network.session_memory is not None), quantise(items)),
        "index": (scoring_graphs.top_by_index(ROWS, remembers=network.session_memory is not None), index.cut(items, queries)),
    }
    opened = {}
    for number, (name, (tail, besides)) in enumerate(ways.items()):
        folder = tmp_path_factory.mktemp(f"way-{number}")
        weights = encoder.weights | besides
        write_graph(folder / artifact.MODEL, encoder.graph, tail, weights, write_weights(folder, weights))
        opened[name] = open_graph(folder / artifact.MODEL)
    return opened


WAY_NAMES = ("eight bits", "index")
WAYS = pytest.mark.parametrize("way", WAY_NAMES)


def answers(
    session: onnxruntime.InferenceSession, count: int, excluded: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return rows and scores for random histories, one for each line of `excluded`."""
    tracks, outcomes = (array.numpy() for array in histories(len(excluded)))
    rows, scores = session.run(None, {"tracks": tracks, "outcomes": outcomes, "excluded": excluded, "count": np.array(count)})
    return rows, scores


def histories(batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random histories of six entries, always the same ones: tracks and outcomes `[B, 6]`."""
    random = np.random.default_rng(batch)
    tracks, outcomes = random.integers(FIRST, ROWS, (batch, 6)), random.integers(1, 5, (batch, 6))
    return torch.from_numpy(tracks), torch.from_numpy(outcomes)


def test_the_tracks_vectors_are_in_memory_once(network: Network, encoder: Encoder) -> None:
    """Torch and ONNX Runtime read them as columns of the items. The network answers as it did before its export."""
    with torch.no_grad():
        wanted, found = (one.query(*histories(3)) for one in (untrained(0.0).eval(), network))  # without the memory

    assert np.shares_memory(np.asarray(encoder.weights["items"]), network.get_parameter("track.weight").detach().numpy())
    torch.testing.assert_close(found, wanted)


@WAYS
@pytest.mark.parametrize("count", [1, 20, 100])
@pytest.mark.parametrize("batch", [1, 2, 33])
def test_lists_and_scores_are_the_exact_ones(sessions: Sessions, batch: int, count: int, way: str) -> None:
    """Rough scores only choose rows, and the chosen ones are scored exactly. Far more rows are scored than are returned."""
    nothing = np.zeros((batch, 1), np.int64)
    (wanted, wanted_scores), (rows, scores) = (answers(sessions[name], count, nothing) for name in ("exact", way))

    assert np.mean(rows == wanted) > 0.99
    assert np.allclose(scores, wanted_scores, rtol=1e-5, atol=1e-5)
    assert all(len(set(line)) == count for line in rows)


@WAYS
def test_longer_list_without_the_excluded_is_the_list_that_excludes(sessions: Sessions, way: str) -> None:
    """With an index, many exclusions are handled this way, because comparing each of them would take seconds."""
    best, _ = answers(sessions[way], 300, np.zeros((1, 1), np.int64))
    excluded = best[:, ::2]
    wanted, wanted_scores = answers(sessions[way], 20, excluded)
    longer, longer_scores = answers(sessions[way], 20 + excluded.shape[1], np.zeros((1, 1), np.int64))
    others = ~np.isin(longer[0], excluded[0])

    assert longer[0][others][:20].tolist() == wanted[0].tolist()
    assert np.array_equal(longer_scores[0][others][:20], wanted_scores[0])


@WAYS
def test_memory_changes_lists_and_fills_none_of_them(network: Network, sessions: Sessions, way: str) -> None:
    """So these tests include both kinds of rows: remembered ones that the network alone would not rank high, and others."""
    with torch.no_grad():
        network_BV = network.query(*histories(33), None, None) @ network.item_matrix().T
    network_BV[:, :FIRST] = -torch.inf
    rows, _ = answers(sessions[way], 20, np.zeros((33, 1), np.int64))
    added = [len(set(line) - set(best)) for line, best in zip(rows.tolist(), network_BV.topk(20).indices.tolist(), strict=True)]

    assert (33 < sum(added) < 10 * 33) == (network.session_memory is not None)


@pytest.mark.parametrize("way", ["exact", *WAY_NAMES])
def test_without_repeats_nothing_that_was_read_is_proposed(
    network: Network, encoder: Encoder, tmp_path: Path, way: str
) -> None:
    """The bias of each track of the histories would have ranked it first. The rest equals the exact graph's list with the same
    exclusions. Tracks that the request excludes are left out, too.
    """
    random = np.random.default_rng(5)
    tracks, outcomes = random.integers(FIRST, ROWS, (3, 6)), random.integers(1, 5, (3, 6))
    tracks[0, :4] = outcomes[0, :4] = 0
    items = np.array(encoder.weights["items"], np.float32)
    items[tracks.ravel(), -1] += 100
    items[0, -1] -= 100
    queries = random.normal(size=(50, items.shape[1])).astype(np.float32)
    besides: dict[str, Weights] = {"exact": {}, "eight bits": quantise(items), "index": index.cut(items, queries)}

    def told(tail: ModelProto, further: Weights, excluded: npt.NDArray[np.int64]) -> tuple[Any, Any]:
        weights = encoder.weights | {"items": items} | further
        write_graph(tmp_path / artifact.MODEL, encoder.graph, tail, weights, write_weights(tmp_path, weights))
        given = {"tracks": tracks, "outcomes": outcomes, "excluded": excluded, "count": np.array(20)}
        rows, scores = open_graph(tmp_path / artifact.MODEL).run(None, given)
        return rows, scores

    excluded = told(scoring_graphs.top(network), {}, tracks)[0][:, :1]  # the best of the other rows
    wanted, wanted_scores = told(scoring_graphs.top(network), {}, np.concatenate([tracks, excluded], axis=1))
    rows, scores = told(proposing_none_read(network, way), besides[way], excluded)

    assert all(not set(line) & {0, 1, *read, *out} for line, read, out in zip(rows, tracks, excluded, strict=True))
    assert np.mean(rows == wanted) > 0.99
    assert np.allclose(scores, wanted_scores, rtol=1e-5, atol=1e-5)


def proposing_none_read(network: Network, way: str) -> ModelProto:
    """Build the scoring graph of a network that is like this one but proposes no repeats."""
    remembers = network.session_memory is not None
    if way == "eight bits":
        return scoring_graphs.top_in_eight_bits(repeats=False, remembers=remembers)
    if way == "index":
        return scoring_graphs.top_by_index(ROWS, repeats=False, remembers=remembers)
    other = build(replace(RECIPE.network, repeats=False), ROWS, RECIPE.history.length)
    other.session_memory = network.session_memory
    return scoring_graphs.top(other)


@WAYS
def test_excluded_rows_are_not_proposed(sessions: Sessions, way: str) -> None:
    """Each history excludes its best four hundred rows. The next best rows follow, and the list is full."""
    best, _ = answers(sessions["exact"], 420, np.zeros((3, 1), np.int64))
    rows, scores = answers(sessions[way], 20, best[:, :400])

    assert np.mean(rows == best[:, 400:]) > 0.99
    assert np.isfinite(scores).all()
    assert not set(rows.ravel()) & {0, 1}


@WAYS
def test_nothing_is_left_where_all_is_excluded(sessions: Sessions, way: str) -> None:
    """All but two rows are excluded. These two come first, then -inf. Rows that pad the grid never appear."""
    excluded = np.arange(FIRST, ROWS - 2)[None]
    rows, scores = answers(sessions[way], 5, excluded)

    assert sorted(rows[0, :2].tolist()) == [ROWS - 2, ROWS - 1]
    assert np.isneginf(scores[0, 2:]).all()


@WAYS
def test_count_past_the_catalogue_gives_all_of_it(sessions: Sessions, way: str) -> None:
    """The list holds every row that may be proposed, in exact order."""
    nothing = np.zeros((1, 1), np.int64)
    (_, wanted), (rows, scores) = (answers(sessions[name], 10_000, nothing) for name in ("exact", way))

    assert rows.shape == (1, ROWS)
    assert sorted(rows[0, : ROWS - FIRST].tolist()) == list(range(FIRST, ROWS))
    assert np.allclose(scores[0, : ROWS - FIRST], wanted[0, : ROWS - FIRST], atol=1e-5)


def test_quantised_items_are_within_half_a_step() -> None:
    """All columns share one step. A large column does not coarsen it: it is split, and its parts add up to it."""
    items = np.random.default_rng(1).normal(size=(37, 5)).astype(np.float32)
    items[:, 2] *= 5
    made = quantise(items)
    restored = np.zeros((48, 5))
    np.add.at(restored.T, np.asarray(made["item_columns"]), np.asarray(made["items_int8"], np.float64))
    step = np.abs(items).max() / np.abs(restored).max()

    assert restored.shape[0] % DEEP == 0
    assert np.abs(restored[:37] * step - items).max() <= 0.51 * step + 1e-6
    assert step < np.abs(items[:, [0, 1, 3, 4]]).max() / 127
    assert made["reserved"].tolist() == [0, 1, *range(37, 48)]


def test_tracks_unlike_their_neighbours_stand_alone() -> None:
    """A track with a high bias is not represented by the mean of a block. It stands alone, or in a block with tracks like it,
    so that searching one block finds it.
    """
    random = np.random.default_rng(2)
    items = random.normal(size=(ROWS, 9)).astype(np.float32)
    items[:, 8] = np.where(np.arange(ROWS) % 60 == 7, 9.0, 0.0)
    queries = np.hstack([random.normal(size=(200, 8)), np.ones((200, 1))]).astype(np.float32)
    made = index.cut(items, queries)
    alone, blocks = np.asarray(made["alone_rows"]), np.asarray(made["block_rows"])
    everyone = np.concatenate([alone, blocks.ravel()])
    biased = set(range(7, ROWS, 60))
    mixed = [block for block in ({*rows} - {0} for rows in blocks.tolist()) if block & biased and block - biased]

    assert not mixed
    assert len(biased & set(alone.tolist())) > 0.9 * len(biased)
    assert sorted(everyone[everyone > 0].tolist()) == list(range(FIRST, ROWS))


def test_items_of_nothing_are_no_division_by_zero() -> None:
    """An untrained network may have such items."""
    made = quantise(np.zeros((20, 3), np.float32))

    assert not np.asarray(made["items_int8"]).any()


def write_exact(network: Network, encoder: Encoder, draft: Path) -> Path:
    """Write the exact graph, as `export` does before it calls `select_retrieval`."""
    draft.mkdir()
    records = write_weights(draft, encoder.weights)
    write_graph(draft / artifact.MODEL, encoder.graph, scoring_graphs.top(network), encoder.weights, records)
    return draft


class Shrink(Protocol):
    """Calls `select_retrieval` for this file's network with other thresholds."""

    def __call__(self, **options: Any) -> select_retrieval.Chosen: ...


@pytest.fixture
def shrunk(network: Network, encoder: Encoder, tmp_path: Path) -> Shrink:
    """Return a function that works on a folder `draft` below the test's folder."""
    draft = write_exact(network, encoder, tmp_path / "draft")

    def call(**options: Any) -> select_retrieval.Chosen:
        given: dict[str, Any] = {
            "samples": HISTORIES,
            "golden": [],
            "length": 8,
            "open_graph": open_graph,
            "index_from": 10**9,
            "session_memory_from": 0,
        } | options
        return select_retrieval.select_retrieval(network, encoder, draft, **given)

    return call


def test_small_catalogue_stays_exact(shrunk: Shrink) -> None:
    """No other graph is built or measured."""
    chosen = shrunk(golden=[{"best": []}])

    assert (chosen.found, chosen.records, chosen.golden) == (RetrievalRecord(), None, [{"best": []}])


def test_with_a_memory_only_larger_catalogues_are_shrunk(shrunk: Shrink, network: Network) -> None:
    """Remembered rows are scored in addition by either method, so the exact scan stays faster up to larger catalogues."""
    chosen = shrunk(eight_bits_from=1_000, session_memory_from=ROWS + 1)

    assert (chosen.records is None) == (network.session_memory is not None)


def test_large_catalogue_is_shrunk_and_says_how_near_it_came(shrunk: Shrink, tmp_path: Path) -> None:
    """The draft then holds other graphs, with all their weights in the one file."""
    chosen = shrunk(eight_bits_from=1_000)

    assert (chosen.found.bits, chosen.found.probes) == (8, None)
    assert (chosen.found.overlap or 0) >= 0.99
    assert (chosen.records or {})["items_int8"].dtype == "int8"
    assert open_graph(tmp_path / "draft" / artifact.MODEL).get_inputs()[0].name == "tracks"
    assert [path.name for path in tmp_path.iterdir()] == ["draft"]


def test_larger_catalogue_gets_an_index_with_the_fewest_probes_that_do(
    shrunk: Shrink, sessions: Sessions, tmp_path: Path
) -> None:
    """One block is not enough, all blocks are. The manifest states the search that the graph does, as comparing exact lists
    shows.
    """
    chosen = shrunk(eight_bits_from=1_000, index_from=1_000, probes_tried=(1, ROWS))

    assert (chosen.found.bits, chosen.found.probes) == (8, ROWS)
    assert (chosen.found.overlap or 0) >= 0.99
    assert (chosen.records or {})["block_rows"].dtype == "int32"
    graphs = (sessions["exact"], open_graph(tmp_path / "draft" / artifact.MODEL))
    exact, found = (select_retrieval.best_lists(graph, HISTORIES, length=8) for graph in graphs)
    shared = [len(set(one) & set(other)) / len(one) for one, other in zip(exact, found, strict=True)]
    assert chosen.found.overlap == pytest.approx(np.mean(shared))


def test_index_that_misses_too_much_is_not_taken(shrunk: Shrink) -> None:
    """Int8 search is used instead, and the manifest states the index's recall."""
    chosen = shrunk(eight_bits_from=1_000, index_from=1_000, probes_tried=(1,))

    assert (chosen.found.bits, chosen.found.probes) == (8, None)
    assert (chosen.found.overlap or 0) >= 0.99
    assert 0 < (chosen.found.index_overlap or 0) < 0.99
    assert "block_rows" not in (chosen.records or {})


def test_scan_that_changes_a_golden_case_is_refused(shrunk: Shrink) -> None:
    """Otherwise the service would refuse the artifact. The measurement is recorded all the same."""
    golden = {"rows": [5], "outcomes": [1], "gaps": [], "excluded": [], "best": [2, 3], "scores": [1.0, 0.5]}
    chosen = shrunk(golden=[golden], eight_bits_from=1_000)

    assert (chosen.found.bits, chosen.records) == (32, None)
    assert chosen.found.overlap is not None


def test_index_leaves_out_a_golden_case_that_it_misses(shrunk: Shrink, tmp_path: Path) -> None:
    """At most half of the golden cases may be left out."""
    rows, scores = open_graph(tmp_path / "draft" / artifact.MODEL).run(
        None, {"tracks": [[5]], "outcomes": [[1]], "excluded": [[0]], "count": np.array(3)}
    )
    right = {"rows": [5], "outcomes": [1], "gaps": [], "excluded": [0], "best": rows[0].tolist(), "scores": scores[0].tolist()}
    wrong = right | {"best": [2, 3, 4]}

    assert shrunk(golden=[right, wrong], index_from=1_000, probes_tried=(ROWS,)).golden == [right]


def test_damaged_index_is_refused(shrunk: Shrink, tmp_path: Path) -> None:
    """One bit of any of its parts is changed. Without the check, the service would search the wrong blocks unnoticed."""
    chosen = shrunk(index_from=1_000, probes_tried=(ROWS,))
    draft, records = tmp_path / "draft", chosen.records or {}
    versions.write_json(draft / artifact.TRACKS, [f"t{row}" for row in range(FIRST, ROWS)])
    golden = {"rows": [], "outcomes": [], "excluded": [], "best": [FIRST], "scores": [1.0]}
    for name, content in ((artifact.RANK, []), (artifact.POPULAR, [FIRST]), (artifact.GOLDEN, [golden])):
        versions.write_json(draft / name, content)
    manifest = manifest_of(tracks=ROWS - FIRST, weights=records, retrieval=chosen.found)
    saved = versions.save(tmp_path, draft, manifest, check=str)
    whole = (saved / artifact.WEIGHTS).read_bytes()

    for part in ("blocks_int8", "block_rows", "groups_int8", "group_blocks", "means_int8", "alone_int8", "alone_rows"):
        damaged = bytearray(whole)
        damaged[records[part].offset] ^= 1
        (saved / artifact.WEIGHTS).write_bytes(damaged)
        with pytest.raises(ArtifactError, match=r"weights\.bin is damaged"):
            artifact.load(saved)


def test_lists_that_differ_are_refused() -> None:
    """The limits are one place in fifty, and half a percent of NDCG."""
    assert select_retrieval.allowed(RetrievalRecord(bits=8, overlap=0.995, ndcg_loss=0.001))
    assert not select_retrieval.allowed(RetrievalRecord(bits=8, overlap=0.98, ndcg_loss=0.0))
    assert not select_retrieval.allowed(RetrievalRecord(bits=8, overlap=1.0, ndcg_loss=0.005))


def test_overlap_and_loss_are_as_by_hand() -> None:
    """Three of four tracks are the same. The target falls from the first to the third place, so its NDCG falls from 1 to
    1/2.
    """
    histories = [RowHistory([9, 5], [1, 1]), RowHistory([7, 5], [1, 1])]
    found = select_retrieval.compare([[5, 6, 7, 8]] * 2, [[6, 7, 5, 99]] * 2, histories)

    assert found.overlap == pytest.approx(0.75)
    assert found.ndcg_loss == pytest.approx(0.5)
