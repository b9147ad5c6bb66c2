"""Computes an artifact's answers in the trainer, with the runtime that serves it: the answers expected from the service.

Runs `model.onnx` for the lists and `rank.onnx` for the targets' own scores.

Shapes: B batch, C cases, L places of a list.
"""

from collections.abc import Sequence

import numpy as np
import onnxruntime

from model import artifact
from model.artifact import Artifact, Manifest
from model.encoding import Ints, feed
from model.vocabulary import FIRST, PADDING, UNKNOWN
from training.data.sequences import Int64s
from training.evaluation.cases import Cases
from training.evaluation.evaluate import LIST, Answers, full_lists
from training.evaluation.metrics import ranks_in_lists
from training.evaluation.own_history import disliked_own_rows, targets_with_own
from training.exporting.export import open_graph

AT_A_TIME = 256
PLAYS_AT_ONCE = 1 << 15
"""Plays of long histories that a graph reads together."""


def answer_with(found: Artifact, cases: Cases) -> Answers:
    """Return the artifact's answer to each case. The rank of a target is its place in the list of `LIST` tracks."""
    model, rank = (open_graph(found.folder / name, threads=0) for name in (artifact.MODEL, artifact.RANK))
    long = found.manifest.long_history
    size = min(AT_A_TIME, max(1, PLAYS_AT_ONCE // long)) if long else AT_A_TIME
    batches = [
        _answer_batch(model, rank, cases.take(slice(start, start + size)), found.manifest)
        for start in range(0, len(cases), size)
    ]
    asked = (batch[:4] for batch in batches)  # ranks under the session mask are not computed
    return Answers(*(np.concatenate(column) for column in zip(*asked, strict=True)))


def _answer_batch(
    model: onnxruntime.InferenceSession, rank: onnxruntime.InferenceSession, cases: Cases, manifest: Manifest
) -> Answers:
    encoded, excluded_Bn, own = cases.encode(manifest.history.length), cases.excluded(), dict[str, Ints]()
    if manifest.long_history:
        read = cases.long_histories(manifest.long_history)
        own, excluded_Bn = read._asdict(), with_own_rows(excluded_Bn, disliked_own_rows(cases), read.own_tracks)
    count, weight = np.array(min(LIST, cases.size - FIRST), np.int64), np.array(manifest.wanted_weight, np.float32)
    asked = feed(manifest.inputs, encoded, excluded=excluded_Bn, count=count, wanted_weight=weight, **own)
    found = model.run(None, asked)
    lists_BL, scores_BL = full_lists(*found)
    target_B1 = cases.target[:, None].astype(np.int64)
    (own_B1,) = rank.run(None, feed(manifest.rank_inputs, encoded, candidates=target_B1, wanted_weight=weight, **own))
    own_B1 = np.where((excluded_Bn == target_B1).any(axis=1, keepdims=True), -np.inf, own_B1)
    own_B1 = np.where(target_B1 == UNKNOWN, np.nan, own_B1).astype(np.float32)
    return Answers(ranks_in_lists(lists_BL, scores_BL, targets_with_own(cases)), own_B1[:, 0], lists_BL, scores_BL)


def with_own_rows(excluded_Bn: Ints, rows: Sequence[Int64s], own_tracks_BL: Ints) -> Ints:
    """Append each case's `rows` of disliked own tracks to its excluded rows, `[B, n + more]`. Rows above the largest row of its
    long history are left out.
    """
    reached = [one[one <= own_L.max(initial=0)] for one, own_L in zip(rows, own_tracks_BL, strict=True)]
    more_Bm = np.full((len(rows), max(map(len, reached), default=0)), PADDING, np.int64)
    for line, one in zip(more_Bm, reached, strict=True):
        line[: len(one)] = one
    return np.concatenate([excluded_Bn, more_Bm], axis=1)
