"""The two graphs in ONNX Runtime: masking, top-k and free dimensions.

Shapes: B batch, N excluded, K count, M candidates, V rows.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch

from model import artifact
from model.encoding import GAP_CODES, Encoded, RowHistory, encode_histories, feed
from model.vocabulary import FIRST
from tests.training.conftest import TRACKS, Exported
from training.exporting.export import names_of, open_graph

ROWS = len(TRACKS) + FIRST
WEIGHT = np.array(0.7, np.float32)


@pytest.fixture(scope="module")
def model(exported: Exported) -> onnxruntime.InferenceSession:
    """The opened `model.onnx`."""
    return open_graph(exported.folder / artifact.MODEL)


@pytest.fixture(scope="module")
def rank(exported: Exported) -> onnxruntime.InferenceSession:
    """The opened `rank.onnx`."""
    return open_graph(exported.folder / artifact.RANK)


def batch_of(*lengths: int, width: int = 9) -> Encoded:
    """Make random histories of these lengths."""
    random = np.random.default_rng(len(lengths))
    tops = ((FIRST, ROWS), (1, 5), (0, GAP_CODES))
    histories = [RowHistory(*(random.integers(low, high, size).tolist() for low, high in tops)) for size in lengths]
    return encode_histories(histories, length=width)


def answers(
    model: onnxruntime.InferenceSession,
    batch: Encoded,
    *,
    count: int = 5,
    excluded: Any = None,
    weight: npt.NDArray[np.float32] = WEIGHT,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return rows and scores for a batch. By default nothing is excluded."""
    never = np.zeros((len(batch.tracks), 1), np.int64) if excluded is None else np.array(excluded, np.int64)
    rows, scores = model.run(None, feed(names_of(model), batch, excluded=never, count=np.array(count), wanted_weight=weight))
    return rows, scores


def torch_scores(exported: Exported, batch: Encoded, weight: npt.NDArray[np.float32] = WEIGHT) -> npt.NDArray[np.float32]:
    """Return torch's scores of every row, [B, V]."""
    network, (tracks, outcomes, gaps) = exported.network, map(torch.from_numpy, batch)
    assert network.session_memory is not None
    with torch.no_grad():
        query = network.query(tracks, outcomes, gaps, torch.from_numpy(weight))
        scores: npt.NDArray[np.float32] = network.session_memory.add(query @ network.item_matrix().T, tracks, outcomes).numpy()
    return scores


BATCHES = {
    "one empty": [0],
    "empty": [0, 0, 0],
    "one": [4],
    "full": [9, 9],
    "ragged": [0, 9, 1, 5, 3, 0, 8],
    "many": [*range(10)] * 7,
}


@pytest.mark.parametrize("lengths", BATCHES.values(), ids=BATCHES)
def test_best_rows_are_torchs(exported: Exported, model: onnxruntime.InferenceSession, lengths: list[int]) -> None:
    """They agree row by row and score by score, at batch sizes and lengths that the exporter never saw."""
    batch = batch_of(*lengths)
    wanted = torch_scores(exported, batch)
    wanted[:, :FIRST] = -np.inf
    rows, scores = answers(model, batch, count=10)

    assert np.array_equal(rows, np.argsort(-wanted, axis=1)[:, :10])
    assert np.allclose(scores, np.take_along_axis(wanted, rows, axis=1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("lengths", BATCHES.values(), ids=BATCHES)
def test_candidates_score_as_in_the_whole_catalogue(
    exported: Exported, rank: onnxruntime.InferenceSession, lengths: list[int]
) -> None:
    """`rank.onnx` gives torch's scores of the given rows in their order, with repetitions and padding."""
    batch = batch_of(*lengths)
    candidates = np.random.default_rng(0).integers(0, ROWS, (len(lengths), 13))
    [scores] = rank.run(None, feed(names_of(rank), batch, candidates=candidates, wanted_weight=WEIGHT))
    wanted = np.take_along_axis(torch_scores(exported, batch), candidates, axis=1)

    assert np.allclose(scores, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("columns", [1, 3, 12])
def test_excluded_rows_are_not_proposed(model: onnxruntime.InferenceSession, columns: int) -> None:
    """Each history excludes its own best rows, each of which would otherwise be proposed."""
    batch = batch_of(0, 4, 9)
    best, _ = answers(model, batch, count=ROWS)
    rows, scores = answers(model, batch, count=ROWS - FIRST - columns, excluded=best[:, :columns])

    assert np.array_equal(rows, best[:, columns : ROWS - FIRST])
    assert np.isfinite(scores).all()


def test_nothing_excluded_may_be_an_empty_array(model: onnxruntime.InferenceSession) -> None:
    """The array may have no column at all, or a column of zeros."""
    batch = batch_of(0, 4)
    empty, zeros = (answers(model, batch, excluded=np.zeros((2, columns))) for columns in (0, 3))

    assert np.array_equal(empty[0], zeros[0])


def test_lines_exclude_for_themselves(model: onnxruntime.InferenceSession) -> None:
    """A track that one listener of a batch skipped may be proposed to another."""
    batch = batch_of(4, 4)
    same = Encoded(*(array[[0, 0]] for array in batch))
    [first, _], _ = answers(model, same, count=1)
    rows, _ = answers(model, same, count=1, excluded=[[first[0]], [0]])

    assert rows[0, 0] != first[0]
    assert rows[1, 0] == first[0]


@pytest.mark.parametrize("count", [ROWS, ROWS + 1, 10_000])
def test_count_past_the_catalogue_gives_all_of_it(model: onnxruntime.InferenceSession, count: int) -> None:
    """It is no error. Rows that may not be proposed come last with -inf: padding, unknown and excluded rows."""
    rows, scores = answers(model, batch_of(3), count=count, excluded=[[5, 7]])

    assert rows.shape == scores.shape == (1, ROWS)
    assert sorted(rows[0].tolist()) == list(range(ROWS))
    assert set(rows[0, -4:].tolist()) == {0, 1, 5, 7}
    assert np.isneginf(scores[0, -4:]).all()
    assert np.isfinite(scores[0, :-4]).all()


@pytest.mark.parametrize("count", [0, 1, 7])
def test_count_is_followed(model: onnxruntime.InferenceSession, count: int) -> None:
    """The count is an input and not a constant of the export."""
    rows, scores = answers(model, batch_of(3, 2), count=count)

    assert rows.shape == scores.shape == (2, count)


def test_more_padding_changes_no_answer(model: onnxruntime.InferenceSession) -> None:
    """The answer is the same for every width, also one beyond the longest history."""
    batch = batch_of(0, 4, 9)
    wide = Encoded(*(np.pad(array, ((0, 0), (30, 0))) for array in batch))

    assert np.array_equal(answers(model, wide)[0], answers(model, batch)[0])


def test_inputs_and_outputs_are_the_contracts(model: onnxruntime.InferenceSession, rank: onnxruntime.InferenceSession) -> None:
    """Names, types and free dimensions are those that both sides expect."""

    def described(nodes: list[Any]) -> dict[str, tuple[str, list[bool]]]:
        return {node.name: (node.type, [isinstance(size, str) or size is None for size in node.shape]) for node in nodes}

    free = ("tensor(int64)", [True, True])
    read = {"tracks": free, "outcomes": free, "gaps": free, "wanted_weight": ("tensor(float)", [])}
    assert described(model.get_inputs()) == {**read, "excluded": free, "count": ("tensor(int64)", [])}
    assert described(model.get_outputs()) == {"rows": free, "scores": ("tensor(float)", [True, True])}
    assert described(rank.get_inputs()) == {**read, "candidates": free}
    assert described(rank.get_outputs()) == {"scores": ("tensor(float)", [True, True])}


def test_shapes_around_the_mask_are_stated_and_alike(exported: Exported) -> None:
    """They are equal, so that ONNX Runtime masks in place. The checker would refuse shapes that differ from its own."""
    graph = onnx.load(exported.folder / artifact.MODEL)
    onnx.shape_inference.infer_shapes(graph, check_type=True, strict_mode=True)
    stated = {value.name: [size.dim_param for size in value.type.tensor_type.shape.dim] for value in graph.graph.value_info}
    written = {node.output[0]: node for node in graph.graph.node if node.op_type == "ScatterElements"}

    for name in ("scores_BV", "masked_BV"):  # scores with the session memory, then without excluded rows
        assert stated[written[name].input[0]] == stated[name] == ["B", "V"]


def test_all_that_was_learned_lies_in_the_one_weights_file(exported: Exported) -> None:
    """Both graphs refer to it and contain no learned number. So a verified file is a verified model."""
    records = artifact.load(exported.folder).manifest.weights
    inline: set[str] = set()
    for name in (artifact.MODEL, artifact.RANK):
        graph = onnx.load(exported.folder / name, load_external_data=False).graph
        outside = {tensor.name: tensor for tensor in graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL}

        assert set(outside) == set(records)
        assert {entry.value for t in outside.values() for entry in t.external_data if entry.key == "location"} == {
            "weights.bin"
        }
        inline |= {tensor.name for tensor in graph.initializer if tensor.name not in outside and len(tensor.dims)}

    assert all(not name.endswith((".weight", ".bias")) for name in inline)


def test_input_and_output_share_one_table(exported: Exported) -> None:
    """The largest weight is stored once: nothing else in the file has a row for each track."""
    records = artifact.load(exported.folder).manifest.weights

    assert [name for name, record in records.items() if record.shape[0] == ROWS] == ["items"]
    assert records["items"].shape == (ROWS, exported.network.item_matrix().shape[1])


def test_weights_in_the_file_are_the_networks(exported: Exported) -> None:
    """They are at the offsets of the manifest."""
    record = artifact.load(exported.folder).manifest.weights["items"]
    items = np.memmap(exported.folder / artifact.WEIGHTS, record.dtype, "r", record.offset, record.shape)

    assert np.array_equal(items, exported.network.item_matrix().detach().numpy())


@pytest.mark.parametrize("weight", [0.0, 2.0, -1.5])
def test_weight_of_the_wanted_head_is_an_input(exported: Exported, model: onnxruntime.InferenceSession, weight: float) -> None:
    """With the given weight the graph ranks like torch, whatever weight the network was exported with."""
    batch, given = batch_of(0, 3, 9), np.array(weight, np.float32)
    wanted = torch_scores(exported, batch, given)
    wanted[:, :FIRST] = -np.inf
    rows, scores = answers(model, batch, count=10, weight=given)

    assert np.array_equal(rows, np.argsort(-wanted, axis=1)[:, :10])
    assert np.allclose(scores, np.take_along_axis(wanted, rows, axis=1), rtol=1e-4, atol=1e-4)
    assert not np.array_equal(rows, answers(model, batch, count=10)[0])


def test_gaps_are_read(model: onnxruntime.InferenceSession) -> None:
    """The same tracks score differently an hour apart and a second apart."""
    batch = batch_of(5)
    other = batch._replace(gaps=np.where(batch.tracks > 0, GAP_CODES - 1 - batch.gaps, 0))

    assert not np.allclose(answers(model, batch)[1], answers(model, other)[1], atol=1e-3)


def test_what_is_remembered_counts(exported: Exported, model: onnxruntime.InferenceSession) -> None:
    """Without the memory scores would differ for histories with known tracks, and for no others."""
    batch, memory = batch_of(0, 4, 9), exported.network.session_memory
    assert memory is not None
    with torch.no_grad():
        rows, more = memory(*(torch.from_numpy(array) for array in batch[:2]))
        plain = exported.network.query(*map(torch.from_numpy, batch)) @ exported.network.item_matrix().T
    found, scores = answers(model, batch, count=ROWS - FIRST)
    gained = scores - np.take_along_axis(plain.numpy(), found, axis=1)

    assert np.allclose(gained[0], 0, atol=1e-4)
    for line in (1, 2):
        wanted = dict(zip(rows[line].tolist(), more[line].tolist(), strict=True))
        assert np.allclose(gained[line], [wanted.get(row, 0.0) for row in found[line].tolist()], atol=1e-4)
        assert gained[line].max() > 1
