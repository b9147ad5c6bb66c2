"""Open the artifact's two ONNX graphs, check them, and run them with ONNX Runtime.

Batches in, batches out, in the calling thread. The service answers requests with this code, and the trainer publishes nothing
that this code refuses. The number of threads is given (ONNX Runtime's default is all cores). They do not spin between runs,
which would keep a core busy for nothing. Histories of one batch are padded to the longest one. The graphs take the padding
out again (`model.nets.blocks.Packing`).

The weights are memory-mapped, so whoever writes to `weights.bin` changes the model that is in use. Each run looks at the file's
size and time first, and fails if they have changed. A file that is truncated during a run still ends the process (SIGBUS).

Shapes: B batch, T time, n excluded rows, m candidates, k tracks wanted.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from model.artifact import (
    FURTHER_INPUTS,
    INPUTS,
    MODEL,
    OUTPUTS,
    RANK,
    RANK_INPUTS,
    WEIGHTS,
    Artifact,
    ArtifactError,
    Golden,
)
from model.artifact_files import FileState, system_errors_named
from model.encoding import Ints, RowHistory, encode_histories, feed
from model.vocabulary import PADDING

TOLERANCE = 1e-4
"""Relative difference from the trainer's scores that another processor's rounding explains."""
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Scores:
    """Rows and their scores for one request, best first; no row whose score is -inf, which is how graphs mask.

    `ran_s` is how long ONNX Runtime ran for the batch, what was done before and after left out. The scores are not `sound` if
    one is not a finite number, or if there are none although not all tracks were masked. Broken weights do that.
    """

    rows: Sequence[int]
    scores: Sequence[float]
    ran_s: float = 0.0
    sound: bool = True


class Graphs:
    """An artifact's graphs, opened and checked: they give the answers that the trainer got."""

    def __init__(self, artifact: Artifact, *, threads: int, wanted_weight: float | None = None) -> None:
        """ArtifactError where the graphs differ from the manifest or answer the golden cases differently.

        `wanted_weight` is the weight of the head that predicts 'wanted' from then on. None takes the manifest's.
        """
        self._folder = artifact.folder
        self._length = artifact.manifest.history.length
        self._tracks = artifact.manifest.tracks
        self._inputs, self._rank_inputs = artifact.manifest.inputs, artifact.manifest.rank_inputs
        self._weights = _OpenFile(artifact.folder / WEIGHTS, artifact.weights)
        self._model = _load(artifact, MODEL, self._inputs, INPUTS, threads)
        self._rank = _load(artifact, RANK, self._rank_inputs, RANK_INPUTS, threads)
        self._weight = np.array(artifact.manifest.wanted_weight, np.float32)
        self._outputs = list(artifact.manifest.outputs)
        if tuple(self._outputs) != OUTPUTS:
            raise ArtifactError(f"{artifact.folder}: found outputs {self._outputs}, this version reads {list(OUTPUTS)}")
        for number, case in enumerate(artifact.golden):
            self._replay(number, case)
        if wanted_weight is not None:
            if "wanted_weight" not in self._inputs:
                raise ArtifactError(f"{artifact.folder}: found no head that predicts 'wanted', so a weight for it is refused")
            self._weight = np.array(wanted_weight, np.float32)

    def best(self, histories: Sequence[RowHistory], excluded: Sequence[Sequence[int]], counts: Sequence[int]) -> list[Scores]:
        """For each history its best tracks, as many as asked for where there are so many."""
        encoded = encode_histories(histories, length=self._length)
        count = np.array(min(max(counts), self._tracks), np.int64)
        given = feed(self._inputs, encoded, excluded=_padded(excluded), count=count, wanted_weight=self._weight)
        self._weights.check()
        started = time.perf_counter()
        rows_Bk, scores_Bk = self._model.run(self._outputs, given)
        ran_s = time.perf_counter() - started
        masked_Bk = np.isneginf(scores_Bk)
        unmasked_B = [self._tracks - len(rows) - len(history.rows) for rows, history in zip(excluded, histories, strict=True)]
        sound_B = (np.isfinite(scores_Bk) | masked_Bk).all(axis=1) & (~masked_Bk.all(axis=1) | (np.array(unmasked_B) <= 0))
        real_B = (~masked_Bk).sum(axis=1)
        wanted = zip(rows_Bk.tolist(), scores_Bk.tolist(), real_B.tolist(), counts, sound_B.tolist(), strict=True)
        return [Scores(rows[: min(real, k)], scores[: min(real, k)], ran_s, sound) for rows, scores, real, k, sound in wanted]

    def rank(self, histories: Sequence[RowHistory], candidates: Sequence[Sequence[int]]) -> list[Scores]:
        """For each history the score of each of its candidates, in the candidates' order."""
        encoded = encode_histories(histories, length=self._length)
        given = feed(self._rank_inputs, encoded, candidates=_padded(candidates), wanted_weight=self._weight)
        self._weights.check()
        started = time.perf_counter()
        [scores_Bm] = self._rank.run([self._outputs[1]], given)
        ran_s = time.perf_counter() - started
        return [
            Scores(rows, scores[: len(rows)].tolist(), ran_s, bool(np.isfinite(scores[: len(rows)]).all()))
            for rows, scores in zip(candidates, scores_Bm, strict=True)
        ]

    def _replay(self, number: int, case: Golden) -> None:
        """Check both graphs on a golden case. ArtifactError where they cannot run it or answer differently."""
        where = f"{self._folder}: golden case {number}"
        history = RowHistory(case.rows, case.outcomes, case.gaps)
        try:
            [found] = self.best([history], [case.excluded], [max(1, len(case.best))])
            [ranked] = self.rank([history], [case.best])
        except ArtifactError:
            raise
        except Exception as error:  # ONNX Runtime's exceptions have no common class of their own
            raise ArtifactError(f"{where} cannot be run: {_one_line(error)}") from error
        wanted = np.array(case.scores)
        for name, scores in ((MODEL, np.array(found.scores)), (RANK, np.array(ranked.scores))):
            if scores.shape != wanted.shape or not np.allclose(scores, wanted, rtol=TOLERANCE, atol=TOLERANCE):
                raise ArtifactError(
                    f"{where}: found scores {scores[:3].tolist()}… by {name}, the trainer got {wanted[:3].tolist()}…"
                )
        if not len(wanted):
            return
        # Rounding decides the order of neighbours whose scores are as good as tied. Elsewhere the rows must agree.
        gaps = np.abs(np.diff(wanted)) > 2 * TOLERANCE * np.maximum(1, np.abs(wanted[1:]))
        clear = np.concatenate([[True], gaps]) & np.concatenate([gaps, [False]])
        if (np.array(found.rows)[clear] != np.array(case.best)[clear]).any():
            raise ArtifactError(f"{where}: found rows {found.rows}, the trainer got {list(case.best)}")


class _OpenFile:
    """A file that is held open, so that a change of its content is noticed even if another file takes its name."""

    def __init__(self, path: Path, verified: FileState) -> None:
        with system_errors_named(path):
            self._file = path.open("rb")  # closed with this object: the graphs have the file mapped as long
        self._path, self._verified = path, verified
        self.check()

    def check(self) -> None:
        """ArtifactError where the file was written to since it was verified."""
        found = FileState.of(os.fstat(self._file.fileno()))
        if found != self._verified:
            raise ArtifactError(
                f"{self._path} was changed in place after it was verified: it had {self._verified.bytes} bytes and has "
                f"{found.bytes} now. Its graphs cannot be used any more; load an artifact that is whole"
            )

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()


def _load(
    artifact: Artifact, name: str, inputs: Sequence[str], known: Sequence[str], threads: int
) -> onnxruntime.InferenceSession:
    onnxruntime.disable_telemetry_events()  # what is served here is nobody else's business
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A pattern is kept for each shape that inputs have had, of which there are thousands here: 18 MB more, and no faster.
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    path = artifact.folder / name
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common class of their own
        raise ArtifactError(f"{path} does not load in ONNX Runtime {onnxruntime.__version__}: {_one_line(error)}") from error
    found = [tensor.name for tensor in session.get_inputs()]
    fed = {*known, *FURTHER_INPUTS}
    if sorted(found) != sorted(inputs) or not set(known) <= set(inputs) <= fed:
        raise ArtifactError(f"{path}: found inputs {found}, the manifest says {list(inputs)}; this version feeds {sorted(fed)}")
    return session


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _padded(rows: Sequence[Sequence[int]]) -> Ints:
    """Rows of each request, int64 [B, n], padded on the right with 0 to the longest and at least to 1."""
    padded = np.full((len(rows), max(1, max(map(len, rows), default=1))), PADDING, np.int64)
    for line, values in zip(padded, rows, strict=True):
        line[: len(values)] = values
    return padded
