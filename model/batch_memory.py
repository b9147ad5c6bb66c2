"""Estimates what a request makes ONNX Runtime allocate, so that a batch stays within its bound.

An ordinary request is measured once, when the graphs are loaded, because each system needs something else. What a client may
add to that is computed. For each row that is scored exactly its vector is gathered, and by an index also blocks that may hold
it. An index compares each excluded row with each row to score. `docs/measurements/bounds.md` has measurements of all that.
"""

import ctypes
from pathlib import Path
from typing import NamedTuple

import onnxruntime

from model.artifact import Manifest

COMPARED = 256
"""Most excluded rows that an index compares one by one. Of 10,000 it would take seconds and a gigabyte."""
MANY = 4
"""A request is large if it costs so many ordinary ones."""
MARGIN = 1.5
"""The measurement finds four fifths of what a fresh process takes, as memory that was freed before is used again."""
ORDINARY_COUNT = 20
_SPARE_ROWS = 64


class Cost(NamedTuple):
    """Estimated bytes of a request in a batch, and whether it should run alone."""

    bytes: int
    is_large: bool


class BatchMemory:
    """What requests to one artifact's graphs cost."""

    def __init__(self, manifest: Manifest) -> None:
        items = manifest.weights.get("items")
        self._width = items.shape[-1] if items is not None else 64
        self._has_index = manifest.retrieval.probes is not None
        # Until it is measured, and where the system does not say what a process has taken: an encoder of the items' width and a
        # scan. Four bytes a track for its score, or for its group's in an index, and a quarter of it for what is picked.
        encoder_bytes = manifest.history.length * 100 * self._width
        self._model_bytes = encoder_bytes + manifest.tracks * (1 if self._has_index else 5)
        self._rank_bytes = encoder_bytes

    def cost(self, rows: int, count: int | None) -> Cost:
        """The cost of a request for the `count` best with so many rows excluded; without a count, to rank so many rows."""
        if count is None:
            ordinary, more = self._rank_bytes, 5 * self._width * rows
        else:
            ordinary, more = self._model_bytes, 24 * rows + self._scoring_bytes(rows, count)
        return Cost(ordinary + more, more > (MANY - 1) * ordinary)

    def fetched(self, count: int, excluded: int) -> int | None:
        """How many rows to ask for so that so many excluded ones can be left out afterwards; None where the graph does it."""
        return count + excluded if self._has_index and excluded > COMPARED else None

    def measured(self, model_bytes: int, rank_bytes: int) -> None:
        """Take over what requests for `ORDINARY_COUNT` tracks, and to rank as many, were found to cost, and a margin."""
        self._model_bytes, self._rank_bytes = round(MARGIN * model_bytes), round(MARGIN * rank_bytes)

    def _scoring_bytes(self, rows: int, count: int) -> int:
        compared = rows if self._has_index and rows <= COMPARED else 0
        scored = 2 * (self.fetched(count, rows) or count) + compared
        return scored * 20 * self._width + (scored + _SPARE_ROWS) * 8 * compared


def shrinking() -> onnxruntime.RunOptions:
    """Options of a run after which ONNX Runtime gives back what its arena has grown by."""
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def taken_bytes() -> int | None:
    """Memory of this process that is no mapped file. None where the system does not say, which is all but Linux with glibc."""
    try:
        ctypes.CDLL(None).malloc_trim(0)  # else what was freed before would be taken again, and nothing would grow
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except (OSError, AttributeError, TypeError):
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")), None)
