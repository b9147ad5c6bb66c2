"""Decides at each export whether the artifact may use a faster search than the exact scan, by measuring its own histories.

There are two faster ways: the scan in int8, and for large catalogues an index with as few probes as are enough. A way is used
if all of these hold:

- its lists differ from the exact scan's in at most one place of a hundred;
- NDCG@20 of the tracks that really followed drops by at most 0.2 %;
- golden cases give the same answer: all of them in int8, and half of them by an index, which misses some tracks. Golden cases
  with another answer are removed.

Otherwise the artifact keeps the exact scan. The measurements go into the manifest.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from onnx import ModelProto

from model.artifact import MODEL, RANK, WEIGHTS, Golden, RetrievalRecord, WeightRecord
from model.encoding import RowHistory, encode_histories, encode_own, feed
from model.long_history import without_last
from model.nets.network import Network
from model.nets.sine import SineNetwork
from training.exporting import scoring_graphs
from training.exporting.graphs import Encoder, write_graph, write_weights
from training.exporting.search import index
from training.exporting.search.int8_search import Floats, Weights, quantise

EIGHT_BITS_FROM, INDEX_FROM = 20_000, 200_000
"""Number of rows from which each way is tried.

`python -m tests.load.retrieval`, CPU ms for each request, alone / in batches of 16. One thread of an EPYC with VNNI whose two
cores were also used by others, 22 November 2026:

    rows        fp32          int8         index, fewest probes of recall .99
    100,000      2.5 / .29     1.3 / .18    .35 / .21   (32)
    200,000      5.3 / .70     2.3 / .40    .75 / .26   (32)
    500,000     11.9 / 1.5     5.7 / .76    1.5 / .54   (32)
    1,000,000   22.0 / 3.0     8.7 / 1.3    3.2 / .94  (256)

This index had blocks without groups. With groups a million rows cost .93 of it in batches and .72 alone, encoder included. At
20,000 rows fp32 took .13 / .09 and int8 .42 / .11; at 50,000 they took 1.3 / .16 and .19 / .11. The time in batches sets the
limits, because a service under load has nothing else. Whole graphs in turns, alone / in batches of 4 / of 32, an EPYC without
VNNI, 27 November 2026:

    rows        int8                 index of 16 probes
    50,000      1.01 / .50 / .25      .76 / .58 / .28
    100,000     1.08 / .48 / .30      .67 / .41 / .31

Through the whole service at 100,000 rows, in turns on a slow day, the index answered 1.14 to 1.38 times as many requests as
int8 at one connection, .87 to .97 times at 16 and .87 to 1.01 times at 64.
"""
SESSION_MEMORY_FROM = 500_000
"""The same limit for a network with a session memory, which also scores every remembered row. It holds for both ways.

`python -m tests.load.retrieval --tracks 200000 500000 1000000 --probes 32 128 --remembered 4650`, an EPYC of family 26, 28
November 2026, CPU ms for each request, alone / in batches of 16:

    rows        fp32          int8         index of 32     of 128
    200,000     1.4 / .34      .90 / .54    .52 / .52       .66 / .62
    500,000     3.8 / .79     2.0 / .85     .62 / .61       .74 / .74
    1,000,000   7.4 / 1.6     4.2 / 1.3     .90 / .75      1.1 / .98
"""
COPY_HEAD_EIGHT_BITS_FROM, COPY_HEAD_INDEX_FROM = 50_000, 500_000
"""The same limits for a network with a copy head, which also scores every own track.

`python -m tests.load.retrieval --probes 128 --own 1000`, a quiet Xeon, 1 December 2026, CPU ms for each request, alone / in
batches of 16:

    rows         fp32          int8         index of 128
    20,000        .30 / .06     .31 / .08    .53 / .32
    50,000        .60 / .13     .58 / .12    .79 / .50
    100,000      1.1 / .25      .81 / .15    .96 / .58
    200,000      2.2 / .61     1.6 / .25    1.2 / .77
    500,000      9.4 / 1.9     4.0 / .69    1.5 / 1.1
    1,000,000     22 / 4.8      13 / 1.5    1.9 / 1.9
"""
PROBES = (16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
OVERLAP, LOSS = 0.99, 0.002
PLACES, SAMPLES, AT_A_TIME = 20, 512, 16

Open = Callable[[Path], onnxruntime.InferenceSession]
Ints = npt.NDArray[np.int64]
Case = Mapping[str, Any]
Lists = list[list[int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """The chosen search: its measurements, where each weight is stored (None if the draft did not change), and the golden cases
    that it passes.
    """

    found: RetrievalRecord
    records: dict[str, WeightRecord] | None
    golden: Sequence[Case]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Way:
    """A faster search to try: its scoring graphs by number of probes (0: no index), its weights, and the share of golden cases
    that it must pass.
    """

    tails: Mapping[int, ModelProto]
    weights: Callable[[], Weights]
    golden_share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class _Trial:
    """Everything that is needed to try a faster search: samples with their exact lists, golden cases, and the draft whose files
    it replaces.
    """

    encoder: Encoder
    rank: ModelProto
    draft: Path
    samples: Sequence[RowHistory]
    exact: Lists
    golden: Sequence[Case]
    length: int
    weight: float
    open_graph: Open


def select_retrieval(
    network: Network,
    encoder: Encoder,
    draft: Path,
    *,
    samples: Sequence[RowHistory],
    golden: Sequence[Case],
    length: int,
    weight: float = 0.0,
    open_graph: Open,
    eight_bits_from: int = EIGHT_BITS_FROM,
    index_from: int = INDEX_FROM,
    session_memory_from: int = SESSION_MEMORY_FROM,
    probes_tried: Sequence[int] = PROBES,
) -> Chosen:
    """Try the faster searches, and replace the graphs and weights of `draft` by the first that is close enough to the exact
    scan.
    """
    stays = Chosen(found=RetrievalRecord(), records=None, golden=golden)
    if isinstance(network, SineNetwork) or not samples:
        return stays
    ways: list[_Way] = []
    if network.copy_head is not None:
        eight_bits_from, index_from = (
            max(eight_bits_from, COPY_HEAD_EIGHT_BITS_FROM),
            max(index_from, COPY_HEAD_INDEX_FROM),
        )
    least = 0 if network.session_memory is None else session_memory_from
    if network.rows >= max(index_from, least):
        ways.append(_by_index(network, encoder, samples[-SAMPLES:], length, probes_tried))
    if network.rows >= max(eight_bits_from, least):
        ways.append(_in_eight_bits(network, encoder))
    if not ways:
        return stays
    asked = samples[:SAMPLES]
    trial = _Trial(
        encoder=encoder,
        rank=scoring_graphs.rank(network),
        draft=draft,
        samples=asked,
        exact=best_lists(open_graph(draft / MODEL), asked, length=length, weight=weight),
        golden=golden,
        length=length,
        weight=weight,
        open_graph=open_graph,
    )
    index_overlap: float | None = None
    for way in ways:
        found, held, records = _try(way, trial)
        found = found.model_copy(update={"index_overlap": index_overlap})
        if records is not None:
            return Chosen(found=found, records=records, golden=held)
        index_overlap = found.overlap if found.probes else None
        stays = Chosen(
            found=found.model_copy(update={"bits": 32, "probes": None, "index_overlap": index_overlap}),
            records=None,
            golden=golden,
        )
    return stays


def _try(way: _Way, trial: _Trial) -> tuple[RetrievalRecord, Sequence[Case], dict[str, WeightRecord] | None]:
    """Try a faster search with rising numbers of probes until one is close enough, and then replace the draft's files.

    Returns the last measurement, the golden cases that passed, and where each weight is stored; None if nothing was replaced.
    """
    length, weight = trial.length, trial.weight
    with TemporaryDirectory(prefix=".scan-", dir=trial.draft.parent) as name:
        folder = Path(name)
        weights = trial.encoder.weights | way.weights()
        records = write_weights(folder, weights)
        write_graph(folder / RANK, trial.encoder.graph, trial.rank, weights, records)
        for probes, tail in way.tails.items():
            write_graph(folder / MODEL, trial.encoder.graph, tail, weights, records)
            rough = trial.open_graph(folder / MODEL)
            found = compare(trial.exact, best_lists(rough, trial.samples, length=length, weight=weight), trial.samples)
            found = found.model_copy(update={"probes": probes or None})
            held = [case for case in trial.golden if _same(rough, case, length, weight)]
            if allowed(found) and len(held) >= way.golden_share * len(trial.golden):
                for file in (MODEL, RANK, WEIGHTS):
                    os.replace(folder / file, trial.draft / file)
                return found, held, records
    return found, held, None


def allowed(found: RetrievalRecord) -> bool:
    """Return whether the lists are close enough to the exact ones."""
    return (found.overlap or 0.0) >= OVERLAP and (found.ndcg_loss or 0.0) <= LOSS


def best_lists(
    session: onnxruntime.InferenceSession, histories: Sequence[RowHistory], *, length: int, weight: float = 0.0
) -> Lists:
    """Return the best rows after each history without its last entry, with nothing excluded."""
    lists: Lists = []
    for start in range(0, len(histories), AT_A_TIME):
        some = _without_last(histories[start : start + AT_A_TIME])
        nothing, wanted_weight = np.zeros((len(some), 1), np.int64), np.array(weight, np.float32)
        lists += _rows(session, some, length, excluded=nothing, count=np.array(PLACES), wanted_weight=wanted_weight).tolist()
    return lists


def compare(exact: Lists, rough: Lists, histories: Sequence[RowHistory]) -> RetrievalRecord:
    """Compare the `rough` list of each history with the `exact` one. The last entry of a history is the target of NDCG."""
    shared, gains = [], []
    for one, other, history in zip(exact, rough, histories, strict=True):
        target = history.rows[-1] if history.rows else 0
        shared.append(len(set(one) & set(other)) / len(one))
        gains.append((_gain(one, target), _gain(other, target)))
    before, after = np.mean(gains, axis=0).tolist()
    return RetrievalRecord(bits=8, overlap=float(np.mean(shared)), ndcg_loss=1 - after / before if before else 0.0)


def _by_index(
    network: Network, encoder: Encoder, samples: Sequence[RowHistory], length: int, probes_tried: Sequence[int]
) -> _Way:
    queries_SQ = _queries(network, samples, length)
    remembers, share = network.session_memory is not None, share_of(network)
    by_probes = {
        probes: scoring_graphs.top_by_index(probes, repeats=network.repeats, remembers=remembers, share=share)
        for probes in probes_tried
    }
    return _Way(tails=by_probes, weights=lambda: index.cut(_items(encoder), queries_SQ), golden_share=0.5)


def _in_eight_bits(network: Network, encoder: Encoder) -> _Way:
    remembers = network.session_memory is not None
    tail = scoring_graphs.top_in_eight_bits(repeats=network.repeats, remembers=remembers, share=share_of(network))
    return _Way(tails={0: tail}, weights=lambda: quantise(_items(encoder)), golden_share=1)


def share_of(network: Network) -> float | None:
    """Return the share of the network's score in its copy head; None if it has no copy head."""
    return None if network.copy_head is None else network.copy_head.share.item()


def _items(encoder: Encoder) -> Floats:
    items_VQ: Floats = encoder.weights["items"]  # type: ignore[assignment]  # which is what it is
    return items_VQ


def _queries(network: Network, histories: Sequence[RowHistory], length: int) -> Floats:
    encoded = encode_histories(_without_last(histories), length=length)
    with torch.no_grad():
        queries: Floats = network.eval().query(*map(torch.from_numpy, encoded)).numpy()
    return queries


def _without_last(histories: Sequence[RowHistory]) -> list[RowHistory]:
    return [
        RowHistory(
            history.rows[:-1],
            history.outcomes[:-1],
            history.gaps[:-1],
            None if history.own is None else without_last(history.own, history.rows[-1]) if history.rows else history.own,
        )
        for history in histories
    ]


def _gain(rows: Sequence[int], target: int) -> float:
    return float(1 / np.log2(rows.index(target) + 2)) if target in rows else 0.0


def _rows(session: onnxruntime.InferenceSession, histories: Sequence[RowHistory], length: int, **others: Any) -> Ints:
    """Return the best rows [B, K] after each history; `others` are the graph's further inputs."""
    names = [tensor.name for tensor in session.get_inputs()]
    if "own_tracks" in names:
        others |= encode_own(histories)
    rows: Ints = session.run(["rows"], feed(names, encode_histories(histories, length=length), **others))[0]
    return rows


def _same(rough: onnxruntime.InferenceSession, case: Case, length: int, weight: float) -> bool:
    golden = Golden(**case)
    excluded = np.array([golden.excluded], np.int64).reshape(1, -1)
    count, wanted_weight = np.array(len(golden.best)), np.array(weight, np.float32)
    rows = _rows(rough, [golden.history()], length, excluded=excluded, count=count, wanted_weight=wanted_weight)
    return bool(rows[0].tolist() == list(golden.best))
