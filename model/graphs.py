"""Opens the artifact's two ONNX graphs, checks them, and runs them with ONNX Runtime.

Each call takes and returns a batch and runs in the calling thread. The service answers requests with this code, and the trainer
publishes only artifacts that pass its checks. Histories of one batch are padded to the longest one. The graphs remove the
padding again (`model.nets.blocks.Packing`).

The weights are memory-mapped, so writing to `weights.bin` changes the model in use. Each run therefore compares the file's size
and time first, and fails if they have changed. A file that is truncated during a run still ends the process (SIGBUS).

Shapes: B batch, T time, n excluded rows, m candidates, k tracks wanted.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from model.artifact import INPUTS, MODEL, OUTPUTS, RANK, RANK_INPUTS, WEIGHTS, Artifact, ArtifactError, Golden
from model.batch_memory import ORDINARY_COUNT, BatchMemory, Cost, shrinking, taken_bytes
from model.encoding import Ints, RowHistory, encode_histories, encode_own, feed
from model.events import Outcome
from model.graph_sessions import OpenFile, one_line, open_session
from model.long_history import LongHistories
from model.vocabulary import FIRST, PADDING

TOLERANCE = 1e-4
"""Largest relative difference from the trainer's scores. Rounding on another processor stays below it."""
Floats = npt.NDArray[np.float32]
_MEASURED = 16
"""Number of requests in the batch that measures memory."""
_FAR_OFF = 8
"""A measurement below this part of the estimate is not believed."""


class Scores(NamedTuple):
    """Rows and their scores for one request, best first. Rows with score -inf are left out, because graphs mask with it.

    `ran_s` is the time in seconds that ONNX Runtime ran for the whole batch, without the steps before and after. `sound` is
    False if a score is not a finite number, or if there are no rows although some track was not masked. Both mean broken
    weights.
    """

    rows: Sequence[int]
    scores: Sequence[float]
    ran_s: float = 0.0
    sound: bool = True


class Graphs:
    """The two graphs of an artifact, opened. They have reproduced the trainer's golden answers."""

    def __init__(self, artifact: Artifact, *, threads: int, wanted_weight: float | None = None) -> None:
        """Open and check the graphs. Raises ArtifactError if they differ from the manifest or answer a golden case differently.

        `wanted_weight` is the weight of the head that predicts 'wanted'. None means the weight in the manifest.
        """
        self._folder = artifact.folder
        self._memory = BatchMemory(artifact.manifest)
        self._length = artifact.manifest.history.length
        self._tracks = artifact.manifest.tracks
        self._long_history = artifact.manifest.long_history
        self._inputs, self._rank_inputs = artifact.manifest.inputs, artifact.manifest.rank_inputs
        self._weights = OpenFile(artifact.folder / WEIGHTS, artifact.weights)
        self._model = open_session(artifact, MODEL, self._inputs, INPUTS, threads)
        self._rank = open_session(artifact, RANK, self._rank_inputs, RANK_INPUTS, threads)
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
        try:
            self._measure()
        except Exception as error:  # ONNX Runtime's exceptions have no common base class
            raise ArtifactError(f"{self._folder}: a batch of full histories cannot be run: {one_line(error)}") from error

    def cost(self, rows: int, count: int | None) -> Cost:
        """Estimate the cost of a request, see `BatchMemory.cost`."""
        return self._memory.cost(rows, count)

    def best(self, histories: Sequence[RowHistory], excluded: Sequence[Sequence[int]], counts: Sequence[int]) -> list[Scores]:
        """Return the best tracks after each history, `counts` of them without the `excluded` rows; fewer if there are no
        more.
        """
        found = self._best(histories, excluded, counts)
        if self.cost(max(map(len, excluded)), max(counts)).is_large:
            self._shrink()
        return found

    def rank(self, histories: Sequence[RowHistory], candidates: Sequence[Sequence[int]]) -> list[Scores]:
        """Return the score of each candidate of each history, in the candidates' order."""
        given = self._feed(self._rank_inputs, histories, candidates=_padded(candidates))
        self._weights.check()
        started = time.perf_counter()
        [scores_Bm] = self._rank.run([self._outputs[1]], given)
        ran_s = time.perf_counter() - started
        found = [
            Scores(rows, scores[: len(rows)].tolist(), ran_s, bool(np.isfinite(scores[: len(rows)]).all()))
            for rows, scores in zip(candidates, scores_Bm, strict=True)
        ]
        del scores_Bm
        if self.cost(max(map(len, candidates)), None).is_large:
            self._shrink()
        return found

    def _best(self, histories: Sequence[RowHistory], excluded: Sequence[Sequence[int]], counts: Sequence[int]) -> list[Scores]:
        fetched = [self._memory.fetched(count, len(rows)) for count, rows in zip(counts, excluded, strict=True)]
        most = max(more or count for count, more in zip(counts, fetched, strict=True))
        given = self._feed(
            self._inputs,
            histories,
            excluded=_padded([() if more else rows for rows, more in zip(excluded, fetched, strict=True)]),
            count=np.array(min(most, self._tracks), np.int64),
        )
        self._weights.check()
        started = time.perf_counter()
        rows_Bk, scores_Bk = self._model.run(self._outputs, given)
        ran_s = time.perf_counter() - started
        if not any(fetched) and np.isfinite(scores_Bk).all():  # as most often: enough rows, and none to remove
            lists = zip(counts, rows_Bk.tolist(), scores_Bk.tolist(), strict=True)
            return [Scores(rows[:count], scores[:count], ran_s) for count, rows, scores in lists]
        masked_Bk = np.isneginf(scores_Bk)
        unmasked_B = [self._tracks - len(rows) - len(history.rows) for rows, history in zip(excluded, histories, strict=True)]
        sound_B = (np.isfinite(scores_Bk) | masked_Bk).all(axis=1) & (~masked_Bk.all(axis=1) | (np.array(unmasked_B) <= 0))
        real_B = (~masked_Bk).sum(axis=1).tolist()
        found = []
        for place, (count, more, real, sound) in enumerate(zip(counts, fetched, real_B, sound_B.tolist(), strict=True)):
            rows_k, scores_k = rows_Bk[place, :real], scores_Bk[place, :real]
            if more:
                others = ~np.isin(rows_k, excluded[place])
                rows_k, scores_k = rows_k[others], scores_k[others]
            found.append(Scores(rows_k[:count].tolist(), scores_k[:count].tolist(), ran_s, sound))
        return found

    def _shrink(self) -> None:
        """Free the memory by which ONNX Runtime's arenas have grown. This takes a run of its own, because outputs occupy a part
        of the arena.
        """
        others = {"excluded": _padded([()]), "candidates": _padded([()]), "count": np.array(1)}
        self._model.run(self._outputs, self._feed(self._inputs, [RowHistory()], **others), shrinking())
        self._rank.run([self._outputs[1]], self._feed(self._rank_inputs, [RowHistory()], **others), shrinking())

    def _measure(self) -> None:
        """Measure how much memory each further full history of a batch takes. A measurement that is not
        believed leaves the estimate.
        """
        rows = [FIRST + place % self._tracks for place in range(self._length)]
        own = _full_own(self._long_history, self._tracks) if self._long_history else None
        history = RowHistory(rows, [Outcome.PLAYED.value] * self._length, own=own)

        def propose(size: int) -> None:
            self.best([history] * size, [()] * size, [ORDINARY_COUNT] * size)

        def rank(size: int) -> None:
            self.rank([history] * size, [rows[:ORDINARY_COUNT]] * size)

        estimates = [self.cost(0, ORDINARY_COUNT).bytes, self.cost(ORDINARY_COUNT, None).bytes]
        grown = [_growth(run) for run in (propose, rank)]
        self._shrink()
        self._memory.measured(*(_believed(found, estimate) for found, estimate in zip(grown, estimates, strict=True)))

    def _feed(self, names: Sequence[str], histories: Sequence[RowHistory], **others: object) -> Mapping[str, Any]:
        encoded = encode_histories(histories, length=self._length)
        own = encode_own(histories) if "own_tracks" in names else {}
        return feed(names, encoded, wanted_weight=self._weight, **own, **others)

    def _replay(self, number: int, case: Golden) -> None:
        """Run both graphs on a golden case. Raises ArtifactError if they cannot run or answer differently."""
        where = f"{self._folder}: golden case {number}"
        history = case.history()
        try:
            [found] = self.best([history], [case.excluded], [max(1, len(case.best))])
            [ranked] = self.rank([history], [case.best])
        except ArtifactError:
            raise
        except Exception as error:  # ONNX Runtime's exceptions have no common base class
            raise ArtifactError(f"{where} cannot be run: {one_line(error)}") from error
        wanted = np.array(case.scores)
        for name, scores in ((MODEL, np.array(found.scores)), (RANK, np.array(ranked.scores))):
            if scores.shape != wanted.shape or not np.allclose(scores, wanted, rtol=TOLERANCE, atol=TOLERANCE):
                raise ArtifactError(
                    f"{where}: found scores {scores[:3].tolist()}… by {name}, the trainer got {wanted[:3].tolist()}…"
                )
        if not len(wanted):
            return
        # Rounding may swap neighbours with almost equal scores. Elsewhere the rows must agree.
        gaps = np.abs(np.diff(wanted)) > 2 * TOLERANCE * np.maximum(1, np.abs(wanted[1:]))
        clear = np.concatenate([[True], gaps]) & np.concatenate([gaps, [False]])
        if (np.array(found.rows)[clear] != np.array(case.best)[clear]).any():
            raise ArtifactError(f"{where}: found rows {found.rows}, the trainer got {list(case.best)}")


def _full_own(length: int, tracks: int) -> LongHistories:
    """Make a long history of `length` plays that cycles through all tracks."""
    place = np.arange(length)
    newest = length - 1 - (length - 1 - place) % tracks
    fields = (
        FIRST + place % tracks,
        np.full(length, Outcome.PLAYED.value),
        np.zeros(length, np.int64),
        np.zeros(length, np.int64),
    )
    return LongHistories(*(field[None].astype(np.int64) for field in (*fields, newest)))


def _growth(run: Callable[[int], None]) -> int | None:
    """Return how many bytes each further request of a batch adds to this process; None if the system does not report its
    memory.
    """
    run(1)
    before = taken_bytes()
    run(1 + _MEASURED)
    after = taken_bytes()
    return None if before is None or after is None else max(0, after - before) // _MEASURED


def _believed(found: int | None, estimate: int) -> int | None:
    """Return the measured bytes, or None if they are far below the estimate.

    The measurement is the growth of the whole process. Where something else frees memory meanwhile, for example a former model,
    hardly any growth is found. Every request would then be taken for a large one, and would run alone.
    """
    return found if found is not None and found * _FAR_OFF >= estimate else None


def _padded(rows: Sequence[Sequence[int]]) -> Ints:
    """Return the rows of all requests as one array, int64 `[B, n]`, padded on the right with 0. n is at least 1."""
    padded = np.full((len(rows), max(1, max(map(len, rows), default=1))), PADDING, np.int64)
    for line, values in zip(padded, rows, strict=True):
        line[: len(values)] = values
    return padded
