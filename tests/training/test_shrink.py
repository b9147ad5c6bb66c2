"""The scan in eight bits gives the exact lists, excludes exactly, and is refused where it does not.

Shapes: B batch, N excluded, K count, V rows, Q query width.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from model import artifact
from model.artifact import ScanRecord
from model.encoding import RowHistory
from model.nets import build
from model.nets.network import Network
from model.vocabulary import FIRST
from tests.training.worlds import small_recipe
from training import shrink
from training.export import open_graph
from training.graphs import build_graphs, write_graphs
from training.scan import DEEP, quantise

ROWS = 3_003  # no multiple of the grid's depth
RECIPE = small_recipe("shrunk")
RANDOM = np.random.default_rng(0)
HISTORIES = [
    RowHistory(RANDOM.integers(FIRST, ROWS, size).tolist(), RANDOM.integers(1, 5, size).tolist()) for size in (1, 4, 8) * 8
]


@pytest.fixture(scope="module")
def network() -> Network:
    """Untrained, its item biases spread."""
    torch.manual_seed(0)
    made = build(RECIPE.network, ROWS, RECIPE.history.length)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made


@pytest.fixture(scope="module")
def sessions(network: Network, tmp_path_factory: pytest.TempPathFactory) -> dict[int, onnxruntime.InferenceSession]:
    """`model.onnx` by the bits of its scan."""
    opened = {}
    for bits in (32, 8):
        folder = tmp_path_factory.mktemp(f"bits-{bits}")
        model, rank, weights = build_graphs(network, in_eight_bits=bits == 8)
        write_graphs(folder, {artifact.MODEL: model, artifact.RANK: rank}, weights)
        opened[bits] = open_graph(folder / artifact.MODEL)
    return opened


def answers(
    session: onnxruntime.InferenceSession, count: int, excluded: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Rows and scores for as many random histories as there are lines of exclusions."""
    random = np.random.default_rng(len(excluded))
    tracks, outcomes = random.integers(FIRST, ROWS, (len(excluded), 6)), random.integers(1, 5, (len(excluded), 6))
    rows, scores = session.run(None, {"tracks": tracks, "outcomes": outcomes, "excluded": excluded, "count": np.array(count)})
    return rows, scores


@pytest.mark.parametrize("count", [1, 20, 100])
@pytest.mark.parametrize("batch", [1, 2, 33])
def test_lists_and_scores_are_the_exact_ones(sessions: dict[int, onnxruntime.InferenceSession], batch: int, count: int) -> None:
    """Rough scores only choose; what is returned is scored exactly. No luck: far more are looked at than are wanted."""
    nothing = np.zeros((batch, 1), np.int64)
    (wanted, wanted_scores), (rows, scores) = (answers(sessions[bits], count, nothing) for bits in (32, 8))

    assert np.mean(rows == wanted) > 0.99
    assert np.allclose(scores, wanted_scores, rtol=1e-5, atol=1e-5)


def test_excluded_rows_are_not_proposed(sessions: dict[int, onnxruntime.InferenceSession]) -> None:
    """The best four hundred, each of which would else have come first: what follows them comes, and comes in full."""
    best, _ = answers(sessions[32], 420, np.zeros((3, 1), np.int64))
    rows, scores = answers(sessions[8], 20, best[:, :400])

    assert np.mean(rows == best[:, 400:]) > 0.99
    assert np.isfinite(scores).all()
    assert not set(rows.ravel()) & {0, 1}


def test_nothing_is_left_where_all_is_excluded(sessions: dict[int, onnxruntime.InferenceSession]) -> None:
    """But for two rows of the catalogue: these two, then -inf; what pads the grid never shows."""
    excluded = np.arange(FIRST, ROWS - 2)[None]
    rows, scores = answers(sessions[8], 5, excluded)

    assert sorted(rows[0, :2].tolist()) == [ROWS - 2, ROWS - 1]
    assert np.isneginf(scores[0, 2:]).all()


def test_count_past_the_catalogue_gives_all_of_it(sessions: dict[int, onnxruntime.InferenceSession]) -> None:
    """Every row that may be proposed, exactly in order."""
    nothing = np.zeros((1, 1), np.int64)
    (_, wanted), (rows, scores) = (answers(sessions[bits], 10_000, nothing) for bits in (32, 8))

    assert rows.shape == (1, ROWS)
    assert sorted(rows[0, : ROWS - FIRST].tolist()) == list(range(FIRST, ROWS))
    assert np.allclose(scores[0, : ROWS - FIRST], wanted[0, : ROWS - FIRST], atol=1e-5)


def test_quantised_items_are_within_half_a_step() -> None:
    """Of one step for all, which one large column does not coarsen: it is split, and its parts add up to it."""
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


def test_items_of_nothing_are_no_division_by_zero() -> None:
    """A network that nobody trained may have them."""
    made = quantise(np.zeros((20, 3), np.float32))

    assert not np.asarray(made["items_int8"]).any()


def write_exact(network: Network, folder: Path) -> None:
    """The exact graphs, as `export` has written them when it asks."""
    model, rank, weights = build_graphs(network)
    write_graphs(folder, {artifact.MODEL: model, artifact.RANK: rank}, weights)


def test_small_catalogue_stays_exact(network: Network, tmp_path: Path) -> None:
    """Nothing is built, nothing is measured."""
    found, records = shrink.shrink(network, tmp_path, samples=HISTORIES, golden=[], length=8, open_graph=open_graph)

    assert (found, records) == (ScanRecord(), None)


def test_large_catalogue_is_shrunk_and_says_how_near_it_came(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The draft holds other graphs then, with all their weights in the one file."""
    monkeypatch.setattr(shrink, "LEAST_ROWS", 1_000)
    draft = tmp_path / "draft"
    draft.mkdir()
    write_exact(network, draft)
    found, records = shrink.shrink(network, draft, samples=HISTORIES, golden=[], length=8, open_graph=open_graph)

    assert found.bits == 8
    assert found.overlap is not None
    assert found.overlap >= 0.99
    assert records is not None
    assert records["items_int8"].dtype == "int8"
    assert open_graph(draft / artifact.MODEL).get_inputs()[0].name == "tracks"
    assert [path.name for path in tmp_path.iterdir()] == ["draft"]


def test_scan_that_changes_a_golden_case_is_refused(network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the service would refuse the artifact. What was measured is said all the same."""
    monkeypatch.setattr(shrink, "LEAST_ROWS", 1_000)
    draft = tmp_path / "draft"
    draft.mkdir()
    write_exact(network, draft)
    golden = {"rows": [5], "outcomes": [1], "gaps": [], "excluded": [], "best": [2, 3], "scores": [1.0, 0.5]}
    found, records = shrink.shrink(network, draft, samples=HISTORIES, golden=[golden], length=8, open_graph=open_graph)

    assert (found.bits, records) == (32, None)
    assert found.overlap is not None


def test_lists_that_differ_are_refused() -> None:
    """One place in fifty, or half a percent of NDCG."""
    assert shrink.allowed(ScanRecord(bits=8, overlap=0.995, ndcg_loss=0.001))
    assert not shrink.allowed(ScanRecord(bits=8, overlap=0.98, ndcg_loss=0.0))
    assert not shrink.allowed(ScanRecord(bits=8, overlap=1.0, ndcg_loss=0.005))


def constant_lists(rows: list[int]) -> onnxruntime.InferenceSession:
    """A graph that proposes the same to everybody."""
    nodes = [
        helper.make_node("Shape", ["tracks"], ["batch"], start=0, end=1),
        helper.make_node("Concat", ["batch", "width"], ["shape"], axis=0),
        helper.make_node("Expand", ["list", "shape"], ["rows"]),
    ]
    constants = [numpy_helper.from_array(np.array([rows]), "list"), numpy_helper.from_array(np.array([len(rows)]), "width")]
    names = {"tracks": ["B", "T"], "outcomes": ["B", "T"], "excluded": ["B", "N"], "count": []}
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name, shape in names.items()]
    output = helper.make_tensor_value_info("rows", TensorProto.INT64, ["B", "K"])
    graph = helper.make_graph(nodes, "same", inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def test_overlap_and_loss_are_as_by_hand() -> None:
    """Three of four tracks the same; the track to be found falls from the first place to the third: NDCG 1 to 1/2."""
    histories = [RowHistory([9, 5], [1, 1]), RowHistory([7, 5], [1, 1])]
    found = shrink.compare(constant_lists([5, 6, 7, 8]), constant_lists([6, 7, 5, 99]), histories, length=8)

    assert found.overlap == pytest.approx(0.75)
    assert found.ndcg_loss == pytest.approx(0.5)
