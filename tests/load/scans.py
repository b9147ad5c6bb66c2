"""`python -m tests.load.scans`: what looking for the best tracks costs by each way, and how near it comes to the exact lists.

One line a catalogue size and way: CPU milliseconds a request, in one thread, alone and in batches of 16 (CPU time, so that what
else the machine does counts less); recall@20 against the exact scan. Queries are noisy tracks (see `tests.load.artifacts`).
This is where the thresholds in `training/exporting/shrink.py` come from.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import parser

from model.artifact import MODEL
from model.nets.config import NetworkConfig
from model.vocabulary import FIRST
from tests.load.artifacts import WIDTH, clustered
from training.exporting import index, tails
from training.exporting.export import open_graph
from training.exporting.graphs import write_graph, write_weights
from training.exporting.scan import Floats, Weights, quantise

BATCHES, COUNT, EXCLUDED = (1, 16), 20, 30
QUERIES = 256
IDENTITY = (
    '<ir_version: 10, opset_import: ["" : 20]> identity (float[B,Q] given) => (float[B,Q] query) { query = Identity(given) }'
)


def main() -> None:
    """Measure all sizes, smallest first."""
    options = argparse.ArgumentParser(prog="python -m tests.load.scans", description=str(__doc__).partition("\n")[0])
    options.add_argument("--tracks", type=int, nargs="+", default=[10_000, 20_000, 50_000, 100_000, 200_000, 1_000_000])
    options.add_argument("--probes", type=int, nargs="+", default=[32, 128, 512])
    given = options.parse_args()
    for tracks in given.tracks:
        items_VQ, queries_SQ = _world(tracks + FIRST)
        exact = _exact(items_VQ, queries_SQ)
        for name, tail, besides in _ways(items_VQ, queries_SQ, given.probes):
            with tempfile.TemporaryDirectory() as folder:
                session = _session(Path(folder), tail, {"items": items_VQ} | besides)
                alone, together = (_milliseconds(session, queries_SQ, batch) for batch in BATCHES)
                recall = _recall(session, queries_SQ, exact)
            print(f"{tracks:>10,}  {name:<16} {alone:8.3f} {together:8.3f}  recall@20 {recall:.4f}", flush=True)  # noqa: T201


def _world(rows: int) -> tuple[Floats, Floats]:
    """Items [V, Q], with biases; queries [S, Q] that resemble tracks."""
    random = np.random.default_rng(1)
    vectors = clustered(rows)
    bias = -0.5 * np.log1p(random.permutation(rows) / 200)
    heard = vectors[random.integers(FIRST, rows, 2 * QUERIES)]
    heard += 0.3 * heard.std() * random.standard_normal(heard.shape)
    queries = heard / heard.std(axis=1, keepdims=True)
    ones = np.ones((len(queries), 1))
    return np.concatenate([vectors, bias[:, None]], axis=1, dtype=np.float32), np.hstack([queries, ones]).astype(np.float32)


def _ways(items_VQ: Floats, queries_SQ: Floats, probes: list[int]) -> Iterator[tuple[str, onnx.ModelProto, Weights]]:
    from model.nets import build

    yield "fp32", tails.top(build(NetworkConfig(width=WIDTH), FIRST, 1)), {}
    yield "int8", tails.top_in_eight_bits(), quantise(items_VQ)
    cut = index.cut(items_VQ, queries_SQ[QUERIES:])
    for number in probes:
        yield f"index, {number}", tails.top_by_index(number), cut


def _session(folder: Path, tail: onnx.ModelProto, weights: Weights) -> onnxruntime.InferenceSession:
    write_graph(folder / MODEL, parser.parse_model(IDENTITY), tail, weights, write_weights(folder, weights))
    return open_graph(folder / MODEL)


def _milliseconds(session: onnxruntime.InferenceSession, queries_SQ: Floats, batch: int, rounds: int = 40) -> float:
    """The median CPU time of a request in batches of this size."""
    spent = []
    for turn in range(rounds + 5):
        queries = queries_SQ[np.arange(turn * batch, (turn + 1) * batch) % QUERIES]
        started = time.thread_time()  # one thread, this one, does it all
        _best(session, queries)
        spent.append(time.thread_time() - started)
    return 1000 * statistics.median(spent[5:]) / batch


def _best(session: onnxruntime.InferenceSession, queries: Floats) -> list[list[int]]:
    excluded = np.zeros((len(queries), EXCLUDED), np.int64)
    rows: list[list[int]] = session.run(["rows"], {"given": queries, "excluded": excluded, "count": np.array(COUNT)})[
        0
    ].tolist()
    return rows


def _exact(items_VQ: Floats, queries_SQ: Floats) -> list[list[int]]:
    """By brute force, in numpy."""
    lists = []
    for query in queries_SQ[:QUERIES]:
        scores = items_VQ @ query
        scores[:FIRST] = -np.inf
        lists.append(np.argpartition(-scores, COUNT)[:COUNT].tolist())
    return lists


def _recall(session: onnxruntime.InferenceSession, queries_SQ: Floats, exact: list[list[int]]) -> float:
    found = [rows for start in range(0, QUERIES, 16) for rows in _best(session, queries_SQ[start : start + 16])]
    shares = [len(set(rows) & set(wanted)) / COUNT for rows, wanted in zip(found, exact, strict=True)]
    return statistics.fmean(shares)


if __name__ == "__main__":
    main()
