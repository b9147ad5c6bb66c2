"""`python -m tests.load.retrieval`: measures the cost and the recall of each way to find the best tracks.

Prints a line for each catalogue size and way: CPU milliseconds a request in one thread, alone and in batches of 16, and
recall@20 against the exact search. CPU time depends less on other work of the machine. Queries are noisy tracks (see
`tests.load.artifacts`). The thresholds in `training/exporting/search/select_retrieval.py` come from here.

`--remembered N` measures each way for a network with a session memory, which raises the scores of N rows, and `--own N` for
one with a copy head over N own tracks. What the encoder computes for both costs the same for every way and is not included.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnx.parser
import onnxruntime

from model.artifact import MODEL
from model.nets.config import NetworkConfig
from model.nets.copy_head import CopyHead
from model.nets.session_memory import SessionMemory
from model.vocabulary import FIRST
from tests.load.artifacts import WIDTH, clustered
from training.exporting import scoring_graphs
from training.exporting.export import names_of, open_graph
from training.exporting.graphs import write_graph, write_weights
from training.exporting.search import index
from training.exporting.search.int8_search import Floats, Weights, quantise
from training.exporting.search.partition import Ints
from training.fitting.session_memory import tables

BATCHES, COUNT, EXCLUDED = (1, 16), 20, 30
QUERIES = 256
FURTHER = {"remembered": ("int64", "R"), "more": ("float", "R"), "copied": ("int64", "L"), "own_scores": ("float", "L")}
"""What an encoder returns besides the query: its type and its second dimension."""
SHARE = 0.25


def encoder_of(further: Sequence[str]) -> onnx.ModelProto:
    """Build an encoder that returns its inputs."""
    kinds = {"query": ("float", "Q")} | {name: FURTHER[name] for name in further}
    given, found = (
        ", ".join(f"{kind}[B,{size}] {before}{name}" for name, (kind, size) in kinds.items()) for before in ("given_", "")
    )
    nodes = " ".join(f"{name} = Identity(given_{name})" for name in kinds)
    return onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20]> encoder ({given}) => ({found}) {{ {nodes} }}')


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m tests.load.retrieval", description=str(__doc__).partition("\n")[0])
    made.add_argument("--tracks", type=int, nargs="+", default=[10_000, 20_000, 50_000, 100_000, 200_000, 1_000_000])
    made.add_argument("--probes", type=int, nargs="+", default=[32, 128, 512])
    made.add_argument("--remembered", type=int, default=0, help="rows of a session memory (4,650 in our recipe); 0: no memory")
    made.add_argument(
        "--own", type=int, default=0, help="own tracks of a copy head (up to 1,000 in our recipe); 0: no copy head"
    )
    return made


def main() -> None:
    """Measure all sizes, smallest first."""
    given = parser().parse_args()
    for tracks in given.tracks:
        asked = _world(tracks + FIRST, given.remembered, given.own)
        exact = _exact(asked)
        for name, tail, besides in _ways(asked, given.probes):
            with tempfile.TemporaryDirectory() as folder:
                session = _session(Path(folder), tail, {"items": asked.items_VQ} | besides, asked)
                alone, together = (_milliseconds(session, asked, batch) for batch in BATCHES)
                recall = _recall(session, asked, exact)
            print(f"{tracks:>10,}  {name:<16} {alone:8.3f} {together:8.3f}  recall@20 {recall:.4f}", flush=True)  # noqa: T201


class _World(NamedTuple):
    """Items [V, Q] with biases, queries [S, Q], and for each query the remembered rows with their bonus [S, R] and the own
    tracks with their scores [S, L].
    """

    items_VQ: Floats
    queries_SQ: Floats
    remembered_SR: Ints
    more_SR: Floats
    copied_SL: Ints
    own_scores_SL: Floats

    @property
    def further(self) -> list[str]:
        """Return the names of `FURTHER` that the encoder has."""
        sizes = {"R": self.more_SR.size, "L": self.own_scores_SL.size}
        return [name for name, (_, size) in FURTHER.items() if sizes[size]]


def _world(rows: int, remembered: int, own: int) -> _World:
    """Draw a world whose queries resemble tracks."""
    random = np.random.default_rng(1)
    vectors = clustered(rows)
    bias = -0.5 * np.log1p(random.permutation(rows) / 200)
    heard = vectors[random.integers(FIRST, rows, 2 * QUERIES)]
    heard += 0.3 * heard.std() * random.standard_normal(heard.shape)
    queries = heard / heard.std(axis=1, keepdims=True)
    items = np.concatenate([vectors, bias[:, None]], axis=1, dtype=np.float32)
    queries = np.hstack([queries, np.ones((len(queries), 1))]).astype(np.float32)
    near = [np.argpartition(-(items[FIRST:] @ query), 2 * own)[: 2 * own] + FIRST for query in queries] if own else []
    return _World(
        items,
        queries,
        random.integers(FIRST, rows, (len(queries), remembered)),
        np.full(
            (len(queries), remembered), 5, np.float32
        ),  # the bonus is the same if a row occurs twice, as in a session memory
        np.array([random.permutation(best)[:own] for best in near], np.int64).reshape(
            len(queries), own
        ),  # half of the tracks that the network ranks first
        random.normal(8, 4, (len(queries), own)).astype(np.float32),
    )


def _ways(asked: _World, probes: list[int]) -> Iterator[tuple[str, onnx.ModelProto, Weights]]:
    from model.nets import build

    network, remembers = build(NetworkConfig(width=WIDTH), FIRST, 1), asked.more_SR.size > 0
    if remembers:
        nothing = np.zeros(1, np.int64)
        network.session_memory = SessionMemory(tables(nothing, nothing, nothing, FIRST), recent=1)
    share = SHARE if asked.own_scores_SL.size else None
    if share is not None:
        network.copy_head = CopyHead(FIRST, 1)
        network.copy_head.share.data.fill_(share)
    yield "fp32", scoring_graphs.top(network), {}
    yield "int8", scoring_graphs.top_in_eight_bits(remembers=remembers, share=share), quantise(asked.items_VQ)
    cut = index.cut(asked.items_VQ, asked.queries_SQ[QUERIES:])
    for number in probes:
        yield f"index, {number}", scoring_graphs.top_by_index(number, remembers=remembers, share=share), cut


def _session(folder: Path, tail: onnx.ModelProto, weights: Weights, asked: _World) -> onnxruntime.InferenceSession:
    write_graph(folder / MODEL, encoder_of(asked.further), tail, weights, write_weights(folder, weights))
    return open_graph(folder / MODEL)


def _milliseconds(session: onnxruntime.InferenceSession, asked: _World, batch: int, rounds: int = 40) -> float:
    """Return the median CPU time of a request in batches of this size."""
    spent = []
    for turn in range(rounds + 5):
        numbers = np.arange(turn * batch, (turn + 1) * batch) % QUERIES
        started = time.thread_time()  # this one thread does all the work
        _best(session, asked, numbers)
        spent.append(time.thread_time() - started)
    return 1000 * statistics.median(spent[5:]) / batch


def _best(session: onnxruntime.InferenceSession, asked: _World, numbers: Ints) -> list[list[int]]:
    inputs = {
        "given_query": asked.queries_SQ[numbers],
        "given_remembered": asked.remembered_SR[numbers],
        "given_more": asked.more_SR[numbers],
        "given_copied": asked.copied_SL[numbers],
        "given_own_scores": asked.own_scores_SL[numbers],
        "excluded": np.zeros((len(numbers), EXCLUDED), np.int64),
        "count": np.array(COUNT),
    }
    rows: list[list[int]] = session.run(["rows"], {name: inputs[name] for name in names_of(session)})[0].tolist()
    return rows


def _exact(asked: _World) -> list[list[int]]:
    """Find the best rows by brute force in numpy."""
    lists = []
    columns = (asked.remembered_SR, asked.more_SR, asked.copied_SL, asked.own_scores_SL)
    for query, remembered, more, own, own_scores in zip(asked.queries_SQ[:QUERIES], *columns, strict=False):
        scores = asked.items_VQ @ query
        scores[own] = SHARE * scores[own] + own_scores
        scores[remembered] += more
        scores[:FIRST] = -np.inf
        lists.append(np.argpartition(-scores, COUNT)[:COUNT].tolist())
    return lists


def _recall(session: onnxruntime.InferenceSession, asked: _World, exact: list[list[int]]) -> float:
    found = [rows for start in range(0, QUERIES, 16) for rows in _best(session, asked, np.arange(start, start + 16))]
    shares = [len(set(rows) & set(wanted)) / COUNT for rows, wanted in zip(found, exact, strict=True)]
    return statistics.fmean(shares)


if __name__ == "__main__":
    main()
