"""A small real artifact with graphs written by hand, so that tests of the service need no torch.

A listener is the sum of the vectors of the tracks in the history, where skipped tracks count negative. A track's score is the
dot product of its vector and the listener, plus a prior. Vectors are one-hot by genre, so tests know the result.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from model import artifact, versions
from model.artifact import Artifact, Manifest, RetrievalRecord, WeightRecord
from model.events import HistoryRule, Outcome
from model.vocabulary import FIRST, PADDING, UNKNOWN

Arrays = dict[str, npt.NDArray[Any]]
GENRES = 4
FURTHER = ("gaps", "wanted_weight")
"""Optional inputs of the graphs, if they are built with them."""
TRACKS = tuple(f"t{number}" for number in range(40))
"""Track t0 has genre 0, t1 genre 1, …, and t4 genre 0 again. The lower the number, the more popular the track."""


def build(
    root: Path,
    *,
    rule: HistoryRule | None = None,
    tracks: Sequence[str] = TRACKS,
    vectors: npt.NDArray[np.float32] | None = None,
    catalogue: bool = False,
    golden_error: float = 0.0,
    version: str = "tiny-1",
    wanted_weight: float | None = None,
    probes: int | None = None,
    dropped: Sequence[int] = (),
) -> Path:
    """Save an artifact under `root` and return its folder. `golden_error` is added to the golden scores.

    With `probes` the manifest says that its graph is an index, though it scans. With a `wanted_weight` the graphs read the
    further inputs too. The newest gap is then added to each score, and the weight times the row.
    """
    draft = root / "draft"
    draft.mkdir(parents=True)
    items_VD = np.concatenate([np.zeros((FIRST, GENRES), np.float32), _genres(len(tracks))]) if vectors is None else vectors
    prior_V = np.linspace(0.5, 0.0, len(items_VD), dtype=np.float32)
    (draft / artifact.WEIGHTS).write_bytes(items_VD.tobytes() + prior_V.tobytes())
    further = wanted_weight is not None
    model, rank = _model(items_VD, prior_V), _rank(items_VD, prior_V)
    onnx.save(_further(model, "raw") if further else model, draft / artifact.MODEL)
    onnx.save(_further(rank, "liked") if further else rank, draft / artifact.RANK)
    versions.write_json(draft / artifact.TRACKS, list(tracks))
    versions.write_json(draft / artifact.POPULAR, list(range(FIRST, min(len(items_VD), FIRST + 2_000))))
    if dropped:
        versions.write_json(draft / artifact.DROPPED, list(dropped))
    versions.write_json(draft / artifact.GOLDEN, [_golden(items_VD, prior_V, [], golden_error, wanted_weight or 0.0)])
    if catalogue:
        artists = [f"artist {number // GENRES}" for number in range(len(tracks))]
        albums = [f"album {number // 2}" for number in range(len(tracks))]
        titles = [f"title {track}" for track in tracks]
        described = {"titles": titles, "artists": artists, "albums": albums, "durations_ms": [None] * len(tracks)}
        versions.write_json(draft / artifact.CATALOGUE, described)
    manifest = Manifest(
        name="tiny",
        version=version,
        created_at=datetime(2026, 11, 22, tzinfo=UTC),
        tracks=len(tracks),
        history=rule or HistoryRule(),
        inputs=(*artifact.INPUTS, *(FURTHER if further else ())),
        rank_inputs=(*artifact.RANK_INPUTS, *(FURTHER if further else ())),
        wanted_weight=wanted_weight or 0.0,
        retrieval=RetrievalRecord(probes=probes),
        recipe={},
        origin={"source": "made by hand"},
        quality={"HR@20": 1.0},
        weights={
            "items": WeightRecord(dtype="float32", shape=items_VD.shape, offset=0),
            "prior": WeightRecord(dtype="float32", shape=prior_V.shape, offset=items_VD.nbytes),
        },
        files={},
    )
    return versions.save(root, draft, manifest, check=lambda _: None)


def load(root: Path, **changes: object) -> Artifact:
    """Build an artifact under `root` and load it."""
    return artifact.load(build(root, **changes))  # type: ignore[arg-type]  # passed on as they are


def _genres(count: int) -> npt.NDArray[np.float32]:
    return np.eye(GENRES, dtype=np.float32)[np.arange(count) % GENRES]


def _golden(
    items_VD: npt.NDArray[np.float32], prior_V: npt.NDArray[np.float32], rows: list[int], error: float, weight: float
) -> object:
    scores = items_VD[rows].sum(axis=0) @ items_VD.T + prior_V + weight * np.arange(len(items_VD))
    scores[[PADDING, UNKNOWN]] = -np.inf
    best = np.argsort(-scores, kind="stable")[:10]
    return {
        "rows": rows,
        "outcomes": [int(Outcome.PLAYED)] * len(rows),
        "excluded": [],
        "best": best.tolist(),
        "scores": (scores[best] + error).tolist(),
    }


def _model(items_VD: npt.NDArray[np.float32], prior_V: npt.NDArray[np.float32]) -> onnx.ModelProto:
    never_V = np.zeros(len(items_VD), np.float32)
    never_V[[PADDING, UNKNOWN]] = -np.inf
    nodes = [
        *_listener(),
        helper.make_node("Gemm", ["listener", "items", "prior"], ["raw"], transB=1),
        helper.make_node("Add", ["raw", "never"], ["possible"]),
        helper.make_node("Shape", ["excluded"], ["excluded_shape"]),
        helper.make_node("Expand", ["minus_infinity", "excluded_shape"], ["updates"]),
        helper.make_node("ScatterElements", ["possible", "excluded", "updates"], ["masked"], axis=1),
        helper.make_node("Reshape", ["count", "one"], ["k"]),
        helper.make_node("TopK", ["masked", "k"], ["scores", "rows"], axis=1),
    ]
    inputs = [_ints("tracks", "B", "T"), _ints("outcomes", "B", "T"), _ints("excluded", "B", "n"), _ints("count")]
    outputs = [_ints("rows", "B", "k"), _floats("scores", "B", "k")]
    extra: Arrays = {"never": never_V, "minus_infinity": np.array(-np.inf, np.float32), "one": np.array([1], np.int64)}
    return _graph(nodes=nodes, inputs=inputs, outputs=outputs, items_VD=items_VD, prior_V=prior_V, extra=extra)


def _rank(items_VD: npt.NDArray[np.float32], prior_V: npt.NDArray[np.float32]) -> onnx.ModelProto:
    nodes = [
        *_listener(),
        helper.make_node("Gather", ["items", "candidates"], ["vectors"]),
        helper.make_node("Unsqueeze", ["listener", "last"], ["column"]),
        helper.make_node("MatMul", ["vectors", "column"], ["products"]),
        helper.make_node("Squeeze", ["products", "last"], ["liked"]),
        helper.make_node("Gather", ["prior", "candidates"], ["priors"]),
        helper.make_node("Add", ["liked", "priors"], ["scores"]),
    ]
    inputs = [_ints("tracks", "B", "T"), _ints("outcomes", "B", "T"), _ints("candidates", "B", "m")]
    outputs, extra = [_floats("scores", "B", "m")], {"last": np.array([2], np.int64)}
    return _graph(nodes=nodes, inputs=inputs, outputs=outputs, items_VD=items_VD, prior_V=prior_V, extra=extra)


def _further(graph: onnx.ModelProto, place: str) -> onnx.ModelProto:
    """Add the inputs `gaps` and `wanted_weight` to a graph; their contribution is added to the tensor `place`."""
    rows = "candidates" if place == "liked" else "all_rows"
    for node in graph.graph.node:
        node.input[:] = [f"{name}_further" if name == place else name for name in node.input]
    nodes = [
        helper.make_node("Cast", [rows], ["rows_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["rows_float", "wanted_weight"], ["by_row"]),
        helper.make_node("Cast", ["gaps"], ["gaps_float"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["gaps_float", "newest"], ["by_gap"], axis=1),
        helper.make_node("Add", ["by_row", "by_gap"], ["by_both"]),
        helper.make_node("Add", [place, "by_both"], [f"{place}_further"]),
    ]
    made = next(index for index, node in enumerate(graph.graph.node) if place in node.output) + 1
    after = list(graph.graph.node)
    del graph.graph.node[:]
    graph.graph.node.extend([*after[:made], *nodes, *after[made:]])
    graph.graph.input.extend([_ints("gaps", "B", "T"), helper.make_tensor_value_info("wanted_weight", TensorProto.FLOAT, [])])
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1]), "newest"))
    if rows == "all_rows":
        size = next(tensor.dims[0] for tensor in graph.graph.initializer if tensor.name == "items")
        graph.graph.initializer.append(onnx.numpy_helper.from_array(np.arange(size), rows))
    return graph


def _listener() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Gather", ["items", "tracks"], ["heard"]),
        helper.make_node("Equal", ["outcomes", "skip"], ["skipped"]),
        helper.make_node("Where", ["skipped", "minus_one", "plus_one"], ["sign"]),
        helper.make_node("Unsqueeze", ["sign", "last_axis"], ["signs"]),
        helper.make_node("Mul", ["heard", "signs"], ["signed"]),
        helper.make_node("ReduceSum", ["signed", "time_axis"], ["listener"], keepdims=0),
    ]


def _graph(
    *,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    items_VD: npt.NDArray[np.float32],
    prior_V: npt.NDArray[np.float32],
    extra: Arrays,
) -> onnx.ModelProto:
    constants: Arrays = {
        "skip": np.array(int(Outcome.SKIPPED), np.int64),
        "minus_one": np.array(-1, np.float32),
        "plus_one": np.array(1, np.float32),
        "last_axis": np.array([2], np.int64),
        "time_axis": np.array([1], np.int64),
        **extra,
    }
    weights = [_external("items", items_VD, 0), _external("prior", prior_V, items_VD.nbytes)]
    initializers = [*weights, *(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())]
    graph = helper.make_graph(list(nodes), "tiny", list(inputs), list(outputs), initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _external(name: str, values: npt.NDArray[np.float32], offset: int) -> onnx.TensorProto:
    tensor = onnx.TensorProto(name=name, data_type=TensorProto.FLOAT, dims=values.shape)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", artifact.WEIGHTS), ("offset", str(offset)), ("length", str(values.nbytes))):
        tensor.external_data.add(key=key, value=value)
    return tensor


def _ints(name: str, *shape: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.INT64, list(shape))


def _floats(name: str, *shape: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
