"""Computes an artifact's answers in the trainer, with the runtime that serves it: the answers expected from the service.

Runs `model.onnx` for the lists and `rank.onnx` for the targets' own scores.

Shapes: B batch, C cases, L places of a list.
"""

from pathlib import Path

import numpy as np
import onnxruntime

from model import artifact
from model.artifact import Artifact, Manifest
from model.encoding import feed
from model.vocabulary import FIRST, UNKNOWN
from training.evaluation.cases import Cases
from training.evaluation.evaluate import LIST, Answers, full_lists
from training.evaluation.metrics import ranks_in_lists

AT_A_TIME = 256


def answer_with(found: Artifact, cases: Cases) -> Answers:
    """Return the artifact's answer to each case. Ranks are counted within its lists of `LIST`."""
    model, rank = _session(found.folder / artifact.MODEL), _session(found.folder / artifact.RANK)
    batches = [
        _answer_batch(model, rank, cases.take(slice(start, start + AT_A_TIME)), found.manifest)
        for start in range(0, len(cases), AT_A_TIME)
    ]
    asked = (batch[:4] for batch in batches)  # ranks under the session mask are not computed
    return Answers(*(np.concatenate(column) for column in zip(*asked, strict=True)))


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _answer_batch(
    model: onnxruntime.InferenceSession, rank: onnxruntime.InferenceSession, cases: Cases, manifest: Manifest
) -> Answers:
    encoded, excluded_Bn = cases.encode(manifest.history.length), cases.excluded()
    count, weight = np.array(min(LIST, cases.size - FIRST), np.int64), np.array(manifest.wanted_weight, np.float32)
    found = model.run(None, feed(manifest.inputs, encoded, excluded=excluded_Bn, count=count, wanted_weight=weight))
    lists_BL, scores_BL = full_lists(*found)
    target_B1 = cases.target[:, None].astype(np.int64)
    (own_B1,) = rank.run(None, feed(manifest.rank_inputs, encoded, candidates=target_B1, wanted_weight=weight))
    own_B1 = np.where((excluded_Bn == target_B1).any(axis=1, keepdims=True), -np.inf, own_B1)
    own_B1 = np.where(target_B1 == UNKNOWN, np.nan, own_B1).astype(np.float32)
    return Answers(ranks_in_lists(lists_BL, scores_BL, cases.target), own_B1[:, 0], lists_BL, scores_BL)
