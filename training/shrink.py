"""Whether an artifact may scan its catalogue in eight bits: measured at each export, on the histories it is exported with.

It may where its lists are the exact scan's but for one place in a hundred, where the tracks that followed stand as high as
before but for 0.2 % of NDCG@20, and where every golden case comes out the same. Else it stays exact. Both figures go into the
manifest. The price is a second export of the encoder, some seconds.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from model.artifact import MODEL, RANK, WEIGHTS, ScanRecord, WeightRecord
from model.encoding import Encoded, RowHistory, encode_histories, feed
from model.nets.network import Network
from model.nets.sine import SineNetwork
from training.graphs import build_graphs, write_graphs

LEAST_ROWS = 20_000
"""Below, the network takes longer than an exact scan."""
OVERLAP, LOSS = 0.99, 0.002
PLACES, SAMPLES, AT_A_TIME = 20, 512, 16

Open = Callable[[Path], onnxruntime.InferenceSession]
Ints = npt.NDArray[np.int64]


def shrink(
    network: Network,
    draft: Path,
    *,
    samples: Sequence[RowHistory],
    golden: Sequence[Mapping[str, Any]],
    length: int,
    weight: float = 0.0,
    open_graph: Open,
) -> tuple[ScanRecord, dict[str, WeightRecord] | None]:
    """Replace the graphs and weights of `draft` by ones that scan in eight bits, where that may be.

    Returns what was measured, and where the weights lie now, None where nothing was replaced.
    """
    if network.rows < LEAST_ROWS or isinstance(network, SineNetwork) or not samples:
        return ScanRecord(), None
    with TemporaryDirectory(prefix=".scan-", dir=draft.parent) as name:
        folder = Path(name)
        model, rank, weights = build_graphs(network, in_eight_bits=True)
        records = write_graphs(folder, {MODEL: model, RANK: rank}, weights)
        rough = open_graph(folder / MODEL)
        found = compare(open_graph(draft / MODEL), rough, samples[:SAMPLES], length=length, weight=weight)
        if not allowed(found) or not all(_same(rough, case, length, weight) for case in golden):
            return found.model_copy(update={"bits": 32}), None
        for file in (MODEL, RANK, WEIGHTS):
            os.replace(folder / file, draft / file)
    return found, records


def allowed(found: ScanRecord) -> bool:
    """Whether the lists are near enough to the exact ones."""
    return (found.overlap or 0.0) >= OVERLAP and (found.ndcg_loss or 0.0) <= LOSS


def compare(
    exact: onnxruntime.InferenceSession,
    rough: onnxruntime.InferenceSession,
    histories: Sequence[RowHistory],
    *,
    length: int,
    weight: float = 0.0,
) -> ScanRecord:
    """Both scans on the same histories: each without its last entry, which is the track to be found, nothing heard excluded."""
    shared, gains = [], []
    for start in range(0, len(histories), AT_A_TIME):
        batch = histories[start : start + AT_A_TIME]
        targets_B = [history.rows[-1] if history.rows else 0 for history in batch]
        before = [RowHistory(history.rows[:-1], history.outcomes[:-1], history.gaps[:-1]) for history in batch]
        lists = [_best(session, before, length, weight) for session in (exact, rough)]
        pairs = zip(*(found.tolist() for found in lists), targets_B, strict=True)
        for one, other, target in pairs:
            shared.append(len(set(one) & set(other)) / len(one))
            gains.append((_gain(one, target), _gain(other, target)))
    before_all, after_all = np.mean(gains, axis=0).tolist()
    loss = 1 - after_all / before_all if before_all else 0.0
    return ScanRecord(bits=8, overlap=float(np.mean(shared)), ndcg_loss=loss)


def _best(session: onnxruntime.InferenceSession, histories: Sequence[RowHistory], length: int, weight: float) -> Ints:
    excluded = np.zeros((len(histories), 1), np.int64)
    return _rows(session, encode_histories(histories, length=length), excluded, PLACES, weight)


def _rows(session: onnxruntime.InferenceSession, batch: Encoded, excluded: Ints, count: int, weight: float) -> Ints:
    names = [tensor.name for tensor in session.get_inputs()]
    others = {"excluded": excluded, "count": np.array(count), "wanted_weight": np.array(weight, np.float32)}
    rows: Ints = session.run(["rows"], feed(names, batch, **others))[0]
    return rows


def _gain(rows: Sequence[int], target: int) -> float:
    return float(1 / np.log2(rows.index(target) + 2)) if target in rows else 0.0


def _same(rough: onnxruntime.InferenceSession, case: Mapping[str, Any], length: int, weight: float) -> bool:
    encoded = encode_histories([RowHistory(case["rows"], case["outcomes"], case["gaps"])], length=length)
    excluded = np.array([case["excluded"]], np.int64).reshape(1, -1)
    rows = _rows(rough, encoded, excluded, len(case["best"]), weight)
    return bool(rows[0].tolist() == list(case["best"]))
