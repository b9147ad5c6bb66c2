"""Exports a trained network as an artifact: graphs, checks against torch, golden cases, everything in one folder.

Nothing is written under the artifact's name before ONNX Runtime has reproduced torch's answers at several batch sizes and
lengths: empty, ragged and full.

Shapes: B batch, T time, K count, V rows.
"""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from model import artifact, versions
from model.artifact import Golden, Manifest
from model.catalogue import Catalogue
from model.encoding import GAP_CODES, Encoded, RowHistory, encode_histories, feed
from model.graphs import Graphs
from model.long_history import LongHistories, Plays, encode_long, join
from model.nets.network import Network
from model.vocabulary import FIRST, UNKNOWN, Vocabulary
from training.errors import TrainingError
from training.evaluation.metrics import Floats
from training.evaluation.rankers import NetworkRanker
from training.exporting import scoring_graphs
from training.exporting.graphs import export_encoder, write_graph, write_weights
from training.exporting.search.select_retrieval import select_retrieval
from training.recipe import Recipe

STEPS = 4
"""Steps of an export: write graphs and weights, compare them with torch, choose a search, check the artifact."""
_GOLDEN_COUNT = 20
_PARITY_COUNT = 2_000  # number of best rows that are compared: all of a small catalogue


class ExportError(TrainingError):
    """The exported graphs answer differently from torch. Nothing was written."""


def export(
    network: Network,
    *,
    recipe: Recipe,
    vocabulary: Vocabulary,
    popular: Sequence[int],
    samples: Sequence[RowHistory],
    root: Path,
    origin: Mapping[str, Any],
    quality: Mapping[str, Any],
    catalogue: Catalogue | None = None,
    dropped: Sequence[int] = (),
    done: Callable[[], None] = lambda: None,
) -> Path:
    """Write an artifact under `root` and point `root/current` at it. Returns its folder.

    `done` is called after each of `STEPS` steps. `popular` are rows, best first; `samples` are real histories, from which
    golden cases are made. `dropped` are rows that the service never proposes. The graphs still score them, so that golden cases
    have the network's own answers. Raises ExportError if ONNX Runtime and torch disagree or a score is NaN, and ArtifactError
    if a weight is not finite.
    """
    root.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=root))
    try:
        draft.chmod(0o755)  # mkdtemp's mode would hide it from the service's user
        encoder = export_encoder(network)
        records = write_weights(draft, encoder.weights)
        for name, tail in ((artifact.MODEL, scoring_graphs.top(network)), (artifact.RANK, scoring_graphs.rank(network))):
            write_graph(draft / name, encoder.graph, tail, encoder.weights, records)
        done()
        length = recipe.history.length
        # shares the item matrix with the graphs' weights, so memory holds it once
        ranker = NetworkRanker(recipe.name, network.eval(), torch.from_numpy(encoder.weights["items"]))
        check_parity(ranker, draft, length=length)
        done()
        golden = [asdict(golden_of(ranker, history, length)) for history in _varied(samples)]
        versions.write_json(draft / artifact.TRACKS, vocabulary.tracks)
        versions.write_json(draft / artifact.POPULAR, _first_kept(popular, dropped, artifact.FALLBACK_LENGTH))
        if dropped:
            versions.write_json(draft / artifact.DROPPED, list(dropped))
        chosen = select_retrieval(
            network,
            encoder,
            draft,
            samples=samples,
            golden=golden,
            length=length,
            weight=weight_of(network),
            open_graph=partial(open_graph, packed=False),
        )
        done()
        versions.write_json(draft / artifact.GOLDEN, list(chosen.golden))
        if catalogue is not None:
            versions.write_json(draft / artifact.CATALOGUE, asdict(catalogue))
        manifest = Manifest(
            name=recipe.name,
            version=versions.new_version(recipe.name),
            created_at=datetime.now(UTC),
            tracks=len(vocabulary.tracks),
            history=recipe.history,
            inputs=(*artifact.INPUTS, *network.all_further_inputs),
            rank_inputs=(*artifact.RANK_INPUTS, *network.all_further_inputs),
            recipe=recipe.as_dict(),
            origin=dict(origin),
            quality=dict(quality),
            retrieval=chosen.found,
            long_history=0 if network.copy_head is None else network.copy_head.length,
            wanted_weight=weight_of(network),
            weights=chosen.records or records,
            files={},
        )
        saved = versions.save(root, draft, manifest, check=lambda saved: Graphs(saved, threads=1))
        done()
        return saved
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def golden_of(ranker: NetworkRanker, history: RowHistory, length: int) -> Golden:
    """Make a golden case: the network's answer to a history, with the newest entry's track excluded."""
    scores_V = ranker.score(encode_histories([history], length=length), history.own)[0]
    excluded = [int(row) for row in history.rows[-1:]]
    scores_V[[0, 1, *excluded]] = -np.inf
    best = np.argsort(-scores_V, kind="stable")[: min(_GOLDEN_COUNT, int(np.isfinite(scores_V).sum()))]
    return Golden(
        rows=[int(row) for row in history.rows[-length:]],
        outcomes=[int(outcome) for outcome in history.outcomes[-length:]],
        gaps=[int(gap) for gap in history.gaps[-length:]],
        own=[] if history.own is None else [field[0].tolist() for field in history.own],
        excluded=excluded,
        best=best.tolist(),
        scores=[float(score) for score in scores_V[best]],
    )


def _first_kept(popular: Sequence[int], dropped: Sequence[int], count: int) -> list[int]:
    """Return the first `count` of the `popular` rows that are not in `dropped`."""
    left_out = set(dropped)
    return [int(row) for row in popular if row not in left_out][:count]


def open_graph(path: Path, threads: int = 1, *, packed: bool = True) -> onnxruntime.InferenceSession:
    """Open a graph in ONNX Runtime with a fixed number of threads; 0 takes one for each processor core.

    With `packed` it is opened as in the service: ONNX Runtime copies the item matrices into a faster layout. Otherwise they
    stay memory-mapped, which is slower but needs no memory.
    """
    onnxruntime.disable_telemetry_events()  # nothing about a training is sent to others
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.disable_prepacking", str(int(not packed)))
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def weight_of(network: Network) -> float:
    """Return the weight of the network's second head, which predicts 'wanted'; 0 if it has none."""
    return network.wanted_weight.item() if "wanted_weight" in network.further_inputs else 0.0


def check_parity(torch_ranker: NetworkRanker, folder: Path, *, length: int) -> None:
    """Compare both graphs with torch on empty, ragged and full batches. Raises ExportError, with the largest difference, if
    they differ.
    """
    model, rank = (open_graph(folder / name, packed=False) for name in (artifact.MODEL, artifact.RANK))
    size = torch_ranker.network.rows
    random = np.random.default_rng(0)
    weight = np.array(weight_of(torch_ranker.network), np.float32)
    for batch, width in ((1, 1), (2, length), (5, max(1, length // 2)), (9, length)):
        encoded = _random_batch(random, batch, width, size)
        own = _random_own(random, batch, size) if torch_ranker.network.copy_head is not None else None
        further = {} if own is None else own._asdict()
        wanted_BV = torch_ranker.score(encoded, own)
        candidates = random.integers(1, wanted_BV.shape[1], (batch, 7))
        ranked = rank.run(None, feed(names_of(rank), encoded, candidates=candidates, wanted_weight=weight, **further))[0]
        asked = np.take_along_axis(wanted_BV, candidates, axis=1)
        # a candidate that is named is scored even if `model.onnx` would not propose it
        asked = np.where(np.isneginf(asked), ranked, asked)
        _compare(ranked, asked, f"rank.onnx at batch {batch}, length {width}")
        excluded = random.integers(0, wanted_BV.shape[1], (batch, 5))
        count = min(size, _PARITY_COUNT)
        inputs = feed(names_of(model), encoded, excluded=excluded, count=np.array(count), wanted_weight=weight, **further)
        rows, scores = model.run(None, inputs)
        np.put_along_axis(wanted_BV, np.concatenate([excluded, np.full((batch, 2), (0, 1))], axis=1), -np.inf, axis=1)
        _compare(scores, np.take_along_axis(wanted_BV, rows, axis=1), f"model.onnx at batch {batch}, length {width}")
        best_BK = -np.sort(np.partition(-wanted_BV, count - 1, axis=1)[:, :count], axis=1)
        _compare(scores, best_BK, f"order of model.onnx at batch {batch}, length {width}")


def names_of(graph: onnxruntime.InferenceSession) -> list[str]:
    """Return the names of a graph's inputs."""
    return [tensor.name for tensor in graph.get_inputs()]


def _compare(found: Floats, wanted: Floats, where: str) -> None:
    if np.isnan(found).any() or np.isnan(wanted).any():
        raise ExportError(f"{where}: found scores that are no numbers (NaN); the network's weights are broken")
    if not np.allclose(found, wanted, rtol=1e-4, atol=1e-4):
        finite = np.isfinite(found) & np.isfinite(wanted)
        worst = np.abs(found[finite] - wanted[finite]).max(initial=0.0)
        raise ExportError(f"{where}: ONNX Runtime and torch differ by up to {worst:.2g}; wanted no more than 0.0001")


def _random_batch(random: np.random.Generator, batch: int, width: int, rows: int) -> Encoded:
    """Make random histories whose lengths range from 0 to `width`."""
    lengths = np.linspace(0, width, batch, dtype=np.int64) if batch > 1 else np.zeros(1, np.int64)
    tops = ((FIRST, rows), (1, 5), (0, GAP_CODES))
    histories = [RowHistory(*(random.integers(low, high, size).tolist() for low, high in tops)) for size in lengths]
    return encode_histories(histories, length=width)


def _random_own(random: np.random.Generator, batch: int, rows: int) -> LongHistories:
    """Make random long histories of 0 to 60 plays, with repeats, refused tracks and some tracks without a row."""
    stops = np.cumsum(np.linspace(0, 60, batch, dtype=np.int64)) if batch > 1 else np.full(1, 40)
    starts = np.concatenate([np.zeros(1, np.int64), stops[:-1]])
    tracks = random.integers(FIRST, min(rows, 25) + 5, int(stops[-1]))
    plays = Plays(
        tracks=tracks,
        rows=np.where(tracks < min(rows, 25), tracks, UNKNOWN),
        outcomes=random.integers(1, 5, len(tracks)),
        at_ms=np.sort(random.integers(0, 10**9, len(tracks))),
        sessions=np.arange(len(tracks)) // 7,
    )
    asked_ms = np.full(batch, 10**9)
    return encode_long(plays, starts, stops, asked_ms=asked_ms, going_on=(stops - 1) // 7, size=rows, length=60)


def _varied(samples: Sequence[RowHistory]) -> list[RowHistory]:
    """Choose the histories of the golden cases: an empty one, and up to seven samples from the shortest to the longest."""
    ordered = sorted(samples, key=lambda history: len(history.rows))
    picked = [ordered[index] for index in np.linspace(0, len(ordered) - 1, min(7, len(ordered)), dtype=np.int64)]
    nothing = None if not samples or samples[0].own is None else join([None])
    return [RowHistory(own=nothing), *picked]
