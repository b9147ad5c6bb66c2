"""The two ONNX graphs of an artifact, built around the encoder that torch exports.

    model.onnx   (tracks, outcomes, excluded, count) -> (rows, scores): encode, score all items, mask, top-k
    rank.onnx    (tracks, outcomes, candidates) -> scores: encode, score the candidates

The network's further inputs follow after `outcomes`: `gaps` [B, T], `wanted_weight` [].

Torch's exporter writes the encoder. The scoring graph behind it is written by hand in ONNX's text form: masking and top-k
depend on inputs, and exporters have silently frozen such parts before. Both graphs keep their weights in one file. `items` is
stored once: the input embedding of a network with tied tables is read out of it.

Shapes: B batch, T time, N excluded, M candidates, K count, Q query width, V rows, R remembered.
"""

import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from model.artifact import FURTHER_INPUTS, WEIGHTS, WeightRecord
from model.long_history import LongHistories
from model.nets.network import Network
from training.exporting.search.int8_search import Weights

_ALIGNMENT = 4096
"""Alignment in bytes of each weight in the file, so that it can be memory-mapped on its own."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """The encoder as an ONNX graph, (tracks, outcomes) -> query, and all weights of the artifact by name: its own and the
    matrix `items`.

    With a session memory the encoder also returns the `remembered` rows [B, R] and the score bonus of each, `more` [B, R].
    """

    graph: ModelProto
    weights: Weights


def export_encoder(network: Network) -> Encoder:
    """Export the encoder of a network whose artist embeddings are merged."""
    network.merge_artist_embeddings()
    with _short_table(network):
        encoder = _export_encoder(network)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in encoder.graph.initializer}
    weights["items"] = network.item_matrix().detach().numpy()
    if network.tied is not None:
        _read_table_from_items(encoder, network.tied, weights)
        table = network.get_parameter(network.tied)
        table.data = torch.from_numpy(weights["items"])[:, : table.shape[1]]  # memory, too, holds the rows once
    return Encoder(encoder, weights)


def write_weights(folder: Path, weights: Weights) -> dict[str, WeightRecord]:
    """Write `weights.bin`. Returns where each weight lies in it."""
    records: dict[str, WeightRecord] = {}
    with (folder / WEIGHTS).open("wb") as file:
        for name, array in sorted(weights.items()):
            if _in_file(array):
                file.write(bytes(-file.tell() % _ALIGNMENT))
                records[name] = WeightRecord(dtype=array.dtype.name, shape=array.shape, offset=file.tell())
                file.write(np.ascontiguousarray(array).data)
    return records


def write_graph(path: Path, encoder: ModelProto, tail: ModelProto, weights: Weights, records: dict[str, WeightRecord]) -> None:
    """Write the encoder and the scoring graph `tail` as one ONNX graph. It refers to the weights in `weights.bin`, whose places
    `records` has.
    """
    graph = _join(encoder, tail, weights)
    _refer(graph, records)
    path.write_bytes(graph.SerializeToString(deterministic=True))
    onnx.checker.check_model(str(path))  # by path, because it looks for the weights next to the graph


@contextmanager
def _short_table(network: Network) -> Iterator[None]:
    """Cut the tied embedding table to three rows during the `with` block, then restore it. The exporter would copy the table,
    and its format ends at 2 GB.
    """
    table = None if network.tied is None else network.get_parameter(network.tied)
    if table is None:
        yield
        return
    whole = table.data
    table.data = whole[:3]
    try:
        yield
    finally:
        table.data = whole


def _export_encoder(network: Network) -> ModelProto:
    """Export the encoder, (tracks, outcomes, further inputs) -> query, by torch's exporter. Batch size and length are
    dynamic.
    """
    tracks = torch.tensor([[0, 0, 2], [2, 2, 2]])
    outcomes = (tracks > 0).to(torch.int64)
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    free = {0: batch, 1: length}
    own = {0: batch, 1: torch.export.Dim("own_length")}
    example = (torch.tensor([[0, 2, 3, 2], [2, 2, 2, 3]]), *(torch.ones(2, 4, dtype=torch.int64) for _ in range(3)))
    newest = torch.tensor([[0, 3, 2, 3], [2, 2, 2, 3]])
    long = {name: (one.clone(), own) for name, one in zip(LongHistories._fields, (*example, newest), strict=True)}
    further = {"gaps": (outcomes.clone(), free), "wanted_weight": (torch.tensor(1.0), {}), **long}
    # A clone, because the exporter merges two inputs that are the same tensor.
    read = network.all_further_inputs
    given = {
        name: further[name] if name in read else (None, None) for name in FURTHER_INPUTS if name in read or name not in long
    }
    # it logs a warning that torchvision is missing
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals; the result is checked against torch
        program = torch.onnx.export(
            network.eval(),
            (tracks, outcomes, *(example for example, _ in given.values())),
            dynamo=True,
            verbose=False,
            opset_version=20,
            input_names=["tracks", "outcomes", *read],
            output_names=[
                "query",
                *(() if network.session_memory is None else ("remembered", "more")),
                *(() if network.copy_head is None else ("copied", "own_scores")),
            ],
            dynamic_shapes=_shapes(free, given, long),
        )
    if program is None:
        raise RuntimeError("torch exported nothing")
    return program.model_proto


def _shapes(free: object, given: Mapping[str, tuple[Any, Any]], long: Mapping[str, object]) -> tuple[object, ...]:
    """Return the dynamic shape of each parameter of `Network.forward`. The inputs of a copy head form one parameter."""
    own = tuple(shape for name, (_, shape) in given.items() if name in long)
    return (free, free, *(shape for name, (_, shape) in given.items() if name not in long), *([own] if own else []))


def _read_table_from_items(encoder: ModelProto, table: str, weights: Weights) -> None:
    """Replace each lookup in the embedding `table` by a lookup in the first columns of `items`, so that the file holds these
    numbers once.
    """
    width = weights.pop(table).shape[1]
    nodes = list(encoder.graph.node)
    del encoder.graph.node[:]
    weights["table_start"], weights["table_stop"] = np.array([0]), np.array([width])
    weights["table_axis"] = np.array([2])
    for node in nodes:
        if table not in node.input:
            encoder.graph.node.append(node)
            continue
        if node.op_type != "Gather":
            raise RuntimeError(f"the exported encoder reads {table} by {node.op_type}; only Gather is known")
        wide = f"{node.output[0]}_wide"
        encoder.graph.node.append(helper.make_node("Gather", ["items", node.input[1]], [wide], axis=0))
        sliced = [wide, "table_start", "table_stop", "table_axis"]
        encoder.graph.node.append(helper.make_node("Slice", sliced, [node.output[0]]))


def _join(encoder: ModelProto, tail: ModelProto, weights: Weights) -> ModelProto:
    nodes: list[NodeProto] = [*encoder.graph.node, *tail.graph.node]
    for node in nodes:
        node.ClearField("metadata_props")  # the exporter's stack traces, which hold paths of this machine
    used = {name for node in nodes for name in node.input}
    constants = [_placeholder(name, array) for name, array in sorted(weights.items()) if name in used]
    between = {output.name for output in encoder.graph.output}
    inputs = [*encoder.graph.input, *(given for given in tail.graph.input if given.name not in between)]
    known = list(tail.graph.value_info)
    graph = helper.make_graph(nodes, tail.graph.name, inputs, list(tail.graph.output), constants, value_info=known)
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)], producer_name="nexttrack")


def _in_file(array: npt.NDArray[np.generic]) -> bool:
    """Return whether an array is stored in the weights file. Learned arrays are, so that they can be verified. Shapes and
    constants are not.
    """
    return array.ndim > 0 and (array.dtype.kind == "f" or array.dtype in (np.int8, np.int32))


def _placeholder(name: str, array: npt.NDArray[np.generic]) -> TensorProto:
    if not _in_file(array):
        return numpy_helper.from_array(array, name)
    return TensorProto(name=name, data_type=helper.np_dtype_to_tensor_dtype(array.dtype), dims=array.shape)


def _refer(graph: ModelProto, records: dict[str, WeightRecord]) -> None:
    for tensor in graph.graph.initializer:
        if tensor.name in records:
            record = records[tensor.name]
            size = int(np.prod(record.shape)) * np.dtype(record.dtype).itemsize
            tensor.data_location = TensorProto.EXTERNAL
            place: Iterable[tuple[str, object]] = (("location", WEIGHTS), ("offset", record.offset), ("length", size))
            for key, value in place:
                tensor.external_data.add(key=key, value=str(value))
